//! What an event log tells of its cases: one service follows each of them.
//!
//! Run: `cargo run --release --example casework -- examples/casework/permits.csv`, or with a log
//! of your own: a CSV file with one row an event, as process miners have it. Prints how long each
//! activity was waited for, the most common paths, cases that stalled, work done again and rows
//! that could not be read; then the ledger, whose gap has to be 0. `--json` prints one JSON
//! document instead.
#![allow(clippy::disallowed_methods, reason = "it is a program")]

mod case;
mod columns;
mod desk;
mod events;
mod log;
mod parser;
mod report;
mod span;
mod table;
mod tally;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use callboard::prelude::*;
use clap::Parser as _;

use crate::case::Case;
use crate::columns::Names;
use crate::desk::{Desk, Findings};
use crate::events::{CaseClosed, CaseFiled, LogRead, Row, Step};
use crate::log::Log;
use crate::parser::Parser;
use crate::report::Report;

/// Dead letters do not wait for room: this many rejected rows may be waiting for the desk.
const REJECTS_WAITING: usize = 100_000;

/// What an event log tells of the cases in it.
#[derive(clap::Parser)]
struct Cli {
    /// The log: a CSV file with a header and one row an event; - is standard input
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    #[command(flatten)]
    names: Names,
    /// What separates columns: one ASCII character, or `tab`
    #[arg(long, value_name = "CHAR", default_value = ",", value_parser = log::delimiter)]
    delimiter: u8,
    /// A case stalls when its next event takes longer than this, such as 90m, 12h, 30d or 2w
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = span::parse)]
    stalled: time::Duration,
    /// How many paths, stalled cases and rejected rows are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether every row that was read is accounted for.
fn run(cli: &Cli) -> Result<bool, Box<dyn Error>> {
    // First, so that a file that is of no use is reported before anything has started.
    let mut log = Log::open(&cli.file, cli.delimiter)?;
    let parser = Parser::new(cli.names.find(log.header())?);
    let desk = service("desk", Desk::default)
        .on::<CaseFiled>()
        .on_with::<DeadLetter>(|on| on.capacity(REJECTS_WAITING));
    let counter = desk.address();
    let board = Board::start(
        Supervisor::rest_for_one("casework")
            .child(parsing(parser))
            .child(cases(cli.stalled))
            .child(desk),
    )?;
    let told = follow(&mut log, &board, &counter, cli.top);
    let end = board.shutdown_blocking(secs(30));
    let report = Report::new(told?, cli.stalled, &end.ledger);
    if cli.json {
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        say(&format!("{report}\n{}\n\n{}", end.ledger, report.balance()));
    }
    Ok(end.drained && report.is_balanced())
}

fn parsing(parser: Parser) -> impl Into<callboard::Child> {
    service("parser", move || parser.clone())
        .on::<Row>()
        .on::<LogRead>()
}

/// An instance for each case. Each stays until its case is closed, however many there are.
fn cases(stalled: time::Duration) -> impl Into<callboard::Child> {
    let case = move || Case::new(stalled);
    service("cases", case)
        .on::<Step>()
        .on::<CaseClosed>()
        .per_key_with(
            move |_| case(),
            |terms| terms.kept(usize::MAX).idle(secs(365 * 86_400)),
        )
}

/// Publishes the log row by row, waits until all has been handled, and asks what was found.
fn follow(
    log: &mut Log,
    board: &Board,
    desk: &Address<Desk>,
    top: usize,
) -> Result<desk::Found, Box<dyn Error>> {
    let bar = log.bar();
    while let Some(row) = log.next()? {
        bar.set_position(log.position());
        // Waits where the parser is behind, as the parser does where the cases are.
        board.publish_blocking(row)?;
    }
    board.publish_blocking(LogRead)?;
    board.settle_blocking()?;
    bar.finish_and_clear();
    Ok(desk.ask_blocking(Findings { top })?)
}

/// Prints a text. Whoever reads it may have gone (`| head`), which is no reason to panic.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
