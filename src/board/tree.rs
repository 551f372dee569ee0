//! The live tree as text and as a picture.
//!
//! Users print it; it is made from an inspection of the root.
//!
//! Invariant: it is data, read at one moment: printing it asks nobody.
//!
//! It leaves out what a reader of a tree does not look for; `inspect` has it.

use std::fmt::{self, Write as _};

use super::Board;
use super::inspect::Inspection;
use crate::supervisor::Strategy;
use crate::vitals::State;

/// The tree of a running board: `println!("{}", board.tree())`.
///
/// As text, one line each, with state, restarts, mailbox and the last trouble:
///
/// ```text
/// shop                one_for_one   running
/// ├─ accounts         service       running      3 queued
/// └─ payments         rest_for_one  running
///    ├─ gateway       service       backing off  2 restarts, 1 deferred, last: panicked: boom
///    └─ books         service       running
/// ```
///
/// [`Tree::mermaid`] draws it as a Mermaid flowchart.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Inspection,
}

impl Board {
    /// The whole tree as it is now. Never waits, whatever handlers do.
    pub fn tree(&self) -> Tree {
        let root = self.inner.inspect(&self.inner.node);
        Tree { root }
    }
}

impl Tree {
    /// The root, with all below it.
    pub fn root(&self) -> &Inspection {
        &self.root
    }

    /// The tree as a Mermaid flowchart: supervisors as rounded boxes, services as boxes, and what
    /// does not run in another colour.
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        let mut next = 0;
        draw(&self.root, None, &mut next, &mut text);
        text.push_str("    classDef down stroke:#c00,stroke-dasharray: 4\n");
        text.push_str("    classDef held stroke:#b80\n");
        text
    }
}

/// One line of the text, before its columns are known.
struct Line {
    name: String,
    kind: String,
    state: String,
    notes: String,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        write_lines(&self.root, "", "", &mut lines);
        let width = |of: fn(&Line) -> &str| {
            let widths = lines.iter().map(|line| of(line).chars().count());
            widths.max().unwrap_or(0)
        };
        let name = width(|line| &line.name);
        let kind = width(|line| &line.kind);
        let state = width(|line| &line.state);
        for (index, line) in lines.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let row = format!(
                "{:name$}  {:kind$}  {:state$}  {}",
                line.name, line.kind, line.state, line.notes
            );
            write!(f, "{separator}{}", row.trim_end())?;
        }
        Ok(())
    }
}

/// `lead` stands before the name, `under` before what is below it.
fn write_lines(of: &Inspection, lead: &str, under: &str, lines: &mut Vec<Line>) {
    lines.push(Line {
        name: format!("{lead}{}", plain(name(of))),
        kind: kind(of),
        state: state(of),
        notes: plain(&notes(of)),
    });
    let last = of.children.len().saturating_sub(1);
    for (index, child) in of.children.iter().enumerate() {
        let (lead, below) = if index == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        let (lead, below) = (format!("{under}{lead}"), format!("{under}{below}"));
        write_lines(child, &lead, &below, lines);
    }
}

fn name(of: &Inspection) -> &str {
    of.path.rsplit_once('/').map_or(&of.path, |(_, name)| name)
}

fn kind(of: &Inspection) -> String {
    let strategy = of.strategy.map(|strategy| match strategy {
        _ if of.dynamic => "dynamic",
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
    });
    let service = if of.workers.is_some() {
        "workers"
    } else {
        "service"
    };
    strategy.unwrap_or(service).to_owned()
}

fn state(of: &Inspection) -> String {
    if of.suspended && of.state == State::Running {
        return "suspended".to_owned();
    }
    of.state.to_string()
}

fn notes(of: &Inspection) -> String {
    let load = &of.mailbox;
    let counts = [
        (
            of.restarts(),
            if of.restarts() == 1 {
                "restart"
            } else {
                "restarts"
            },
        ),
        (
            of.instances,
            if of.instances == 1 {
                "instance"
            } else {
                "instances"
            },
        ),
        (load.queued, "queued"),
        (load.in_flight, "in flight"),
        (load.deferred, "deferred"),
        (
            load.letters,
            if load.letters == 1 {
                "letter"
            } else {
                "letters"
            },
        ),
        (load.letters_in_flight, "being answered"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let mut notes: Vec<String> = counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let trouble = of.last_exit.as_ref().filter(|exit| exit.is_abnormal());
    if let Some(exit) = trouble {
        notes.push(format!("last: {exit}"));
    }
    notes.join(", ")
}

fn draw(of: &Inspection, above: Option<usize>, next: &mut usize, text: &mut String) {
    let id = *next;
    *next += 1;
    let label = [name(of).to_owned(), kind(of), state(of), notes(of)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| escape(&part))
        .collect::<Vec<_>>()
        .join("<br/>");
    let (open, close) = if of.strategy.is_some() {
        ("([\"", "\"])")
    } else {
        ("[\"", "\"]")
    };
    let class = match of.state {
        State::Running if of.suspended => ":::held",
        State::Running => "",
        State::Starting | State::Stopping => ":::held",
        _ => ":::down",
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "    n{id}{open}{label}{close}{class}");
    if let Some(above) = above {
        let _ = writeln!(text, "    n{above} --> n{id}");
    }
    for child in &of.children {
        draw(child, Some(id), next, text);
    }
}

/// Names and texts are the user's: each stays within its line.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The same for a label of Mermaid's.
fn escape(text: &str) -> String {
    let mut safe = String::new();
    for letter in plain(text).chars() {
        match letter {
            '"' => safe.push_str("#quot;"),
            '#' => safe.push_str("#35;"),
            '<' => safe.push_str("#lt;"),
            '>' => safe.push_str("#gt;"),
            '&' => safe.push_str("#amp;"),
            // These begin a text in Markdown, and a directive, even within quotes.
            '`' => safe.push_str("#96;"),
            '%' => safe.push_str("#37;"),
            letter => safe.push(letter),
        }
    }
    safe
}
