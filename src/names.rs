//! Which event type has which name on a board.
//!
//! The check of a tree asks it, and so does whoever subscribes or publishes while the board runs.
//!
//! Invariant: a name stays with the type that had it first.
//!
//! It refuses nobody: whoever asks does.

use std::any::TypeId;
use std::collections::BTreeMap;

/// By the name of the event, its type and what that is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventNames(BTreeMap<&'static str, (TypeId, &'static str)>);

impl EventNames {
    /// Takes a name for an event type; if another has it already, says so.
    pub(crate) fn take(
        &mut self,
        name: &'static str,
        event: TypeId,
        type_name: &'static str,
    ) -> Result<(), String> {
        let (taken, first) = *self.0.entry(name).or_insert((event, type_name));
        if taken == event {
            return Ok(());
        }
        Err(format!("`{type_name}` has the same NAME as `{first}`"))
    }
}
