//! How long something takes in the long run.
//!
//! Contenders hand it one burst of work. It warms up, repeats the burst until enough time has
//! passed, and divides.
//!
//! Invariant: time is read between bursts only, and every burst that was begun is counted whole.
//!
//! It does not know whether the work was done: that is the tally's business.

use std::time::{Duration, Instant};

use crate::sample::Sample;

/// For how long to warm up, and then to measure.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub warm: Duration,
    pub steady: Duration,
}

impl Clock {
    /// The time per operation of bursts of so many.
    pub fn bursts(self, operations: u64, mut once: impl FnMut()) -> Sample {
        let mut meter = Meter::new(self);
        while meter.again() {
            once();
        }
        meter.per(operations)
    }

    /// As [`Clock::bursts`], for bursts that wait.
    pub async fn bursts_async(self, operations: u64, mut once: impl AsyncFnMut()) -> Sample {
        let mut meter = Meter::new(self);
        while meter.again() {
            once().await;
        }
        meter.per(operations)
    }

    /// As [`Clock::bursts`], where the burst says which part of it counts, as what is torn down in
    /// between does not.
    pub fn timed(self, operations: u64, mut once: impl FnMut() -> Duration) -> Sample {
        let (mut spent, mut bursts) = (Duration::ZERO, 0);
        once();
        while spent < self.steady {
            spent += once();
            bursts += 1;
        }
        per(spent, bursts * operations)
    }

    /// As [`Clock::timed`], for bursts that wait.
    pub async fn timed_async(
        self,
        operations: u64,
        mut once: impl AsyncFnMut() -> Duration,
    ) -> Sample {
        let (mut spent, mut bursts) = (Duration::ZERO, 0);
        once().await;
        while spent < self.steady {
            spent += once().await;
            bursts += 1;
        }
        per(spent, bursts * operations)
    }
}

struct Meter {
    clock: Clock,
    since: Instant,
    warming: bool,
    bursts: u64,
}

impl Meter {
    fn new(clock: Clock) -> Self {
        Meter {
            clock,
            since: Instant::now(),
            warming: true,
            bursts: 0,
        }
    }

    /// Whether there is to be another burst.
    fn again(&mut self) -> bool {
        let elapsed = self.since.elapsed();
        if self.warming && self.bursts > 0 && elapsed >= self.clock.warm {
            (self.since, self.warming, self.bursts) = (Instant::now(), false, 0);
        } else if !self.warming && elapsed >= self.clock.steady {
            return false;
        }
        self.bursts += 1;
        true
    }

    /// Asked right after the last burst; `again` has counted only those that were begun.
    fn per(self, operations: u64) -> Sample {
        per(self.since.elapsed(), self.bursts * operations)
    }
}

fn per(spent: Duration, operations: u64) -> Sample {
    let nanoseconds = spent.as_nanos() as f64;
    Sample::Number(nanoseconds / operations as f64, String::new())
}
