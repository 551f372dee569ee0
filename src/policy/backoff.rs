//! How long to wait before trying again.
//!
//! Retries and supervisors ask it; it calls nothing.
//!
//! Invariant: a delay is a function of its arguments, never panics, and never exceeds the bound
//! that was set, nor [`LONGEST`].
//!
//! It draws no random number and counts no attempt: both are passed in.

use std::fmt;
use std::time::Duration;

/// The longest delay there is: 365 days. What is set or computed beyond it is cut off.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A series of delays that grows by a factor, up to a bound, and is spread at random.
///
/// `base = min(at_most, first * factor^(attempt - 1))`, then by [`Jitter`]:
///
/// | jitter | delay |
/// |---|---|
/// | `None` | `base` |
/// | `Equal` | `base / 2 + base / 2 * jitter` |
/// | `Full` | `base * jitter` |
///
/// ```
/// use std::time::Duration;
/// use callboard::{Backoff, Jitter};
///
/// let backoff = Backoff::exponential(Duration::from_millis(50)).jitter(Jitter::None);
/// assert_eq!(backoff.delay(3, 0.0), Duration::from_millis(200));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    factor: f64,
    at_most: Option<Duration>,
    jitter: Jitter,
}

/// How delays are spread at random, so that what failed together is not retried together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all.
    None,
    /// Over the upper half of the delay.
    Equal,
    /// From nothing to the whole delay.
    #[default]
    Full,
}

impl Backoff {
    /// Starts with this delay and doubles it each time, with [`Jitter::Full`], up to [`LONGEST`].
    #[must_use]
    pub const fn exponential(first: Duration) -> Self {
        Self {
            first,
            factor: 2.0,
            at_most: None,
            jitter: Jitter::Full,
        }
    }

    /// Always this delay, without jitter.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self {
            first: delay,
            factor: 1.0,
            at_most: None,
            jitter: Jitter::None,
        }
    }

    /// Bounds the delay.
    #[must_use]
    pub const fn at_most(mut self, delay: Duration) -> Self {
        self.at_most = Some(delay);
        self
    }

    /// Sets the factor by which each delay grows, at least 1.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets how delays are spread at random.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Computes the delay after this attempt (1 is the first) with this throw of the dice, at
    /// least 0 and less than 1.
    ///
    /// Every argument gives a delay: attempt 0 counts as 1, a throw outside its range as the
    /// nearest in it, and a throw that is no number as 0; so does an impossible factor as 1.
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let steps = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let factor = if self.factor >= 1.0 { self.factor } else { 1.0 };
        self.shaped(scaled(self.first, factor.powi(steps)), jitter)
    }

    /// Bounds and spreads a delay that comes from elsewhere, as [`delay`](Self::delay) does.
    pub(crate) fn shaped(&self, base: Duration, jitter: f64) -> Duration {
        let base = base.min(self.at_most.unwrap_or(LONGEST)).min(LONGEST);
        let jitter = if jitter.is_nan() {
            0.0
        } else {
            jitter.clamp(0.0, 1.0)
        };
        match self.jitter {
            Jitter::None => base,
            Jitter::Equal => base / 2 + scaled(base / 2, jitter),
            Jitter::Full => scaled(base, jitter),
        }
    }

    /// Names the invalid settings, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let (first, longest) = (self.first, "longer than 365 days");
        let mut problems = Vec::new();
        if first > LONGEST {
            problems.push(format!("the delay of {first:?} is {longest}"));
        }
        if let Some(most) = self.at_most.filter(|most| *most > LONGEST) {
            problems.push(format!("at_most of {most:?} is {longest}"));
        }
        if let Some(most) = self.at_most.filter(|most| *most < first) {
            problems.push(format!(
                "at_most of {most:?} is shorter than the first delay, {first:?}"
            ));
        }
        if !self.factor.is_finite() || self.factor < 1.0 {
            problems.push(format!(
                "the factor {} is not a number of at least 1",
                self.factor
            ));
        }
        problems
    }
}

/// In words: `50ms, times 2, at most 5s, full jitter`.
impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.first)?;
        if self.factor > 1.0 {
            write!(f, ", times {}", self.factor)?;
        }
        if let Some(most) = self.at_most {
            write!(f, ", at most {most:?}")?;
        }
        f.write_str(match self.jitter {
            Jitter::None => "",
            Jitter::Equal => ", equal jitter",
            Jitter::Full => ", full jitter",
        })
    }
}

fn scaled(delay: Duration, factor: f64) -> Duration {
    // Left out: nothing times infinity, and the rounding of a factor that changes nothing.
    if delay.is_zero() || factor == 1.0 {
        return delay;
    }
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(LONGEST)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use backon::{BackoffBuilder, ExponentialBuilder};
    use proptest::prelude::*;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn delays_are_those_of_backon() {
        let firsts = [1, 50, 333, 1_000].map(millis);
        let bounds = [1_000, 5_000, 60_000, 86_400_000].map(millis);
        for (first, most) in firsts.into_iter().flat_map(|a| bounds.map(|b| (a, b))) {
            let ours = Backoff::exponential(first)
                .at_most(most)
                .jitter(Jitter::None);
            let theirs = ExponentialBuilder::new()
                .with_factor(2.0)
                .with_min_delay(first)
                .with_max_delay(most)
                .with_max_times(20)
                .build();
            for (attempt, expected) in (1..).zip(theirs) {
                let delay = ours.delay(attempt, 0.5);
                // Theirs is computed with 24 bits, ours with 53.
                let error = delay.abs_diff(expected).as_secs_f64();
                assert!(
                    error <= expected.as_secs_f64() * 1e-6,
                    "{delay:?} for {expected:?}"
                );
            }
            assert_eq!(ours.delay(1, 0.5), first);
        }
    }

    #[test]
    fn delays_follow_the_formula() {
        let base = Backoff::exponential(millis(100)).at_most(millis(400));
        let table = [
            (base, 1, 0.0, 0),
            (base, 1, 0.5, 50),
            (base, 2, 0.5, 100),
            (base, 9, 0.5, 200),
            (base.jitter(Jitter::Equal), 2, 0.0, 100),
            (base.jitter(Jitter::Equal), 2, 0.5, 150),
            (base.jitter(Jitter::None), 2, 0.5, 200),
            (base.jitter(Jitter::None), 9, 0.5, 400),
            (base.jitter(Jitter::None).factor(3.0), 2, 0.5, 300),
            (Backoff::fixed(millis(70)), 9, 0.5, 70),
            (base.jitter(Jitter::None), 0, 0.5, 100),
            (base.jitter(Jitter::None), u32::MAX, 0.5, 400),
            (base, 1, f64::NAN, 0),
            (base, 1, -1.0, 0),
            (base, 1, 7.0, 100),
        ];
        for (backoff, attempt, jitter, expected) in table {
            assert_eq!(
                backoff.delay(attempt, jitter),
                millis(expected),
                "{backoff:?} {attempt}"
            );
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named() {
        let good = Backoff::exponential(millis(50));
        assert!(good.at_most(millis(50)).problems().is_empty());
        for (backoff, word) in [
            (good.at_most(millis(49)), "shorter"),
            (good.at_most(Duration::MAX), "365"),
            (good.factor(0.9), "factor"),
            (good.factor(f64::NAN), "factor"),
            (good.factor(f64::INFINITY), "factor"),
            (Backoff::fixed(Duration::MAX), "365"),
        ] {
            let problems = backoff.problems();
            assert!(
                problems.len() == 1 && problems[0].contains(word),
                "{problems:?}"
            );
        }
    }

    fn jitters() -> impl Strategy<Value = Jitter> {
        prop_oneof![Just(Jitter::None), Just(Jitter::Equal), Just(Jitter::Full)]
    }

    proptest! {
        #[test]
        fn any_input_gives_a_delay_within_its_bounds(
            first in any::<Duration>(),
            most in proptest::option::of(any::<Duration>()),
            factor in any::<f64>(),
            jitter in jitters(),
            attempt in any::<u32>(),
            throw in any::<f64>(),
        ) {
            let mut backoff = Backoff::exponential(first).factor(factor).jitter(jitter);
            backoff.at_most = most;
            let delay = backoff.delay(attempt, throw);
            prop_assert!(delay <= most.unwrap_or(LONGEST).min(LONGEST));
            let base = backoff.jitter(Jitter::None).delay(attempt, throw);
            prop_assert!(delay <= base);
            if jitter == Jitter::Equal {
                prop_assert!(delay >= base / 2);
            }
        }

        #[test]
        fn a_later_attempt_never_waits_less(
            first in 0..10_000_u64,
            factor in 1.0..10.0_f64,
            attempt in 1..100_u32,
            throw in 0.0..1.0_f64,
            jitter in jitters(),
        ) {
            let backoff = Backoff::exponential(millis(first)).factor(factor).jitter(jitter);
            prop_assert!(backoff.delay(attempt, throw) <= backoff.delay(attempt + 1, throw));
        }
    }
}
