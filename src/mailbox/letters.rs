//! The letters of one service: a counted, bounded queue from everyone to one reader.
//!
//! Addresses send; the mailbox takes. The list takes no memory until the first letter comes.
//!
//! Invariant: accepted minus taken never exceeds the capacity, at any instant, and after the
//! closing bit is set nothing more is accepted.
//!
//! It does not open letters.

use std::collections::VecDeque;

use crate::bell::Bell;
use crate::ledger::LetterRow;
use crate::mailbox::chunks::Chunks;
use crate::mailbox::doors::Door;
use crate::pulse::Pulse;
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock};
use crate::topic::room::Queue;
use crate::topic::tally::{Count, Tally};

/// In `accepted`: nothing more is. Counting to it would take centuries.
const CLOSED: u64 = 1 << 63;

/// A letter that knows its number. It is not kept beside it: what is moved from place to place
/// should fit in registers, since a copy of more waits for what was stored just before.
pub(crate) trait Numbered {
    fn number(&self) -> u64;
}

/// Why a letter was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    Full,
    Closed,
}

/// The senders' side, shared by all addresses of one service.
///
/// In this order: what the senders write is first, what the reader writes is last, so that they do
/// not take each other's cache line for each letter.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Letterbox<T> {
    /// Written under the lock, looked at without it.
    accepted: AtomicU64,
    /// One lock for room, number and place: with a count and a list that need none, a message took
    /// four atomic steps more, and a quarter longer.
    inner: Mutex<Inner<T>>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) room: Queue,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
struct Inner<T> {
    /// A box, made when the first letter comes: many services never have one.
    list: Option<Box<Chunks<T>>>,
    capacity: u64,
    /// Up to how many may be accepted, as far as a sender has looked: what the reader has taken is
    /// looked at only when that is reached.
    full_at: u64,
}

/// Room for one letter. Nobody else sends meanwhile.
#[must_use]
pub(crate) struct Room<'a, T> {
    accepted: &'a AtomicU64,
    inner: MutexGuard<'a, Inner<T>>,
}

impl<T> Room<'_, T> {
    /// Accepts a letter, which is given its number. [`Letterbox::ring`] follows.
    #[inline]
    pub(crate) fn put(mut self, pulse: &Pulse, seal: impl FnOnce(u64) -> T) {
        // Counted first: whoever finds that no number was given while it read what is open has seen
        // this letter, or has nothing to see.
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.accepted.store(accepted + 1, Ordering::Release);
        let list = self.inner.list.get_or_insert_default();
        list.push(seal(pulse.next_number()));
    }
}

impl<T> Letterbox<T> {
    pub(crate) fn new(bell: Arc<Bell>, capacity: u64) -> Self {
        Letterbox {
            accepted: AtomicU64::new(CLOSED),
            inner: Mutex::new(Inner {
                list: None,
                capacity,
                full_at: 0,
            }),
            bell,
            room: Queue::new(),
            tally: Tally::default(),
        }
    }

    /// Takes in letters from now on, `capacity` at a time.
    pub(crate) fn open(&self, capacity: u64) {
        let mut inner = lock(&self.inner);
        // What is closed is beyond this.
        inner.capacity = capacity.min(CLOSED - 1);
        inner.full_at = self.taken().saturating_add(inner.capacity);
        self.accepted.store(self.accepted(), Ordering::Release);
    }

    /// Room for one letter, if there is some. Never waits.
    #[inline]
    pub(crate) fn enter(&self, pulse: &Pulse, is_insider: bool) -> Result<Room<'_, T>, Unsent> {
        if !pulse.accepts(is_insider) {
            return Err(Unsent::Closed);
        }
        let mut inner = lock(&self.inner);
        let accepted = self.accepted.load(Ordering::Relaxed);
        // What is closed is beyond any capacity.
        if accepted >= inner.full_at {
            self.look_for_room(&mut inner)?;
        }
        Ok(Room {
            accepted: &self.accepted,
            inner,
        })
    }

    #[cold]
    fn look_for_room(&self, inner: &mut Inner<T>) -> Result<(), Unsent> {
        let accepted = self.accepted.load(Ordering::Relaxed);
        if accepted & CLOSED != 0 {
            return Err(Unsent::Closed);
        }
        inner.full_at = self.taken().saturating_add(inner.capacity);
        if accepted < inner.full_at {
            Ok(())
        } else {
            Err(Unsent::Full)
        }
    }

    /// Wakes the reader after a letter was put in. Outside every lock: waking runs the executor's
    /// code. The reader arms its bell before it looks for the last time, under the lock.
    #[inline]
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Whether a letter would be accepted now; `None` if never again.
    pub(crate) fn has_room(&self) -> Option<bool> {
        match self.look_for_room(&mut lock(&self.inner)) {
            Ok(()) => Some(true),
            Err(Unsent::Full) => Some(false),
            Err(Unsent::Closed) => None,
        }
    }

    /// How many were ever accepted.
    #[inline]
    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire) & !CLOSED
    }

    fn announce(&self) {
        // Orders what was taken before the look at those who wait; they enter before they look.
        fence(Ordering::SeqCst);
        self.room.let_go_if_any();
    }

    fn capacity(&self) -> u64 {
        lock(&self.inner).capacity
    }

    /// Whoever waits for room has a fence before this look, and the reader one after what it took.
    fn taken(&self) -> u64 {
        self.tally.now(Count::Taken)
    }

    /// The accounting of these letters.
    pub(crate) fn row(&self, service: &str) -> LetterRow {
        let (reading, ()) = self.tally.read(|| ());
        // Read after what was taken, so it is never less.
        let accepted = self.accepted();
        let mut row = LetterRow::new(service.to_owned());
        row.accepted = accepted;
        row.taken = reading.of(Count::Taken) - reading.of(Count::Deferred);
        row.queued = accepted.saturating_sub(row.taken);
        row.answered = reading.of(Count::Done);
        row.failed = reading.of(Count::Failed);
        row.expired = reading.of(Count::Expired);
        row.undelivered = reading.of(Count::Undelivered);
        row.in_flight = reading.of(Count::InFlight);
        row
    }
}

impl<T> Door for Arc<Letterbox<T>> {
    fn taken(&self) -> u64 {
        self.as_ref().taken()
    }

    fn announce(&self) {
        self.as_ref().announce();
    }
}

/// The reader's side, part of the mailbox.
#[derive(Debug)]
pub(crate) struct Letters<T> {
    pub(crate) shared: Arc<Letterbox<T>>,
    /// The oldest letters, still queued: looking at a number means having it out. Several, so that
    /// they are answered in a batch: what caused them was there before they were out.
    seen: VecDeque<T>,
    /// How many of these, the first, were taken before and given back.
    returned: usize,
    /// How many were ever popped off the list. Kept here, so that to find no letter takes one look
    /// at what is shared.
    popped: u64,
}

impl<T: Numbered> Letters<T> {
    pub(crate) fn new(shared: Arc<Letterbox<T>>) -> Self {
        Letters {
            shared,
            seen: VecDeque::new(),
            returned: 0,
            popped: 0,
        }
    }

    /// The number of the oldest letter; none while as many are being answered as may be queued,
    /// which is one, or what instances per key have. So there are at most twice as many.
    #[inline]
    pub(crate) fn look(&mut self) -> Option<u64> {
        // Most services that are looked at before each event have no letter.
        if self.has_none() {
            return None;
        }
        self.look_closely()
    }

    #[inline]
    fn has_none(&self) -> bool {
        self.seen.is_empty() && self.shared.accepted() == self.popped
    }

    #[inline(never)]
    fn look_closely(&mut self) -> Option<u64> {
        let oldest = self.look_further()?;
        let answered = self.shared.tally.now(Count::InFlight);
        (answered == 0 || answered < self.shared.capacity()).then_some(oldest)
    }

    /// As [`Letters::look`], the last time before the reader sleeps: a letter that comes later
    /// rings. Whether there is one is seen under the lock, after whatever was written before.
    pub(crate) fn look_last(&mut self) -> Option<u64> {
        if self.seen.is_empty() {
            self.pop();
        }
        self.look()
    }

    fn look_further(&mut self) -> Option<u64> {
        if self.seen.is_empty() && self.shared.accepted() != self.popped {
            self.pop();
        }
        self.head()
    }

    /// Has the oldest letters out that are in the list.
    fn pop(&mut self) {
        let mut inner = lock(&self.shared.inner);
        let list = inner.list.as_mut().filter(|list| !list.is_empty());
        let Some(list) = list else {
            return;
        };
        list.take(&mut self.seen);
        drop(inner);
        self.popped += self.seen.len() as u64;
    }

    /// The number of the oldest letter that is out.
    pub(crate) fn head(&self) -> Option<u64> {
        self.seen.front().map(T::number)
    }

    /// Takes the oldest letter into the state `into`.
    pub(crate) fn take(&mut self, into: Count) -> Option<T> {
        self.look_further()?;
        self.take_if(into, Ok)
    }

    /// Takes the oldest letter that is out, if `open` can do something with it, and counts one in
    /// this state: itself, or in its place the one in flight before it, so that two changes are
    /// one.
    #[inline]
    pub(crate) fn take_if<R>(
        &mut self,
        into: Count,
        open: impl FnOnce(T) -> Result<R, T>,
    ) -> Option<R> {
        match open(self.seen.pop_front()?) {
            Ok(opened) => {
                self.count_out(into);
                Some(opened)
            }
            Err(letter) => {
                self.seen.push_front(letter);
                None
            }
        }
    }

    fn count_out(&mut self, into: Count) {
        self.shared.tally.change(|tally| {
            match self.returned.checked_sub(1) {
                None => tally.add(Count::Taken, 1),
                Some(left) => {
                    tally.take(Count::Deferred);
                    self.returned = left;
                }
            }
            tally.add(into, 1);
        });
    }

    /// Nobody has begun to answer these, in the order of their numbers: they are queued as before,
    /// ahead of all others. The room they had is not theirs any more, so there may be more than
    /// the capacity.
    pub(crate) fn give_back(&mut self, letters: Vec<T>) {
        for letter in letters.into_iter().rev() {
            self.seen.push_front(letter);
            self.returned += 1;
            self.settle(Count::Deferred);
        }
    }

    /// A letter that was in flight has come to this end.
    pub(crate) fn settle(&self, end: Count) {
        self.shared.tally.shift(Count::InFlight, end);
    }

    /// Whether a letter was taken that has not been settled.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.shared.tally.now(Count::InFlight) > 0
    }

    /// Wakes senders who wait for room, if any.
    pub(crate) fn announce_room(&self) {
        self.shared.announce();
    }

    /// Refuses letters from now on, and takes out all that were accepted: they are undelivered.
    pub(crate) fn close(&mut self) -> Vec<T> {
        let inner = lock(&self.shared.inner);
        self.shared
            .accepted
            .store(self.shared.accepted() | CLOSED, Ordering::Release);
        drop(inner);
        let left = std::iter::from_fn(|| self.take(Count::Undelivered)).collect();
        self.shared.room.let_go();
        left
    }
}
