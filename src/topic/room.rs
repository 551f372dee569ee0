//! Those who wait for room, in a topic or in the letters of a mailbox.
//!
//! Senders enter and look once more; readers let them go after they have made room.
//!
//! Invariant: a sender that is entered when a reader makes room is woken, or sees the room
//! itself: count before look on the one side, room before count on the other, a fence between.
//!
//! It does not know how much room there is: all who wait try again, in the order of entry. Who
//! is let go waits for nobody until it enters again.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering, lock};
use crate::waits::Waiting;

#[derive(Debug)]
pub(crate) struct Queue {
    waiting: AtomicUsize,
    tickets: AtomicU64,
    /// In the order of entry, each with the wait that its place stands for.
    places: Mutex<BTreeMap<u64, (Waker, Option<Waiting>)>>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Queue {
            waiting: AtomicUsize::new(0),
            tickets: AtomicU64::new(0),
            places: Mutex::new(BTreeMap::new()),
        }
    }

    /// A number that says who is who, and who came first.
    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a place stands for a wait already; a sender that is let go begins another.
    pub(crate) fn is_waiting(&self, ticket: u64) -> bool {
        let places = lock(&self.places);
        places
            .get(&ticket)
            .is_some_and(|(_, waiting)| waiting.is_some())
    }

    /// Takes the place of this ticket, or keeps it; its wait ends with it.
    pub(crate) fn enter(&self, ticket: u64, waker: &Waker, waiting: Option<Waiting>) {
        // Outside the lock, here and below: a waker is the executor's code, and may hold a task
        // that waits here itself.
        let waker = waker.clone();
        let mut places = lock(&self.places);
        let (old, before) = places.remove(&ticket).unzip();
        places.insert(ticket, (waker, waiting.or(before.flatten())));
        self.waiting.store(places.len(), Ordering::SeqCst);
        drop(places);
        drop(old);
    }

    pub(crate) fn leave(&self, ticket: u64) {
        let mut places = lock(&self.places);
        let left = places.remove(&ticket);
        self.waiting.store(places.len(), Ordering::SeqCst);
        drop(places);
        drop(left);
    }

    pub(crate) fn let_go_if_any(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.let_go();
        }
    }

    /// Wakes all who wait.
    pub(crate) fn let_go(&self) {
        let places = {
            let mut places = lock(&self.places);
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut *places)
        };
        for (waker, waiting) in places.into_values() {
            drop(waiting);
            waker.wake();
        }
    }
}
