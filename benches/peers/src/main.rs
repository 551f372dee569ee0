//! What does callboard cost, beside what else one could take for the same work?
//!
//! Unit: nanoseconds per message or delivery, and bytes. `cargo run --release` in this folder
//! prints one table and writes `results.md` and `peers.svg`; README.md has the rest.
//!
//! Reading order: `workload` (the rows), `contender` and one file below `contenders` (the
//! columns), `tally` and `clock` (how it is measured), `runner`, `table`, `picture`.

mod allocator;
mod clock;
mod contender;
mod contenders;
mod ground;
mod picture;
mod results;
mod runner;
mod sample;
mod table;
mod tally;
mod versions;
mod workload;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use clock::Clock;
use contender::CONTENDERS;
use runner::Plan;
use workload::Workload;

/// Runs the same work on callboard and its peers, and compares.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each sample is taken.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only this contender, and callboard; may be repeated.
    #[arg(long, value_name = "CONTENDER", value_parser = known_contender)]
    only: Vec<String>,
    /// Only this workload; may be repeated.
    #[arg(long, value_name = "WORKLOAD", value_parser = Workload::named)]
    workload: Vec<Workload>,
    /// Three short rounds, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Where results.md and peers.svg are written to.
    #[arg(long, value_name = "FOLDER", default_value = "target/peers")]
    output: PathBuf,
    /// For how long each sample measures, once it is warm.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    milliseconds: u64,
    /// Takes one sample in this process, and prints it.
    #[arg(long, num_args = 2, value_names = ["CONTENDER", "WORKLOAD"], hide = true)]
    sample: Option<Vec<String>>,
}

fn known_contender(name: &str) -> Result<String, String> {
    contender::named(name).map(|contender| contender.about().name.to_owned())
}

impl Arguments {
    fn clock(&self) -> Clock {
        let steady = Duration::from_millis(self.milliseconds);
        let warm = steady / 4;
        Clock { warm, steady }
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan {
            rounds: self.rounds,
            clock: self.clock(),
            workloads: self.workload.clone(),
            contenders: CONTENDERS.map(|contender| contender.about().name).to_vec(),
        };
        if self.quick {
            plan.rounds = plan.rounds.min(3);
            plan.clock.steady /= 2;
        }
        if plan.workloads.is_empty() {
            plan.workloads = Workload::ALL.to_vec();
        }
        if !self.only.is_empty() {
            let wanted = |name: &&str| *name == "callboard" || self.only.iter().any(|o| o == name);
            plan.contenders.retain(wanted);
        }
        plan
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some([contender, workload]) = arguments.sample.as_deref() {
        return Ok(runner::take(contender, workload, arguments.clock())?);
    }
    let plan = arguments.plan();
    let results = runner::run(&plan);
    let page = table::page(&plan, &results);
    fs::create_dir_all(&arguments.output)?;
    fs::write(arguments.output.join("results.md"), &page)?;
    picture::draw(&arguments.output.join("peers.svg"), &results)?;
    println!("{page}");
    println!("written to {}", arguments.output.display());
    Ok(())
}
