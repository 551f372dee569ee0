//! What may be read of the guards of one subscription while it works.
//!
//! Guards write it; the wall keeps it, for `inspect` and for those who wait until all is settled.
//!
//! Invariant: reading asks no service, and no lock is held while another one is taken.
//!
//! It decides nothing.

use std::time::Duration;

use serde::Serialize;

use crate::policy::{BreakerState, Circuit, GuardState, Purse};
use crate::sync::{Arc, Mutex, lock};

/// The state of the guards of one subscription; see [`Inspection`](crate::Inspection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Guarded {
    /// The event's name.
    pub event: &'static str,
    /// The state of its breaker, if it has one.
    pub breaker: Option<BreakerState>,
    /// Until when the breaker or rate limit makes an event wait, counted from the board's start;
    /// `None` if none waits.
    pub paused_until: Option<Duration>,
    /// How many retries its budget would allow now, if it has one.
    pub retries_left: Option<u64>,
}

/// Who hears of the guards of one service.
pub(crate) trait Watch: Send + Sync {
    /// There is something to be read.
    fn enlist(&self, gauge: &Arc<Gauge>);
    /// Its subscription has ended.
    fn delist(&self, gauge: &Arc<Gauge>);
    /// The breaker of this event has changed its state.
    fn turned(&self, event: &'static str, state: BreakerState);
}

/// An event is made to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) until: Duration,
    /// By the breaker, and not by the rate limit.
    pub(crate) by_breaker: bool,
    /// All events of the mailbox wait with it.
    pub(crate) in_place: bool,
}

#[derive(Debug)]
pub(crate) struct Gauge {
    pub(crate) event: &'static str,
    readings: Mutex<Readings>,
}

#[derive(Clone, Debug, Default)]
struct Readings {
    breaker: Option<GuardState<Circuit>>,
    budget: Option<GuardState<Purse>>,
    pause: Option<Pause>,
}

impl Gauge {
    pub(crate) fn new(event: &'static str) -> Arc<Self> {
        Arc::new(Gauge {
            event,
            readings: Mutex::default(),
        })
    }

    /// Shows these from now on, and no pause.
    pub(crate) fn show(
        &self,
        breaker: Option<GuardState<Circuit>>,
        budget: Option<GuardState<Purse>>,
    ) {
        *lock(&self.readings) = Readings {
            breaker,
            budget,
            pause: None,
        };
    }

    pub(crate) fn note(&self, pause: Option<Pause>) {
        lock(&self.readings).pause = pause;
    }

    pub(crate) fn read(&self, now: Duration) -> Guarded {
        let readings = lock(&self.readings).clone();
        let pause = readings.pause.filter(|pause| pause.until > now);
        Guarded {
            event: self.event,
            breaker: readings
                .breaker
                .map(|breaker| breaker.with(|it| it.state())),
            paused_until: pause.map(|pause| pause.until),
            retries_left: readings.budget.map(|budget| budget.with(|it| it.left(now))),
        }
    }

    /// Whether an event waits for the end of the time that the breaker stays open; inside, whether
    /// all events of the mailbox do.
    pub(crate) fn held_in_place(&self, now: Duration) -> Option<bool> {
        let readings = lock(&self.readings).clone();
        let pause = readings.pause.filter(|pause| pause.by_breaker)?;
        let is_open = readings.breaker?.with(|it| it.is_open(now));
        (is_open && pause.until > now).then_some(pause.in_place)
    }
}
