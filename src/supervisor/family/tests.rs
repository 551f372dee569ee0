//! Scenarios first; below them a faithful actor driven at random against a naive model.

mod model;
mod plan;

use std::time::Duration;

use super::*;
use crate::failure::Failure;

fn failure() -> Exit {
    Exit::Failure(Failure::new("broken"))
}

fn family(strategy: Strategy, max: u32, restarts: &[Restart]) -> Family {
    let member = |restart: &Restart| Member {
        name: "child".into(),
        restart: *restart,
    };
    let intensity = Intensity::new(max, Duration::from_secs(10));
    Family::new(
        "shop".into(),
        strategy,
        intensity,
        restarts.iter().map(member).collect(),
    )
}

/// Steps at time 0 and writes the actions down, lives as `child#generation`.
fn step(family: &mut Family, input: Input) -> String {
    let words: Vec<String> = family
        .step(input, Duration::ZERO)
        .iter()
        .map(word)
        .collect();
    words.join(", ")
}

fn word(action: &Action) -> String {
    match action {
        Action::Start { child, generation } => format!("start {child}#{generation}"),
        Action::Stop { child, generation } => format!("stop {child}#{generation}"),
        Action::Kill { child, generation } => format!("kill {child}#{generation}"),
        Action::Close { child } => format!("close {child}"),
        Action::Up => "up".into(),
        Action::StartFailed { child, .. } => format!("start failed at {child}"),
        Action::Escalate(Exit::Escalated { path, .. }) => format!("escalate {path}"),
        Action::Escalate(other) => format!("escalate without a path: {other:?}"),
        Action::Down => "down".into(),
    }
}

fn ready(child: usize, generation: u64) -> Input {
    Input::Started {
        child,
        generation,
        result: Ok(()),
    }
}

fn unready(child: usize, generation: u64) -> Input {
    Input::Started {
        child,
        generation,
        result: Err(failure()),
    }
}

fn exited(child: usize, generation: u64, exit: Exit) -> Input {
    Input::Exited {
        child,
        generation,
        exit,
    }
}

/// A family whose children are all up.
fn risen(strategy: Strategy, max: u32, restarts: &[Restart]) -> Family {
    let mut family = family(strategy, max, restarts);
    let mut last = step(&mut family, Input::Start);
    for child in 0..restarts.len() {
        last = step(&mut family, ready(child, 1));
    }
    assert_eq!(last, "up");
    family
}

/// Feeds each input and compares the actions with what stands beside it.
fn check(family: &mut Family, table: Vec<(Input, &str)>) {
    for (row, (input, expected)) in table.into_iter().enumerate() {
        assert_eq!(
            step(family, input.clone()),
            expected,
            "row {row}: {input:?}"
        );
    }
}

const THREE: [Restart; 3] = [Restart::Permanent; 3];

#[test]
fn a_running_child_is_restarted_or_closed_as_its_restart_type_says() {
    use Restart::{Permanent, Temporary, Transient};
    let table = [
        (Permanent, Exit::Normal, "start 0#2"),
        (Permanent, Exit::Shutdown, "close 0"),
        (Permanent, failure(), "start 0#2"),
        (Permanent, Exit::Killed, "start 0#2"),
        (Transient, Exit::Normal, "close 0"),
        (Transient, Exit::Shutdown, "close 0"),
        (Transient, failure(), "start 0#2"),
        (Transient, Exit::Killed, "start 0#2"),
        (Temporary, Exit::Normal, "close 0"),
        (Temporary, Exit::Shutdown, "close 0"),
        (Temporary, failure(), "close 0"),
        (Temporary, Exit::Killed, "close 0"),
    ];
    for (restart, exit, expected) in table {
        let mut family = risen(Strategy::OneForOne, 5, &[restart, Permanent]);
        assert_eq!(
            step(&mut family, exited(0, 1, exit.clone())),
            expected,
            "{restart:?} {exit:?}"
        );
    }
}

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    check(
        &mut family(Strategy::OneForOne, 5, &THREE),
        vec![
            (Input::Start, "start 0#1"),
            (Input::Start, ""),
            (ready(0, 1), "start 1#1"),
            (ready(1, 1), "start 2#1"),
            (ready(2, 1), "up"),
            (Input::Stop, "stop 2#1"),
            (Input::Stop, ""),
            (exited(2, 1, Exit::Shutdown), "close 2, stop 1#1"),
            (exited(0, 1, failure()), "close 0"),
            (exited(1, 1, failure()), "close 1, down"),
            (Input::Stop, ""),
            (Input::Kill, ""),
            (Input::Start, ""),
        ],
    );
}

#[test]
fn a_failed_first_start_stops_what_has_started_and_is_told_last() {
    check(
        &mut family(Strategy::OneForOne, 5, &[Restart::Permanent; 4]),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (ready(1, 1), "start 2#1"),
            (unready(2, 1), "close 3, close 2, stop 1#1"),
            (Input::Stop, ""),
            (exited(1, 1, Exit::Shutdown), "close 1, stop 0#1"),
            (exited(0, 1, Exit::Shutdown), "close 0, start failed at 2"),
        ],
    );
}

#[test]
fn a_child_that_fails_before_its_siblings_have_started_is_restarted_first() {
    check(
        &mut family(Strategy::OneForOne, 2, &THREE),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (exited(0, 1, failure()), "start 0#2"),
            (ready(1, 1), ""),
            (unready(0, 2), "start 0#3"),
            (ready(0, 3), "start 2#1"),
            (exited(1, 1, failure()), "close 1, stop 2#1"),
            (ready(2, 1), ""),
            (exited(2, 1, Exit::Shutdown), "close 2, stop 0#3"),
            (exited(0, 3, Exit::Shutdown), "close 0, start failed at 1"),
        ],
    );
}

#[test]
fn a_spent_budget_stops_the_others_and_escalates() {
    let mut family = risen(Strategy::OneForOne, 2, &THREE);
    check(
        &mut family,
        vec![
            (exited(1, 1, failure()), "start 1#2"),
            (exited(1, 1, failure()), ""),
            (unready(1, 2), "start 1#3"),
            (ready(1, 3), ""),
            (exited(1, 3, failure()), "close 1, stop 2#1"),
            (exited(2, 1, Exit::Shutdown), "close 2, stop 0#1"),
            (exited(0, 1, Exit::Shutdown), "close 0, escalate shop/child"),
        ],
    );
}

#[test]
fn the_budget_is_refilled_as_time_goes_by() {
    let mut family = risen(Strategy::OneForOne, 1, &[Restart::Permanent]);
    for life in 1..100 {
        let now = Duration::from_secs(11 * life);
        let actions = family.step(exited(0, life, failure()), now);
        assert!(matches!(actions[..], [Action::Start { .. }]), "{actions:?}");
        family.step(ready(0, life + 1), now);
    }
}

#[test]
fn an_escalation_carries_the_exit_that_broke_the_budget() {
    let mut family = risen(Strategy::OneForOne, 0, &[Restart::Permanent]);
    let actions = family.step(exited(0, 1, Exit::Killed), Duration::ZERO);
    let Some(Action::Escalate(Exit::Escalated { path, cause })) = actions.last() else {
        panic!("{actions:?}");
    };
    assert_eq!(path, "shop/child");
    assert!(matches!(**cause, Exit::Killed));
}

#[test]
fn a_restart_holds_up_no_sibling_when_each_is_on_its_own() {
    check(
        &mut risen(Strategy::OneForOne, 5, &THREE),
        vec![
            (exited(0, 1, failure()), "start 0#2"),
            (exited(2, 1, failure()), "start 2#2"),
            (ready(2, 2), ""),
            (Input::Stop, "stop 2#2"),
            (exited(2, 2, Exit::Shutdown), "close 2, stop 1#1"),
            (exited(1, 1, Exit::Shutdown), "close 1, stop 0#2"),
            (unready(0, 2), "close 0, down"),
        ],
    );
}

#[test]
fn a_kill_reaches_all_that_live_at_once() {
    check(
        &mut risen(Strategy::OneForOne, 5, &THREE),
        vec![
            (Input::Stop, "stop 2#1"),
            (Input::Kill, "kill 2#1, kill 1#1, kill 0#1"),
            (Input::Kill, ""),
            (exited(0, 1, Exit::Killed), "close 0"),
            (exited(2, 1, Exit::Killed), "close 2"),
            (exited(1, 1, Exit::Killed), "close 1, down"),
        ],
    );
}

#[test]
fn a_family_stays_up_when_all_its_children_have_ended() {
    check(
        &mut risen(
            Strategy::OneForOne,
            5,
            &[Restart::Transient, Restart::Temporary],
        ),
        vec![
            (exited(0, 1, Exit::Normal), "close 0"),
            (exited(1, 1, failure()), "close 1"),
            (Input::Stop, "down"),
        ],
    );
}

#[test]
fn a_family_without_children_goes_up_and_down() {
    check(
        &mut family(Strategy::OneForOne, 5, &[]),
        vec![
            (Input::Start, "up"),
            (Input::Stop, "down"),
            (Input::Kill, ""),
        ],
    );
}

#[test]
fn a_stop_before_the_start_closes_all() {
    check(
        &mut family(Strategy::OneForOne, 5, &THREE),
        vec![
            (Input::Stop, "close 2, close 1, close 0, down"),
            (Input::Start, ""),
        ],
    );
}

#[test]
fn a_report_about_a_child_that_does_not_exist_is_ignored() {
    let mut family = risen(Strategy::OneForOne, 5, &THREE);
    check(
        &mut family,
        vec![(ready(9, 1), ""), (exited(9, 1, failure()), "")],
    );
}

#[test]
fn a_group_restart_stops_in_reverse_and_starts_in_order() {
    use Restart::{Permanent, Temporary, Transient};
    check(
        &mut risen(
            Strategy::RestForOne,
            5,
            &[Permanent, Permanent, Temporary, Transient],
        ),
        vec![
            (exited(1, 1, failure()), "stop 3#1"),
            (exited(3, 1, Exit::Normal), "stop 2#1"),
            (exited(2, 1, Exit::Shutdown), "close 2, start 1#2"),
            (ready(1, 2), "start 3#2"),
            (exited(1, 2, failure()), "stop 3#2"),
            (exited(0, 1, failure()), ""),
            (exited(3, 2, Exit::Shutdown), "start 0#2"),
            (ready(0, 2), "start 1#3"),
            (ready(1, 3), "start 3#3"),
            (ready(3, 3), ""),
        ],
    );
}

#[test]
fn a_stop_in_the_middle_of_a_group_restart_starts_nothing_more() {
    check(
        &mut risen(Strategy::OneForAll, 5, &THREE),
        vec![
            (exited(1, 1, failure()), "stop 2#1"),
            (Input::Stop, "close 1"),
            (exited(2, 1, Exit::Shutdown), "close 2, stop 0#1"),
            (exited(0, 1, Exit::Shutdown), "close 0, down"),
        ],
    );
}
