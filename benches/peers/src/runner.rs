//! Runs every sample in a process of its own, round by round.
//!
//! The main program calls it. It starts this very program again with `--sample`, and reads one
//! line.
//!
//! Invariant: within a round all contenders do the same work one after the other, so that what the
//! machine does meanwhile meets all of them; no sample outlives its time.
//!
//! It computes nothing.

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::contender;
use crate::results::Results;
use crate::sample::Sample;
use crate::workload::Workload;

/// What a sample may take beyond its warming up and measuring, for setting up, tearing down and a
/// busy machine.
const GRACE: Duration = Duration::from_secs(15);

/// How often to look whether a sample has ended. Rarely, since looking takes time from it.
const LOOK: Duration = Duration::from_millis(10);

/// Which samples to take.
#[derive(Debug)]
pub struct Plan {
    pub rounds: usize,
    pub clock: Clock,
    pub workloads: Vec<Workload>,
    pub contenders: Vec<&'static str>,
}

/// Takes them all; a line per workload tells on the way.
pub fn run(plan: &Plan) -> Results {
    let mut results = Results::new(plan.workloads.clone(), plan.contenders.clone());
    for round in 1..=plan.rounds {
        for &workload in &plan.workloads {
            eprintln!("round {round} of {}: {}", plan.rounds, workload.name());
            for &contender in &plan.contenders {
                if results.is_open(workload, contender) {
                    let sample = sample(contender, workload, plan.clock);
                    report(contender, &sample);
                    results.add(workload, contender, sample);
                }
            }
        }
    }
    results
}

/// What the child process does: one sample, printed.
pub fn take(contender: &str, workload: &str, clock: Clock) -> Result<(), String> {
    let workload = Workload::named(workload)?;
    let sample = workload.run(contender::named(contender)?, clock);
    println!("{}", sample.to_line());
    // Whatever still runs on other threads ends with the process.
    std::process::exit(0)
}

fn report(contender: &str, sample: &Sample) {
    if let Sample::Failed(why) = sample {
        eprintln!("    {contender} failed: {why}");
    }
}

fn sample(contender: &str, workload: Workload, clock: Clock) -> Sample {
    let limit = clock.warm + clock.steady + GRACE;
    let output = start(contender, workload, clock).and_then(|child| end(child, limit));
    match output {
        Err(error) => Sample::Failed(error.to_string()),
        Ok(output) if output.status.success() => {
            Sample::from_line(&String::from_utf8_lossy(&output.stdout))
        }
        Ok(output) => Sample::Failed(reason(&output)),
    }
}

fn start(contender: &str, workload: Workload, clock: Clock) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--sample", contender, &workload.name()])
        .args(["--milliseconds", &clock.steady.as_millis().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits for the end of the process, or brings it about. It prints too little to fill a pipe.
fn end(mut child: Child, limit: Duration) -> io::Result<Output> {
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            let text = "not done in time: events were lost, or nobody answers";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(LOOK);
    }
    child.wait_with_output()
}

/// The line that says why, which is the second of a panic.
fn reason(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = errors.lines().filter(|line| !line.is_empty()).collect();
    let line = lines
        .get(1)
        .or(lines.first())
        .copied()
        .unwrap_or("silently");
    format!("{}: {line}", output.status)
}
