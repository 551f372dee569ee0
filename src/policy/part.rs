//! One setting of a policy, and where it was made.
//!
//! A policy is made of parts; an explanation tells each. It calls nothing.
//!
//! Invariant: a part keeps the path at which it was set, however far it is inherited.
//!
//! It knows nothing of what it holds.

use std::sync::Arc;

/// A setting; `from` is the path where it was made, once the tree is known.
#[derive(Clone, Debug)]
pub(crate) struct Part<T> {
    pub(crate) value: T,
    pub(crate) from: Option<Arc<str>>,
}

impl<T> Part<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value, from: None }
    }

    /// Notes where it was made, unless that is known.
    pub(crate) fn made_at(&mut self, path: &Arc<str>) {
        self.from.get_or_insert_with(|| Arc::clone(path));
    }
}
