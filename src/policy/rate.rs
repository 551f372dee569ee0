//! How often events may be handled.
//!
//! A policy holds a [`RateLimit`]; hosts ask the [`Rate`] made from it before an attempt. It calls
//! `governor`, whose clock is the time it is asked with.
//!
//! Invariant: within any stretch of time no more go than the rate gives in it, and one burst.
//!
//! It delays and never drops: what may not go yet waits in its mailbox.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::policy::backoff::LONGEST;
use crate::policy::sharing::{GuardState, Sharing};

/// How often events may be handled; what comes faster waits in the mailbox, in its order.
///
/// Each attempt counts, retries too. It is a leaky bucket (GCRA): in any stretch of time there are
/// at most as many attempts as the rate allows in it, plus one burst. By default the burst is what
/// the rate allows in one period, so that a late timer loses no throughput; with
/// [`burst(1)`](Self::burst) attempts are spaced evenly.
///
/// ```
/// use std::time::Duration;
/// use callboard::RateLimit;
///
/// let gentle = RateLimit::per_second(20).burst(5);
/// let hourly = RateLimit::per(100, Duration::from_secs(3_600)).shared();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimit {
    events: u32,
    period: Duration,
    burst: Option<u32>,
    sharing: Sharing<Rate>,
}

impl RateLimit {
    /// Allows this many attempts a second.
    pub const fn per_second(events: u32) -> Self {
        Self::per(events, Duration::from_secs(1))
    }

    /// Allows this many attempts in each period of this length; at least 1, and a period from 1 ns
    /// per attempt to 365 days.
    pub const fn per(events: u32, period: Duration) -> Self {
        Self {
            events,
            period,
            burst: None,
            sharing: Sharing::none(),
        }
    }

    /// Sets how many attempts may follow each other without delay after a rest, at least 1; by
    /// default as many as are allowed in one period.
    pub fn burst(mut self, events: u32) -> Self {
        self.burst = Some(events);
        self.sharing.renew();
        self
    }

    /// Lets all subscriptions that inherit this limit, or a clone of it, share one rate; by default
    /// each has its own.
    ///
    /// Use it on one board only: two boards count their time from different moments.
    pub fn shared(mut self) -> Self {
        self.sharing.begin();
        self
    }

    /// The state for one subscription.
    pub(crate) fn state(&self) -> GuardState<Rate> {
        self.sharing.state(|| Rate::new(self))
    }

    /// Whether both say the same, and share with the same ones: what one has counted fits the
    /// other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let said = |one: &Self| (one.events, one.period, one.burst);
        said(self) == said(other) && self.sharing.is_like(&other.sharing)
    }

    /// Names the invalid settings, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let (events, period, burst) = (self.events, self.period, self.burst_max());
        let mut problems = Vec::new();
        if events == 0 || burst == 0 {
            problems.push("it allows no event at all".to_owned());
        } else if self.interval().is_zero() {
            problems.push(format!(
                "{events} in {period:?} is more than one per nanosecond"
            ));
        } else if period > LONGEST {
            problems.push(format!("the period of {period:?} is longer than 365 days"));
        } else if self.interval().saturating_mul(burst) > LONGEST {
            problems.push(format!(
                "a burst of {burst} takes longer than 365 days to come back"
            ));
        }
        let named = problems
            .iter()
            .map(|problem| format!("rate limit: {problem}"));
        named.collect()
    }

    fn burst_max(&self) -> u32 {
        self.burst.unwrap_or(self.events)
    }

    /// The time from one attempt to the next, at the full rate.
    fn interval(&self) -> Duration {
        self.period.checked_div(self.events).unwrap_or_default()
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.events, self.period)?;
        if let Some(burst) = self.burst {
            write!(f, ", at most {burst} at once")?;
        }
        f.write_str(if self.sharing.is_shared() {
            ", shared"
        } else {
            ""
        })
    }
}

/// When the next attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Now, and that is counted.
    Now,
    /// Not before this time since the board's start; nothing is counted.
    At(Duration),
}

/// How much of a limit is used up.
#[derive(Debug)]
pub(crate) struct Rate {
    limiter: RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Nanos>>,
}

impl Rate {
    /// What `problems` refuses is cut down to what can be computed.
    fn new(limit: &RateLimit) -> Self {
        let interval = limit.interval().clamp(Duration::from_nanos(1), LONGEST);
        let bursts_max = LONGEST.as_nanos() / interval.as_nanos();
        let burst_max = u32::try_from(bursts_max).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(limit.burst_max().min(burst_max)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval).map(|quota| quota.allow_burst(burst));
        let quota = quota.unwrap_or(Quota::per_second(burst));
        Self {
            limiter: RateLimiter::direct_with_clock(quota, Told::default()),
        }
    }

    /// Asks for one attempt now.
    pub(crate) fn admit(&mut self, now: Duration) -> Opening {
        self.limiter.clock().0.set(nanos(now));
        match self.limiter.check() {
            Ok(()) => Opening::Now,
            Err(refused) => Opening::At(refused.earliest_possible().into()),
        }
    }
}

/// The time, as told by whoever asks.
#[derive(Debug, Default)]
struct Told(Cell<u64>);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get().into()
    }
}

/// Half of what can be counted, 292 years: so that adding a delay to it never overflows.
const TIME_MAX: u64 = u64::MAX / 2;

fn nanos(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).map_or(TIME_MAX, |now| now.min(TIME_MAX))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn ask(limit: &RateLimit, times: &[u64]) -> Vec<Option<u128>> {
        let rate = limit.state();
        let asked = times
            .iter()
            .map(|at| rate.with(|rate| rate.admit(millis(*at))));
        let shown = asked.map(|opening| match opening {
            Opening::Now => None,
            Opening::At(then) => Some(then.as_millis()),
        });
        shown.collect()
    }

    #[test]
    fn what_comes_too_fast_is_told_when_to_come() {
        let evenly = RateLimit::per_second(10).burst(1);
        let now = None;
        assert_eq!(
            ask(&evenly, &[0, 0, 99, 100]),
            [now, Some(100), Some(100), now]
        );
        // What was not used up is not saved beyond the burst.
        assert_eq!(ask(&evenly, &[5_000, 5_000]), [now, Some(5_100)]);
        let burst = RateLimit::per(10, millis(1_000)).burst(3);
        assert_eq!(ask(&burst, &[0, 0, 0, 0]), [now, now, now, Some(100)]);
        assert_eq!(
            ask(&burst, &[0, 0, 0, 100, 100]),
            [now, now, now, now, Some(200)]
        );
        let whole = ask(&RateLimit::per_second(3), &[7; 4]);
        assert_eq!(whole[..3], [now; 3]);
        assert!(whole[3].is_some());
    }

    #[test]
    fn those_who_share_a_rate_use_it_up_together() {
        let (own, shared) = (RateLimit::per_second(1), RateLimit::per_second(1).shared());
        for (limit, second) in [(own, Opening::Now), (shared, Opening::At(millis(1_000)))] {
            let [a, b] = [(); 2].map(|()| limit.clone().state());
            assert_eq!(a.with(|rate| rate.admit(millis(0))), Opening::Now);
            assert_eq!(b.with(|rate| rate.admit(millis(0))), second);
            let changed = limit.burst(1).state();
            assert_eq!(changed.with(|rate| rate.admit(millis(0))), Opening::Now);
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named_and_harm_nobody() {
        let long = Duration::from_secs(366 * 24 * 60 * 60);
        for (limit, word) in [
            (RateLimit::per_second(0), "no event"),
            (RateLimit::per_second(5).burst(0), "no event"),
            (RateLimit::per(1, Duration::ZERO), "nanosecond"),
            (RateLimit::per(10, Duration::from_nanos(9)), "nanosecond"),
            (RateLimit::per(1, long), "365"),
            (RateLimit::per(1, Duration::MAX), "365"),
            (RateLimit::per(1, LONGEST).burst(2), "365"),
            (RateLimit::per(1, Duration::MAX).burst(u32::MAX), "365"),
        ] {
            let problems = limit.problems();
            let named = problems.len() == 1 && problems[0].starts_with("rate limit: ");
            assert!(named && problems[0].contains(word), "{problems:?}");
            let mut rate = Rate::new(&limit);
            for now in [
                Duration::ZERO,
                long,
                Duration::MAX,
                millis(1),
                Duration::MAX,
            ] {
                rate.admit(now);
            }
        }
        for limit in [
            RateLimit::per_second(u32::MAX / 5),
            RateLimit::per(1, LONGEST),
            RateLimit::per(u32::MAX, LONGEST),
            RateLimit::per(10, Duration::from_nanos(10)),
        ] {
            assert_eq!(limit.problems(), [""; 0]);
        }
    }

    #[test]
    fn a_clock_that_goes_back_lets_nobody_through_early() {
        let mut rate = Rate::new(&RateLimit::per_second(10).burst(1));
        assert_eq!(rate.admit(millis(500)), Opening::Now);
        assert_eq!(rate.admit(millis(0)), Opening::At(millis(600)));
        assert_eq!(rate.admit(millis(600)), Opening::Now);
    }

    proptest! {
        #[test]
        fn it_does_the_arithmetic_of_gcra(
            interval in 1u64..50,
            burst in 1u32..6,
            steps in vec(0u64..60, 0..80),
        ) {
            let limit = RateLimit::per(1, millis(interval)).burst(burst);
            let mut rate = Rate::new(&limit);
            let (mut now, mut due) = (0_u64, 0_u64);
            for step in steps {
                now += step;
                let earliest = due.saturating_sub(interval * u64::from(burst - 1));
                let expected = if now < earliest {
                    Opening::At(millis(earliest))
                } else {
                    due = due.max(now) + interval;
                    Opening::Now
                };
                prop_assert_eq!(rate.admit(millis(now)), expected);
            }
        }

        #[test]
        fn no_stretch_of_time_holds_more_than_its_share_and_one_burst(
            events in 1u32..20,
            burst in 1u32..6,
            steps in vec(0u64..200, 0..80),
        ) {
            let mut rate = Rate::new(&RateLimit::per_second(events).burst(burst));
            let (mut now, mut went) = (0, Vec::new());
            for step in steps {
                now += step;
                if rate.admit(millis(now)) == Opening::Now {
                    went.push(now);
                }
            }
            for (first, from) in went.iter().enumerate() {
                for (last, to) in went.iter().enumerate().skip(first) {
                    let share = (to - from) as f64 / 1_000.0 * f64::from(events);
                    prop_assert!((last - first + 1) as f64 <= share + f64::from(burst) + 1e-3);
                }
            }
        }
    }
}
