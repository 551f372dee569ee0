//! Whether attempts go through a breaker just now.
//!
//! Hosts ask before each attempt and report after it, on whatever thread; it calls the window.
//!
//! Invariant: what it decides depends on what was reported of attempts that it let through in its
//! present state; words from before its last change are not heeded.
//!
//! It announces nothing: each answer says whether the state has changed, and the host tells.

use std::mem;
use std::time::Duration;

use crate::policy::breaker::{Breaker, BreakerState, WhileOpen};
use crate::policy::window::{STEPS, Window};

/// Shows that an attempt was let through, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "how the attempt went has to be reported, or that it was not made"]
pub(crate) struct Pass {
    epoch: u64,
}

/// Whether an attempt may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Pass(Pass),
    /// Ask again at this time since the board's start.
    Wait(Duration),
    /// The event is to become a dead letter.
    Refused,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Succeeded,
    Failed,
    /// It was not made, or says nothing.
    Void,
}

/// The state machine of a breaker.
#[derive(Debug)]
pub(crate) struct Circuit {
    failure_rate: f64,
    length: Duration,
    at_least: u64,
    open_for: Duration,
    probes: u32,
    while_open: WhileOpen,
    /// Attempts, and those that failed, since it was last closed.
    window: Window,
    phase: Phase,
    /// Counts the changes of state, and tells old passes from those of now.
    epoch: u64,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        /// When the last probe was let through.
        since: Duration,
        under_way: u32,
        succeeded: u32,
    },
}

impl Circuit {
    /// What `problems` refuses is made the least that can be meant.
    pub(super) fn new(breaker: &Breaker) -> Self {
        Self {
            failure_rate: breaker.failure_rate,
            length: breaker.window,
            at_least: u64::from(breaker.at_least.max(1)),
            open_for: breaker.open_for.max(Duration::from_nanos(1)),
            probes: breaker.probes.max(1),
            while_open: breaker.while_open,
            window: Window::new(breaker.window),
            phase: Phase::Closed,
            epoch: 0,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether it lets nothing through now, and when that ends by itself.
    pub(crate) fn is_open(&self, now: Duration) -> bool {
        matches!(self.phase, Phase::Open { until } if now < until)
    }

    /// Asks for one attempt now; says as well whether the state has changed.
    pub(crate) fn admit(&mut self, now: Duration) -> (Entry, Option<BreakerState>) {
        let mut became = None;
        if self.is_rested(now) {
            let probing = Phase::HalfOpen {
                since: now,
                under_way: 0,
                succeeded: 0,
            };
            became = self.turn(probing);
        }
        (self.enter(now), became)
    }

    /// Hears how an attempt went that was let through; says whether that has changed the state.
    pub(crate) fn report(
        &mut self,
        pass: Pass,
        report: Report,
        now: Duration,
    ) -> Option<BreakerState> {
        if pass.epoch != self.epoch {
            return None;
        }
        match &mut self.phase {
            Phase::Closed if report == Report::Void => None,
            Phase::Closed => {
                let failed = u64::from(report == Report::Failed);
                self.window.add(now, [1, failed]);
                if self.is_bad(now) {
                    self.open(now)
                } else {
                    None
                }
            }
            Phase::HalfOpen {
                under_way,
                succeeded,
                ..
            } => {
                *under_way = under_way.saturating_sub(1);
                *succeeded += u32::from(report == Report::Succeeded);
                match report {
                    Report::Failed => self.open(now),
                    _ if *succeeded >= self.probes => self.close(),
                    _ => None,
                }
            }
            Phase::Open { .. } => None,
        }
    }

    fn is_bad(&mut self, now: Duration) -> bool {
        let [attempts, failed] = self.window.totals(now);
        attempts >= self.at_least && failed as f64 / attempts as f64 >= self.failure_rate
    }

    /// Whether it is time for probes: the pause is over, or those under way stay out too long.
    fn is_rested(&self, now: Duration) -> bool {
        match self.phase {
            Phase::Closed => false,
            Phase::Open { until } => now >= until,
            Phase::HalfOpen { .. } => self.has_room().is_err_and(|lost_at| now >= lost_at),
        }
    }

    /// Whether another probe may be let through; if not, when those under way count as lost.
    fn has_room(&self) -> Result<(), Duration> {
        match self.phase {
            Phase::HalfOpen {
                since,
                under_way,
                succeeded,
            } if under_way + succeeded >= self.probes => Err(since.saturating_add(self.open_for)),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, now: Duration) -> Entry {
        let full = self.has_room().err();
        let pass = Pass { epoch: self.epoch };
        let ask_again = match &mut self.phase {
            Phase::Closed => return Entry::Pass(pass),
            Phase::Open { until } => *until,
            Phase::HalfOpen {
                since, under_way, ..
            } => match full {
                None => {
                    (*since, *under_way) = (now.max(*since), *under_way + 1);
                    return Entry::Pass(pass);
                }
                Some(lost_at) => self.soon(now).min(lost_at),
            },
        };
        match self.while_open {
            WhileOpen::Wait => Entry::Wait(ask_again),
            WhileOpen::DeadLetter => Entry::Refused,
        }
    }

    /// When to ask again while probes are under way, whose end nobody knows.
    fn soon(&self, now: Duration) -> Duration {
        // Timers have a grain of a millisecond.
        let pause = (self.open_for / STEPS as u32).max(Duration::from_millis(1));
        now.saturating_add(pause)
    }

    fn open(&mut self, now: Duration) -> Option<BreakerState> {
        let until = now.saturating_add(self.open_for);
        self.turn(Phase::Open { until })
    }

    fn close(&mut self) -> Option<BreakerState> {
        self.window = Window::new(self.length);
        self.turn(Phase::Closed)
    }

    fn turn(&mut self, phase: Phase) -> Option<BreakerState> {
        let was = mem::replace(&mut self.phase, phase);
        self.epoch = self.epoch.wrapping_add(1);
        (mem::discriminant(&was) != mem::discriminant(&self.phase)).then(|| self.state())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
