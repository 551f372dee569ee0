//! What happens when an event was handled: the success policy.
//!
//! A policy holds one; the host carries it out before the event is acknowledged.
//!
//! Invariant: what it does belongs to the attempt: if it fails, the attempt has failed.
//!
//! It changes nothing about how an event is handled.

use std::fmt;

use crate::policy::step::{Step, in_words};

/// What happens after an event was handled, before it is acknowledged.
///
/// The default is [`OnSuccess::acknowledge`].
///
/// ```
/// use callboard::prelude::*;
/// # #[derive(Default)] struct Accounts { cents: u64 }
/// # impl Service for Accounts {}
/// # struct OrderPlaced { id: u64 }
/// # impl Event for OrderPlaced { const NAME: &'static str = "order.placed"; }
/// # struct OrderPaid { id: u64 }
/// # impl Event for OrderPaid { const NAME: &'static str = "order.paid"; }
/// let policy = Policy::new().success(
///     OnSuccess::acknowledge()
///         .publish(|_: &Accounts, order: &OrderPlaced| OrderPaid { id: order.id })
///         .waited(),
/// );
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct OnSuccess {
    pub(crate) steps: Vec<Step>,
    pub(crate) waited: bool,
}

impl OnSuccess {
    /// The event is acknowledged; nothing follows. The default.
    pub const fn acknowledge() -> Self {
        Self {
            steps: Vec::new(),
            waited: false,
        }
    }

    /// The event is acknowledged, and the next one handled, only when all subscribers have settled
    /// what is published because of it. Without this, it waits only until that is accepted.
    pub const fn waited(mut self) -> Self {
        self.waited = true;
        self
    }

    pub(crate) fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Display for OnSuccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_words("acknowledge", &self.steps, self.waited))
    }
}
