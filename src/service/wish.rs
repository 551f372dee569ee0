//! What a tree, or a change of policies, has to know of a subscription to check it.
//!
//! Specs and inboxes make them; the check of a tree and the board ask them.
//!
//! Invariant: checking runs no code of the user's and changes nothing.
//!
//! It does not know the rest of the tree.

use std::any::TypeId;

use crate::policy::Policy;
use crate::restart::Restart;

/// One subscription of a service, with what is in force for it.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) event: &'static str,
    pub(crate) event_type: TypeId,
    pub(crate) type_name: &'static str,
    /// What is impossible about its own terms.
    pub(crate) problems: Vec<String>,
    pub(crate) policy: Policy,
}

/// Names what is impossible about the policies of a service's subscriptions, with the event that
/// each is about.
pub(crate) fn against(
    wishes: &[Wish],
    restart: Restart,
    max_restarts: u32,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for wish in wishes {
        let attempts = wish.policy.shared_rules().retry.attempts_max();
        if restart != Restart::Temporary && attempts > max_restarts {
            let s = if max_restarts == 1 { "" } else { "s" };
            let text = format!(
                "{attempts} attempts, but its supervisor allows {max_restarts} restart{s}, so one \
                 event that always panics would end it: raise max_restarts or lower attempts"
            );
            found.push((wish.event, text));
        }
        let waits_for_itself = wish.policy.steps().filter_map(|(step, waited)| {
            let makes = step
                .makes
                .filter(|_| waited && step.event == wish.event_type);
            makes.filter(|(makes, _)| wishes.iter().any(|other| other.event_type == *makes))
        });
        for (_, name) in waits_for_itself {
            let text = format!(
                "it would wait for {name} to be settled, which it handles itself: leave out \
                 waited(), or let another service handle it"
            );
            found.push((wish.event, text));
        }
    }
    found
}
