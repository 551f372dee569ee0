//! How many instructions does one operation take?
//!
//! Unit: instructions per operation, counted by callgrind: exact where times are noisy. Each
//! workload does a fixed number of operations on one thread with a paused clock, and what is made
//! before it is not counted. A count more than [`SLACK`](bounds::SLACK) above its bound in
//! `bounds.rs` fails the run; one as far below asks for a lower bound.
//!
//! Needs valgrind, and gungraun's runner in the version of the library:
//!
//! ```sh
//! apt-get install valgrind
//! cargo install --locked gungraun-runner --version 0.20.0
//! cargo bench --bench instructions
//! ```
//!
//! Without them it says so and ends well, so that `cargo bench` runs everywhere. Where the
//! instructions are spent: `callgrind_annotate` on what lies below `target/gungraun`.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod bounds;
#[path = "../common/mod.rs"]
mod common;
mod counted;
mod verdict;

use std::env;
use std::process::{Command, ExitCode, Stdio};

/// Set for the run that counts: its figures are read by the one that judges.
const FORMAT: &str = "GUNGRAUN_OUTPUT_FORMAT";

fn main() -> ExitCode {
    let is_workload = env::args().nth(1).is_some_and(|it| it == "--gungraun-run");
    if is_workload || env::var_os(FORMAT).is_some() {
        counted::run();
        return ExitCode::SUCCESS;
    }
    if !cfg!(target_arch = "x86_64") {
        println!("left out: the bounds are of x86-64");
        return ExitCode::SUCCESS;
    }
    for tool in ["valgrind", "gungraun-runner"] {
        if !exists(tool) {
            println!("left out: {tool} is not installed; benches/instructions/main.rs tells how");
            return ExitCode::SUCCESS;
        }
    }
    judge(&counted_report())
}

fn exists(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs this very program under the runner: one line of JSON for each workload.
fn counted_report() -> String {
    let itself = env::current_exe().unwrap();
    let mut command = Command::new(itself);
    command.args(env::args().skip(1)).env(FORMAT, "json");
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "the workloads failed:\n{text}");
    text
}

fn judge(report: &str) -> ExitCode {
    let verdicts = verdict::of(report);
    println!("| workload                 | counted  | bound    | off     | verdict |");
    println!("|---|---:|---:|---:|---|");
    for verdict in &verdicts {
        println!("{verdict}");
    }
    let failed = verdicts.iter().filter(|verdict| verdict.fails()).count();
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    let slack = bounds::SLACK * 100.0;
    eprintln!(
        "error: {failed} of these: more than {slack} % above its bound in bounds.rs, or absent"
    );
    ExitCode::FAILURE
}
