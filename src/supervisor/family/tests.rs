//! Scenarios, each a table of what happens and what is done; below them a table over everything a
//! child can do, and a faithful actor driven at random against a naive model.

mod completion;
mod crowd;
mod foresight;
mod group;
mod history;
mod model;
mod pause;
mod requests;
mod rise_and_fall;
mod single;
mod table;
mod world;

use std::time::Duration;

use super::*;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::restart::Restart;
use crate::supervisor::strategy::AutoShutdown;

use Restart::{Permanent, Temporary, Transient};
use Strategy::{OneForAll, OneForOne, RestForOne};

const THREE: [Restart; 3] = [Permanent; 3];

fn failure() -> Exit {
    Exit::Failure(Failure::new("broken"))
}

fn member(restart: Restart) -> Member {
    Member {
        name: "child".into(),
        restart,
        significant: false,
    }
}

fn plan(strategy: Strategy, max: u32) -> Plan {
    Plan {
        path: "shop".into(),
        strategy,
        max_restarts: max,
        window: Duration::from_secs(10),
        stable_after: None,
        auto_shutdown: AutoShutdown::Never,
        dynamic: false,
        workers: false,
    }
}

/// A plan whose children are made on demand.
fn dynamic(max: u32) -> Plan {
    Plan {
        dynamic: true,
        ..plan(OneForOne, max)
    }
}

fn family(plan: Plan, restarts: &[Restart]) -> Family {
    let members = restarts.iter().map(|restart| member(*restart));
    Family::new(plan, (0..).zip(members))
}

/// A family whose children are all up.
fn risen(plan: Plan, restarts: &[Restart]) -> Family {
    raise(family(plan, restarts), restarts.len())
}

fn raise(mut family: Family, children: usize) -> Family {
    let mut last = step(&mut family, Input::Start);
    for child in 0..children {
        last = step(&mut family, ready(child as ChildId, 1));
    }
    assert_eq!(last, "up");
    family
}

/// Steps at time 0 and writes the actions down.
fn step(family: &mut Family, input: Input) -> String {
    step_at(family, Duration::ZERO, input)
}

fn step_at(family: &mut Family, now: Duration, input: Input) -> String {
    let actions = family.step(input, now);
    family.siblings.check();
    let words: Vec<String> = actions.iter().map(word).collect();
    words.join(", ")
}

/// Writes an action down: lives as `child#generation`, a stop for good with a full stop, a pause
/// with the number of the restart it comes before.
fn word(action: &Action) -> String {
    match action {
        Action::Start { child, generation } => format!("start {child}#{generation}"),
        Action::Stop {
            child,
            generation,
            why,
        } => {
            let full_stop = if *why == Why::ForGood { "." } else { "" };
            format!("stop {child}#{generation}{full_stop}")
        }
        Action::Kill { child, generation } => format!("kill {child}#{generation}"),
        Action::BackOff {
            child,
            generation,
            restart,
        } => format!("pause {child}#{generation} x{restart}"),
        Action::Close { child } => format!("close {child}"),
        Action::Forget { child } => format!("forget {child}"),
        Action::Refused { child, exit } => format!("refused {child}: it {exit}"),
        Action::Up => "up".into(),
        Action::StartFailed { child, .. } => format!("start failed at {child}"),
        Action::Escalate(Exit::Escalated { path, .. }) => format!("escalate {path}"),
        Action::Escalate(other) => format!("escalate without a path: {other:?}"),
        Action::Retired(exit) => format!("retired: it {exit}"),
        Action::Completed => "completed".into(),
        Action::Down => "down".into(),
    }
}

fn ready(child: ChildId, generation: u64) -> Input {
    Input::Started {
        child,
        generation,
        result: Ok(()),
    }
}

fn unready(child: ChildId, generation: u64) -> Input {
    Input::Started {
        child,
        generation,
        result: Err(failure()),
    }
}

fn exited(child: ChildId, generation: u64, exit: Exit) -> Input {
    Input::Exited {
        child,
        generation,
        exit,
    }
}

fn failed(child: ChildId, generation: u64) -> Input {
    exited(child, generation, failure())
}

fn stopped(child: ChildId, generation: u64) -> Input {
    exited(child, generation, Exit::Shutdown)
}

fn rested(child: ChildId, generation: u64) -> Input {
    Input::BackedOff { child, generation }
}

fn add(child: ChildId, restart: Restart) -> Input {
    Input::Add {
        child,
        member: member(restart),
    }
}

fn terminate(child: ChildId) -> Input {
    Input::Terminate { child }
}

fn dismiss(child: ChildId) -> Input {
    Input::Dismiss { child }
}

fn restart(child: ChildId) -> Input {
    Input::Restart { child }
}

fn renew(child: ChildId) -> Input {
    Input::Renew { child }
}

fn delete(child: ChildId) -> Input {
    Input::Delete { child }
}

/// Feeds each input at time 0 and compares the actions with what stands beside it.
fn check(family: &mut Family, table: Vec<(Input, &str)>) {
    let timed = table.into_iter().map(|(input, text)| (0, input, text));
    check_timed(family, timed.collect());
}

/// The same with the second at which each input comes.
fn check_timed(family: &mut Family, table: Vec<(u64, Input, &str)>) {
    for (row, (second, input, expected)) in table.into_iter().enumerate() {
        let said = format!("row {row}: {input:?}");
        let found = step_at(family, Duration::from_secs(second), input);
        assert_eq!(found, expected, "{said}");
    }
}
