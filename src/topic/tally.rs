//! The counters of one reader: one thread counts, any thread reads them consistently.
//!
//! A mailbox keeps one per subscription and one for its letters; the ledger reads them.
//!
//! Invariant: a snapshot is what stood between two changes, never the middle of one (a seqlock:
//! H.-J. Boehm, "Can seqlocks get along with programming language memory models?", 2012).
//!
//! It derives nothing: each state is counted where it happens, or at the end of a run (see
//! `Place::begin_run`), so that the ledger can check.

use crate::sync::{AtomicU64, Ordering, fence, spin};

/// What is counted. The first eight are the states a delivery or letter can be in.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Count {
    /// Events handled, letters answered.
    Done,
    /// Letters whose answer failed; unused for events.
    Failed,
    DeadLettered,
    Discarded,
    Expired,
    Undelivered,
    InFlight,
    /// Events that wait to be tried again; letters that were taken, and given back.
    Deferred,
    /// Done, but later than its timeout.
    Late,
    /// Attempts beyond the first.
    Retried,
    /// Taken out of the lane of redriven events.
    Redriven,
    /// Left to the other workers of the service: not this one's, and in no state here.
    Passed,
    /// Letters taken out of the queue; events count by position.
    Taken,
}

const COUNTS: usize = Count::Taken as usize + 1;

/// A set of counters with one writer at a time.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    version: AtomicU64,
    counts: [AtomicU64; COUNTS],
    #[cfg(test)]
    pub(crate) skip_next: crate::sync::AtomicBool,
}

/// One consistent reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading([u64; COUNTS]);

impl Reading {
    pub(crate) fn of(&self, count: Count) -> u64 {
        self.0[count as usize]
    }
}

impl Tally {
    /// Makes several changes that no reading can tear apart. Only the reader's own thread, or
    /// whoever holds the mailbox when no life does, may call this.
    #[inline]
    pub(crate) fn change<R>(&self, change: impl FnOnce(&Self) -> R) -> R {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let result = change(self);
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
        result
    }

    /// Adds to a counter, inside [`Tally::change`].
    pub(crate) fn add(&self, count: Count, amount: u64) {
        // Final states alone: what is skipped on the way there would be taken away later.
        #[cfg(test)]
        if amount > 0
            && (count as usize) < Count::InFlight as usize
            && self.skip_next.swap(false, Ordering::Relaxed)
        {
            return;
        }
        let cell = &self.counts[count as usize];
        cell.store(
            cell.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
    }

    /// Takes one from a counter, inside [`Tally::change`].
    pub(crate) fn take(&self, count: Count) {
        let cell = &self.counts[count as usize];
        cell.store(
            cell.load(Ordering::Relaxed).wrapping_sub(1),
            Ordering::Relaxed,
        );
    }

    /// Moves one from a state to another.
    pub(crate) fn shift(&self, from: Count, to: Count) {
        self.change(|tally| {
            tally.take(from);
            tally.add(to, 1);
        });
    }

    /// One counter by itself, for whoever needs no other beside it.
    pub(crate) fn now(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    /// Reads all counters, and what `also` reads, between two changes.
    pub(crate) fn read<T>(&self, also: impl Fn() -> T) -> (Reading, T) {
        loop {
            if let Some(seen) = self.try_read(&also) {
                return seen;
            }
            spin();
        }
    }

    /// As [`Tally::read`], once: `None` if there was a change meanwhile.
    pub(crate) fn try_read<T>(&self, also: impl Fn() -> T) -> Option<(Reading, T)> {
        let before = self.version.load(Ordering::Acquire);
        let mut reading = Reading::default();
        for (to, from) in reading.0.iter_mut().zip(&self.counts) {
            *to = from.load(Ordering::Relaxed);
        }
        let more = also();
        fence(Ordering::Acquire);
        let is_whole = before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before;
        is_whole.then_some((reading, more))
    }
}
