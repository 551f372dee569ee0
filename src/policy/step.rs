//! One thing that a policy has done for an event which is over, its types no longer known.
//!
//! Failure and success policies hold steps; the service's floor makes them and carries them out.
//!
//! Invariant: a step applies to one type of event, and to no other.
//!
//! It cannot be carried out here: that takes a board.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

/// A step: `what` is known to whoever made it.
#[derive(Clone)]
pub(crate) struct Step {
    /// The event it is for.
    pub(crate) event: TypeId,
    pub(crate) event_name: &'static str,
    /// The service it is for, and its type's name, if it needs one.
    pub(crate) service: Option<(TypeId, &'static str)>,
    /// The event that it publishes, if it does.
    pub(crate) makes: Option<(TypeId, &'static str)>,
    pub(crate) what: Arc<dyn Any + Send + Sync>,
}

impl Step {
    /// Whether it is taken by a service of the type `S` for events of this type.
    pub(crate) fn is_for<S: 'static>(&self, event: TypeId) -> bool {
        let service = self.service.map(|(service, _)| service);
        self.event == event && service.is_none_or(|service| service == TypeId::of::<S>())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.makes {
            Some((_, name)) => write!(f, "publish {name} for {}", self.event_name),
            None => write!(f, "run a hook for {}", self.event_name),
        }
    }
}

/// Says in words what is done: the first word, the steps, and whether they are waited for.
pub(crate) fn in_words(first: &str, steps: &[Step], waited: bool) -> String {
    let mut words = vec![first.to_owned()];
    words.extend(steps.iter().map(Step::to_string));
    let mut text = words.join(", ");
    if waited {
        text.push_str(", waited for");
    }
    text
}
