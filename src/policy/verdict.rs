//! The one decision taken after a failure: what happens to the worker and to the event.
//!
//! The host asks for it after every failed attempt, and carries it out. It calls only the policy.
//!
//! Invariant: it is pure; the same attempt under the same rules gets the same verdict.
//!
//! The worker's part is a request: restart intensity may raise it to an escalation.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::policy::retry::Manner;
use crate::policy::{LONGEST, Rules};

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The handler returned a [`Failure`].
    Failed,
    /// The handler was cancelled by its timeout, or by the deadline of its event.
    TimedOut,
    /// The handler panicked, and its worker is lost.
    Crashed,
    /// The handler was stuck, and its worker was killed because of it, by `Board::kill`.
    Killed,
}

impl Trouble {
    /// Whether the worker is lost with it, whatever any policy says.
    pub(crate) fn ends_the_life(self) -> bool {
        matches!(self, Self::Crashed | Self::Killed)
    }
}

/// One failed attempt at an event: all that a verdict depends on, besides the rules.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// What went wrong.
    pub trouble: Trouble,
    /// What is known of it.
    pub failure: &'a Failure,
    /// Which attempt it was; 1 is the first.
    pub number: u32,
    /// The time since the first attempt began.
    pub age: Duration,
    /// A throw of the dice, at least 0 and less than 1.
    pub jitter: f64,
    /// What is left until the event's deadline, if it has one.
    pub left: Option<Duration>,
    /// Whether it was [later work](crate::Context::later) that failed: the service has gone on
    /// meanwhile, so the event is never tried again in place.
    pub is_later: bool,
    /// Whether the retry budget has nothing left for it.
    pub is_broke: bool,
}

/// Why an event was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// The policy's attempts were used up.
    AttemptsUsedUp,
    /// The failure is permanent: trying again cannot help.
    Permanent,
    /// The policy does not retry after such a failure.
    NotRetried,
    /// Another attempt would begin later than the policy's total time allows.
    TimeUsedUp,
    /// The event's deadline has passed, or would before the next attempt.
    DeadlinePassed,
    /// A follow-up event required by the failure policy could not be published.
    NotFollowedUp,
    /// The policy's breaker was open, and makes dead letters of what comes.
    BreakerOpen,
    /// The policy's retry budget was used up.
    RetryBudgetSpent,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AttemptsUsedUp => "attempts used up",
            Self::Permanent => "permanent failure",
            Self::NotRetried => "not retried by its policy",
            Self::TimeUsedUp => "time used up",
            Self::DeadlinePassed => "deadline passed",
            Self::NotFollowedUp => "its follow-up could not be published",
            Self::BreakerOpen => "breaker open",
            Self::RetryBudgetSpent => "retry budget spent",
        })
    }
}

/// What happens after a failed attempt.
///
/// The events that follow one that is given up are not in it: its failure policy says which they
/// are. [`Rules::on_failure`] returns that, and [`Policy::explain`](crate::Policy::explain) puts it
/// into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// What happens to the worker.
    pub worker: WorkerVerdict,
    /// What happens to the event.
    pub event: EventVerdict,
    /// Why it is given up, if it is.
    pub reason: Option<Reason>,
}

/// What happens to a worker; the later ones cost more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WorkerVerdict {
    /// It goes on, with its state.
    Keep,
    /// Its life ends, and its supervisor starts a new one.
    Restart,
    /// Its life ends, and no other follows.
    Stop,
    /// Its supervisor gives up.
    Escalate,
}

/// What happens to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventVerdict {
    /// It counts as handled.
    Acknowledge,
    /// It is tried again before anything younger, without delay.
    RetryNow,
    /// It is tried again after this delay, and younger events wait.
    RetryAfter(Duration),
    /// It is tried again after this delay, and younger events go on.
    StepAside(Duration),
    /// It becomes a dead letter.
    DeadLetter,
    /// It is dropped, and counted as discarded.
    Discard,
}

/// Decides what happens to the worker and to the event after a failed attempt.
///
/// | trouble | worker | event, while it may be tried again | and then |
/// |---|---|---|---|
/// | failed | keep | retry after the delay | failure policy |
/// | timed out | keep | retry after the delay | failure policy |
/// | timed out, where that restarts | restart | retry now | failure policy |
/// | crashed, or killed for being stuck | restart | retry now, in the new life | failure policy |
///
/// It may be tried again while attempts, total time, deadline and retry budget allow; a failure
/// that is permanent, or of which [`Retry::when`] says no, may not. After a crash neither is
/// asked. A function of the user that panics gives the event up. The delay is what the failure
/// says ([`Failure::retry_after`]), else the backoff's; a retry that is deferred or parked steps
/// aside for it.
///
/// The failure policy may ask for more of the worker than the trouble does, never for less: one
/// that has crashed does not go on.
///
/// [`Retry::when`]: crate::Retry::when
pub fn decide(attempt: &Attempt<'_>, rules: &Rules) -> Verdict {
    let worker = match attempt.trouble {
        Trouble::Failed => WorkerVerdict::Keep,
        Trouble::TimedOut if !rules.timeout_restarts => WorkerVerdict::Keep,
        Trouble::TimedOut | Trouble::Crashed | Trouble::Killed => WorkerVerdict::Restart,
    };
    match next_try(attempt, rules, worker) {
        Ok(delay) => Verdict {
            worker,
            event: again(attempt, rules, delay),
            reason: None,
        },
        Err(reason) => give_up(attempt.failure, rules, worker, reason),
    }
}

/// The verdict on an event that is not tried again.
pub(crate) fn give_up(
    failure: &Failure,
    rules: &Rules,
    worker: WorkerVerdict,
    reason: Reason,
) -> Verdict {
    let then = rules.on_failure(failure);
    Verdict {
        worker: then.worker.unwrap_or(worker),
        event: if then.discards {
            EventVerdict::Discard
        } else {
            EventVerdict::DeadLetter
        },
        reason: Some(reason),
    }
}

/// After how long to try again, or why not to.
fn next_try(
    attempt: &Attempt<'_>,
    rules: &Rules,
    worker: WorkerVerdict,
) -> Result<Duration, Reason> {
    let retry = &rules.retry;
    let has_crashed = attempt.trouble.ends_the_life();
    if attempt.failure.is_permanent() && !has_crashed {
        return Err(Reason::Permanent);
    }
    let number = attempt.number.max(1);
    if number >= retry.attempts_max() {
        return Err(Reason::AttemptsUsedUp);
    }
    if !has_crashed && !retry.helps(attempt.failure) {
        return Err(Reason::NotRetried);
    }
    let delay = retry.delay(number, attempt.jitter);
    let delay = delay.ok_or(Reason::NotRetried)?;
    let delay = match attempt.failure.delay_wanted() {
        _ if worker != WorkerVerdict::Keep => Duration::ZERO,
        Some(wanted) => wanted.min(LONGEST),
        None => delay,
    };
    if !retry.has_time(attempt.age.saturating_add(delay)) {
        return Err(Reason::TimeUsedUp);
    }
    if attempt.left.is_some_and(|left| left <= delay) {
        return Err(Reason::DeadlinePassed);
    }
    if attempt.is_broke {
        return Err(Reason::RetryBudgetSpent);
    }
    Ok(delay)
}

fn again(attempt: &Attempt<'_>, rules: &Rules, delay: Duration) -> EventVerdict {
    let aside = attempt.is_later || rules.retry.manner() != Manner::InPlace;
    if aside && !attempt.trouble.ends_the_life() {
        EventVerdict::StepAside(delay)
    } else if delay.is_zero() {
        EventVerdict::RetryNow
    } else {
        EventVerdict::RetryAfter(delay)
    }
}

impl<'a> Attempt<'a> {
    /// Describes a failed attempt; see the fields.
    #[must_use]
    pub const fn new(
        trouble: Trouble,
        failure: &'a Failure,
        number: u32,
        age: Duration,
        jitter: f64,
    ) -> Self {
        Self {
            trouble,
            failure,
            number,
            age,
            jitter,
            left: None,
            is_later: false,
            is_broke: false,
        }
    }

    /// Says what is left until the event's deadline.
    #[must_use]
    pub const fn left(mut self, left: Option<Duration>) -> Self {
        self.left = left;
        self
    }

    /// Says whether it was later work that failed.
    #[must_use]
    pub const fn later(mut self, is_later: bool) -> Self {
        self.is_later = is_later;
        self
    }

    /// Says whether the retry budget has nothing left for it.
    #[must_use]
    pub const fn broke(mut self, is_broke: bool) -> Self {
        self.is_broke = is_broke;
        self
    }
}

impl EventVerdict {
    /// Whether the event is to be tried again.
    pub(crate) fn is_retry(self) -> bool {
        matches!(
            self,
            Self::RetryNow | Self::RetryAfter(_) | Self::StepAside(_)
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker: {}, event: {}", self.worker, self.event)
    }
}

impl fmt::Display for WorkerVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Escalate => "escalate",
        })
    }
}

impl fmt::Display for EventVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledge => f.write_str("acknowledge"),
            Self::RetryNow => f.write_str("retry now"),
            Self::RetryAfter(delay) => write!(f, "retry after {delay:?}"),
            Self::StepAside(delay) => write!(f, "step aside for {delay:?}"),
            Self::DeadLetter => f.write_str("dead letter"),
            Self::Discard => f.write_str("discard"),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
