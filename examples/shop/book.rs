//! The order book: what became of each order.
//!
//! It is in memory only, and outside the services: a restart makes a new service from its recipe,
//! and what the old one knew is gone. What must outlive a crash is held in an `Arc` that the
//! recipe captures; what must outlive the process needs a store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Placed,
    Shipped,
    Cancelled,
    DeadLettered,
}

#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// The state of order `n` is at `n - 1`: orders are numbered without a hole.
    states: Vec<State>,
    ended: u64,
    /// Orders that were said to have ended in two different ways; there must be none.
    contradictions: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) accepted: u64,
    pub(crate) shipped: u64,
    pub(crate) cancelled: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) contradictions: u64,
}

impl Totals {
    /// Whether every accepted order ended in exactly one way.
    pub(crate) fn balance(&self) -> bool {
        self.contradictions == 0
            && self.accepted == self.shipped + self.cancelled + self.dead_lettered
    }
}

impl Book {
    /// Enters the next order if `publish` takes it. Both happen under the book's lock, so that the
    /// order is in the book before anybody hears of it, and a refused one uses up no number.
    pub(crate) fn enter<E>(&self, publish: impl FnOnce(u64) -> Result<(), E>) -> Result<u64, E> {
        let mut pages = self.pages();
        let order = pages.states.len() as u64 + 1;
        publish(order)?;
        pages.states.push(State::Placed);
        Ok(order)
    }

    /// Notes how an order ended. Hearing it twice, as after a crash, changes nothing.
    pub(crate) fn end(&self, order: u64, state: State) {
        let mut pages = self.pages();
        let Some(slot) = order.checked_sub(1) else {
            return;
        };
        match pages.states.get_mut(slot as usize) {
            Some(known) if *known == State::Placed => {
                *known = state;
                pages.ended += 1;
            }
            Some(known) if *known == state => {}
            _ => pages.contradictions += 1,
        }
    }

    pub(crate) fn state(&self, order: u64) -> Option<State> {
        let slot = order.checked_sub(1)?;
        self.pages()
            .states
            .get(usize::try_from(slot).ok()?)
            .copied()
    }

    pub(crate) fn ended(&self) -> u64 {
        self.pages().ended
    }

    pub(crate) fn totals(&self) -> Totals {
        let pages = self.pages();
        let count = |state| pages.states.iter().filter(|known| **known == state).count() as u64;
        Totals {
            accepted: pages.states.len() as u64,
            shipped: count(State::Shipped),
            cancelled: count(State::Cancelled),
            dead_lettered: count(State::DeadLettered),
            contradictions: pages.contradictions,
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
