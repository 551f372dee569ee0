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

/// The state of one guard.
#[derive(Debug)]
pub(crate) enum GuardState<T> {
    Own(T),
    /// A plain lock, not one of the board's: it is held for a few instructions, and nothing is
    /// waited for meanwhile.
    Shared(Arc<Mutex<T>>),
}

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

    /// The state for one subscription; made anew unless one is there to be shared.
    pub(crate) fn state(&self, make: impl FnOnce() -> T) -> GuardState<T> {
        match &self.0 {
            None => GuardState::Own(make()),
            Some(shared) => {
                let shared = shared.get_or_init(|| Arc::new(Mutex::new(make())));
                GuardState::Shared(Arc::clone(shared))
            }
        }
    }
}

impl<T> Clone for Sharing<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> GuardState<T> {
    pub(crate) fn with<R>(&mut self, ask: impl FnOnce(&mut T) -> R) -> R {
        match self {
            Self::Own(state) => ask(state),
            Self::Shared(state) => ask(&mut state.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn raise(state: &mut GuardState<u32>) -> u32 {
        state.with(|count| {
            *count += 1;
            *count
        })
    }

    #[test]
    fn each_has_its_own_state_unless_it_is_shared() {
        let mut sharing = Sharing::none();
        let [mut a, mut b] = [(); 2].map(|()| sharing.clone().state(|| 0));
        assert_eq!([raise(&mut a), raise(&mut b)], [1, 1]);
        sharing.begin();
        let [mut a, mut b] = [(); 2].map(|()| sharing.clone().state(|| 0));
        assert_eq!([raise(&mut a), raise(&mut b)], [1, 2]);
        assert!(sharing.is_shared());
    }

    #[test]
    fn a_template_that_was_changed_shares_with_nobody_before() {
        let mut sharing = Sharing::none();
        sharing.renew();
        assert!(!sharing.is_shared());
        sharing.begin();
        let mut before = sharing.state(|| 0);
        let mut changed = sharing.clone();
        changed.renew();
        let mut after = changed.state(|| 0);
        assert_eq!([raise(&mut before), raise(&mut after)], [1, 1]);
        assert_eq!(raise(&mut sharing.state(|| 0)), 2);
    }
}
