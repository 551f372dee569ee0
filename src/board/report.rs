//! What a shutdown found.
//!
//! Shutdown writes it; the user prints it.
//!
//! Invariant: every event that was accepted and not settled is counted in it, by service and event;
//! all but `Lifecycle`, of which only its ledger tells.
//!
//! It is data: nothing happens when it is dropped.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;

/// How a shutdown went.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Whether everything was settled before the deadline.
    pub drained: bool,
    /// What was accepted and not handled, by service and event; while the shutdown is not
    /// [over](ShutdownReport::over), what is still open. Only
    /// [`Lifecycle`](crate::Lifecycle) is left out, since its last changes tell of this very end;
    /// the ledger has it.
    pub undelivered: Vec<Undelivered>,
    /// How many [scheduled](crate::Scheduled) events were not due when the shutdown began, or
    /// waited for room then without a handle to come back to: they were never accepted, so they are
    /// not in the ledger.
    #[serde(default)]
    pub not_due: u64,
    /// Services that had not stopped when their time for that was over, and were killed: before
    /// their [`stopping`](crate::Service::stopping), or in the middle of it. Their paths, sorted.
    #[serde(default)]
    pub killed: Vec<String>,
    /// Services that were still busy at the end: those whose code blocks its thread, and those that
    /// only wait; see [`Stuck::blocks`].
    pub stuck: Vec<Stuck>,
    /// Blocking work that was given up and had not ended; its threads were left behind with it.
    #[serde(default)]
    pub left_behind: Vec<LeftBehind>,
    /// Whether the shutdown is over. False in what [`Board::shutdown`](crate::Board::shutdown)
    /// returns inside the board itself: then it has only begun, and this shows what was open.
    pub over: bool,
    /// How long it took.
    pub took: Duration,
    /// The last ledger.
    pub ledger: Ledger,
}

/// Events that one service accepted and did not handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Undelivered {
    /// The service's path.
    pub service: String,
    /// The event's name.
    pub event: String,
    /// How many.
    pub count: u64,
    /// Their numbers, where they could still be read: not those of a stuck service. At most
    /// [`UNDELIVERED_IDS`](crate::defaults::UNDELIVERED_IDS), the last ones; with several workers
    /// or children, in the order in which these ended, not in the order of the numbers.
    pub event_ids: Vec<u64>,
}

/// A service whose handler was still running at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stuck {
    /// The service's path.
    pub service: String,
    /// The event it was handling, if it was one.
    pub event: Option<String>,
    /// For how long.
    pub age: Duration,
    /// Whether it blocks its thread, which is left behind with it; otherwise it only waits.
    #[serde(default)]
    pub blocks: bool,
    /// The services that it held up: its neighbours on the thread it blocks, sorted.
    #[serde(default)]
    pub neighbours: Vec<String>,
}

/// [Blocking work](crate::Context::blocking) that still runs though nobody waits for it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeftBehind {
    /// The path of the service whose handler handed it over.
    pub service: String,
    /// The number of the event or letter that was being handled; none in hooks and timers.
    pub event_id: Option<u64>,
    /// How long ago it was handed over.
    pub age: Duration,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.drained {
            "drained"
        } else {
            "not drained"
        };
        if self.over {
            write!(f, "shut down in {:?}, {how}", self.took)?;
        } else {
            write!(f, "shutting down, {how}")?;
        }
        let fate = if self.over { "undelivered" } else { "open" };
        for row in &self.undelivered {
            write!(
                f,
                "\n{fate}: {} of {} for {}",
                row.count, row.event, row.service
            )?;
        }
        if self.not_due > 0 {
            let what = match self.not_due {
                1 => "scheduled event was",
                _ => "scheduled events were",
            };
            write!(f, "\n{} {what} not due yet", self.not_due)?;
        }
        if !self.killed.is_empty() {
            let killed = self.killed.join(", ");
            write!(f, "\nkilled, since their time to stop was over: {killed}")?;
        }
        for stuck in &self.stuck {
            let event = stuck.event.as_deref().unwrap_or("a letter, hook or timer");
            write!(
                f,
                "\nstuck: {} on {event}, for {:?}",
                stuck.service, stuck.age
            )?;
            if !stuck.neighbours.is_empty() {
                write!(f, ", and with it {}", stuck.neighbours.join(", "))?;
            }
        }
        for left in &self.left_behind {
            write!(
                f,
                "\nleft behind: {}, blocking work, for {:?}",
                left.service, left.age
            )?;
        }
        write!(f, "\ngap: {}", self.ledger.gap())
    }
}
