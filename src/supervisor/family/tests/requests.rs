//! What is asked for one child while the family goes on.

use super::*;

#[test]
fn an_added_child_starts_and_is_one_of_them() {
    check(
        &mut risen(plan(OneForOne, 5), &[Permanent]),
        vec![
            (add(1, Permanent), "start 1#1"),
            (add(1, Permanent), ""),
            (ready(1, 1), ""),
            (failed(1, 1), "start 1#2"),
            (unready(1, 2), "start 1#3"),
            (Input::Stop, "stop 1#3."),
            (stopped(1, 3), "close 1, stop 0#1."),
            (stopped(0, 1), "close 0, down"),
        ],
    );
}

#[test]
fn an_added_child_that_does_not_start_is_refused_and_forgotten() {
    for plan in [plan(OneForOne, 0), plan(OneForAll, 0), dynamic(0)] {
        check(
            &mut risen(plan, &[Permanent]),
            vec![
                (add(1, Permanent), "start 1#1"),
                (
                    unready(1, 1),
                    "refused 1: it failed: broken, close 1, forget 1",
                ),
                (add(1, Permanent), ""),
                (add(2, Permanent), "start 2#1"),
                (
                    stopped(2, 1),
                    "refused 2: it was shut down, close 2, forget 2",
                ),
            ],
        );
    }
}

#[test]
fn a_child_added_during_the_first_start_joins_it_and_fails_alone() {
    check(
        &mut family(plan(OneForOne, 5), &[Permanent]),
        vec![
            (Input::Start, "start 0#1"),
            (add(1, Permanent), ""),
            (add(2, Permanent), ""),
            (ready(0, 1), "start 1#1"),
            (
                unready(1, 1),
                "refused 1: it failed: broken, close 1, forget 1, start 2#1",
            ),
            (ready(2, 1), "up"),
        ],
    );
}

#[test]
fn a_child_added_to_a_family_that_ends_is_refused() {
    let refused = "refused 2: it was shut down, close 2, forget 2";
    check(
        &mut risen(plan(OneForOne, 5), &[Permanent]),
        vec![
            (add(1, Permanent), "start 1#1"),
            // It was not ready when the family turned to its end.
            (Input::Stop, "stop 1#1."),
            (add(2, Permanent), refused),
            (
                stopped(1, 1),
                "refused 1: it was shut down, close 1, forget 1, stop 0#1.",
            ),
            (stopped(0, 1), "close 0, down"),
            (
                add(3, Permanent),
                "refused 3: it was shut down, close 3, forget 3",
            ),
        ],
    );
}

#[test]
fn a_child_added_during_a_group_restart_waits_for_its_turn() {
    check(
        &mut risen(plan(OneForAll, 5), &[Permanent, Permanent]),
        vec![
            (failed(0, 1), "stop 1#1"),
            (add(2, Temporary), ""),
            (stopped(1, 1), "start 0#2"),
            (ready(0, 2), "start 1#2"),
            (ready(1, 2), "start 2#1"),
            // Its first start is still owed when the group fails again.
            (failed(1, 2), "stop 2#1"),
            (stopped(2, 1), "stop 0#2"),
            (stopped(0, 2), "start 0#3"),
            (
                Input::Stop,
                "refused 2: it was shut down, close 2, forget 2, close 1, stop 0#3.",
            ),
        ],
    );
}

#[test]
fn a_terminated_child_stays_down_until_it_is_asked_back() {
    check(
        &mut risen(plan(OneForOne, 0), &THREE),
        vec![
            (terminate(1), "stop 1#1."),
            (terminate(1), ""),
            (restart(1), ""),
            (delete(1), ""),
            (failed(1, 1), "close 1"),
            (terminate(1), ""),
            (renew(1), ""),
            (restart(1), "start 1#2"),
            (restart(1), ""),
            (ready(1, 2), ""),
            (terminate(1), "stop 1#2."),
            (stopped(1, 2), "close 1"),
            (delete(1), "forget 1"),
            (delete(1), ""),
            (restart(1), ""),
            (Input::Stop, "stop 2#1."),
        ],
    );
}

#[test]
fn a_child_that_is_asked_back_and_does_not_start_stays_closed() {
    check(
        &mut risen(plan(OneForAll, 0), &[Transient, Permanent]),
        vec![
            (exited(0, 1, Exit::Normal), "close 0"),
            (restart(0), "start 0#2"),
            (unready(0, 2), "refused 0: it failed: broken, close 0"),
            (restart(0), "start 0#3"),
            (terminate(0), "stop 0#3."),
            (stopped(0, 3), "refused 0: it was shut down, close 0"),
            (restart(0), "start 0#4"),
            (Input::Stop, "stop 1#1."),
            (restart(0), ""),
            (stopped(1, 1), "close 1, stop 0#4."),
            (ready(0, 4), ""),
            (stopped(0, 4), "close 0, down"),
            (restart(0), ""),
        ],
    );
}

#[test]
fn temporary_and_dynamic_children_are_forgotten_when_terminated() {
    check(
        &mut risen(plan(OneForOne, 5), &[Temporary]),
        vec![
            (terminate(0), "stop 0#1."),
            (stopped(0, 1), "close 0, forget 0"),
        ],
    );
    check(
        &mut risen(dynamic(5), &[Permanent, Permanent]),
        vec![
            (terminate(0), "stop 0#1."),
            (stopped(0, 1), "close 0, forget 0"),
            (terminate(1), "stop 1#1."),
            // It was terminated before, so it is not to come back with the family.
            (Input::Stop, ""),
            (stopped(1, 1), "close 1, forget 1, down"),
        ],
    );
}

#[test]
fn a_renewed_child_comes_back_uncounted() {
    check(
        &mut risen(plan(RestForOne, 0), &[Permanent, Temporary, Permanent]),
        vec![
            (renew(1), "stop 1#1"),
            (renew(1), ""),
            (stopped(1, 1), "start 1#2"),
            (renew(1), "stop 1#2"),
            (failed(1, 2), "start 1#3"),
            (ready(1, 3), ""),
            (renew(0), "stop 0#1"),
            (stopped(0, 1), "start 0#2"),
            (unready(0, 2), "close 0, stop 2#1."),
        ],
    );
}

#[test]
fn the_last_word_about_a_leaving_child_is_heeded() {
    check(
        &mut risen(plan(OneForOne, 5), &[Permanent, Permanent]),
        vec![
            (terminate(0), "stop 0#1."),
            (renew(0), ""),
            (stopped(0, 1), "start 0#2"),
            (ready(0, 2), ""),
            (renew(0), "stop 0#2"),
            (terminate(0), ""),
            (stopped(0, 2), "close 0"),
        ],
    );
}

#[test]
fn a_child_is_terminated_in_the_middle_of_a_group_restart() {
    check(
        &mut risen(plan(OneForAll, 5), &[Permanent; 4]),
        vec![
            (failed(1, 1), "stop 3#1"),
            // One that has left, one that leaves, one whose turn is still to come.
            (terminate(1), "close 1"),
            (terminate(3), ""),
            (terminate(2), ""),
            (stopped(3, 1), "close 3, stop 2#1."),
            (stopped(2, 1), "close 2, stop 0#1"),
            (stopped(0, 1), "start 0#2"),
            (ready(0, 2), ""),
            (restart(2), "start 2#2"),
        ],
    );
}

#[test]
fn a_child_is_terminated_while_the_family_rises() {
    check(
        &mut family(plan(OneForOne, 5), &[Permanent; 4]),
        vec![
            (terminate(1), "close 1"),
            (Input::Start, "start 0#1"),
            (terminate(3), "close 3"),
            (terminate(0), "stop 0#1."),
            (restart(3), ""),
            (ready(0, 1), ""),
            (stopped(0, 1), "close 0, start 2#1"),
            (ready(2, 1), "start 3#1"),
            (unready(3, 1), "refused 3: it failed: broken, close 3, up"),
            (restart(1), "start 1#1"),
            (ready(1, 1), ""),
        ],
    );
}

#[test]
fn a_renewed_child_holds_up_those_that_start_after_it() {
    check(
        &mut family(plan(OneForOne, 5), &THREE),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (renew(0), "stop 0#1"),
            (ready(1, 1), ""),
            (stopped(0, 1), "start 0#2"),
            (ready(0, 2), "start 2#1"),
            (renew(2), "stop 2#1"),
            (unready(2, 1), "start 2#2"),
            (ready(2, 2), "up"),
        ],
    );
}

#[test]
fn requests_are_ignored_while_the_family_ends() {
    check(
        &mut risen(plan(OneForOne, 5), &[Permanent, Permanent]),
        vec![
            (terminate(1), "stop 1#1."),
            (stopped(1, 1), "close 1"),
            (Input::Stop, "stop 0#1."),
            (renew(0), ""),
            (terminate(0), ""),
            (restart(1), ""),
            (delete(1), ""),
            (failed(0, 1), "close 0, down"),
            (delete(1), ""),
            (restart(0), ""),
        ],
    );
}

#[test]
fn a_worker_is_let_go_while_the_family_ends_and_does_not_come_back() {
    check(
        &mut family(dynamic(5), &THREE),
        vec![
            (Input::Start, "start 0#1, start 1#1, start 2#1"),
            (ready(0, 1), ""),
            (ready(1, 1), ""),
            (ready(2, 1), "up"),
            (dismiss(0), "stop 0#1."),
            (stopped(0, 1), "close 0, forget 0"),
            (Input::Stop, "stop 2#1., stop 1#1."),
            (dismiss(2), ""),
            (stopped(1, 1), "close 1"),
            (dismiss(1), "forget 1"),
            (stopped(2, 1), "close 2, forget 2, down"),
        ],
    );
}

#[test]
fn a_worker_that_ends_for_good_takes_its_service_along() {
    let workers = Plan {
        workers: true,
        ..dynamic(5)
    };
    let retired = Exit::Retired(Failure::new("no"));
    check(
        &mut family(workers, &THREE[..2]),
        vec![
            (Input::Start, "start 0#1, start 1#1"),
            (ready(0, 1), ""),
            (ready(1, 1), "up"),
            (exited(0, 1, retired), "close 0, stop 1#1."),
            (stopped(1, 1), "close 1, retired: it was retired: no"),
        ],
    );
}
