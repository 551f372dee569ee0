//! What a shutdown found.
//!
//! Shutdown writes it; the user prints it.
//!
//! Invariant: every event that was accepted and not settled is in it, by service and event.
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
    /// What was accepted and not handled, by service and event.
    pub undelivered: Vec<Undelivered>,
    /// Services whose handlers did not let go of their thread.
    pub stuck: Vec<Stuck>,
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
    /// Their numbers, where they could still be read: not those of a stuck service.
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
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.drained {
            "drained"
        } else {
            "not drained"
        };
        write!(f, "shut down in {:?}, {how}", self.took)?;
        for row in &self.undelivered {
            write!(
                f,
                "\nundelivered: {} of {} for {}",
                row.count, row.event, row.service
            )?;
        }
        for stuck in &self.stuck {
            let event = stuck.event.as_deref().unwrap_or("something");
            write!(
                f,
                "\nstuck: {} on {event}, for {:?}",
                stuck.service, stuck.age
            )?;
        }
        write!(f, "\ngap: {}", self.ledger.gap())
    }
}
