//! Restarts of groups.

use super::*;

#[test]
fn a_group_restart_stops_in_reverse_and_starts_in_order() {
    check(
        &mut risen(
            plan(RestForOne, 5),
            &[Permanent, Permanent, Temporary, Transient],
        ),
        vec![
            (failed(1, 1), "stop 3#1"),
            (exited(3, 1, Exit::Normal), "stop 2#1."),
            (stopped(2, 1), "close 2, forget 2, start 1#2"),
            (ready(1, 2), "start 3#2"),
            (failed(1, 2), "stop 3#2"),
            (failed(0, 1), ""),
            (stopped(3, 2), "start 0#2"),
            (ready(0, 2), "start 1#3"),
            (ready(1, 3), "start 3#3"),
            (ready(3, 3), ""),
        ],
    );
}

#[test]
fn a_bystander_that_ends_before_its_turn_is_not_stopped() {
    check(
        &mut risen(plan(OneForAll, 1), &[Permanent; 4]),
        vec![
            (failed(1, 1), "stop 3#1"),
            (failed(2, 1), ""),
            (exited(0, 1, Exit::Normal), ""),
            (stopped(3, 1), "start 0#2"),
            (ready(0, 2), "start 1#2"),
            (ready(1, 2), "start 2#2"),
            (ready(2, 2), "start 3#2"),
            (ready(3, 2), ""),
        ],
    );
}

#[test]
fn those_before_the_failed_one_are_left_alone_by_rest_for_one() {
    check(
        &mut risen(plan(RestForOne, 5), &THREE),
        vec![
            (failed(2, 1), "start 2#2"),
            (ready(2, 2), ""),
            (failed(1, 1), "stop 2#2"),
            (stopped(2, 2), "start 1#2"),
            (ready(1, 2), "start 2#3"),
        ],
    );
}

#[test]
fn a_stop_in_the_middle_of_a_group_restart_starts_nothing_more() {
    check(
        &mut risen(plan(OneForAll, 5), &THREE),
        vec![
            (failed(1, 1), "stop 2#1"),
            (Input::Stop, "close 1"),
            (stopped(2, 1), "close 2, stop 0#1."),
            (stopped(0, 1), "close 0, down"),
        ],
    );
}

#[test]
fn a_failed_start_within_a_group_restart_takes_the_group_down_again() {
    check(
        &mut risen(plan(OneForAll, 2), &THREE),
        vec![
            (failed(2, 1), "stop 1#1"),
            (stopped(1, 1), "stop 0#1"),
            (stopped(0, 1), "start 0#2"),
            (ready(0, 2), "start 1#2"),
            (unready(1, 2), "stop 0#2"),
            (stopped(0, 2), "start 0#3"),
            (ready(0, 3), "start 1#3"),
            (unready(1, 3), "close 2, close 1, stop 0#3."),
            (stopped(0, 3), "close 0, escalate shop/child"),
        ],
    );
}

#[test]
fn what_has_ended_for_good_is_not_restarted_with_its_group() {
    check(
        &mut risen(plan(OneForAll, 5), &[Permanent, Transient, Permanent]),
        vec![
            (exited(1, 1, Exit::Normal), "close 1"),
            (failed(2, 1), "stop 0#1"),
            (stopped(0, 1), "start 0#2"),
            (ready(0, 2), "start 2#2"),
            (ready(2, 2), ""),
        ],
    );
}

#[test]
fn a_temporary_child_whose_first_start_is_owed_comes_back_with_its_group() {
    check(
        &mut family(plan(OneForAll, 5), &[Permanent, Temporary]),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (failed(0, 1), "stop 1#1"),
            (stopped(1, 1), "start 0#2"),
            (ready(0, 2), "start 1#2"),
            (ready(1, 2), "up"),
            (failed(0, 2), "stop 1#2."),
            (stopped(1, 2), "close 1, forget 1, start 0#3"),
        ],
    );
}

#[test]
fn a_temporary_bystander_is_forgotten_even_if_the_family_ends_before_it() {
    check(
        &mut risen(plan(OneForAll, 5), &[Permanent, Temporary]),
        vec![
            (failed(0, 1), "stop 1#1."),
            (Input::Stop, "close 0"),
            (stopped(1, 1), "close 1, forget 1, down"),
        ],
    );
}
