//! How much a service may do before its neighbours have a turn.
//!
//! The host begins a turn; deliveries ask before each event.
//!
//! Invariant: a turn ends after 128 deliveries, or at the first look at the clock that finds
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
    left: usize,
    began: Instant,
    last: Instant,
    /// Deliveries between two looks at the clock, and until the next.
    stride: u32,
    until_look: u32,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Pace {
            left: 0,
            began: now,
            last: now,
            stride: 1,
            until_look: 1,
        }
    }

    /// Begins a turn.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.left = BATCH_DELIVERIES;
        self.until_look = self.stride;
        self.began = now;
        self.last = now;
    }

    /// Whether the turn is over.
    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Counts one delivery. False if the turn is over.
    pub(crate) fn step(&mut self, clock: &Clock) -> bool {
        if self.until_look == 0 {
            self.look(clock.now());
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.until_look -= 1;
        true
    }

    fn look(&mut self, now: Instant) {
        let lap = now.saturating_duration_since(self.last);
        self.last = now;
        self.stride = match lap {
            lap if lap > BATCH_TIME => 1,
            lap if lap > BATCH_TIME / 4 => (self.stride / 2).max(1),
            _ => (self.stride * 2).min(STRIDE_MAX),
        };
        self.until_look = self.stride;
        if now.saturating_duration_since(self.began) >= BATCH_TIME {
            self.left = 0;
        }
    }
}
