//! What OTP's `supervisor_SUITE` asks, over everything a child can do: every strategy, every
//! restart type, every exit, at every place among three, with and without a pause.
//!
//! The expectations are written anew from OTP's documentation, in the plainest way.

use super::*;
use crate::panic::guard;

/// The one of the three whose life ends is of the given restart type; the others stay permanent,
/// and what they say when they are stopped does not matter.
#[derive(Debug)]
struct Case {
    strategy: Strategy,
    restart: Restart,
    exit: Exit,
    place: ChildId,
    pauses: bool,
}

impl Case {
    fn plan(&self) -> Plan {
        Plan {
            stable_after: self.pauses.then_some(Duration::from_secs(5)),
            ..plan(self.strategy, 1)
        }
    }

    fn restarts(&self) -> Vec<Restart> {
        let one = |child| {
            if child == self.place {
                self.restart
            } else {
                Permanent
            }
        };
        (0..3).map(one).collect()
    }

    fn comes_back(&self) -> bool {
        match (self.restart, &self.exit) {
            (Permanent, _) => true,
            (Transient, Exit::Normal | Exit::Shutdown) | (Temporary, _) => false,
            (Transient, _) => true,
        }
    }

    /// Who is stopped and started along with the one that failed.
    fn bystanders(&self) -> Vec<ChildId> {
        let place = self.place;
        let all = [0, 1, 2].into_iter().filter(|child| *child != place);
        match self.strategy {
            OneForOne => Vec::new(),
            OneForAll => all.collect(),
            RestForOne => all.filter(|child| *child > place).collect(),
        }
    }

    /// Whole lists of words: what is done from the exit on until nothing is owed any more.
    fn expected(&self) -> Vec<String> {
        let place = self.place;
        let close = format!("close {place}");
        match (self.restart, self.comes_back()) {
            (Temporary, _) => return vec![close, format!("forget {place}")],
            (_, false) => return vec![close],
            (_, true) => {}
        }
        let mut words = Vec::new();
        if self.pauses {
            words.push(format!("pause {place}#1 x1"));
        }
        let mut group = self.bystanders();
        words.extend(group.iter().rev().map(|child| format!("stop {child}#1")));
        group.push(place);
        group.sort_unstable();
        words.extend(group.iter().map(|child| format!("start {child}#2")));
        words
    }
}

fn exits() -> Vec<Exit> {
    vec![
        Exit::Normal,
        Exit::Shutdown,
        failure(),
        Exit::Panic(guard(|| panic!("boom")).unwrap_err()),
        Exit::Timeout(Duration::from_secs(1)),
        Exit::Killed,
        Exit::Escalated {
            path: "shop/child/below".into(),
            cause: Box::new(Exit::Killed),
        },
    ]
}

/// What a failure policy makes of an end; OTP has neither.
fn ends_by_policy() -> Vec<Exit> {
    let failure = || Failure::new("broken");
    vec![Exit::Retired(failure()), Exit::Fatal(failure())]
}

fn cases() -> Vec<Case> {
    cases_of(&exits())
}

fn cases_of(exits: &[Exit]) -> Vec<Case> {
    let mut cases = Vec::new();
    for strategy in [OneForOne, OneForAll, RestForOne] {
        for restart in [Permanent, Transient, Temporary] {
            for exit in exits {
                for place in 0..3 {
                    cases.extend([false, true].map(|pauses| Case {
                        strategy,
                        restart,
                        exit: exit.clone(),
                        place,
                        pauses,
                    }));
                }
            }
        }
    }
    cases
}

/// Feeds the input, then answers every order with `exit` or readiness until none is left.
fn settle(family: &mut Family, input: Input, exit: &Exit) -> Vec<String> {
    let (mut inputs, mut words) = (vec![input], Vec::new());
    while !inputs.is_empty() {
        let actions = family.step(inputs.remove(0), Duration::ZERO);
        family.siblings.check();
        words.extend(actions.iter().map(word));
        inputs.extend(actions.iter().filter_map(|action| match action {
            Action::Start { child, generation } => Some(ready(*child, *generation)),
            Action::Stop {
                child, generation, ..
            } => Some(exited(*child, *generation, exit.clone())),
            Action::BackOff {
                child, generation, ..
            } => Some(rested(*child, *generation)),
            _ => None,
        }));
    }
    words
}

#[test]
fn every_exit_has_the_consequences_that_otp_gives_it() {
    let cases = cases();
    assert_eq!(cases.len(), 3 * 3 * 7 * 3 * 2);
    for case in cases {
        for bystanders_say in exits() {
            let mut family = risen(case.plan(), &case.restarts());
            let exit = exited(case.place, 1, case.exit.clone());
            let found = settle(&mut family, exit, &bystanders_say);
            assert_eq!(found, case.expected(), "{case:?}");
            for child in 0..3 {
                let gone = match case.restart {
                    Temporary => None,
                    _ => Some(State::Closed),
                };
                let is_gone = child == case.place && !case.comes_back();
                let expected = if is_gone { gone } else { Some(State::Running) };
                assert_eq!(family.standing(child), expected, "{child} of {case:?}");
            }
        }
    }
}

#[test]
fn a_second_failure_is_one_too_many_for_a_budget_of_one() {
    for case in cases().into_iter().filter(Case::comes_back) {
        let mut family = risen(case.plan(), &case.restarts());
        let place = case.place;
        settle(&mut family, exited(place, 1, case.exit.clone()), &failure());
        let found = settle(&mut family, exited(place, 2, case.exit.clone()), &failure());
        let last = found.last().map(String::as_str);
        assert_eq!(last, Some("escalate shop/child"), "{case:?}: {found:?}");
        let closed = found.iter().filter(|word| word.starts_with("close"));
        assert_eq!(closed.count(), 3, "{case:?}: {found:?}");
        assert!(!found.iter().any(|word| word.starts_with("start")));
    }
}

#[test]
fn a_temporary_bystander_never_comes_back() {
    for strategy in [OneForAll, RestForOne] {
        for exit in exits() {
            let mut family = risen(plan(strategy, 1), &[Permanent, Temporary, Transient]);
            let found = settle(&mut family, failed(0, 1), &exit);
            let expected = "stop 2#1, stop 1#1., close 1, forget 1, start 0#2, start 2#2";
            assert_eq!(found.join(", "), expected, "{strategy:?} {exit:?}");
        }
    }
}

#[test]
fn a_requested_end_brings_nobody_back_however_it_ended() {
    for case in cases_of(&[exits(), ends_by_policy()].concat()) {
        let mut family = risen(case.plan(), &case.restarts());
        let child = case.place;
        let found = settle(&mut family, terminate(child), &case.exit).join(", ");
        let forgotten = match case.restart {
            Temporary => format!(", forget {child}"),
            _ => String::new(),
        };
        let expected = format!("stop {child}#1., close {child}{forgotten}");
        assert_eq!(found, expected, "{case:?}");
    }
}

#[test]
fn a_failed_first_start_fails_the_family_at_every_place() {
    for case in cases_of(&[exits(), ends_by_policy()].concat()) {
        let mut family = family(case.plan(), &case.restarts());
        step(&mut family, Input::Start);
        for child in 0..case.place {
            step(&mut family, ready(child, 1));
        }
        let unready = Input::Started {
            child: case.place,
            generation: 1,
            result: Err(case.exit.clone()),
        };
        let found = settle(&mut family, unready, &failure());
        let mut expected: Vec<String> = Vec::new();
        expected.extend((case.place..3).rev().map(|child| format!("close {child}")));
        for child in (0..case.place).rev() {
            expected.push(format!("stop {child}#1."));
            expected.push(format!("close {child}"));
        }
        expected.push(format!("start failed at {}", case.place));
        assert_eq!(found, expected, "{case:?}");
    }
}

#[test]
fn a_retired_child_never_comes_back_and_spends_nothing() {
    let retired = &ends_by_policy()[..1];
    for case in cases_of(retired) {
        let mut family = risen(case.plan(), &case.restarts());
        let place = case.place;
        let found = settle(
            &mut family,
            exited(place, 1, retired[0].clone()),
            &failure(),
        );
        let mut expected = vec![format!("close {place}")];
        expected.extend((case.restart == Temporary).then(|| format!("forget {place}")));
        assert_eq!(found, expected, "{case:?}");
        let other = (place + 1) % 3;
        let found = settle(&mut family, failed(other, 1), &failure()).join(", ");
        assert!(found.contains(&format!("start {other}#2")), "{case:?}");
        assert!(!found.contains(&format!("start {place}")), "{case:?}");
    }
}

#[test]
fn a_fatal_end_ends_the_family_whatever_the_budget() {
    let fatal = &ends_by_policy()[1..];
    for case in cases_of(fatal) {
        let (place, plan) = (case.place, case.plan());
        let plenty = Plan {
            max_restarts: 100,
            ..plan
        };
        let mut family = risen(plenty, &case.restarts());
        let found = settle(&mut family, exited(place, 1, fatal[0].clone()), &failure());
        let mut expected = vec![format!("close {place}")];
        for child in (0..3).rev().filter(|child| *child != place) {
            expected.push(format!("stop {child}#1."));
            expected.push(format!("close {child}"));
        }
        expected.push("escalate shop/child".into());
        assert_eq!(found, expected, "{case:?}");
    }
}

#[test]
fn a_bystander_that_its_own_policy_ends_does_not_come_back() {
    let [retired, fatal] = &ends_by_policy()[..] else {
        unreachable!("there are two");
    };
    let mut family = risen(plan(OneForAll, 1), &THREE);
    step(&mut family, failed(0, 1));
    check(
        &mut family,
        vec![
            (exited(2, 1, retired.clone()), "close 2, stop 1#1"),
            (stopped(1, 1), "start 0#2"),
            (ready(0, 2), "start 1#2"),
            (ready(1, 2), ""),
            (Input::Stop, "stop 1#2."),
        ],
    );
    let mut family = risen(plan(OneForAll, 100), &THREE);
    step(&mut family, failed(0, 1));
    check(
        &mut family,
        vec![
            (exited(2, 1, fatal.clone()), "close 2, close 0, stop 1#1."),
            (stopped(1, 1), "close 1, escalate shop/child"),
        ],
    );
}

#[test]
fn one_that_is_retired_counts_as_having_ended_of_its_own_accord() {
    for (exit, expected) in [
        (ends_by_policy().remove(0), "close 1, stop 2#1."),
        (failure(), "start 1#2"),
    ] {
        let plan = Plan {
            auto_shutdown: AutoShutdown::AnySignificant,
            ..plan(OneForOne, 5)
        };
        let members = [Permanent, Transient, Permanent].map(|restart| Member {
            significant: restart == Transient,
            ..member(restart)
        });
        let mut family = raise(Family::new(plan, (0..).zip(members)), 3);
        assert_eq!(step(&mut family, exited(1, 1, exit)), expected);
    }
}
