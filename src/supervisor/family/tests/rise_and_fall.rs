//! How a family comes up and goes down.

use super::*;

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        check(
            &mut family(plan(strategy, 5), &THREE),
            vec![
                (Input::Start, "start 0#1"),
                (Input::Start, ""),
                (ready(0, 1), "start 1#1"),
                (ready(1, 1), "start 2#1"),
                (ready(2, 1), "up"),
                (Input::Stop, "stop 2#1."),
                (Input::Stop, ""),
                (stopped(2, 1), "close 2, stop 1#1."),
                (failed(0, 1), "close 0"),
                (failed(1, 1), "close 1, down"),
                (Input::Stop, ""),
                (Input::Kill, ""),
                (Input::Start, ""),
            ],
        );
    }
}

#[test]
fn dynamic_children_start_and_stop_all_at_once() {
    let mut family = family(
        Plan {
            strategy: OneForAll,
            ..dynamic(5)
        },
        &THREE,
    );
    check(
        &mut family,
        vec![
            (Input::Start, "start 0#1, start 1#1, start 2#1"),
            (ready(2, 1), ""),
            (failed(2, 1), "start 2#2"),
            (ready(0, 1), ""),
            (ready(2, 2), ""),
            (ready(1, 1), "up"),
            (failed(1, 1), "start 1#2"),
            (exited(0, 1, Exit::Normal), "start 0#2"),
            (Input::Stop, "stop 2#2., stop 1#2., stop 0#2."),
            (stopped(1, 2), "close 1"),
            (stopped(2, 2), "close 2"),
            (ready(0, 2), ""),
            (stopped(0, 2), "close 0, down"),
        ],
    );
}

#[test]
fn a_failed_first_start_of_a_dynamic_child_takes_all_others_down_at_once() {
    check(
        &mut family(dynamic(5), &[Permanent, Transient, Temporary]),
        vec![
            (Input::Start, "start 0#1, start 1#1, start 2#1"),
            (unready(1, 1), "close 1, stop 2#1., stop 0#1."),
            (unready(0, 1), "close 0"),
            (stopped(2, 1), "close 2, start failed at 1"),
        ],
    );
}

#[test]
fn a_failed_first_start_stops_what_has_started_and_is_told_last() {
    check(
        &mut family(plan(OneForOne, 5), &[Permanent; 4]),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (ready(1, 1), "start 2#1"),
            (unready(2, 1), "close 3, close 2, stop 1#1."),
            (Input::Stop, ""),
            (stopped(1, 1), "close 1, stop 0#1."),
            (stopped(0, 1), "close 0, start failed at 2"),
        ],
    );
}

#[test]
fn a_child_that_fails_before_its_siblings_have_started_is_restarted_first() {
    check(
        &mut family(plan(OneForOne, 2), &THREE),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (failed(0, 1), "start 0#2"),
            (ready(1, 1), ""),
            (unready(0, 2), "start 0#3"),
            (ready(0, 3), "start 2#1"),
            (failed(1, 1), "close 1, stop 2#1."),
            (ready(2, 1), ""),
            (stopped(2, 1), "close 2, stop 0#3."),
            (stopped(0, 3), "close 0, start failed at 1"),
        ],
    );
}

#[test]
fn a_kill_reaches_all_that_live_at_once() {
    check(
        &mut risen(plan(OneForOne, 5), &THREE),
        vec![
            (Input::Stop, "stop 2#1."),
            (Input::Kill, "kill 2#1, kill 1#1, kill 0#1"),
            (Input::Kill, ""),
            (exited(0, 1, Exit::Killed), "close 0"),
            (exited(2, 1, Exit::Killed), "close 2"),
            (exited(1, 1, Exit::Killed), "close 1, down"),
        ],
    );
}

#[test]
fn a_kill_alone_ends_a_family_too() {
    check(
        &mut risen(plan(RestForOne, 5), &THREE),
        vec![
            (failed(1, 1), "stop 2#1"),
            (Input::Kill, "close 1, kill 2#1, kill 0#1"),
            (stopped(2, 1), "close 2"),
            (stopped(0, 1), "close 0, down"),
        ],
    );
}

#[test]
fn a_family_without_children_goes_up_and_down() {
    check(
        &mut family(plan(OneForOne, 5), &[]),
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
        &mut family(plan(OneForOne, 5), &THREE),
        vec![
            (Input::Stop, "close 2, close 1, close 0, down"),
            (Input::Start, ""),
        ],
    );
}

#[test]
fn a_report_about_a_child_that_does_not_exist_is_ignored() {
    check(
        &mut risen(plan(OneForOne, 5), &THREE),
        vec![
            (ready(9, 1), ""),
            (failed(9, 1), ""),
            (rested(9, 1), ""),
            (terminate(9), ""),
            (restart(9), ""),
            (renew(9), ""),
            (delete(9), ""),
        ],
    );
}

#[test]
fn a_family_says_how_far_it_and_its_children_are() {
    let mut family = family(plan(OneForOne, 5), &[Permanent, Temporary]);
    assert!(!family.is_rising() && !family.is_ending());
    assert_eq!(family.standing(0), Some(State::Waiting));
    step(&mut family, Input::Start);
    assert!(family.is_rising());
    assert_eq!(family.standing(0), Some(State::Starting));
    step(&mut family, ready(0, 1));
    step(&mut family, ready(1, 1));
    assert!(!family.is_rising() && !family.is_ending());
    assert_eq!(family.standing(0), Some(State::Running));
    assert_eq!(family.member(1).map(|found| found.restart), Some(Temporary));
    step(&mut family, failed(1, 1));
    assert_eq!(family.standing(1), None);
    assert!(family.member(1).is_none());
    step(&mut family, Input::Stop);
    assert!(family.is_ending());
    assert_eq!(family.standing(0), Some(State::Stopping));
    step(&mut family, stopped(0, 1));
    assert!(family.is_ending());
    assert_eq!(family.standing(0), Some(State::Closed));
}
