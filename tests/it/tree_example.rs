//! The tree example keeps its word to whoever runs it: what it tells, its errors, exit codes.
//!
//! It is run as a user runs it, as a process of its own.

use std::process::Output;

use crate::support_example::{built, example, finish, text};

fn run(arguments: &[&str], input: &str) -> Output {
    finish(&mut example("tree", built(), arguments), input.as_bytes())
}

/// What it said, for one that ended well.
fn told(arguments: &[&str], input: &str) -> String {
    let out = run(arguments, input);
    let (said, complained) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{said}{complained}");
    assert!(!complained.contains("panicked at"), "{complained}");
    said
}

/// What follows the `n`th line that is this command, up to the next empty line or command.
fn after<'a>(said: &'a str, command: &str, n: usize) -> Vec<&'a str> {
    let lines = said.lines();
    let mut answer = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>();
    for _ in 0..n {
        let at = answer.iter().position(|line| *line == command);
        let at = at.unwrap_or_else(|| panic!("no `{command}` in {said}"));
        answer.drain(..=at);
    }
    answer
}

#[track_caller]
fn begins(said: &str, command: &str, n: usize, expected: &[&str]) {
    // When a service that starts again is well races with the word that it has started.
    let found = after(said, command, n).into_iter();
    let found: Vec<&str> = found
        .filter(|line| !line.contains("is well again"))
        .take(expected.len())
        .map(str::trim)
        .collect();
    assert_eq!(found, expected, "{said}");
}

/// Whether the live tree, the last that was printed, says this of somebody.
#[track_caller]
fn last_tree_says(said: &str, name: &str, expected: &str) {
    let lines = said
        .lines()
        .map(|line| line.replace(['├', '└', '│', '─'], " "));
    let mut rows = lines.filter(|line| line.split_whitespace().next() == Some(name));
    let row = rows.next_back().unwrap_or_default();
    let words: Vec<&str> = row.split_whitespace().skip(1).collect();
    assert_eq!(words.join(" "), expected, "{said}");
}

#[test]
fn the_demo_breaks_each_kind_of_supervisor_and_loses_nothing() {
    let said = told(&["--demo"], "");
    begins(
        &said,
        "panic radio/sender",
        1,
        &[
            "station/radio/sender (life 1) panicked: on purpose",
            "station/radio/echo (life 1) is stopping",
            "station/radio/echo (life 1) was shut down",
            "station/radio/sender (life 2) is starting",
            "station/radio/sender (life 2) has started",
            "station/radio/echo (life 2) is starting",
            "station/radio/echo (life 2) has started",
        ],
    );
    begins(
        &said,
        "kill readings/filter",
        1,
        &[
            "station/readings/filter (life 1) was killed",
            "station/readings/filter (life 1) starts again in 50ms",
            "station/readings/archive (life 1) is stopping",
        ],
    );
    assert!(
        said.contains("station/radio/sender is well again, attempt 2"),
        "{said}"
    );
    assert!(said.contains(
        "station/readings (life 1) gave up: station/readings/archive panicked: on purpose"
    ));
    begins(
        &said,
        "settle",
        1,
        &["no: cannot settle: suspended services still hold work: station/readings/filter"],
    );
    begins(&said, "settle", 2, &["settled"]);
    last_tree_says(&said, "reporter", "service running");
    last_tree_says(&said, "sensor", "service running 1 restart");
    last_tree_says(
        &said,
        "filter",
        "service running 3 restarts, last: was killed",
    );
    last_tree_says(&said, "bob", "service running");
    assert!(
        said.contains("n0([\"station<br/>one_for_one<br/>running\"])"),
        "{said}"
    );
    assert!(said.contains("for station/readings/archive, attempts used up (3): on purpose"));
    assert!(
        said.contains(", drained\n") && said.ends_with("gap: 0\n"),
        "{said}"
    );
}

#[test]
fn without_a_terminal_it_plays_the_demo_and_says_so() {
    let said = told(&[], "tree\n");
    assert!(
        said.starts_with("nobody can type here, so this is the demo"),
        "{said}"
    );
    assert!(said.ends_with("gap: 0\n"), "{said}");
}

/// What is typed, and how the answer begins.
const MISTAKES: &str = "\
fly => there is no command `fly`: type `help` for those there are
panic => `panic` needs a PATH, such as readings/filter
panic a b => `panic` needs a PATH, such as readings/filter, and nothing else
tree now => `tree` stands alone, without `now`
publish many => `many` is no number from 1 to 100000
publish 0 => `0` is no number from 1 to 100000
inspect nobody => no: there is no service or supervisor at station/nobody; known paths: station,
panic readings => no: station/readings is a supervisor: break a service below it
kill station => no: station is the root: shut the board down
stop station => no: station is the root: shut the board down
start station => no: the station runs already
start readings => no: station/readings has not ended for good: stop it first,
add a/b => no: invalid child: station/sessions/a/b: the name contains a `/`,
remove nobody => no: there is no child at station/sessions/nobody; known paths: none
suspend radio => no: there is no service at station/radio; known paths: station/radio/echo,
stop ticker => station/ticker (life 1) is stopping
kill ticker => no: station/ticker has ended for good: restart starts
panic ticker => no: station/ticker has ended for good: `start` it first
start ticker => station/ticker (life 2) is starting
publish 2 => 2 published
settle => settled
inspect ticker => station/ticker: service, a ";

#[test]
fn mistakes_are_answered_and_the_session_goes_on() {
    let table = MISTAKES
        .lines()
        .map(|line| line.split_once(" => ").unwrap());
    let session: Vec<&str> = table.clone().map(|(command, _)| command).collect();
    let said = told(&["--script", "-"], &session.join("\n"));
    for (command, answer) in table {
        let found = after(&said, command, 1)[0].trim();
        assert!(found.starts_with(answer), "{command}: {found}");
    }
    assert!(said.contains("state     running, in life 2"), "{said}");
    assert!(said.ends_with("gap: 0\n"), "{said}");
}

#[test]
fn what_a_closed_service_had_not_read_is_undelivered() {
    let session = "suspend readings/archive\npublish 3\nstop readings/archive\n";
    let said = told(&["--script", "-"], session);
    assert!(
        said.contains("undelivered: 3 of weather for station/readings/archive"),
        "{said}"
    );
    assert!(said.ends_with("gap: 0\n"), "{said}");
}

#[test]
fn a_station_that_gives_up_ends_the_program_with_a_failure() {
    let out = run(&["--script", "-"], &"kill ticker\n".repeat(7));
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    let end = "the board has ended by itself: station gave up: station/ticker was killed";
    assert!(said.contains(end), "{said}");
    assert!(said.ends_with("gap: 0\n"), "{said}");
}

#[test]
fn a_script_that_is_not_there_is_an_error_that_names_it() {
    let out = run(&["--script", "no/such.txt"], "");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("error: cannot read no/such.txt"));
}
