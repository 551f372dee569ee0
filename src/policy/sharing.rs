//! Whether a guard's state belongs to one subscription, or to all that inherit one template.
//!
//! Templates carry a [`Sharing`]; what is made from it is a [`GuardState`], asked by hosts on any
//! thread. It calls nothing but the guard's own state, and that only under its lock.
//!
//! Invariant: all who got their state from one template that is shared, or from a clone of it,
//! have the same one.
//!
//! No user code runs under the lock: guards are asked with values that were computed before.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What a template says of the states made from it; clones of a shared one share.
#[derive(Debug)]
pub(crate) struct Sharing<T>(Option<Arc<OnceLock<Arc<Mutex<T>>>>>);

/// The state of one guard: a handle, which may be cloned.
///
/// A plain lock, not one of the board's: it is held for a few instructions, and nothing is waited
/// for meanwhile.
#[derive(Debug)]
pub(crate) struct GuardState<T>(Arc<Mutex<T>>);

impl<T> Sharing<T> {
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Shares from now on, with nobody yet.
    pub(crate) fn begin(&mut self) {
        self.0 = Some(Arc::default());
    }

    /// The template has changed: what is made from it is not what its clones have made.
    pub(crate) fn renew(&mut self) {
        if self.0.is_some() {
            self.begin();
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Whether both share with the same ones, or neither shares.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The state for one subscription; made anew unless one is there to be shared.
    pub(crate) fn state(&self, make: impl FnOnce() -> T) -> GuardState<T> {
        let state = || Arc::new(Mutex::new(make()));
        GuardState(match &self.0 {
            None => state(),
            Some(shared) => Arc::clone(shared.get_or_init(state)),
        })
    }
}

impl<T> Clone for Sharing<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> GuardState<T> {
    pub(crate) fn with<R>(&self, ask: impl FnOnce(&mut T) -> R) -> R {
        ask(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for GuardState<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn raise(state: &GuardState<u32>) -> u32 {
        state.with(|count| {
            *count += 1;
            *count
        })
    }

    #[test]
    fn each_has_its_own_state_unless_it_is_shared() {
        let mut sharing = Sharing::none();
        let [a, b] = [(); 2].map(|()| sharing.clone().state(|| 0));
        assert_eq!([raise(&a), raise(&b)], [1, 1]);
        sharing.begin();
        let [a, b] = [(); 2].map(|()| sharing.clone().state(|| 0));
        assert_eq!([raise(&a), raise(&b)], [1, 2]);
        assert!(sharing.is_shared());
    }

    #[test]
    fn a_template_that_was_changed_shares_with_nobody_before() {
        let mut sharing = Sharing::none();
        sharing.renew();
        assert!(!sharing.is_shared());
        sharing.begin();
        let before = sharing.state(|| 0);
        let mut changed = sharing.clone();
        changed.renew();
        let after = changed.state(|| 0);
        assert_eq!([raise(&before), raise(&after)], [1, 1]);
        assert_eq!(raise(&sharing.state(|| 0)), 2);
    }
}
