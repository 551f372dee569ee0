//! A child that fails alone, and the budget.

use super::*;

#[test]
fn a_spent_budget_stops_the_others_and_escalates() {
    check(
        &mut risen(plan(OneForOne, 2), &THREE),
        vec![
            (failed(1, 1), "start 1#2"),
            (failed(1, 1), ""),
            (unready(1, 2), "start 1#3"),
            (ready(1, 3), ""),
            (failed(1, 3), "close 1, stop 2#1."),
            (stopped(2, 1), "close 2, stop 0#1."),
            (stopped(0, 1), "close 0, escalate shop/child"),
        ],
    );
}

#[test]
fn the_budget_is_refilled_as_time_goes_by() {
    let mut family = risen(plan(OneForOne, 1), &[Permanent]);
    for life in 1..100 {
        let now = Duration::from_secs(11 * life);
        let actions = family.step(failed(0, life), now);
        assert!(matches!(actions[..], [Action::Start { .. }]), "{actions:?}");
        family.step(ready(0, life + 1), now);
    }
}

#[test]
fn an_escalation_carries_the_exit_that_broke_the_budget() {
    let mut family = risen(plan(OneForOne, 0), &[Permanent]);
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
        &mut risen(plan(OneForOne, 5), &THREE),
        vec![
            (failed(0, 1), "start 0#2"),
            (failed(2, 1), "start 2#2"),
            (ready(2, 2), ""),
            (Input::Stop, "stop 2#2."),
            (stopped(2, 2), "close 2, stop 1#1."),
            (stopped(1, 1), "close 1, stop 0#2."),
            (unready(0, 2), "close 0, down"),
        ],
    );
}

#[test]
fn a_restart_that_fails_is_tried_again_however_it_ended() {
    for exit in [Exit::Normal, Exit::Shutdown, failure()] {
        let again = Input::Started {
            child: 0,
            generation: 2,
            result: Err(exit.clone()),
        };
        check(
            &mut risen(plan(OneForOne, 3), &[Transient]),
            vec![
                (failed(0, 1), "start 0#2"),
                (again, "start 0#3"),
                (exited(0, 3, exit), "start 0#4"),
                (unready(0, 4), "close 0, escalate shop/child"),
            ],
        );
    }
}

#[test]
fn a_family_stays_up_when_all_its_children_have_ended() {
    check(
        &mut risen(plan(OneForOne, 5), &[Transient, Temporary]),
        vec![
            (exited(0, 1, Exit::Normal), "close 0"),
            (failed(1, 1), "close 1, forget 1"),
            (Input::Stop, "down"),
        ],
    );
}

#[test]
fn a_dynamic_child_that_ends_for_good_is_forgotten() {
    check(
        &mut risen(dynamic(1), &[Transient, Temporary, Transient]),
        vec![
            (exited(0, 1, Exit::Normal), "close 0, forget 0"),
            (failed(1, 1), "close 1, forget 1"),
            (failed(2, 1), "start 2#2"),
            (ready(2, 2), ""),
            (failed(2, 2), "close 2, escalate shop/child"),
        ],
    );
}
