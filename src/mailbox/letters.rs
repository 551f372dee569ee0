//! The letters of one service: a counted, bounded queue from everyone to one reader.
//!
//! Addresses send; the mailbox takes. The list takes no memory until the first letter comes.
//!
//! Invariant: accepted minus taken never exceeds the capacity, at any instant, and after the
//! closing bit is set nothing more is accepted.
//!
//! It does not open letters.

use crate::bell::Bell;
use crate::ledger::LetterRow;
use crate::mailbox::bundle::{AnyBundle, Bundled, Bundles, Taken};
use crate::mailbox::doors::Door;
use crate::pulse::Pulse;
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock, spin};
use crate::topic::room::Queue;
use crate::topic::tally::{Count, Tally};

/// In `accepted`: nothing more is. Counting to it would take centuries.
const CLOSED: u64 = 1 << 63;

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
pub(crate) struct Letterbox<B: ?Sized> {
    /// Written under the lock, looked at without it.
    accepted: AtomicU64,
    /// One lock for room, number and place: with a count and a list that need none, a message took
    /// four atomic steps more, and a quarter longer.
    inner: Mutex<Inner<B>>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) room: Queue,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
struct Inner<B: ?Sized> {
    /// A box, made when the first letter comes: many services never have one.
    list: Option<Box<Bundles<B>>>,
    capacity: u64,
    /// Up to how many may be accepted, as far as a sender has looked: what the reader has taken is
    /// looked at only when that is reached.
    full_at: u64,
}

/// Room for one letter. Nobody else sends meanwhile.
#[must_use]
pub(crate) struct Room<'a, B: ?Sized> {
    accepted: &'a AtomicU64,
    inner: MutexGuard<'a, Inner<B>>,
}

impl<B: AnyBundle + ?Sized> Room<'_, B> {
    /// Accepts a letter, which is given its number. [`Letterbox::ring`] follows.
    #[inline(always)]
    pub(crate) fn put<T: Bundled<B>>(mut self, pulse: &Pulse, mut letter: T) {
        // Counted first: whoever finds that no number was given while it read what is open has seen
        // this letter, or has nothing to see.
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.accepted.store(accepted + 1, Ordering::Release);
        letter.enter(pulse.next_number());
        self.inner.list.get_or_insert_default().push(letter);
    }
}

impl<B: ?Sized> Letterbox<B> {
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
    pub(crate) fn enter(&self, pulse: &Pulse, is_insider: bool) -> Result<Room<'_, B>, Unsent> {
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
    fn look_for_room(&self, inner: &mut Inner<B>) -> Result<(), Unsent> {
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

    /// Wakes senders who wait for room, if any.
    pub(crate) fn announce(&self) {
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

    /// The accounting of these letters, without a name.
    pub(crate) fn counts(&self) -> LetterRow {
        let (reading, accepted) = loop {
            // Nothing is accepted meanwhile: what is queued was so at one moment, and is within the
            // capacity, but for what was given back. Let go between two tries, which may have to
            // wait for the reader: senders do not wait with them.
            let inner = lock(&self.inner);
            let seen = self.tally.try_read(|| self.accepted());
            drop(inner);
            match seen {
                Some(seen) => break seen,
                None => spin(),
            }
        };
        let mut row = LetterRow::default();
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

impl<B: ?Sized> Door for Arc<Letterbox<B>> {
    fn taken(&self) -> u64 {
        self.as_ref().taken()
    }

    fn announce(&self) {
        self.as_ref().announce();
    }
}

/// The reader's side, part of the mailbox.
#[derive(Debug)]
pub(crate) struct Letters<B: ?Sized> {
    pub(crate) shared: Arc<Letterbox<B>>,
    /// The oldest letters, still queued: looking at a number means having it out. All there were,
    /// so that they are answered in a batch: what caused them was there before they were out.
    seen: Taken<B>,
    /// How many of these, the first, were taken before and given back.
    returned: usize,
    /// How many were ever popped off the list. Kept here, so that to find no letter takes one look
    /// at what is shared.
    popped: u64,
}

impl<B: AnyBundle + ?Sized> Letters<B> {
    pub(crate) fn new(shared: Arc<Letterbox<B>>) -> Self {
        Letters {
            shared,
            seen: Taken::new(),
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

    /// Has the letters out that are in the list.
    fn pop(&mut self) {
        let mut inner = lock(&self.shared.inner);
        let list = inner.list.as_mut().filter(|list| !list.is_empty());
        let Some(list) = list else {
            return;
        };
        let popped = self.seen.take_from(list);
        drop(inner);
        self.popped += popped as u64;
    }

    /// The number of the oldest letter that is out.
    pub(crate) fn head(&self) -> Option<u64> {
        self.front()?.head()
    }

    /// Those that are out, and are kept with the oldest letter.
    pub(crate) fn front(&self) -> Option<&B> {
        self.seen.front()
    }

    /// Takes the oldest letter into the state `into`.
    pub(crate) fn take(&mut self, into: Count) -> Option<B::Item> {
        self.look_further()?;
        let letter = self.seen.pop()?;
        self.count_out(into);
        Some(letter)
    }

    /// Takes the oldest letter that is out, if it is of this type and this is so, and counts one in
    /// this state: itself, or in its place the one in flight before it, so that two changes are
    /// one.
    #[inline]
    pub(crate) fn take_if<T: Bundled<B>>(
        &mut self,
        into: Count,
        is_wanted: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let letter = self.seen.pop_if(is_wanted)?;
        self.count_out(into);
        Some(letter)
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
    pub(crate) fn give_back(&mut self, letters: impl DoubleEndedIterator<Item = Box<B>>) {
        for letter in letters.rev() {
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

    /// Refuses letters from now on, and takes out all that were accepted: they are undelivered.
    pub(crate) fn close(&mut self) -> Vec<B::Item> {
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
