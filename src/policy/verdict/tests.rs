//! The decision in tables, and against a naive statement of it.
//!
//! The verdict's own tests. They call only the policy.
//!
//! Invariant: every combination of what a verdict depends on is tried.
//!
//! They run no service.

use proptest::prelude::*;

use super::EventVerdict::{DeadLetter, RetryAfter, RetryNow};
use super::Trouble::{Crashed, Failed, Killed, TimedOut};
use super::WorkerVerdict::{Keep, Restart};
use super::*;
use crate::policy::{OnFailure, Policy, Retry};

const DELAY: Duration = Duration::from_millis(70);

fn verdict(trouble: Trouble, failure: &Failure, number: u32, rules: &Rules) -> Verdict {
    decide(
        &Attempt::new(trouble, failure, number, Duration::ZERO, 0.5),
        rules,
    )
}

fn rules(retry: Retry) -> [Rules; 2] {
    let policy = Policy::new().retry(retry);
    [policy.rules(), policy.timeout_restarts().rules()]
}

/// Every trouble, without and with restarts after timeouts: the event's verdicts expected
/// where the worker is kept, where a timeout restarts it, and where it crashed.
fn check(retry: Retry, failure: &Failure, number: u32, expected: [EventVerdict; 3]) {
    let [keeping, restarting] = rules(retry.clone());
    let [kept, restarted, crashed] = expected;
    for (trouble, rules, worker, event) in [
        (Failed, &keeping, Keep, kept),
        (Failed, &restarting, Keep, kept),
        (TimedOut, &keeping, Keep, kept),
        (TimedOut, &restarting, Restart, restarted),
        (Crashed, &keeping, Restart, crashed),
        (Crashed, &restarting, Restart, crashed),
        (Killed, &keeping, Restart, crashed),
        (Killed, &restarting, Restart, crashed),
    ] {
        let found = verdict(trouble, failure, number, rules);
        let case = format!("{trouble:?}, attempt {number}, {failure}, {rules:?}");
        assert_eq!((found.worker, found.event), (worker, event), "{case}");
        assert_eq!(found.reason.is_some(), event == DeadLetter, "{case}");
    }
}

#[test]
fn every_trouble_has_its_verdict() {
    let (again, never) = (Failure::new("again"), Failure::permanent("never"));
    let fixed = || Retry::fixed(DELAY).attempts(3);
    let tried = [RetryAfter(DELAY), RetryNow, RetryNow];
    let refused = [DeadLetter, DeadLetter, RetryNow];
    let dead = [DeadLetter; 3];
    for (retry, failure, number, expected) in [
        (fixed(), &again, 0, tried),
        (fixed(), &again, 1, tried),
        (fixed(), &again, 2, tried),
        (fixed(), &again, 3, dead),
        (fixed(), &again, u32::MAX, dead),
        (fixed(), &never, 1, refused),
        (fixed(), &never, 3, dead),
        (fixed().when(|_| true), &again, 1, tried),
        (fixed().when(|_| true), &never, 1, refused),
        (fixed().when(|_| false), &again, 1, refused),
        (fixed().when(|_| panic!("boom")), &again, 1, refused),
        (fixed().attempts(0), &again, 1, dead),
        (Retry::never(), &again, 1, dead),
        (Retry::fixed(Duration::ZERO), &again, 1, [RetryNow; 3]),
        (Retry::with(|_| Some(DELAY)), &again, 1, tried),
        (Retry::with(|_| Some(DELAY)), &again, 3, dead),
        (Retry::with(|_| None), &again, 1, dead),
        (Retry::with(|_| panic!("boom")), &again, 1, dead),
    ] {
        check(retry, failure, number, expected);
    }
}

#[test]
fn a_verdict_is_shown_in_words() {
    let [rules, _] = rules(Retry::fixed(DELAY));
    let failed = verdict(Failed, &Failure::new("again"), 1, &rules);
    assert_eq!(failed.to_string(), "worker: keep, event: retry after 70ms");
    let crashed = verdict(Crashed, &Failure::new("again"), 3, &rules);
    assert_eq!(crashed.to_string(), "worker: restart, event: dead letter");
}

/// All that the tables vary, beyond the trouble.
#[derive(Clone, Copy, Debug)]
struct Case {
    trouble: Trouble,
    restarts: bool,
    manner: u8,
    later: bool,
    permanent: bool,
    helps: bool,
    is_last: bool,
    in_total_time: bool,
    in_deadline: bool,
    is_broke: bool,
    hint: Option<Duration>,
    discards: bool,
    worker: Option<WorkerVerdict>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let workers = [
        None,
        Some(Restart),
        Some(WorkerVerdict::Stop),
        Some(WorkerVerdict::Escalate),
    ];
    let bits = 1_u32 << 9;
    for trouble in [Failed, TimedOut, Crashed, Killed] {
        for (manner, worker, mix) in (0..3)
            .flat_map(|manner| workers.map(|worker| (manner, worker)))
            .flat_map(|(manner, worker)| (0..bits).map(move |mix| (manner, worker, mix)))
        {
            let bit = |at: u32| mix >> at & 1 == 1;
            cases.push(Case {
                trouble,
                restarts: bit(0),
                manner,
                later: bit(1),
                permanent: bit(2),
                helps: bit(3),
                is_last: bit(4),
                in_total_time: bit(5),
                in_deadline: bit(6),
                hint: bit(7).then_some(DELAY * 2),
                is_broke: bit(8),
                discards: mix % 3 == 0,
                worker,
            });
        }
    }
    cases
}

/// What the docs of `decide` say, one sentence after the other.
fn expected(case: Case) -> (WorkerVerdict, EventVerdict, Option<Reason>) {
    let died = matches!(case.trouble, Crashed | Killed);
    let restarts = died || (case.trouble == TimedOut && case.restarts);
    let delay = match case.hint {
        _ if restarts => Duration::ZERO,
        Some(hint) => hint,
        None => DELAY,
    };
    let against = [
        (case.permanent && !died, Reason::Permanent),
        (case.is_last, Reason::AttemptsUsedUp),
        (!case.helps && !died, Reason::NotRetried),
        (!case.in_total_time, Reason::TimeUsedUp),
        (!case.in_deadline, Reason::DeadlinePassed),
        (case.is_broke, Reason::RetryBudgetSpent),
    ];
    let reason = against
        .iter()
        .find(|(so, _)| *so)
        .map(|(_, reason)| *reason);
    let worker = if restarts { Restart } else { Keep };
    if reason.is_some() {
        let asked = case.worker.unwrap_or(Keep);
        let worker = [worker, asked].into_iter().max().unwrap_or(Keep);
        let event = if case.discards {
            EventVerdict::Discard
        } else {
            DeadLetter
        };
        return (worker, event, reason);
    }
    let event = match delay {
        delay if (case.later || case.manner > 0) && !died => EventVerdict::StepAside(delay),
        Duration::ZERO => RetryNow,
        delay => RetryAfter(delay),
    };
    (worker, event, None)
}

#[test]
fn every_combination_gets_what_the_docs_say() {
    for case in cases() {
        let retry = Retry::fixed(DELAY).attempts(if case.is_last { 2 } else { 9 });
        let retry = match case.manner {
            0 => retry.in_place(),
            1 => retry.deferred(),
            _ => retry.parked(),
        };
        let helps = case.helps;
        let retry = retry.when(move |_| helps);
        // Any delay is too long for the one, none for the other.
        let age = Duration::from_secs(1);
        let total = if case.in_total_time { age * 9 } else { age / 2 };
        let mut then = if case.discards {
            OnFailure::discard()
        } else {
            OnFailure::dead_letter()
        };
        then = match case.worker {
            Some(Restart) => then.restart(),
            Some(WorkerVerdict::Stop) => then.stop(),
            Some(WorkerVerdict::Escalate) => then.escalate(),
            _ => then,
        };
        let mut policy = Policy::new().retry(retry.within(total)).failure(then);
        if case.restarts {
            policy = policy.timeout_restarts();
        }
        let mut failure = Failure::new("again");
        if let Some(hint) = case.hint {
            failure = failure.retry_after(hint);
        }
        if case.permanent {
            failure = failure.into_permanent();
        }
        let left = if case.in_deadline {
            None
        } else {
            Some(Duration::ZERO)
        };
        let attempt = Attempt::new(case.trouble, &failure, 2, age, 0.5)
            .left(left)
            .later(case.later)
            .broke(case.is_broke);
        let verdict = decide(&attempt, &policy.rules());
        let found = (verdict.worker, verdict.event, verdict.reason);
        assert_eq!(found, expected(case), "{case:?}");
    }
}

#[test]
fn a_deadline_or_total_time_is_kept_to_the_instant() {
    let rules = Policy::new()
        .retry(Retry::fixed(DELAY).within(DELAY * 3))
        .rules();
    let failure = Failure::new("again");
    let decide = |age, left| {
        let attempt = Attempt::new(Failed, &failure, 1, age, 0.5).left(left);
        decide(&attempt, &rules).reason
    };
    let nano = Duration::from_nanos(1);
    assert_eq!(decide(DELAY * 2, None), None);
    assert_eq!(decide(DELAY * 2 + nano, None), Some(Reason::TimeUsedUp));
    assert_eq!(decide(Duration::MAX, None), Some(Reason::TimeUsedUp));
    assert_eq!(decide(Duration::ZERO, Some(DELAY + nano)), None);
    assert_eq!(
        decide(Duration::ZERO, Some(DELAY)),
        Some(Reason::DeadlinePassed)
    );
}

#[test]
fn the_failure_policy_of_the_type_is_asked_first() {
    let rules = Policy::new()
        .retry(Retry::never())
        .failure(OnFailure::dead_letter().stop())
        .failure_of::<fmt::Error>(OnFailure::discard())
        .rules();
    let verdict = |failure: Failure| {
        let attempt = Attempt::new(Failed, &failure, 1, Duration::ZERO, 0.5);
        let verdict = decide(&attempt, &rules);
        (verdict.worker, verdict.event)
    };
    assert_eq!(verdict(fmt::Error.into()), (Keep, EventVerdict::Discard));
    assert_eq!(
        verdict(Failure::new("no")),
        (WorkerVerdict::Stop, DeadLetter)
    );
}

fn troubles() -> impl Strategy<Value = Trouble> {
    prop_oneof![Just(Failed), Just(TimedOut), Just(Crashed), Just(Killed)]
}

proptest! {
    #[test]
    fn an_event_is_never_tried_more_often_than_allowed(
        attempts in 0..20_u32,
        troubles in proptest::collection::vec((troubles(), 0.0..1.0_f64), 30),
        restarts in any::<bool>(),
    ) {
        let retry = Retry::exponential(DELAY).attempts(attempts);
        let rules = &rules(retry)[usize::from(restarts)];
        let failure = Failure::new("again");
        let again = (1..).zip(troubles).take_while(|(number, (trouble, jitter))| {
            let attempt = Attempt::new(*trouble, &failure, *number, DELAY, *jitter);
            decide(&attempt, rules).event != DeadLetter
        });
        prop_assert_eq!(again.count() + 1, attempts.max(1) as usize);
    }

    #[test]
    fn any_attempt_gets_a_verdict_with_its_delay_in_bounds(
        trouble in troubles(),
        permanent in any::<bool>(),
        number in any::<u32>(),
        attempts in any::<u32>(),
        first in any::<Duration>(),
        most in any::<Duration>(),
        jitter in any::<f64>(),
    ) {
        let retry = Retry::exponential(first).at_most(most).attempts(attempts);
        let failure = Failure::new("again");
        let failure = if permanent { failure.into_permanent() } else { failure };
        let attempt = Attempt::new(trouble, &failure, number, DELAY, jitter);
        let verdict = decide(&attempt, &rules(retry)[0]);
        match verdict.event {
            RetryNow => prop_assert!(number < attempts),
            RetryAfter(delay) => {
                prop_assert!(number < attempts && !permanent);
                prop_assert!(!matches!(trouble, Crashed | Killed));
                prop_assert!(!delay.is_zero() && delay <= most);
            }
            event => prop_assert_eq!(event, DeadLetter),
        }
    }
}
