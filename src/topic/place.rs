//! One subscriber's place in one topic: how far it has read, and what became of what it read.
//!
//! The topic compares publishers against it; the cursor moves it; the ledger reads it.
//!
//! Invariant: everything before `position` has been taken by the reader or shed by the topic,
//! and is in exactly one counted state; everything from `position` to the topic's tail is queued.
//!
//! It holds no event (but those given back by `redrive`) and wakes nobody by itself.

use std::collections::VecDeque;
use std::fmt;

use crossbeam_utils::CachePadded;
use serde::{Deserialize, Serialize};

use crate::bell::Bell;
use crate::ledger::DeliveryRow;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, lock};
use crate::topic::block::{Pinned, Slot};
use crate::topic::settlement::Ending;
use crate::topic::tally::{Count, Tally};

/// What happens when a subscription is full: when it lags by its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Overflow {
    /// The publisher waits for room; `try_publish` is refused. The default.
    #[default]
    Wait,
    /// The oldest event that is still queued is passed over and counted as *shed*.
    DropOldest,
}

/// Who subscribes, and on what terms.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) service: Arc<str>,
    pub(crate) capacity: u64,
    pub(crate) overflow: Overflow,
}

/// An event that `redrive` has given back to the subscriber that failed it.
#[derive(Debug)]
pub(crate) struct Returned<E> {
    pub(crate) number: u64,
    pub(crate) event: Pinned<E>,
}

pub(crate) struct Place<E> {
    pub(crate) id: u64,
    pub(crate) event: &'static str,
    pub(crate) terms: Terms,
    pub(crate) bell: Arc<Bell>,
    pub(crate) tally: Tally,
    start: u64,
    /// The next position to be read. Moved by the reader, and for `DropOldest` also by the topic.
    position: CachePadded<AtomicU64>,
    /// Counted by the topic, under its lock.
    shed: AtomicU64,
    closed: AtomicBool,
    /// A publisher has waited for this reader in vain; the next ones do not wait.
    pub(crate) stalled: AtomicBool,
    /// Whether the topic's list of sleepers names this place. Changed under the topic's lock.
    pub(crate) listed: AtomicBool,
    returns: Mutex<VecDeque<Returned<E>>>,
    /// How many `returns` holds; all that were ever accepted into it.
    returned: AtomicUsize,
    redriven: AtomicU64,
}

impl<E> Place<E> {
    pub(crate) fn new(
        id: u64,
        event: &'static str,
        terms: Terms,
        bell: Arc<Bell>,
        start: u64,
    ) -> Self {
        Place {
            id,
            event,
            terms,
            bell,
            tally: Tally::default(),
            start,
            position: CachePadded::new(AtomicU64::new(start)),
            shed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            returns: Mutex::new(VecDeque::new()),
            returned: AtomicUsize::new(0),
            redriven: AtomicU64::new(0),
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The first tail at which this place is full.
    pub(crate) fn limit(&self) -> u64 {
        self.position().saturating_add(self.terms.capacity)
    }

    /// The reader takes the event at `position` into custody. False if the topic has shed it.
    pub(crate) fn take(&self, position: u64) -> bool {
        self.tally.change(|tally| {
            if !self.step(position) {
                return false;
            }
            tally.add(Count::InFlight, 1);
            true
        })
    }

    /// The reader is done with one event and takes the next at `position` in the same breath.
    pub(crate) fn done_and_take(&self, position: u64) -> bool {
        self.tally.change(|tally| {
            tally.add(Count::Done, 1);
            if self.step(position) {
                return true;
            }
            tally.take(Count::InFlight);
            false
        })
    }

    /// Tells whoever watches the event in this slot what became of it here.
    pub(crate) fn report(&self, slot: &Slot<E>, ending: Ending) {
        if let Some(watch) = &slot.stamp.watch {
            watch.report(self.id, ending);
        }
    }

    /// Tells whoever watches the event in this slot how many attempts have failed here so far.
    pub(crate) fn note_failed(&self, slot: &Slot<E>, attempts: u32) {
        if let Some(watch) = &slot.stamp.watch {
            watch.note_failed(self.id, attempts);
        }
    }

    /// The event in flight was handled.
    pub(crate) fn settle_done(&self, late: bool) {
        self.tally.change(|tally| {
            tally.take(Count::InFlight);
            tally.add(Count::Done, 1);
            if late {
                tally.add(Count::Late, 1);
            }
        });
    }

    fn step(&self, position: u64) -> bool {
        match self.terms.overflow {
            Overflow::Wait => {
                self.position.store(position + 1, Ordering::Release);
                true
            }
            // The topic may move the position at the same time: whoever comes first.
            Overflow::DropOldest => self
                .position
                .compare_exchange(position, position + 1, Ordering::AcqRel, Ordering::Acquire)
                .is_ok(),
        }
    }

    /// Passes over what is too old for `tail`. Under the topic's lock. Returns what was passed.
    pub(crate) fn shed_before(&self, floor: u64) -> std::ops::Range<u64> {
        loop {
            let from = self.position();
            if from >= floor {
                return floor..floor;
            }
            let moved =
                self.position
                    .compare_exchange(from, floor, Ordering::AcqRel, Ordering::Acquire);
            if moved.is_ok() {
                self.shed.fetch_add(floor - from, Ordering::Relaxed);
                return from..floor;
            }
        }
    }

    /// Ends the reading. Under the topic's lock, by the reader or whoever holds its mailbox.
    /// Returns the positions that nobody will read.
    pub(crate) fn close(&self, tail: u64) -> std::ops::Range<u64> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return tail..tail;
        }
        self.tally.change(|tally| {
            let from = self.position.swap(tail, Ordering::AcqRel);
            tally.add(Count::Undelivered, tail - from);
            from..tail
        })
    }

    /// Accepts an event given back. Under the topic's lock.
    pub(crate) fn give_back(&self, returned: Returned<E>) {
        let mut returns = lock(&self.returns);
        self.redriven.fetch_add(1, Ordering::Relaxed);
        self.returned.fetch_add(1, Ordering::SeqCst);
        returns.push_back(returned);
    }

    /// The number of the next event given back. Cheap when there is none.
    pub(crate) fn next_return(&self) -> Option<u64> {
        if self.returned.load(Ordering::SeqCst) == 0 {
            return None;
        }
        lock(&self.returns).front().map(|returned| returned.number)
    }

    /// The reader takes the next event given back into custody.
    pub(crate) fn take_return(&self, into: Count) -> Option<Returned<E>> {
        let mut returns = lock(&self.returns);
        let returned = returns.pop_front()?;
        self.returned.fetch_sub(1, Ordering::SeqCst);
        self.tally.change(|tally| {
            tally.add(Count::Redriven, 1);
            tally.add(into, 1);
        });
        Some(returned)
    }

    /// The accounting of this place, given the topic's tail. Under the topic's lock.
    pub(crate) fn row(&self, tail: u64) -> DeliveryRow {
        let (reading, (position, shed)) = self
            .tally
            .read(|| (self.position(), self.shed.load(Ordering::Relaxed)));
        let taken = position - self.start + reading.of(Count::Redriven);
        let redriven = self.redriven.load(Ordering::Relaxed);
        let end = if self.is_closed() { position } else { tail };
        let mut row = DeliveryRow::new(self.terms.service.to_string(), self.event.to_owned());
        row.accepted = end - self.start + redriven;
        row.taken = taken;
        row.queued = row.accepted.saturating_sub(taken);
        row.acknowledged = reading.of(Count::Done);
        row.dead_lettered = reading.of(Count::DeadLettered);
        row.discarded = reading.of(Count::Discarded);
        row.expired = reading.of(Count::Expired);
        row.shed = shed;
        row.undelivered = reading.of(Count::Undelivered);
        row.in_flight = reading.of(Count::InFlight);
        row.deferred = reading.of(Count::Deferred);
        row.late = reading.of(Count::Late);
        row.retried = reading.of(Count::Retried);
        row
    }
}

impl<E> fmt::Debug for Place<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Place({} of {} at {})",
            self.terms.service,
            self.event,
            self.position()
        )
    }
}
