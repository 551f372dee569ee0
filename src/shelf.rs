//! The last dead letters of a board.
//!
//! Hosts put them there; the broker gives them back on request.
//!
//! Invariant: it keeps at most so many, the newest; an older one goes, still counted in the ledger,
//! and the first time that is told.
//!
//! It does not decide whether a letter can be given back.

use std::collections::VecDeque;

use crate::dead_letter::DeadLetter;
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

#[derive(Debug)]
pub(crate) struct Shelf {
    most: usize,
    letters: Mutex<VecDeque<DeadLetter>>,
    /// Whether it has been told that letters go.
    is_told: AtomicBool,
}

impl Shelf {
    pub(crate) fn new(most: usize) -> Self {
        Shelf {
            most,
            letters: Mutex::new(VecDeque::new()),
            is_told: AtomicBool::new(false),
        }
    }

    pub(crate) fn put(&self, letter: DeadLetter) {
        let mut letters = lock(&self.letters);
        let oldest = if letters.len() >= self.most {
            letters.pop_front()
        } else {
            None
        };
        if self.most > 0 {
            letters.push_back(letter);
        }
        drop(letters);
        if oldest.is_some() && !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "callboard::policy",
                most = self.most,
                "the shelf of dead letters is full: from now on the oldest one goes for each new \
                 one; subscribe to DeadLetter to store them, or raise BoardBuilder::shelf"
            );
        }
        drop(oldest);
    }

    /// All of them, the oldest first.
    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        lock(&self.letters).iter().cloned().collect()
    }

    /// Whether this very letter is there.
    pub(crate) fn has(&self, letter: &DeadLetter) -> bool {
        lock(&self.letters).iter().any(|one| one.is(letter))
    }

    /// Takes this very letter off the shelf, if it is there.
    pub(crate) fn take(&self, letter: &DeadLetter) {
        let mut letters = lock(&self.letters);
        let found = letters.iter().position(|one| one.is(letter));
        let taken = found.and_then(|index| letters.remove(index));
        drop(letters);
        drop(taken);
    }
}
