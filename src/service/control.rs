//! What a life is told from outside: stop, drain first, or die.
//!
//! The host's actor says it; the life's loop, and its guard, listen. The other way the life says
//! one thing: that it has started.
//!
//! Invariant: an order once given stays given, and is seen before the next delivery.
//!
//! It stays on one thread: whoever is elsewhere tells the host's actor.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;

use crate::exit::Exit;
use crate::waits::Waiting;

/// Why a life is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// It did not stop in its time, or the board has none left: nobody's failure.
    Overdue,
    /// As `Overdue`, and it comes back: its group is restarted, or it alone on request.
    Restarted,
    /// Somebody asked for it because of what it is doing: the event gets a verdict.
    Asked,
}

#[derive(Default)]
pub(crate) struct Control {
    /// Its supervisor waits for its start.
    starting: Cell<Option<Waiting>>,
    /// How long `stopping` may take if a life, or an instance, ends by itself.
    grace: Duration,
    risen: Cell<bool>,
    stop: Cell<bool>,
    /// What is numbered below this is handled before it stops.
    drain: Cell<Option<u64>>,
    kill: Cell<Option<Kill>>,
    /// How the life has ended, whatever becomes of it on its way out.
    /// A box: few lives end so.
    sealed: RefCell<Option<Box<Exit>>>,
    task: RefCell<Option<Waker>>,
}

impl Control {
    /// For a life that `starting` waits for.
    pub(crate) fn new(starting: Option<Waiting>, grace: Duration) -> Self {
        Control {
            starting: Cell::new(starting),
            grace,
            ..Control::default()
        }
    }

    /// `started` has succeeded.
    pub(crate) fn rise(&self) {
        // Here and not when the supervisor hears of it: the life goes on at once.
        self.end_start();
        self.risen.set(true);
    }

    /// Nobody waits for the start any more.
    pub(crate) fn end_start(&self) {
        drop(self.starting.take());
    }

    pub(crate) fn has_risen(&self) -> bool {
        self.risen.get()
    }

    /// How long `stopping` may take, unless somebody who ended the life watches over that.
    pub(crate) fn farewell(&self) -> Option<Duration> {
        let is_told = self.is_stopped() || self.draining().is_some();
        (!is_told).then_some(self.grace)
    }

    /// How long the `stopping` of an instance may take that ends by itself.
    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// Lets the life handle what is numbered below this, then stops it in order.
    pub(crate) fn drain(&self, below: u64) {
        self.drain.set(Some(below));
        self.wake();
    }

    /// What it may still handle, if it was told to drain.
    pub(crate) fn draining(&self) -> Option<u64> {
        self.drain.get()
    }

    /// Lets the handler finish, then stops the life in order.
    pub(crate) fn stop(&self) {
        self.stop.set(true);
        self.wake();
    }

    /// Drops the life where it stands.
    pub(crate) fn kill(&self, why: Kill) {
        self.kill.set(self.kill.get().or(Some(why)));
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get()
    }

    pub(crate) fn killed(&self) -> Option<Kill> {
        self.kill.get()
    }

    /// Notes that a failure policy has ended the life, so that nothing it does from now on, such
    /// as panicking in `stopping`, makes that an end from which it comes back.
    pub(crate) fn seal(&self, exit: &Exit) {
        if let Exit::Retired(_) | Exit::Fatal(_) = exit {
            *self.sealed.borrow_mut() = Some(Box::new(exit.clone()));
        }
    }

    pub(crate) fn sealed(&self) -> Option<Exit> {
        self.sealed.borrow().as_deref().cloned()
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
