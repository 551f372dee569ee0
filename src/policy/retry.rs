//! Whether, and after how long, an event is tried again.
//!
//! A policy holds one; the verdict asks it. It calls the backoff, and the user's functions under
//! guard.
//!
//! Invariant: never more attempts than were set, whatever the user's functions say.
//!
//! It does not know what went wrong with the worker, and waits for nothing itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::defaults;
use crate::failure::Failure;
use crate::panic::{Frail, guard};
use crate::policy::backoff::{Backoff, Jitter, LONGEST};

type Delays = Arc<dyn Fn(u32) -> Option<Duration> + Send + Sync>;
type Condition = Arc<dyn Fn(&Failure) -> bool + Send + Sync>;

/// How often, after which delays, and in which order an event is tried again.
///
/// The default is 3 attempts in place, after 50 ms doubled each time to at most 5 s, with full
/// jitter. A failure can set its own delay: [`Failure::retry_after`].
///
/// While an event waits to be tried again:
///
/// | | what goes on meanwhile | order |
/// |---|---|---|
/// | [`in_place`](Self::in_place), the default | letters and timers; no other event | kept |
/// | [`deferred`](Self::deferred) | all other events | it leaves the order |
/// | [`parked`](Self::parked) | events with other keys | kept for each key |
///
/// After a crash an event comes back first in the new life, whichever of these is set.
///
/// ```
/// use std::time::Duration;
/// use callboard::{Jitter, Retry};
///
/// let retry = Retry::exponential(Duration::from_millis(50))
///     .at_most(Duration::from_secs(5))
///     .jitter(Jitter::Equal)
///     .attempts(4)
///     .when(|failure| failure.is::<std::io::Error>());
/// ```
#[derive(Clone)]
pub struct Retry {
    backoff: Backoff,
    delays: Option<Delays>,
    attempts: u32,
    within: Option<Duration>,
    condition: Option<Condition>,
    manner: Manner,
}

/// What an event does while it waits to be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    InPlace,
    Deferred,
    Parked,
}

impl Retry {
    /// Makes one attempt only.
    #[must_use]
    pub fn never() -> Self {
        Self::fixed(Duration::ZERO).attempts(1)
    }

    /// Waits this long before each further attempt, without jitter; 3 attempts.
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        Self::spaced(Backoff::fixed(delay))
    }

    /// Waits this long before the second attempt and twice as long each time, with full jitter and
    /// no bound but [`LONGEST`](crate::policy::LONGEST); 3 attempts.
    #[must_use]
    pub fn exponential(first: Duration) -> Self {
        Self::spaced(Backoff::exponential(first))
    }

    /// Waits as long as the function returns for the attempt that failed (1 is the first); `None`
    /// gives up. Without jitter; 3 attempts, so set [`attempts`](Self::attempts) to allow more.
    ///
    /// It is asked after a panic too, but then only a `None` matters: there is no delay. If it
    /// panics itself, that counts as `None`.
    #[must_use]
    pub fn with(delays: impl Fn(u32) -> Option<Duration> + Send + Sync + 'static) -> Self {
        let kept = Frail::new(delays);
        let delays = move |attempt: u32| kept(attempt);
        Self {
            delays: Some(Arc::new(delays)),
            ..Self::fixed(Duration::ZERO)
        }
    }

    /// Bounds the delay.
    #[must_use]
    pub fn at_most(mut self, delay: Duration) -> Self {
        self.backoff = self.backoff.at_most(delay);
        self
    }

    /// Sets how many attempts are made in all, the first included.
    ///
    /// An attempt that panics can cost a restart. So more attempts than the
    /// [`max_restarts`](crate::Supervisor::max_restarts) of the supervisor are refused when the
    /// tree is built, a child is added or a policy is changed, unless the service is
    /// [temporary](crate::Restart::Temporary). A subscription made while running is not checked.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Limits the time from the beginning of the first attempt to the beginning of the last; no
    /// limit by default.
    ///
    /// After a failure, no further attempt is made if its delay would end beyond this limit. Other
    /// waits (guards, suspension, restarts, other events) are not taken into account in advance.
    /// With an instance per key the time begins when the instance begins the event, however long
    /// the event has waited for it.
    #[must_use]
    pub fn within(mut self, total: Duration) -> Self {
        self.within = Some(total);
        self
    }

    /// Younger events of the service wait while an event waits to be tried again, so that order is
    /// kept. The default.
    #[must_use]
    pub fn in_place(mut self) -> Self {
        self.manner = Manner::InPlace;
        self
    }

    /// An event steps aside while it waits to be tried again: younger events go on.
    ///
    /// At most as many of a subscription step aside as its capacity; what fails beyond that waits
    /// in place.
    #[must_use]
    pub fn deferred(mut self) -> Self {
        self.manner = Manner::Deferred;
        self
    }

    /// An event steps aside while it waits to be tried again, and younger events with the same
    /// [key](crate::Event::key) wait behind it, in order; all others go on.
    ///
    /// Events without a key are [deferred](Self::deferred). At most as many of a subscription wait
    /// aside as its capacity; beyond that its service reads nothing more until one of them is done.
    #[must_use]
    pub fn parked(mut self) -> Self {
        self.manner = Manner::Parked;
        self
    }

    /// Sets the factor by which each delay grows, at least 1; has no effect on
    /// [`with`](Self::with).
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.backoff = self.backoff.factor(factor);
        self
    }

    /// Sets how delays are spread at random.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.backoff = self.backoff.jitter(jitter);
        self
    }

    /// Tries again only after failures for which the function returns `true`; after any other the
    /// failure policy applies at once. The function is not asked after a panic. If it panics
    /// itself, that counts as `false`.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        let condition = Frail::new(condition);
        self.condition = Some(Arc::new(move |failure: &Failure| condition(failure)));
        self
    }

    /// Returns how many attempts are made at most, the first included.
    pub(crate) fn attempts_max(&self) -> u32 {
        self.attempts
    }

    /// Returns what an event does while it waits to be tried again.
    pub(crate) fn manner(&self) -> Manner {
        self.manner
    }

    /// Whether it matters when the first attempt began.
    pub(crate) fn is_bounded(&self) -> bool {
        self.within.is_some()
    }

    /// Tells whether an attempt may begin this long after the first one did.
    pub(crate) fn has_time(&self, age: Duration) -> bool {
        self.within.is_none_or(|total| age <= total)
    }

    /// Tells whether this failure is one to try again after.
    pub(crate) fn helps(&self, failure: &Failure) -> bool {
        let asked = |condition: &Condition| guard(|| condition(failure)).unwrap_or(false);
        !failure.is_permanent() && self.condition.as_ref().is_none_or(asked)
    }

    /// Returns how long to wait after this attempt (1 is the first); `None` is giving up.
    pub(crate) fn delay(&self, attempt: u32, jitter: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        match &self.delays {
            None => Some(self.backoff.delay(attempt, jitter)),
            Some(delays) => {
                let base = guard(|| delays(attempt)).ok().flatten()?;
                Some(self.backoff.shaped(base, jitter))
            }
        }
    }

    /// Names the invalid settings, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.backoff.problems();
        if self.attempts == 0 {
            problems.push("attempts is 0, but the first attempt counts as one".to_owned());
        }
        if let Some(total) = self.within.filter(|total| *total > LONGEST) {
            problems.push(format!("within {total:?} is longer than 365 days"));
        }
        problems
            .iter()
            .map(|problem| format!("retry: {problem}"))
            .collect()
    }

    fn spaced(backoff: Backoff) -> Self {
        Self {
            backoff,
            delays: None,
            attempts: defaults::ATTEMPTS,
            within: None,
            condition: None,
            manner: Manner::InPlace,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::exponential(defaults::BACKOFF_FIRST).at_most(defaults::BACKOFF_MAX)
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Retry");
        shown
            .field("attempts", &self.attempts)
            .field("manner", &self.manner)
            .field("within", &self.within)
            .field("backoff", &self.backoff);
        for (name, set) in [
            ("with", self.delays.is_some()),
            ("when", self.condition.is_some()),
        ] {
            if set {
                shown.field(name, &format_args!("(a function)"));
            }
        }
        shown.finish()
    }
}

/// In words: `3 attempts in place, after 50ms, times 2, at most 5s, full jitter`.
impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts <= 1 {
            return f.write_str("one attempt");
        }
        let manner = match self.manner {
            Manner::InPlace => "in place",
            Manner::Deferred => "deferred",
            Manner::Parked => "parked by key",
        };
        write!(f, "{} attempts {manner}, ", self.attempts)?;
        match self.delays {
            Some(_) => write!(f, "after what a function says")?,
            None => write!(f, "after {}", self.backoff)?,
        }
        if let Some(total) = self.within {
            write!(f, ", within {total:?}")?;
        }
        match self.condition {
            Some(_) => f.write_str(", if a function says so"),
            None => Ok(()),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn delays(retry: &Retry) -> Vec<u128> {
        let delays = (1..20).map_while(|attempt| retry.delay(attempt, 0.5));
        delays.map(|delay| delay.as_millis()).collect()
    }

    #[test]
    fn each_kind_has_its_delays() {
        assert_eq!(delays(&Retry::default()), [25, 50]);
        assert_eq!(delays(&Retry::never()), [0; 0]);
        assert_eq!(delays(&Retry::fixed(millis(70)).attempts(4)), [70, 70, 70]);
        let exponential = Retry::exponential(millis(100))
            .jitter(Jitter::None)
            .attempts(4);
        assert_eq!(delays(&exponential), [100, 200, 400]);
        assert_eq!(delays(&exponential.clone().factor(1.5)), [100, 150, 225]);
        assert_eq!(delays(&exponential.at_most(millis(150))), [100, 150, 150]);
        assert_eq!(delays(&Retry::exponential(millis(100)).attempts(0)), [0; 0]);
    }

    #[test]
    fn a_function_of_the_user_may_only_give_up_sooner() {
        let steps = |attempt| (attempt < 4).then(|| millis(u64::from(attempt) * 10));
        assert_eq!(delays(&Retry::with(steps)), [10, 20]);
        assert_eq!(delays(&Retry::with(steps).attempts(9)), [10, 20, 30]);
        assert_eq!(
            delays(&Retry::with(steps).attempts(9).at_most(millis(15))),
            [10, 15, 15]
        );
        assert_eq!(
            delays(&Retry::with(steps).attempts(9).jitter(Jitter::Full)),
            [5, 10, 15]
        );
        assert_eq!(delays(&Retry::with(|_| panic!("boom"))), [0; 0]);
    }

    #[test]
    fn a_condition_is_asked_unless_the_failure_is_permanent() {
        let picky = Retry::default().when(|failure| failure.to_string() == "again");
        assert!(picky.helps(&Failure::new("again")) && !picky.helps(&Failure::new("no")));
        assert!(!picky.helps(&Failure::permanent("again")));
        assert!(
            !Retry::default()
                .when(|_| panic!("boom"))
                .helps(&Failure::new("again"))
        );
    }

    #[test]
    fn problems_and_functions_are_shown() {
        assert!(Retry::default().problems().is_empty() && Retry::never().problems().is_empty());
        let problems = Retry::exponential(millis(9))
            .at_most(millis(1))
            .attempts(0)
            .problems();
        assert_eq!(problems.len(), 2);
        assert!(
            problems
                .iter()
                .all(|problem| problem.starts_with("retry: "))
        );
        let shown = format!("{:?}", Retry::with(|_| None).attempts(2));
        assert!(
            shown.starts_with("Retry { attempts: 2") && shown.ends_with("with: (a function) }")
        );
    }
}
