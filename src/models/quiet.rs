//! How the end of all work is told apart from a moment in between: `Wall::quiet` and `Room::put`.
//!
//! Invariant: where no number was given while the rows were read, nothing slipped from one that was
//! not read yet to one that had been.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

/// One service tells another something, which stays queued, and has then done all it had to do.
struct Board {
    numbers: AtomicU64,
    accepted: AtomicU64,
    done: AtomicBool,
}

impl Board {
    fn tell(&self, number_first: bool) {
        if number_first {
            self.numbers.fetch_add(1, Ordering::SeqCst);
        }
        self.accepted.store(1, Ordering::Release);
        if !number_first {
            self.numbers.fetch_add(1, Ordering::SeqCst);
        }
        self.done.store(true, Ordering::Release);
    }

    /// Reads the rows one after the other: the mailbox of the other, then the first one's.
    fn is_quiet(&self) -> bool {
        let before = self.numbers.load(Ordering::SeqCst);
        let is_empty = self.accepted.load(Ordering::Acquire) == 0;
        let is_done = self.done.load(Ordering::Acquire);
        is_empty && is_done && self.numbers.load(Ordering::SeqCst) == before
    }
}

fn model(number_first: bool) {
    loom::model(move || {
        let board = Arc::new(Board {
            numbers: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
            done: AtomicBool::new(false),
        });
        let teller = {
            let board = Arc::clone(&board);
            thread::spawn(move || board.tell(number_first))
        };
        assert!(!board.is_quiet(), "a letter was missed");
        teller.join().unwrap();
    });
}

#[test]
fn no_letter_is_missed() {
    model(false);
}

#[test]
#[should_panic(expected = "a letter was missed")]
fn a_number_that_is_given_before_its_letter_is_counted_is_caught() {
    model(true);
}
