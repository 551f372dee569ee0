//! The commands: what may be typed, and what it means.

use crate::trouble::Kind;

/// What `help` prints.
pub(crate) const HELP: &str = "\
tree                the live tree: states, restarts, mailboxes
mermaid             the same as a Mermaid flowchart
ledger              every delivery in its state, and the dead letters
inspect PATH        all that is known of a service or supervisor
fail PATH           its next attempt fails, and is tried again
panic PATH          it panics, and is restarted by its supervisor
hang PATH           it waits for ever: `kill` ends that
block PATH          it holds its thread for a second
poison PATH         it fails whatever is tried, so that a dead letter is left
kill PATH           ends its life now, as a crash does
suspend PATH        it handles nothing
resume PATH         it handles what has come in meanwhile
restart PATH        stops it in order and starts it again
stop PATH           stops it in order, for good
start PATH          starts it again after `stop`
add NAME            a new visitor: a session
remove NAME         the visitor leaves
publish N           N gusts of wind for the sensor
settle              waits until nothing is on its way
help                this list
quit                shuts the station down
A PATH is one such as station/readings/filter, or readings/filter for short.";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Tree,
    Mermaid,
    Ledger,
    Settle,
    Help,
    Quit,
    Inspect(String),
    Trouble(Kind, String),
    Kill(String),
    Suspend(String),
    Resume(String),
    Restart(String),
    Stop(String),
    Start(String),
    Add(String),
    Remove(String),
    Publish(u64),
}

impl Command {
    /// Understands a line; `None` where it is empty or a comment.
    pub(crate) fn parse(line: &str) -> Result<Option<Command>, String> {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((verb, rest)) = words.split_first() else {
            return Ok(None);
        };
        let command = match *verb {
            "tree" => Command::Tree,
            "mermaid" => Command::Mermaid,
            "ledger" => Command::Ledger,
            "settle" => Command::Settle,
            "help" => Command::Help,
            "quit" => Command::Quit,
            _ => return with_argument(verb, rest).map(Some),
        };
        match rest {
            [] => Ok(Some(command)),
            _ => Err(format!(
                "`{verb}` stands alone, without `{}`",
                rest.join(" ")
            )),
        }
    }
}

fn with_argument(verb: &str, rest: &[&str]) -> Result<Command, String> {
    let trouble = |kind| move |path| Command::Trouble(kind, path);
    let path = || one(verb, "a PATH, such as readings/filter", rest).map(whole);
    let name = || one(verb, "a NAME, such as ada", rest);
    match verb {
        "inspect" => path().map(Command::Inspect),
        "fail" => path().map(trouble(Kind::Fail)),
        "panic" => path().map(trouble(Kind::Panic)),
        "hang" => path().map(trouble(Kind::Hang)),
        "block" => path().map(trouble(Kind::Block)),
        "poison" => path().map(trouble(Kind::Poison)),
        "kill" => path().map(Command::Kill),
        "suspend" => path().map(Command::Suspend),
        "resume" => path().map(Command::Resume),
        "restart" => path().map(Command::Restart),
        "stop" => path().map(Command::Stop),
        "start" => path().map(Command::Start),
        "add" => name().map(Command::Add),
        "remove" => name().map(Command::Remove),
        "publish" => number(&one(verb, "a number N, such as 3", rest)?).map(Command::Publish),
        _ => Err(format!(
            "there is no command `{verb}`: type `help` for those there are"
        )),
    }
}

fn one(verb: &str, what: &str, rest: &[&str]) -> Result<String, String> {
    match rest {
        [word] => Ok((*word).to_owned()),
        [] => Err(format!("`{verb}` needs {what}")),
        _ => Err(format!("`{verb}` needs {what}, and nothing else")),
    }
}

/// The most gusts at a time: a typing mistake should not take an hour.
const GUSTS_MAX: u64 = 100_000;

fn number(text: &str) -> Result<u64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=GUSTS_MAX).contains(number));
    number.ok_or_else(|| format!("`{text}` is no number from 1 to {GUSTS_MAX}"))
}

/// The root may be left out.
fn whole(path: String) -> String {
    if path == "station" || path.starts_with("station/") {
        return path;
    }
    format!("station/{path}")
}
