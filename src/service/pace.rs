//! How much a service may do before its neighbours have a turn.
//!
//! The host begins a turn; deliveries ask before each event.
//!
//! Invariant: a turn ends after 64 deliveries, or after up to 256 if they are so fast that its
//! neighbours hardly notice, or at the first look at the clock that finds 1 ms gone. Looks are as
//! far apart as the last deliveries were fast, so that fast ones do not pay for a look each and
//! slow ones overstay by about one delivery; where fast ones become slow, by up to 64.
//!
//! It cannot interrupt a handler that never waits.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::defaults::{BATCH_BRIEF, BATCH_DELIVERIES, BATCH_DELIVERIES_MAX, BATCH_TIME};

/// A look at the clock takes about 25 ns: one in 64 deliveries is below 0.5 ns each.
const STRIDE_MAX: u32 = BATCH_DELIVERIES as u32;

#[derive(Debug)]
pub(crate) struct Pace {
    /// Deliveries until the next look at the clock, and after it: one count for the usual case.
    stretch: u32,
    left: u32,
    /// Deliveries that may follow those, as long as the turn stays brief.
    more: u32,
    /// Deliveries between two looks at the clock.
    stride: u32,
    began: Instant,
    last: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Pace {
            stretch: 0,
            left: 0,
            more: 0,
            stride: 1,
            began: now,
            last: now,
        }
    }

    /// Begins a turn.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.left = BATCH_DELIVERIES as u32;
        self.more = (BATCH_DELIVERIES_MAX - BATCH_DELIVERIES) as u32;
        self.began = now;
        self.last = now;
        self.lengthen();
    }

    /// Whether the turn is over.
    #[inline]
    pub(crate) fn is_spent(&mut self, clock: &Clock) -> bool {
        self.stretch == 0 && !self.go_on(clock)
    }

    /// Counts one delivery. False if the turn is over.
    #[inline]
    pub(crate) fn step(&mut self, clock: &Clock) -> bool {
        if self.is_spent(clock) {
            return false;
        }
        self.stretch -= 1;
        true
    }

    /// How many of these may be delivered before the next look at the clock; none if the turn is
    /// over. [`Pace::count`] follows.
    #[inline]
    pub(crate) fn allow(&mut self, all: Range<u64>, clock: &Clock) -> Range<u64> {
        let stretch = if self.is_spent(clock) {
            0
        } else {
            self.stretch
        };
        all.start..all.end.min(all.start + u64::from(stretch))
    }

    /// Counts so many deliveries, which were allowed.
    pub(crate) fn count(&mut self, deliveries: u32) {
        self.stretch = self.stretch.saturating_sub(deliveries);
    }

    /// Looks at the clock, if there is anything left of the turn.
    #[cold]
    fn go_on(&mut self, clock: &Clock) -> bool {
        if self.left > 0 || self.more > 0 {
            self.look(clock.now());
        }
        self.lengthen();
        self.stretch > 0
    }

    fn lengthen(&mut self) {
        self.stretch = self.stride.min(self.left);
        self.left -= self.stretch;
    }

    fn look(&mut self, now: Instant) {
        let lap = now.saturating_duration_since(self.last);
        self.last = now;
        self.stride = match lap {
            lap if lap > BATCH_TIME => 1,
            lap if lap > BATCH_TIME / 4 => (self.stride / 2).max(1),
            _ => (self.stride * 2).min(STRIDE_MAX),
        };
        let gone = now.saturating_duration_since(self.began);
        if gone >= BATCH_TIME {
            (self.left, self.more) = (0, 0);
        } else if self.left == 0 {
            self.prolong(gone + lap);
        }
    }

    /// All that every turn has is used up: it goes on if it is still brief then, when what follows
    /// takes as long as what was done last.
    fn prolong(&mut self, then: Duration) {
        if then >= BATCH_BRIEF {
            self.more = 0;
        }
        self.left = self.more.min(BATCH_DELIVERIES as u32);
        self.more -= self.left;
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use tokio::runtime::Handle;
    use tokio::time::advance;

    use super::*;

    /// How many deliveries a turn has, each of which takes so many nanoseconds, as those before.
    async fn length_of_turn(each: u64) -> usize {
        let clock = Clock::new(Handle::current());
        let mut pace = Pace::new(clock.now());
        let mut deliveries = 0;
        for _ in 0..2 {
            pace.begin(clock.now());
            deliveries = 0;
            while pace.step(&clock) {
                deliveries += 1;
                advance(Duration::from_nanos(each)).await;
            }
        }
        deliveries
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_goes_on_as_long_as_it_is_likely_to_stay_brief() {
        let lengths = [
            length_of_turn(5).await,
            length_of_turn(15).await,
            length_of_turn(20).await,
        ];
        assert_eq!(lengths, [256, 128, 64]);
    }
}
