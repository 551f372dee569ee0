//! What happens when an event is given up: the failure policy.
//!
//! A policy holds one for all failures and one for each type of failure it names; the verdict asks
//! it, and the host carries it out.
//!
//! Invariant: whatever it says, the event ends in a state that the ledger counts.
//!
//! It does not decide when an event is given up.

use std::any::type_name;
use std::error::Error;
use std::fmt;

use crate::failure::Failure;
use crate::policy::step::{Step, in_words};
use crate::policy::verdict::WorkerVerdict;

/// What happens to an event that is given up, and to its service. An event is given up when its
/// attempts are used up, or trying again cannot help.
///
/// The default is [`OnFailure::dead_letter`], with the service left as it is.
///
/// ```
/// use callboard::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # struct OrderPlaced { id: u64 }
/// # impl Event for OrderPlaced { const NAME: &'static str = "order.placed"; }
/// # struct OrderRejected { id: u64, why: String }
/// # impl Event for OrderRejected { const NAME: &'static str = "order.rejected"; }
/// let policy = Policy::new()
///     .failure(OnFailure::discard().publish(|order: &OrderPlaced, failure: &Failure| {
///         OrderRejected { id: order.id, why: failure.to_string() }
///     }))
///     .failure_of::<std::io::Error>(OnFailure::dead_letter().restart());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OnFailure {
    pub(crate) discards: bool,
    /// What becomes of the service as well: a restart at least, so never less than a crash costs.
    pub(crate) worker: Option<WorkerVerdict>,
    pub(crate) steps: Vec<Step>,
    pub(crate) waited: bool,
}

impl OnFailure {
    /// The event becomes a [`DeadLetter`](crate::DeadLetter). The default.
    pub const fn dead_letter() -> Self {
        Self {
            discards: false,
            worker: None,
            steps: Vec::new(),
            waited: false,
        }
    }

    /// The event is dropped, and counted as discarded.
    pub const fn discard() -> Self {
        Self {
            discards: true,
            worker: None,
            steps: Vec::new(),
            waited: false,
        }
    }

    /// The service is restarted as well; its supervisor counts that as any other failure. For
    /// failures which show that its state cannot be trusted.
    pub const fn restart(mut self) -> Self {
        self.worker = Some(WorkerVerdict::Restart);
        self
    }

    /// The service ends for good as well, whatever its restart type says; with workers, all of
    /// them.
    pub const fn stop(mut self) -> Self {
        self.worker = Some(WorkerVerdict::Stop);
        self
    }

    /// The service's supervisor gives up as well, however many restarts it has left.
    pub const fn escalate(mut self) -> Self {
        self.worker = Some(WorkerVerdict::Escalate);
        self
    }

    /// The next event waits until all subscribers have settled what is published because of this
    /// one: the dead letter, and what [`publish`](Self::publish) makes. Without this, the next
    /// event waits only until they are accepted. (An instance per key does not wait for the dead
    /// letter, and only its own key waits for the rest.)
    pub const fn waited(mut self) -> Self {
        self.waited = true;
        self
    }

    pub(crate) fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Default for OnFailure {
    fn default() -> Self {
        Self::dead_letter()
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = if self.discards {
            "discard"
        } else {
            "dead letter"
        };
        f.write_str(&in_words(first, &self.steps, self.waited))?;
        self.worker
            .map_or(Ok(()), |worker| write!(f, ", {worker} the service"))
    }
}

/// A failure policy for one type of error.
#[derive(Clone, Debug)]
pub(crate) struct FailureOf {
    pub(crate) error: &'static str,
    pub(crate) applies: fn(&Failure) -> bool,
    pub(crate) then: OnFailure,
}

impl FailureOf {
    pub(crate) fn new<T: Error + 'static>(then: OnFailure) -> Self {
        Self {
            error: type_name::<T>(),
            applies: Failure::is::<T>,
            then,
        }
    }
}
