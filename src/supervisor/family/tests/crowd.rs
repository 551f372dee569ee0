//! A hundred thousand children: no step may look at all of them. A step that did would make these
//! tests take minutes.

use super::*;

const CROWD: ChildId = 100_000;

fn crowd(plan: Plan) -> Family {
    let mut family = Family::new(plan, (0..CROWD).map(|child| (child, member(Permanent))));
    let mut to_start = family.step(Input::Start, Duration::ZERO);
    let mut started = 0;
    let mut is_up = false;
    while let Some(action) = to_start.pop() {
        if let Action::Start { child, generation } = action {
            started += 1;
            let more = family.step(ready(child, generation), Duration::ZERO);
            is_up |= matches!(more[..], [Action::Up]);
            to_start.extend(more);
        }
    }
    assert!(is_up && started == CROWD);
    family
}

/// Stops the whole family, obeying at once; returns how many have closed.
fn stop(family: &mut Family) -> ChildId {
    let mut to_do = family.step(Input::Stop, Duration::ZERO);
    let (mut closed, mut last) = (0, None);
    while let Some(action) = to_do.pop() {
        match action {
            Action::Stop {
                child, generation, ..
            } => to_do.extend(family.step(stopped(child, generation), Duration::ZERO)),
            Action::Close { .. } => closed += 1,
            other => last = Some(word(&other)),
        }
    }
    assert_eq!(last.as_deref(), Some("down"));
    closed
}

/// As `check`, but without counting everything anew after each step.
fn check_fast(family: &mut Family, table: Vec<(Input, &str)>) {
    for (input, expected) in table {
        let said = format!("{input:?}");
        let actions = family.step(input, Duration::ZERO);
        let words: Vec<String> = actions.iter().map(word).collect();
        assert_eq!(words.join(", "), expected, "{said}");
    }
}

#[test]
fn a_hundred_thousand_dynamic_children_rise_fail_and_stop() {
    let mut family = crowd(dynamic(2));
    let middle = CROWD / 2;
    check_fast(
        &mut family,
        vec![
            (failed(middle, 1), "start 50000#2"),
            (ready(middle, 2), ""),
            (renew(middle), "stop 50000#2"),
            (stopped(middle, 2), "start 50000#3"),
            (terminate(7), "stop 7#1."),
            (stopped(7, 1), "close 7, forget 7"),
            (add(CROWD, Permanent), "start 100000#1"),
            (ready(CROWD, 1), ""),
        ],
    );
    assert_eq!(stop(&mut family), CROWD);
}

#[test]
fn a_hundred_thousand_children_in_order_rise_fail_and_stop() {
    let mut family = crowd(plan(RestForOne, 1));
    let last = CROWD - 1;
    check_fast(
        &mut family,
        vec![(failed(last, 1), "start 99999#2"), (ready(last, 2), "")],
    );
    assert_eq!(stop(&mut family), CROWD);
}

#[test]
fn a_group_of_a_hundred_thousand_restarts() {
    let mut family = crowd(plan(OneForAll, 1));
    let mut to_do = family.step(failed(CROWD / 2, 1), Duration::ZERO);
    let (mut stops, mut starts) = (0, 0);
    while let Some(action) = to_do.pop() {
        let input = match action {
            Action::Stop {
                child, generation, ..
            } => {
                assert_eq!(starts, 0);
                stops += 1;
                stopped(child, generation)
            }
            Action::Start { child, generation } => {
                assert_eq!(child, starts);
                starts += 1;
                ready(child, generation)
            }
            other => panic!("{other:?}"),
        };
        to_do.extend(family.step(input, Duration::ZERO));
    }
    assert_eq!((stops, starts), (CROWD - 1, CROWD));
}
