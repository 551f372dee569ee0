//! The recipe of a service, for one life after the other.
//!
//! A seed brings it; the engine has a life take it.
//!
//! Invariant: a recipe is called by one life at a time, and comes back whatever becomes of that,
//! a panic included.
//!
//! It does not know when a life begins.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::host::Borrowed;
use crate::panic::guard;

/// What the user wrote.
type Make<S> = Box<dyn FnMut() -> S + Send>;

pub(super) enum Recipe<S> {
    /// The service's own.
    Own(Rc<Cell<Option<Make<S>>>>),
    /// That of all workers of a service: they are made one after the other.
    Shared(Arc<Shared<S>>),
}

/// A recipe for several services. Its lock is held while the user's code runs, but blocks no
/// thread: whoever waits for it is polled again.
pub(super) struct Shared<S>(Mutex<Option<Make<S>>>);

/// A recipe for one life.
pub(super) enum Loan<S> {
    Own(Borrowed<Make<S>>),
    Shared(Arc<Shared<S>>),
}

impl<S> Recipe<S> {
    pub(super) fn own(make: Option<Make<S>>) -> Self {
        Recipe::Own(Rc::new(Cell::new(make)))
    }

    pub(super) fn lend(&self) -> Option<Loan<S>> {
        Some(match self {
            Recipe::Own(home) => Loan::Own(Borrowed::lend(home.take()?, home)),
            Recipe::Shared(make) => Loan::Shared(Arc::clone(make)),
        })
    }
}

impl<S> Shared<S> {
    pub(super) fn new(make: Option<Make<S>>) -> Arc<Self> {
        Arc::new(Shared(Mutex::new(make)))
    }
}

impl<S> Loan<S> {
    /// Makes a service; `None` only if there is no recipe, which is never seen.
    pub(super) async fn make(self) -> Option<S> {
        match self {
            Loan::Own(mut make) => Some((*make)()),
            Loan::Shared(shared) => shared.0.lock().await.as_mut().map(|make| make()),
        }
    }
}

// The recipe is the user's, and so is what it has captured.
impl<S> Drop for Recipe<S> {
    fn drop(&mut self) {
        if let Recipe::Own(home) = self {
            let make = home.take();
            let _ = guard(move || drop(make));
        }
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        let make = self.0.get_mut().take();
        let _ = guard(move || drop(make));
    }
}
