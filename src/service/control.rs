//! What a life is told from outside: stop, or die.
//!
//! The host's actor says it; the life's loop, and its guard, listen.
//!
//! Invariant: an order once given stays given, and is seen before the next delivery.
//!
//! It stays on one thread: whoever is elsewhere tells the host's actor.

use std::cell::{Cell, RefCell};
use std::task::Waker;

#[derive(Debug, Default)]
pub(crate) struct Control {
    stop: Cell<bool>,
    kill: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Control {
    /// Lets the handler finish, then stops the life in order.
    pub(crate) fn stop(&self) {
        self.stop.set(true);
        self.wake();
    }

    /// Drops the life where it stands.
    pub(crate) fn kill(&self) {
        self.kill.set(true);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get()
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.kill.get()
    }

    /// Notes the task that runs the life.
    pub(crate) fn runs_on(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    fn wake(&self) {
        let task = self.task.borrow().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}
