//! How much the receivers on one thread have had.
//!
//! Those of other crates' channels count here, and whoever sends waits for them.
//!
//! Invariant: each number goes through `black_box`, as it does in our own readers.
//!
//! It is not for several threads.

use std::cell::Cell;
use std::hint::black_box;

#[derive(Default)]
pub(crate) struct Count {
    sum: Cell<u64>,
    taken: Cell<u64>,
}

impl Count {
    pub(crate) fn take(&self, number: u64) {
        self.sum.set(black_box(self.sum.get().wrapping_add(number)));
        self.add(1);
    }

    /// So many more were taken, whose numbers have gone through elsewhere.
    pub(crate) fn add(&self, taken: u64) {
        self.taken.set(self.taken.get() + taken);
    }

    /// Waits until so many were taken since the last time.
    pub(crate) async fn reach(&self, count: u64) {
        while self.taken.get() < count {
            tokio::task::yield_now().await;
        }
        self.taken.set(0);
    }
}
