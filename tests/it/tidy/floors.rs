//! Who may import whom.
//!
//! ARCHITECTURE.md tells why the house has floors; this is the same table for the machine, and the
//! reading of `crate::..` and `super::..` paths it takes to compare the code with it.
//!
//! Invariant: imports go down. Within a floor they go to what is named earlier in its row, so no
//! two modules ever import each other.
//!
//! It does not judge what macros expand to, and `lib.rs`, the front door, may name everyone.

use super::scan::{blank, closing, is_word, line_of, name_at, skip_space, words};

/// The modules of each floor, lowest floor first; within a floor the lower ones first.
pub(crate) const FLOORS: [&[&str]; 7] = [
    &[
        "defaults", "clock", "dice", "park", "insider", "panic", "failure", "exit", "restart",
        "shutdown", "event", "message", "policy", "ledger",
    ],
    &[
        "sync",
        "waits",
        "bell",
        "lifecycle",
        "activity",
        "vitals",
        "agenda",
        "pulse",
        "crew",
        "topic",
        "dead_letter",
        "mailbox",
        "gauges",
        "shelf",
        "works",
        "names",
        "wall",
    ],
    &["store"],
    &["service"],
    &["host"],
    &["supervisor", "broker"],
    // The prelude is here for the one test inside that speaks as a user does.
    &["prelude", "board", "bridge", "lib", "models"],
];

/// Each import in `source` that goes up, as `line: what is wrong`.
///
/// `module` is the path of the file below the root: `["topic", "block"]`, or `["topic"]` for its
/// `mod.rs`.
pub(crate) fn violations(module: &[&str], source: &str) -> Vec<String> {
    let home = module[0];
    if home == "lib" {
        return Vec::new();
    }
    let Some(here) = place(home) else {
        return vec![format!(
            "1: `{home}` has no floor: add it to the table in tidy/floors.rs"
        )];
    };
    let text: Vec<char> = blank(source).chars().collect();
    let mut found = Vec::new();
    for (at, name) in imports(module.len(), &text) {
        let line = line_of(&text, at);
        match place(&name) {
            _ if name == home => {}
            Some(there) if there < here => {}
            Some(there) => found.push(format!(
                "{line}: `{home}` (floor {}) imports `{name}` (floor {})",
                here.0, there.0
            )),
            None => found.push(format!(
                "{line}: `{name}` is no module: import from the module itself, not the front door"
            )),
        }
    }
    found
}

/// Floor, and place within it: a module may import what has a smaller pair.
fn place(module: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, row)| {
        row.iter()
            .position(|name| *name == module)
            .map(|place| (floor, place))
    })
}

/// The top modules that the text names, with the place of each.
fn imports(depth: usize, text: &[char]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(text, "crate") {
        heads(text, at + "crate".len(), &mut found);
    }
    let inner = inline_modules(text);
    for at in words(text, "super") {
        if preceded_by_path(text, at) {
            continue;
        }
        let within = inner
            .iter()
            .filter(|(from, to)| (*from..*to).contains(&at))
            .count();
        let (ups, end) = climb(text, at);
        if ups == depth + within {
            heads(text, end, &mut found);
        }
    }
    found
}

/// How many `super::` follow each other from `at`, and where the last one ends.
fn climb(text: &[char], mut at: usize) -> (usize, usize) {
    let mut ups = 1;
    loop {
        let end = at + "super".len();
        let Some(next) = after_colons(text, end) else {
            return (ups, end);
        };
        if name_at(text, next) != "super" {
            return (ups, end);
        }
        at = next;
        ups += 1;
    }
}

/// The names directly below a path that ends at `end`: `::a`, or `::{a::.., b}`.
fn heads(text: &[char], end: usize, found: &mut Vec<(usize, String)>) {
    let Some(at) = after_colons(text, end) else {
        return;
    };
    match text.get(at) {
        Some('{') => {
            let to = closing(text, at).unwrap_or(text.len());
            for start in items(text, at + 1, to) {
                found.push((start, name_at(text, start)));
            }
        }
        Some('*') => found.push((at, String::from("*"))),
        _ => {
            let name = name_at(text, at);
            // `crate::name!(..)` is a macro: it lives at the root wherever it is written.
            let next = skip_space(text, at + name.chars().count());
            let is_macro = text.get(next) == Some(&'!') && text.get(next + 1) != Some(&'=');
            if !name.is_empty() && !is_macro {
                found.push((at, name));
            }
        }
    }
}

/// Where each item of a braced import list starts, not looking into nested lists.
fn items(text: &[char], from: usize, to: usize) -> Vec<usize> {
    let mut starts = vec![skip_space(text, from)];
    let mut depth = 0_usize;
    for at in from..to {
        match text[at] {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => starts.push(skip_space(text, at + 1)),
            _ => {}
        }
    }
    starts.retain(|&at| at < to);
    starts
}

fn after_colons(text: &[char], end: usize) -> Option<usize> {
    let at = skip_space(text, end);
    let colons = text.get(at) == Some(&':') && text.get(at + 1) == Some(&':');
    colons.then(|| skip_space(text, at + 2))
}

fn preceded_by_path(text: &[char], at: usize) -> bool {
    let before = text[..at].iter().rposition(|c| !c.is_whitespace());
    before.is_some_and(|i| i > 0 && text[i] == ':' && text[i - 1] == ':')
}

/// From where to where `mod name { .. }` reaches.
fn inline_modules(text: &[char]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    for at in words(text, "mod") {
        let name = skip_space(text, at + "mod".len());
        let open = skip_space(text, name + name_at(text, name).chars().count());
        let named = text.get(name).copied().is_some_and(is_word);
        if named && text.get(open) == Some(&'{') {
            spans.push((open, closing(text, open).unwrap_or(text.len())));
        }
    }
    spans
}

#[test]
fn an_import_from_above_is_found_however_it_is_written() {
    for (module, source) in [
        (&["topic", "block"][..], "use crate::mailbox::Bell;"),
        (
            &["topic", "block"],
            "\nuse crate::{event::Event, board::{Board, Builder}};",
        ),
        (
            &["topic", "block"],
            "fn f() -> crate::host::Life { todo() }",
        ),
        (&["topic", "block"], "use super::super::mailbox::Bell;"),
        (
            &["topic", "block"],
            "mod tests { use super::super::super::mailbox::Bell; }",
        ),
        (&["topic", "block"], "use crate::Board;"),
        (&["topic", "block"], "use crate::*;"),
        (&["topic"], "use super::mailbox::Bell;"),
        (&["event"], "use super::{topic::Topic};"),
        (&["failure"], "use crate :: policy :: Policy;"),
        (&["nowhere"], ""),
    ] {
        assert_eq!(violations(module, source).len(), 1, "{module:?}: {source}");
    }
}

#[test]
fn an_import_from_below_is_left_alone() {
    for (module, source) in [
        (
            &["topic", "block"][..],
            "use crate::{event::Event, failure::{self, Failure}};",
        ),
        (
            &["topic", "block"],
            "use crate::topic::cursor::Cursor; use super::mailbox::Bell;",
        ),
        (
            &["topic", "block"],
            "// use crate::board::Board;\nlet x = \"crate::board\";",
        ),
        (
            &["topic", "block"],
            "mod tests { use super::super::cursor; use super::*; }",
        ),
        (
            &["topic", "block"],
            "pub(crate) fn f() { crate::check!(1) }",
        ),
        (
            &["policy"],
            "use crate::failure::Failure; pub(in crate::policy) struct Row;",
        ),
        (&["lib"], "pub use crate::board::Board;"),
    ] {
        assert_eq!(
            violations(module, source),
            Vec::<String>::new(),
            "{module:?}: {source}"
        );
    }
}

#[test]
fn a_violation_names_its_line() {
    let found = violations(
        &["topic"],
        "use std::fmt;\n\nuse crate::{\n    board::Board,\n};\n",
    );
    assert_eq!(found, ["4: `topic` (floor 1) imports `board` (floor 6)"]);
}
