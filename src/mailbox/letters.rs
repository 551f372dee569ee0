//! The letters of one service: a counted, bounded queue from everyone to one reader.
//!
//! Addresses send; the mailbox takes. The queue itself is made when the first letter comes.
//!
//! Invariant: accepted minus taken never exceeds the capacity, at any instant, and after the
//! closing bit is set nothing more is accepted.
//!
//! It does not open letters.

use std::collections::VecDeque;

use crate::bell::Bell;
use crate::ledger::LetterRow;
use crate::mailbox::doors::Door;
use crate::pulse::Pulse;
use crate::sync::{Arc, AtomicU64, List, OnceLock, Ordering, fence, spin};
use crate::topic::Origin;
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
    accepted: AtomicU64,
    /// Up to how many may be accepted, as far as a sender has looked: what the reader has taken is
    /// looked at only when that is reached.
    full_at: AtomicU64,
    capacity: AtomicU64,
    pub(crate) bell: Arc<Bell>,
    list: OnceLock<List<T>>,
    pub(crate) room: Queue,
    pub(crate) tally: Tally,
}

impl<T> Letterbox<T> {
    pub(crate) fn new(bell: Arc<Bell>, capacity: u64) -> Self {
        Letterbox {
            accepted: AtomicU64::new(CLOSED),
            full_at: AtomicU64::new(capacity),
            capacity: AtomicU64::new(capacity),
            bell,
            list: OnceLock::new(),
            room: Queue::new(),
            tally: Tally::default(),
        }
    }

    /// Takes in letters from now on, `capacity` at a time.
    pub(crate) fn open(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
        self.full_at
            .store(self.taken().saturating_add(capacity), Ordering::Relaxed);
        self.accepted.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// Accepts a letter; [`Letterbox::push`] must follow at once. Never waits.
    pub(crate) fn reserve(&self, pulse: &Pulse, origin: &Origin) -> Result<(), Unsent> {
        if pulse.accepts(origin.is_insider()) {
            self.count()
        } else {
            Err(Unsent::Closed)
        }
    }

    /// Queues a letter for which room was reserved, and wakes the reader. It is given its number.
    pub(crate) fn push(&self, pulse: &Pulse, seal: impl FnOnce(u64) -> T) {
        self.queue(pulse, seal);
        self.ring();
    }

    /// Queues a letter for which room was reserved; [`Letterbox::ring`] follows.
    pub(crate) fn queue(&self, pulse: &Pulse, seal: impl FnOnce(u64) -> T) {
        let letter = seal(pulse.next_number());
        self.list.get_or_init(List::new).push(letter);
    }

    /// Wakes the reader after a push. Outside every lock: waking runs the executor's code.
    pub(crate) fn ring(&self) {
        // Orders the push before the look at the bell; the mailbox arms before it looks.
        fence(Ordering::SeqCst);
        self.bell.ring();
    }

    /// Whether a letter would be accepted now; `None` if never again.
    pub(crate) fn has_room(&self) -> Option<bool> {
        let accepted = self.accepted.load(Ordering::SeqCst);
        (accepted & CLOSED == 0).then(|| self.has_room_after(accepted))
    }

    /// How many were ever accepted. The sender of the last may be about to push it, and rings then.
    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst) & !CLOSED
    }

    fn announce(&self) {
        // Orders what was taken before the look at those who wait; they enter before they look.
        fence(Ordering::SeqCst);
        self.room.let_go_if_any();
    }

    fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Whoever waits for room has a fence before this look, and the reader one after what it took.
    fn taken(&self) -> u64 {
        self.tally.now(Count::Taken)
    }

    /// Whether there is room for one more than `accepted`, which may be out of date.
    fn has_room_after(&self, accepted: u64) -> bool {
        let full_at = self.taken().saturating_add(self.capacity());
        // What was taken only grows, so the highest is true, whoever has looked first.
        self.full_at.fetch_max(full_at, Ordering::Relaxed);
        accepted < full_at
    }

    fn count(&self) -> Result<(), Unsent> {
        let mut accepted = self.accepted.load(Ordering::Acquire);
        loop {
            if accepted & CLOSED != 0 {
                return Err(Unsent::Closed);
            }
            let is_free = accepted < self.full_at.load(Ordering::Relaxed);
            if !is_free && !self.has_room_after(accepted) {
                return Err(Unsent::Full);
            }
            let next = accepted + 1;
            match self.accepted.compare_exchange_weak(
                accepted,
                next,
                Ordering::SeqCst,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(seen) => accepted = seen,
            }
        }
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

/// How many letters are out at a time.
const BATCH: u64 = 32;

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

    fn look_further(&mut self) -> Option<u64> {
        if self.seen.is_empty() {
            let queued = self.shared.accepted() - self.popped;
            if queued > 0 {
                self.pop(queued.min(BATCH));
            }
        }
        self.head()
    }

    /// Pops so many off the list. It is asked for no more than is in it, or about to be: to find
    /// that there is nothing takes as long as to find something.
    fn pop(&mut self, count: u64) {
        let Some(list) = self.shared.list.get() else {
            return;
        };
        for _ in 0..count {
            let Some(letter) = list.pop() else { return };
            self.seen.push_back(letter);
            self.popped += 1;
        }
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
        let accepted = self.shared.accepted.fetch_or(CLOSED, Ordering::SeqCst) & !CLOSED;
        let mut left = Vec::new();
        while self.returned > 0 || self.shared.tally.now(Count::Taken) < accepted {
            match self.take(Count::Undelivered) {
                Some(letter) => left.push(letter),
                // Its sender has counted and is about to push.
                None => spin(),
            }
        }
        self.shared.room.let_go();
        left
    }
}
