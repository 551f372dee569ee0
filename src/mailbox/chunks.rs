//! A queue that keeps its items in chunks.
//!
//! Senders add to it under a lock; the reader takes a chunk at a time, so that it takes the lock
//! once for many.
//!
//! Invariant: what was taken is given back to the allocator, but for one small chunk on each side,
//! however long the queue was.
//!
//! It counts nothing.

use std::collections::VecDeque;

/// How many items a chunk has at most: its lock is paid for by then, and it is small.
const MOST: usize = 32;

#[derive(Debug)]
pub(crate) struct Chunks<T> {
    /// The older ones.
    full: VecDeque<Vec<T>>,
    last: Vec<T>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks {
            full: VecDeque::new(),
            last: Vec::new(),
        }
    }
}

impl<T> Chunks<T> {
    #[inline]
    pub(crate) fn push(&mut self, item: T) {
        if self.last.len() == MOST {
            self.begin_next();
        }
        self.last.push(item);
    }

    #[cold]
    fn begin_next(&mut self) {
        let full = std::mem::replace(&mut self.last, Vec::with_capacity(MOST));
        self.full.push_back(full);
    }

    /// Takes the oldest items, into what must be empty.
    pub(crate) fn take(&mut self, into: &mut VecDeque<T>) {
        debug_assert!(into.is_empty(), "what is in it would be lost");
        if self.full.is_empty() {
            // Mostly it is one, and a queue that moves as a whole takes longer.
            if self.last.len() > 1 {
                into.extend(self.last.drain(..));
            } else if let Some(one) = self.last.pop() {
                into.push_back(one);
            }
        } else {
            self.take_full(into);
        }
    }

    #[cold]
    fn take_full(&mut self, into: &mut VecDeque<T>) {
        if let Some(oldest) = self.full.pop_front() {
            *into = oldest.into();
        }
        if self.full.is_empty() {
            self.full = VecDeque::new();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_empty() && self.full.is_empty()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_nothing_is_kept_of_many() {
        let mut chunks = Chunks::default();
        let mut taken = VecDeque::new();
        for round in 0..3 {
            (0..1_000).for_each(|item| chunks.push(item));
            let mut all = Vec::new();
            loop {
                chunks.take(&mut taken);
                if taken.is_empty() {
                    break;
                }
                assert!(taken.len() <= MOST);
                all.extend(taken.drain(..));
            }
            assert!(all.into_iter().eq(0..1_000), "in round {round}");
        }
        let kept = chunks.full.capacity() + chunks.last.capacity() + taken.capacity();
        assert!(kept <= 2 * MOST, "{kept}");
    }

    #[test]
    fn one_item_at_a_time_takes_no_new_room() {
        let (mut chunks, mut taken) = (Chunks::default(), VecDeque::new());
        let mut places = Vec::new();
        for item in 0..10 {
            chunks.push(item);
            chunks.take(&mut taken);
            assert_eq!(taken.pop_front(), Some(item));
            places.push((chunks.last.as_ptr(), taken.capacity()));
        }
        places.dedup();
        assert_eq!(places.len(), 1);
    }
}
