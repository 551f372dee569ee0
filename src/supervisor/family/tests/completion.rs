//! Significant children, and the end they bring.

use super::*;

fn significant(auto_shutdown: AutoShutdown, children: &[(Restart, bool)]) -> Family {
    let plan = Plan {
        auto_shutdown,
        ..plan(RestForOne, 5)
    };
    let members = children.iter().map(|(restart, significant)| Member {
        significant: *significant,
        ..member(*restart)
    });
    Family::new(plan, (0..).zip(members))
}

const MIXED: [(Restart, bool); 4] = [
    (Permanent, false),
    (Transient, true),
    (Temporary, true),
    (Permanent, false),
];

#[test]
fn one_significant_end_completes_the_family() {
    check(
        &mut raise(significant(AutoShutdown::AnySignificant, &MIXED), 4),
        vec![
            (exited(1, 1, Exit::Normal), "close 1, stop 3#1."),
            (Input::Stop, ""),
            (stopped(3, 1), "close 3, stop 2#1."),
            (stopped(2, 1), "close 2, stop 0#1."),
            (stopped(0, 1), "close 0, completed"),
        ],
    );
}

#[test]
fn an_abnormal_end_of_a_temporary_significant_child_counts() {
    check(
        &mut raise(significant(AutoShutdown::AnySignificant, &MIXED), 4),
        vec![(failed(2, 1), "close 2, forget 2, stop 3#1.")],
    );
}

#[test]
fn an_end_that_is_followed_by_a_restart_does_not_count() {
    check(
        &mut raise(significant(AutoShutdown::AnySignificant, &MIXED), 4),
        vec![
            (failed(1, 1), "stop 3#1"),
            (exited(3, 1, Exit::Normal), "stop 2#1."),
            (exited(2, 1, Exit::Normal), "close 2, forget 2, start 1#2"),
            (ready(1, 2), "start 3#2"),
            (ready(3, 2), ""),
        ],
    );
}

#[test]
fn an_end_on_request_does_not_count() {
    check(
        &mut raise(significant(AutoShutdown::AnySignificant, &MIXED), 4),
        vec![
            (terminate(1), "stop 1#1."),
            (exited(1, 1, Exit::Normal), "close 1"),
            (renew(2), "stop 2#1"),
            (exited(2, 1, Exit::Normal), "start 2#2"),
            (ready(2, 2), ""),
        ],
    );
}

#[test]
fn all_significant_means_the_last_of_them() {
    check(
        &mut raise(significant(AutoShutdown::AllSignificant, &MIXED), 4),
        vec![
            (exited(2, 1, Exit::Normal), "close 2, forget 2"),
            (exited(1, 1, Exit::Normal), "close 1, stop 3#1."),
        ],
    );
}

#[test]
fn all_significant_is_not_reached_when_the_last_is_terminated() {
    check(
        &mut raise(significant(AutoShutdown::AllSignificant, &MIXED), 4),
        vec![
            (exited(2, 1, Exit::Normal), "close 2, forget 2"),
            (terminate(1), "stop 1#1."),
            (stopped(1, 1), "close 1"),
            (restart(1), "start 1#2"),
            (ready(1, 2), ""),
            (exited(1, 2, Exit::Shutdown), "close 1, stop 3#1."),
        ],
    );
}

#[test]
fn no_significant_end_counts_unless_it_was_asked_for() {
    check(
        &mut raise(significant(AutoShutdown::Never, &MIXED), 4),
        vec![
            (exited(1, 1, Exit::Normal), "close 1"),
            (exited(2, 1, Exit::Normal), "close 2, forget 2"),
        ],
    );
}

#[test]
fn a_significant_end_during_the_first_start_waits_for_its_end() {
    check(
        &mut significant(AutoShutdown::AnySignificant, &MIXED),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (ready(1, 1), "start 2#1"),
            (exited(1, 1, Exit::Normal), "close 1"),
            (ready(2, 1), "start 3#1"),
            (ready(3, 1), "up, stop 3#1."),
            (stopped(3, 1), "close 3, stop 2#1."),
            (stopped(2, 1), "close 2, stop 0#1."),
            (stopped(0, 1), "close 0, completed"),
        ],
    );
}

#[test]
fn a_family_may_be_up_and_completed_in_one_step() {
    check(
        &mut significant(AutoShutdown::AllSignificant, &[(Temporary, true)]),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "up"),
            (failed(0, 1), "close 0, forget 0, completed"),
            (Input::Stop, ""),
        ],
    );
    check(
        &mut significant(
            AutoShutdown::AllSignificant,
            &[(Temporary, true), (Temporary, true)],
        ),
        vec![
            (Input::Start, "start 0#1"),
            (ready(0, 1), "start 1#1"),
            (failed(0, 1), "close 0, forget 0"),
            (ready(1, 1), "up"),
            (failed(1, 1), "close 1, forget 1, completed"),
        ],
    );
}
