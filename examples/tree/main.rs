//! A supervised tree of three levels, broken on purpose, from the keyboard or by a script.
//!
//! Run: `cargo run --example tree`, and type `help`. `-- --demo` plays `demo.txt` instead, as it
//! does where nobody can type; `-- --script FILE` plays another (`-` for standard input). Prints
//! what happens to each service and supervisor as it happens, the live tree when asked, and at
//! the end the report of the shutdown, whose gap has to be 0.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "it is a program, which breaks things"
)]

mod command;
mod desk;
mod station;
mod trouble;

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use callboard::prelude::*;
use clap::Parser;

use crate::desk::Desk;

/// A weather station as a tree of supervised services, to be broken on purpose.
#[derive(Parser)]
struct Cli {
    /// Play the script that comes with the example
    #[arg(long, conflicts_with = "script")]
    demo: bool,
    /// Play the commands of a file, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Milliseconds between two ticks of the ticker
    #[arg(long, value_name = "MS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..))]
    tick: u64,
}

/// Where commands come from, and whether somebody types them.
struct Input {
    lines: Box<dyn Iterator<Item = io::Result<String>> + Send>,
    typed: bool,
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

/// Says whether all went well: the board was told to end, and nothing was lost.
fn run(cli: &Cli) -> Result<bool, Box<dyn Error>> {
    quiet_panics_on_purpose();
    // First, so that a file that is not there is reported before anything has started.
    let input = input(cli)?;
    let board = Board::start(station::tree(millis(cli.tick)))?;
    let desk = Desk::new(board.clone())?;
    // Reading blocks, so it has a thread; this one hears signals, and the end of the board.
    thread::spawn(move || work(&desk, input));
    let ended = board.run_until_ctrl_c(secs(5));
    if let Err(error) = &ended {
        say(&format!("the board has ended by itself: {error}"));
    }
    let report = board.shutdown_blocking(secs(5));
    say(&report.to_string());
    Ok(ended.is_ok() && report.ledger.gap() == 0)
}

/// Does what the lines say, and ends the board after the last.
fn work(desk: &Desk, input: Input) {
    if input.typed {
        say("type `help` for the commands, `quit` to end");
    }
    desk.settle_in();
    prompt(input.typed);
    for line in input.lines {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                say(&format!("cannot read on: {error}"));
                break;
            }
        };
        if !input.typed {
            say(line.trim());
        }
        if desk.take(&line).is_break() {
            break;
        }
        prompt(input.typed);
    }
    desk.close();
}

fn prompt(typed: bool) {
    if typed {
        let mut out = io::stdout().lock();
        let _ = write!(out, "> ").and_then(|()| out.flush());
    }
}

fn input(cli: &Cli) -> Result<Input, String> {
    let standard = || Box::new(BufReader::new(io::stdin()).lines());
    let (lines, typed): (Box<dyn Iterator<Item = _> + Send>, bool) = match &cli.script {
        Some(path) if path == Path::new("-") => (standard(), io::stdin().is_terminal()),
        Some(path) => (played(&read(path)?), false),
        None if cli.demo => (played(include_str!("demo.txt")), false),
        None if io::stdin().is_terminal() => (standard(), true),
        None => {
            say("nobody can type here, so this is the demo; `--script -` reads standard input");
            (played(include_str!("demo.txt")), false)
        }
    };
    Ok(Input { lines, typed })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn played(script: &str) -> Box<dyn Iterator<Item = io::Result<String>> + Send> {
    let lines: Vec<_> = script.lines().map(|line| Ok(line.to_owned())).collect();
    Box::new(lines.into_iter())
}

/// Prints a line. Whoever reads it may have gone (`| head`), which is no reason to panic.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Rust prints each panic, with its place in the source, before the board catches it. Those made
/// on purpose are told by the reporter as the ends of lives; all others are printed as ever.
fn quiet_panics_on_purpose() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.starts_with(trouble::ON_PURPOSE)) {
            before(info);
        }
    }));
}
