//! How much a service may do before its neighbours have a turn.
//!
//! The host begins a turn; deliveries ask before each event.
//!
//! Invariant: a turn ends after 64 deliveries, or at the first look at the clock that finds
//! 1 ms gone. Looks are as far apart as the last deliveries were fast, so that fast ones do not
//! pay for a look each and slow ones overstay by about one delivery.
//!
//! It cannot interrupt a handler that never waits.

use tokio::time::Instant;

use crate::clock::Clock;
use crate::defaults::{BATCH_DELIVERIES, BATCH_TIME};

/// A look at the clock takes about 25 ns: one in 32 deliveries is below 1 ns each.
const STRIDE_MAX: u32 = 32;

#[derive(Debug)]
pub(crate) struct Pace {
    /// Deliveries until the next look at the clock, and after it: one count for the usual case.
    stretch: u32,
    left: u32,
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
            stride: 1,
            began: now,
            last: now,
        }
    }

    /// Begins a turn.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.left = BATCH_DELIVERIES as u32;
        self.began = now;
        self.last = now;
        self.stretch = 0;
        self.lengthen();
    }

    /// Whether the turn is over.
    pub(crate) fn is_spent(&self) -> bool {
        self.stretch == 0 && self.left == 0
    }

    /// Counts one delivery. False if the turn is over.
    #[inline]
    pub(crate) fn step(&mut self, clock: &Clock) -> bool {
        if self.stretch == 0 && !self.go_on(clock) {
            return false;
        }
        self.stretch -= 1;
        true
    }

    /// Looks at the clock, if there is anything left of the turn.
    #[cold]
    fn go_on(&mut self, clock: &Clock) -> bool {
        if self.left > 0 {
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
        if now.saturating_duration_since(self.began) >= BATCH_TIME {
            self.left = 0;
        }
    }
}
