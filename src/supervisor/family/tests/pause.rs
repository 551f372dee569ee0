//! Backoff: pauses before restarts.

use super::*;

/// A plan with pauses, where five seconds make a life stable.
fn pausing(strategy: Strategy, max: u32) -> Plan {
    Plan {
        stable_after: Some(Duration::from_secs(5)),
        ..plan(strategy, max)
    }
}

#[test]
fn a_failed_child_pauses_before_it_starts_again() {
    let mut family = risen(pausing(OneForOne, 5), &THREE);
    check(
        &mut family,
        vec![
            (failed(1, 1), "pause 1#1 x1"),
            (failed(1, 1), ""),
            (failed(0, 1), "pause 0#1 x1"),
            (rested(1, 1), "start 1#2"),
            (rested(1, 1), ""),
            (unready(1, 2), "pause 1#2 x2"),
            (rested(1, 1), ""),
            (rested(1, 2), "start 1#3"),
            (rested(0, 1), "start 0#2"),
            (ready(0, 2), ""),
        ],
    );
    assert_eq!(family.standing(1), Some(State::Starting));
}

#[test]
fn a_restart_is_counted_when_the_pause_is_over() {
    let mut family = risen(pausing(OneForOne, 1), &[Permanent, Permanent]);
    check_timed(
        &mut family,
        vec![
            (0, failed(0, 1), "pause 0#1 x1"),
            (8, rested(0, 1), "start 0#2"),
            (8, ready(0, 2), ""),
            // Ten seconds after the failure, but not after the restart.
            (12, failed(1, 1), "pause 1#1 x1"),
            (18, rested(1, 1), "close 1, stop 0#2."),
        ],
    );
    let actions = family.step(stopped(0, 2), Duration::from_secs(18));
    let [.., Action::Escalate(exit)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(exit.to_string(), "gave up: shop/child failed: broken");
}

#[test]
fn a_stable_life_begins_a_new_row() {
    check_timed(
        &mut risen(pausing(OneForOne, 9), &[Permanent]),
        vec![
            (4, failed(0, 1), "pause 0#1 x1"),
            (5, rested(0, 1), "start 0#2"),
            // It is ready only now, and five seconds later stable.
            (9, ready(0, 2), ""),
            (13, failed(0, 2), "pause 0#2 x2"),
            (13, rested(0, 2), "start 0#3"),
            (13, ready(0, 3), ""),
            // Saying it twice does not make it younger.
            (17, ready(0, 3), ""),
            (18, failed(0, 3), "pause 0#3 x1"),
            (18, rested(0, 3), "start 0#4"),
            (99, unready(0, 4), "pause 0#4 x2"),
        ],
    );
}

#[test]
fn a_stable_life_that_ended_with_its_group_begins_a_new_row_too() {
    check_timed(
        &mut risen(pausing(OneForAll, 9), &[Permanent, Permanent]),
        vec![
            (0, failed(1, 1), "pause 1#1 x1, stop 0#1"),
            (0, stopped(0, 1), ""),
            (0, rested(1, 1), "start 0#2"),
            (0, ready(0, 2), "start 1#2"),
            (0, ready(1, 2), ""),
            (7, failed(0, 2), "pause 0#2 x1, stop 1#2"),
            (7, stopped(1, 2), ""),
            (7, rested(0, 2), "start 0#3"),
            (7, ready(0, 3), "start 1#3"),
            (7, unready(1, 3), "pause 1#3 x1, stop 0#3"),
        ],
    );
}

#[test]
fn a_group_leaves_at_the_failure_and_comes_back_after_the_pause() {
    check(
        &mut risen(pausing(RestForOne, 5), &[Permanent; 4]),
        vec![
            (failed(1, 1), "pause 1#1 x1, stop 3#1"),
            (failed(3, 1), "stop 2#1"),
            (rested(1, 1), ""),
            (stopped(2, 1), "start 1#2"),
            (ready(1, 2), "start 2#2"),
            (failed(2, 2), "pause 2#2 x1"),
            // Nobody is started meanwhile, and one before it may fail as well.
            (failed(0, 1), "pause 0#1 x1, stop 1#2"),
            (rested(0, 1), ""),
            (stopped(1, 2), ""),
            (rested(2, 2), "start 0#2"),
            (ready(0, 2), "start 1#3"),
            (ready(1, 3), "start 2#3"),
            (ready(2, 3), "start 3#2"),
        ],
    );
}

#[test]
fn two_failures_in_one_group_are_two_restarts() {
    check(
        &mut risen(pausing(RestForOne, 1), &[Permanent; 3]),
        vec![
            (failed(2, 1), "pause 2#1 x1"),
            (failed(1, 1), "pause 1#1 x1"),
            (rested(1, 1), ""),
            (rested(2, 1), "close 2, close 1, stop 0#1."),
        ],
    );
}

#[test]
fn a_child_that_is_terminated_while_it_pauses_stays_terminated() {
    check(
        &mut risen(pausing(OneForAll, 5), &THREE),
        vec![
            (failed(1, 1), "pause 1#1 x1, stop 2#1"),
            (terminate(1), "close 1"),
            (rested(1, 1), ""),
            (stopped(2, 1), "stop 0#1"),
            (stopped(0, 1), "start 0#2"),
            (ready(0, 2), "start 2#2"),
            (ready(2, 2), ""),
            (rested(1, 1), ""),
            (restart(1), "start 1#2"),
            (rested(1, 1), ""),
        ],
    );
}

#[test]
fn a_child_that_is_renewed_while_it_pauses_starts_at_once_and_uncounted() {
    check(
        &mut risen(pausing(OneForOne, 0), &THREE),
        vec![
            (failed(1, 1), "pause 1#1 x1"),
            (renew(1), "start 1#2"),
            (rested(1, 1), ""),
            (ready(1, 2), ""),
            (failed(1, 2), "pause 1#2 x1"),
            (rested(1, 2), "close 1, stop 2#1."),
        ],
    );
}

#[test]
fn a_stop_during_a_pause_ends_it() {
    check(
        &mut risen(pausing(OneForOne, 5), &[Permanent, Permanent]),
        vec![
            (failed(1, 1), "pause 1#1 x1"),
            (Input::Stop, "close 1, stop 0#1."),
            (rested(1, 1), ""),
            (stopped(0, 1), "close 0, down"),
        ],
    );
}

#[test]
fn a_pause_during_the_first_start_holds_the_others_up() {
    check(
        &mut family(pausing(OneForOne, 1), &THREE),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (failed(0, 1), "pause 0#1 x1"),
            (ready(1, 1), ""),
            (rested(0, 1), "start 0#2"),
            (ready(0, 2), "start 2#1"),
            (failed(0, 2), "pause 0#2 x2"),
            (rested(0, 2), "close 0, stop 2#1."),
            (stopped(2, 1), "close 2, stop 1#1."),
            (stopped(1, 1), "close 1, start failed at 0"),
        ],
    );
}
