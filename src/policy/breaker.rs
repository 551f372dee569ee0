//! When to stop trying, for the other side's sake.
//!
//! A policy holds a [`Breaker`]; what is made from it is a [`Circuit`], asked by hosts. It calls
//! the user's condition, under guard.
//!
//! Invariant: what it says counts is a function of the failure.
//!
//! It counts nothing itself: the circuit does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::defaults;
use crate::failure::Failure;
use crate::panic::{Frail, guard};
use crate::policy::backoff::LONGEST;
use crate::policy::circuit::Circuit;
use crate::policy::sharing::{GuardState, Sharing};
use crate::policy::verdict::Trouble;

type Condition = Arc<dyn Fn(&Failure) -> bool + Send + Sync>;

/// Stops handling for a while when too many attempts fail, so that what they call can recover.
///
/// It is *closed* at first: all attempts pass and are counted. Once there were enough attempts
/// within the window and too large a share of them failed, it *opens*: no attempt passes. After a
/// while it is *half open*: a few attempts pass as probes. If all of them succeed, it closes and
/// counts afresh; if one fails, it opens again.
///
/// [Permanent](Failure::is_permanent) failures are not counted at all, because they are due to the
/// event; panics, timeouts and kills always count as failures.
///
/// ```
/// use callboard::{Breaker, secs};
///
/// let breaker = Breaker::new()
///     .failure_rate(0.5)
///     .window(secs(10))
///     .at_least(20)
///     .open_for(secs(5))
///     .probes(1)
///     .when(|failure| failure.is::<std::io::Error>());
/// ```
#[derive(Clone)]
#[must_use]
pub struct Breaker {
    pub(super) failure_rate: f64,
    pub(super) window: Duration,
    pub(super) at_least: u32,
    pub(super) open_for: Duration,
    pub(super) probes: u32,
    pub(super) while_open: WhileOpen,
    condition: Option<Condition>,
    sharing: Sharing<Circuit>,
}

/// What becomes of the events that come to an open breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhileOpen {
    Wait,
    DeadLetter,
}

/// Whether a [`Breaker`] lets attempts through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BreakerState {
    /// All attempts pass.
    Closed,
    /// No attempt passes.
    Open,
    /// A few attempts pass as probes.
    HalfOpen,
}

impl Breaker {
    /// Opens when half of at least 20 attempts within 10 s have failed, for 5 s, and closes after
    /// one that succeeds.
    pub const fn new() -> Self {
        Self {
            failure_rate: defaults::BREAKER_FAILURE_RATE,
            window: defaults::BREAKER_WINDOW,
            at_least: defaults::BREAKER_CALLS,
            open_for: defaults::BREAKER_OPEN,
            probes: defaults::BREAKER_PROBES,
            while_open: WhileOpen::Wait,
            condition: None,
            sharing: Sharing::none(),
        }
    }

    /// Sets the share of attempts that must have failed for it to open: more than 0, at most 1;
    /// by default 0.5 ([`defaults::BREAKER_FAILURE_RATE`]).
    pub fn failure_rate(mut self, part: f64) -> Self {
        self.failure_rate = part;
        self.changed()
    }

    /// Sets over which time attempts are counted, at most 365 days; by default 10 s
    /// ([`defaults::BREAKER_WINDOW`]). They are forgotten a tenth of it at a time.
    pub fn window(mut self, length: Duration) -> Self {
        self.window = length;
        self.changed()
    }

    /// Sets how many attempts it must have counted before it may open, at least 1; by default 20
    /// ([`defaults::BREAKER_CALLS`]).
    pub fn at_least(mut self, attempts: u32) -> Self {
        self.at_least = attempts;
        self.changed()
    }

    /// Sets how long it stays open before it lets probes through, at most 365 days; by default 5 s
    /// ([`defaults::BREAKER_OPEN`]). A probe that takes longer than this is not waited for: another
    /// one is let through.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self.changed()
    }

    /// Sets how many probes must succeed before it closes, at least 1; by default 1
    /// ([`defaults::BREAKER_PROBES`]).
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self.changed()
    }

    /// Events wait in the mailbox while it is open. The default.
    pub fn waits(mut self) -> Self {
        self.while_open = WhileOpen::Wait;
        self.changed()
    }

    /// Events that come up while it is open become dead letters at once, without an attempt.
    pub fn dead_letters(mut self) -> Self {
        self.while_open = WhileOpen::DeadLetter;
        self.changed()
    }

    /// Counts a failure, permanent or not, only if the function returns `true`; the others count
    /// neither as failures nor as successes. The function is not asked after a panic, a timeout or
    /// a kill. If it panics itself, the failure counts.
    pub fn when(mut self, condition: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        let condition = Frail::new(condition);
        self.condition = Some(Arc::new(move |failure: &Failure| condition(failure)));
        self.changed()
    }

    /// Lets all subscriptions that inherit this breaker, or a clone of it, share one; by default
    /// each has its own.
    ///
    /// Use it on one board only: two boards count their time from different moments.
    pub fn shared(mut self) -> Self {
        self.sharing.begin();
        self
    }

    /// The state for one subscription.
    pub(crate) fn state(&self) -> GuardState<Circuit> {
        self.sharing.state(|| Circuit::new(self))
    }

    /// Whether both say the same, with the same function, and share with the same ones: what one
    /// has counted fits the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let said = |one: &Self| {
            let times = (one.window, one.open_for);
            (
                one.failure_rate.to_bits(),
                times,
                one.at_least,
                one.probes,
                one.while_open,
            )
        };
        let condition = match (&self.condition, &other.condition) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        condition && said(self) == said(other) && self.sharing.is_like(&other.sharing)
    }

    /// Tells whether a failure counts. User code runs here, and no state is held meanwhile.
    pub(crate) fn counts(&self, trouble: Trouble, failure: &Failure) -> bool {
        match &self.condition {
            _ if trouble != Trouble::Failed => true,
            None => !failure.is_permanent(),
            Some(condition) => guard(|| condition(failure)).unwrap_or(true),
        }
    }

    /// Names the invalid settings, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let part = self.failure_rate;
        if part.is_nan() || part <= 0.0 || part > 1.0 {
            problems.push(format!(
                "the failure rate {part} is not above 0 and at most 1"
            ));
        }
        for (name, time) in [
            ("window", self.window),
            ("time it stays open", self.open_for),
        ] {
            if time.is_zero() {
                problems.push(format!("the {name} is zero"));
            } else if time > LONGEST {
                problems.push(format!("the {name} of {time:?} is longer than 365 days"));
            }
        }
        if self.at_least == 0 {
            problems.push("at_least is 0, but it cannot judge without an attempt".to_owned());
        }
        if self.probes == 0 {
            problems.push("probes is 0, so it could never close".to_owned());
        }
        let named = problems.iter().map(|problem| format!("breaker: {problem}"));
        named.collect()
    }

    fn changed(mut self) -> Self {
        self.sharing.renew();
        self
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Breaker");
        shown
            .field("failure_rate", &self.failure_rate)
            .field("window", &self.window)
            .field("at_least", &self.at_least)
            .field("open_for", &self.open_for)
            .field("probes", &self.probes)
            .field("while_open", &self.while_open);
        if self.condition.is_some() {
            shown.field("when", &format_args!("(a function)"));
        }
        shown.field("shared", &self.sharing.is_shared()).finish()
    }
}

impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            failure_rate,
            window,
            at_least,
            open_for,
            probes,
            ..
        } = self;
        write!(
            f,
            "opens for {open_for:?} when {failure_rate} of at least {at_least} "
        )?;
        write!(f, "have failed within {window:?}")?;
        if self.condition.is_some() {
            f.write_str(" in a way that a function counts")?;
        }
        match self.while_open {
            WhileOpen::Wait => write!(f, ", closes after {probes}; meanwhile events wait")?,
            WhileOpen::DeadLetter => write!(f, ", closes after {probes}; meanwhile dead letters")?,
        }
        f.write_str(if self.sharing.is_shared() {
            "; shared"
        } else {
            ""
        })
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half open",
        })
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use Trouble::{Crashed, Failed, Killed, TimedOut};

    #[test]
    fn what_counts_depends_on_the_failure() {
        let (again, never) = (Failure::new("again"), Failure::permanent("never"));
        let picky = Breaker::new().when(|failure| failure.to_string() == "never");
        let broken = Breaker::new().when(|_| panic!("boom"));
        for (breaker, expected) in [
            (Breaker::new(), [true, false]),
            (picky, [false, true]),
            (broken, [true, true]),
        ] {
            let found = [&again, &never].map(|failure| breaker.counts(Failed, failure));
            assert_eq!(found, expected, "{breaker:?}");
            for trouble in [TimedOut, Crashed, Killed] {
                assert!(breaker.counts(trouble, &again) && breaker.counts(trouble, &never));
            }
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named() {
        let good = Breaker::new();
        for breaker in [
            good.clone(),
            good.clone()
                .failure_rate(1.0)
                .at_least(1)
                .window(LONGEST)
                .open_for(LONGEST),
        ] {
            assert_eq!(breaker.problems(), [""; 0]);
        }
        for (breaker, word) in [
            (good.clone().failure_rate(0.0), "rate"),
            (good.clone().failure_rate(1.1), "rate"),
            (good.clone().failure_rate(f64::NAN), "rate"),
            (good.clone().window(Duration::ZERO), "window is zero"),
            (good.clone().window(Duration::MAX), "365"),
            (good.clone().open_for(Duration::ZERO), "stays open is zero"),
            (good.clone().open_for(Duration::MAX), "365"),
            (good.clone().at_least(0), "at_least"),
            (good.clone().probes(0), "probes"),
        ] {
            let problems = breaker.problems();
            let named = problems.len() == 1 && problems[0].starts_with("breaker: ");
            assert!(named && problems[0].contains(word), "{problems:?}");
        }
    }

    #[test]
    fn breakers_and_their_states_are_shown() {
        let shown = format!("{:?}", Breaker::new().when(|_| true).shared());
        assert!(
            shown.ends_with("while_open: Wait, when: (a function), shared: true }"),
            "{shown}"
        );
        let states = [
            BreakerState::Closed,
            BreakerState::Open,
            BreakerState::HalfOpen,
        ];
        assert_eq!(
            states.map(|state| state.to_string()),
            ["closed", "open", "half open"]
        );
    }
}
