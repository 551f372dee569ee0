//! Where commands are carried out, on the running board.

use std::error::Error;
use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use callboard::{Inspection, State, prelude::*};
use tokio::runtime::{self, Runtime};
use tokio::time::{sleep, timeout};

use crate::command::{Command, HELP};
use crate::say;
use crate::station::Gust;
use crate::trouble::{Kind, Trouble};

/// How long `settle` waits.
const SETTLE_WAIT: Duration = secs(5);
/// Whoever has been at one thing for so long will not be done soon.
const HANGS: Duration = millis(300);
/// The next command does not wait for the end of the last one any longer than this.
const CALM_WAIT: Duration = secs(5);

type Answer = Result<String, Box<dyn Error>>;

pub(crate) struct Desk {
    board: Board,
    runtime: Runtime,
}

impl Desk {
    pub(crate) fn new(board: Board) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Desk { board, runtime })
    }

    /// Waits until the start has been told.
    pub(crate) fn settle_in(&self) {
        self.runtime.block_on(self.calm());
    }

    /// Carries out one line, whatever is wrong with it; breaks after `quit`.
    pub(crate) fn take(&self, line: &str) -> ControlFlow<()> {
        match Command::parse(line) {
            Ok(None) => {}
            Ok(Some(Command::Quit)) => return ControlFlow::Break(()),
            Ok(Some(command)) => self.runtime.block_on(self.answer(command)),
            Err(mistake) => say(&mistake),
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn close(&self) {
        self.board.shutdown_blocking(secs(5));
    }

    /// What happens is told as it happens; then comes the answer.
    async fn answer(&self, command: Command) {
        // A blocked thread is worth a look while it is blocked.
        let look_on = matches!(command, Command::Trouble(Kind::Block, _));
        let answer = self.obey(command).await;
        if look_on {
            sleep(millis(50)).await;
        } else {
            self.calm().await;
        }
        match answer {
            Ok(text) if text.is_empty() => {}
            Ok(text) => say(&text),
            Err(error) => say(&format!("no: {error}")),
        }
    }

    async fn obey(&self, command: Command) -> Answer {
        let board = &self.board;
        let done = match command {
            Command::Tree => return Ok(board.tree().to_string()),
            Command::Mermaid => return Ok(board.tree().mermaid()),
            Command::Ledger => return Ok(self.ledger()),
            Command::Inspect(path) => return Ok(described(&board.inspect(&path)?)),
            Command::Settle => return self.settle().await,
            Command::Publish(count) => return self.publish(count).await,
            Command::Trouble(kind, path) => return self.trouble(kind, path).await,
            Command::Add(name) => return self.add(name).await,
            Command::Help => return Ok(HELP.to_owned()),
            Command::Quit => return Ok(String::new()),
            Command::Kill(path) => board.kill(&path).await,
            Command::Suspend(path) => board.suspend(&path).map_err(Into::into),
            Command::Resume(path) => board.resume(&path).map_err(Into::into),
            Command::Restart(path) => board.restart(&path).await,
            Command::Stop(path) => board.stop(&path).await,
            Command::Start(path) => return self.start(&path).await,
            Command::Remove(name) => {
                board
                    .supervisor("station/sessions")?
                    .terminate_child(&name)
                    .await
            }
        };
        Ok(done.map(|()| String::new())?)
    }

    async fn start(&self, path: &str) -> Answer {
        let (above, name) = path.rsplit_once('/').ok_or("the station runs already")?;
        self.board.supervisor(above)?.restart_child(name).await?;
        Ok(String::new())
    }

    async fn add(&self, visitor: String) -> Answer {
        let sessions = self.board.supervisor("station/sessions")?;
        Ok(format!(
            "{} is here",
            sessions.start_child_from(visitor).await?
        ))
    }

    async fn publish(&self, count: u64) -> Answer {
        for _ in 0..count {
            self.board.publish(Gust).await?;
        }
        Ok(format!("{count} published"))
    }

    /// Trouble is an event: nobody would hear of it where nobody reads.
    async fn trouble(&self, kind: Kind, path: String) -> Answer {
        let found = self.board.inspect(&path)?;
        if found.strategy.is_some() {
            return Err(format!("{path} is a supervisor: break a service below it").into());
        }
        if found.state == State::Closed {
            return Err(format!("{path} has ended for good: `start` it first").into());
        }
        self.board
            .publish(Trouble {
                path: path.clone(),
                kind,
            })
            .await?;
        Ok(match found.suspended {
            true => format!("{path} is suspended: this waits until `resume`"),
            false => String::new(),
        })
    }

    async fn settle(&self) -> Answer {
        match timeout(SETTLE_WAIT, self.board.settle()).await {
            Ok(settled) => settled.map(|()| "settled".to_owned()).map_err(Into::into),
            Err(_) => {
                let tree = self.board.tree();
                let busy = tree.root().walk().filter(|part| is_open(part));
                let paths: Vec<&str> = busy.map(|part| &*part.path).collect();
                Err(format!("not settled within {SETTLE_WAIT:?}: {}", paths.join(", ")).into())
            }
        }
    }

    fn ledger(&self) -> String {
        let mut text = self.board.ledger().to_string();
        for letter in self.board.dead_letters() {
            text.push_str(&format!("\ndead letter: {letter}"));
        }
        text
    }

    /// Waits until nothing changes by itself, so that a script's output is in its order.
    async fn calm(&self) {
        let until = Instant::now() + CALM_WAIT;
        let mut calm_for = 0;
        while calm_for < 3 && Instant::now() < until {
            sleep(millis(2)).await;
            let calm = self.board.tree().root().walk().all(is_calm);
            calm_for = if calm { calm_for + 1 } else { 0 };
        }
    }
}

fn is_open(part: &Inspection) -> bool {
    let load = &part.mailbox;
    load.queued + load.in_flight + load.deferred + load.letters + load.letters_in_flight > 0
}

fn is_calm(part: &Inspection) -> bool {
    let hangs = part
        .current
        .as_ref()
        .is_some_and(|current| current.age > HANGS);
    match part.state {
        State::Running => part.suspended || hangs || !is_open(part),
        State::Closed => true,
        _ => false,
    }
}

fn described(part: &Inspection) -> String {
    let kind = match (part.strategy, part.type_name) {
        (Some(strategy), _) if part.dynamic => format!("dynamic supervisor, {strategy:?}"),
        (Some(strategy), _) => format!("supervisor, {strategy:?}"),
        (None, name) => format!("service, a {}", name.unwrap_or("mystery")),
    };
    let mut lines = vec![
        format!("{}: {kind}", part.path),
        format!("  state     {}, in life {}", part.state, part.life),
        format!("  restart   {:?}", part.restart),
    ];
    if part.suspended {
        lines.push("  suspended".to_owned());
    }
    if let Some(exit) = &part.last_exit {
        lines.push(format!("  last end  {exit}"));
    }
    if let Some(last) = &part.last_failure {
        let (event, id, attempt) = (last.event, last.event_id, last.attempt);
        lines.push(format!(
            "  failure   {event} {id}, attempt {attempt}: {}",
            last.failure
        ));
    }
    if let Some(now) = &part.current {
        let what = now.event.as_deref().unwrap_or("a hook, timer or letter");
        let how = if now.on_thread {
            "holds its thread"
        } else {
            "waits"
        };
        lines.push(format!(
            "  busy      {what}, attempt {}, {how}",
            now.attempt
        ));
    }
    if is_open(part) {
        let load = &part.mailbox;
        lines.push(format!(
            "  mailbox   {} queued, {} in flight, {} deferred",
            load.queued, load.in_flight, load.deferred
        ));
    }
    lines.join("\n")
}
