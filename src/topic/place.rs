//! One subscriber's place in one topic: how far it has read, and what became of what it read.
//!
//! The topic compares publishers against it; the cursor moves it; the ledger reads it.
//!
//! Invariant: everything before `position` has been taken by the reader or shed by the topic,
//! and is in exactly one counted state; everything from `position` to the topic's tail is queued.
//! In a run (see [`Place::begin_run`]) what was taken before the last is done, and counted at the
//! end of it, by who handled it.
//!
//! It holds no event (but those given back by `redrive`) and wakes nobody by itself.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bell::Bell;
use crate::crew::Share;
use crate::ledger::DeliveryRow;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, lock};
use crate::topic::block::{Pinned, Slot};
use crate::topic::settlement::{Ending, Reader, Word};
use crate::topic::tally::{Count, Tally};

/// What happens when a subscription is full, that is when it lags by its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Overflow {
    /// The publisher waits for room; `try_publish` is refused. The default.
    #[default]
    Wait,
    /// The oldest queued event is dropped, and counted as *shed*.
    DropOldest,
}

/// Who subscribes, and on what terms.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) service: Arc<str>,
    pub(crate) capacity: u64,
    pub(crate) overflow: Overflow,
    /// What of it is this reader's, if the service has several workers.
    pub(crate) share: Option<Arc<Share>>,
}

impl Terms {
    pub(crate) fn reader(&self) -> Reader {
        Reader {
            service: Arc::clone(&self.service),
            path: Arc::clone(self.path()),
        }
    }

    /// The path of the one who reads.
    pub(crate) fn path(&self) -> &Arc<str> {
        let share = self.share.as_ref();
        share.map_or(&self.service, |share| &share.path)
    }
}

/// What the topic counts of one worker's place, under its lock.
#[derive(Debug, Default)]
struct Own {
    /// Events published that are this worker's.
    accepted: AtomicU64,
    /// Events of others that the topic has passed over for it.
    skipped: AtomicU64,
}

/// An event that `redrive` has given back to the subscriber that failed it.
#[derive(Debug)]
pub(crate) struct Returned<E> {
    pub(crate) number: u64,
    pub(crate) event: Pinned<E>,
    /// How often it has been begun before.
    pub(crate) tries: u32,
}

/// What was given back.
#[derive(Debug)]
struct Returns<E> {
    queue: VecDeque<Returned<E>>,
    /// How many were ever accepted into it.
    redriven: u64,
}

pub(crate) struct Place<E> {
    pub(crate) id: u64,
    pub(crate) event: &'static str,
    pub(crate) terms: Terms,
    pub(crate) bell: Arc<Bell>,
    pub(crate) tally: Tally,
    start: u64,
    /// Whether the topic may move the position too: it sheds, or passes over what is another's.
    pub(crate) is_moved: bool,
    /// For one of several workers only: its own events are not all of the topic's.
    own: Option<Box<Own>>,
    /// The next position to be read. Moved by the reader, and by the topic if `is_moved`.
    position: AtomicU64,
    /// While events are taken in a run, the position after the first of it; 0 otherwise.
    run: AtomicU64,
    /// Counted by the topic, under its lock.
    shed: AtomicU64,
    closed: AtomicBool,
    /// A publisher has waited for this reader in vain; the next ones do not wait.
    pub(crate) stalled: AtomicBool,
    /// Whether the topic's list of sleepers names this place. Changed under the topic's lock.
    pub(crate) listed: AtomicBool,
    /// A box, made when it is first needed: few are ever given back.
    returns: Mutex<Option<Box<Returns<E>>>>,
    /// How many `returns` holds.
    returned: AtomicUsize,
}

impl<E> Default for Returns<E> {
    fn default() -> Self {
        Returns {
            queue: VecDeque::new(),
            redriven: 0,
        }
    }
}

impl<E> Place<E> {
    pub(crate) fn new(
        id: u64,
        event: &'static str,
        terms: Terms,
        bell: Arc<Bell>,
        start: u64,
    ) -> Self {
        let is_shared = terms.share.is_some();
        Place {
            id,
            event,
            is_moved: is_shared || terms.overflow == Overflow::DropOldest,
            own: is_shared.then(Box::default),
            terms,
            bell,
            tally: Tally::default(),
            start,
            position: AtomicU64::new(start),
            run: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            returns: Mutex::new(None),
            returned: AtomicUsize::new(0),
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

    /// The reader takes the event at `next` into custody, and moves on. False if the topic has shed
    /// it.
    #[inline]
    pub(crate) fn take(&self, next: &mut u64) -> bool {
        self.tally.change(|tally| {
            if !self.step(*next) {
                return false;
            }
            *next += 1;
            tally.add(Count::InFlight, 1);
            true
        })
    }

    /// The reader takes the event at `position` into custody, and begins a run: from now on moving
    /// on says that the event before was handled, as long as the topic does not move the place.
    pub(crate) fn begin_run(&self, position: u64) {
        self.tally.change(|tally| {
            self.position.store(position + 1, Ordering::Release);
            self.run.store(position + 1, Ordering::Relaxed);
            tally.add(Count::InFlight, 1);
        });
    }

    /// In a run, the reader is done with one event and takes the next. One store, which no reading
    /// can tear: two counts and a version for each event were a fifth of a delivery.
    #[inline]
    pub(crate) fn run_on(&self) {
        let position = self.position.load(Ordering::Relaxed);
        self.position.store(position + 1, Ordering::Release);
    }

    /// Ends a run in which so many were handled, with its last event `done`, or still in flight.
    pub(crate) fn end_run(&self, handled: u64, done: bool) {
        self.tally.change(|tally| {
            self.run.store(0, Ordering::Relaxed);
            tally.add(Count::Done, handled);
            if done {
                tally.take(Count::InFlight);
            }
        });
    }

    /// Whether the event with this number and lane is this reader's.
    pub(crate) fn has(&self, number: u64, lane: u64) -> bool {
        let share = self.terms.share.as_ref();
        share.is_none_or(|share| share.owns(number, lane))
    }

    /// Tells whoever watches the event in this slot what became of it here. Under no lock.
    pub(crate) fn report(&self, slot: &Slot<E>, ending: Ending) {
        let word = self.settle(slot, ending);
        word.into_iter().for_each(Word::say);
    }

    /// As [`Place::report`], but what there is to tell is returned.
    pub(crate) fn settle(&self, slot: &Slot<E>, ending: Ending) -> Option<Word> {
        slot.stamp.watch.as_ref()?.report(self.id, ending)
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
        if !self.is_moved {
            self.position.store(position + 1, Ordering::Release);
            return true;
        }
        // The topic may move the position at the same time: whoever comes first.
        self.move_on(position, position + 1)
    }

    fn move_on(&self, from: u64, to: u64) -> bool {
        let order = Ordering::AcqRel;
        let moved = self
            .position
            .compare_exchange(from, to, order, Ordering::Acquire);
        moved.is_ok()
    }

    /// The reader passes over events that are another worker's. False if the topic has moved the
    /// position in the meantime.
    pub(crate) fn pass(&self, from: u64, to: u64) -> bool {
        self.tally.change(|tally| {
            let moved = self.move_on(from, to);
            if moved {
                tally.add(Count::Passed, to - from);
            }
            moved
        })
    }

    /// The topic passes over an event that is another worker's, for a reader that has read all
    /// before it. Under the topic's lock.
    pub(crate) fn skip(&self, position: u64) {
        if self.move_on(position, position + 1) {
            self.count_skipped(1);
        }
    }

    fn count_skipped(&self, count: u64) {
        if let Some(own) = &self.own {
            own.skipped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// An event was published that is this worker's. Under the topic's lock.
    pub(crate) fn count_accepted(&self) {
        if let Some(own) = &self.own {
            own.accepted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Passes over what is too old for `tail`. Under the topic's lock. Returns what was passed, to
    /// be counted by [`Place::count_shed`].
    pub(crate) fn shed_before(&self, floor: u64) -> std::ops::Range<u64> {
        loop {
            let from = self.position();
            if from >= floor {
                return floor..floor;
            }
            if self.move_on(from, floor) {
                return from..floor;
            }
        }
    }

    /// Of what was shed, these were the reader's, and those another worker's. Under the topic's
    /// lock. Whether the reader's are the first that it loses.
    pub(crate) fn count_shed(&self, own: u64, others: u64) -> bool {
        let before = self.shed.fetch_add(own, Ordering::Relaxed);
        self.count_skipped(others);
        before == 0 && own > 0
    }

    /// Says that events are being shed. Once: the ledger has the rest.
    pub(crate) fn tell_of_shedding(&self, event: &str) {
        tracing::warn!(
            target: "callboard::policy",
            service = &**self.terms.path(), event, capacity = self.terms.capacity,
            "the subscription is full: while it is, its oldest event goes for each new one, and is \
             counted as shed; raise its capacity, or let publishers wait"
        );
    }

    /// Ends the reading. Under the topic's lock, by the reader or whoever holds its mailbox.
    /// `others` of what it has not read are another worker's.
    pub(crate) fn close(&self, tail: u64, others: u64) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tally.change(|tally| {
            let from = self.position.swap(tail, Ordering::AcqRel);
            tally.add(Count::Undelivered, tail - from - others);
            tally.add(Count::Passed, others);
        });
    }

    /// Accepts an event given back. Under the topic's lock.
    pub(crate) fn give_back(&self, returned: Returned<E>) {
        let mut returns = lock(&self.returns);
        let returns = returns.get_or_insert_default();
        returns.redriven += 1;
        self.returned.fetch_add(1, Ordering::SeqCst);
        returns.queue.push_back(returned);
    }

    /// The number of the next event given back. Cheap when there is none.
    #[inline]
    pub(crate) fn next_return(&self) -> Option<u64> {
        if self.returned.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.first_return()
    }

    #[cold]
    fn first_return(&self) -> Option<u64> {
        let returns = lock(&self.returns);
        returns.as_ref()?.queue.front().map(|one| one.number)
    }

    /// The reader takes the next event given back into custody.
    pub(crate) fn take_return(&self, into: Count) -> Option<Returned<E>> {
        let mut returns = lock(&self.returns);
        let returned = returns.as_mut()?.queue.pop_front()?;
        self.returned.fetch_sub(1, Ordering::SeqCst);
        self.tally.change(|tally| {
            tally.add(Count::Redriven, 1);
            tally.add(into, 1);
        });
        Some(returned)
    }

    /// Whether anything is queued, in flight or deferred, given the topic's tail. Under the topic's
    /// lock.
    pub(crate) fn is_open(&self, tail: u64) -> bool {
        let held = [Count::InFlight, Count::Deferred].map(|state| self.tally.now(state));
        self.position() != tail || held != [0, 0] || self.next_return().is_some()
    }

    /// The accounting of this place, given the topic's tail. Under the topic's lock.
    pub(crate) fn row(&self, tail: u64) -> DeliveryRow {
        DeliveryRow {
            service: self.terms.service.to_string(),
            event: self.event.to_owned(),
            ..self.counts(tail)
        }
    }

    /// The same without names: whoever waits for a board to settle looks at all places, and again.
    pub(super) fn counts(&self, tail: u64) -> DeliveryRow {
        let (reading, (position, run, shed)) = self.tally.read(|| {
            let run = self.run.load(Ordering::Relaxed);
            (self.position(), run, self.shed.load(Ordering::Relaxed))
        });
        let passed = reading.of(Count::Passed);
        let redriven = lock(&self.returns).as_ref().map_or(0, |all| all.redriven);
        let end = if self.is_closed() { position } else { tail };
        let mut row = DeliveryRow::default();
        let read = position - self.start;
        let (accepted, taken) = match &self.own {
            None => (end - self.start, read),
            Some(own) => {
                let others = passed + own.skipped.load(Ordering::Relaxed);
                (own.accepted.load(Ordering::Relaxed), read - others)
            }
        };
        row.accepted = accepted + redriven;
        row.taken = taken + reading.of(Count::Redriven);
        row.queued = row.accepted.saturating_sub(row.taken);
        if self.own.is_some() && position == end {
            // All was read: what the topic holds for this worker's and the worker does not, or
            // the other way round, is no queue but a gap.
            row.queued = redriven - reading.of(Count::Redriven);
        }
        let in_run = if run == 0 { 0 } else { position - run };
        row.acknowledged = reading.of(Count::Done) + in_run;
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
