//! A board on threads of its own, and a thread to call it from.
//!
//! Benches that cross threads make one.
//!
//! Invariant: the board has ended when this is dropped.
//!
//! It does not say on which core a thread runs: the system does.

use callboard::BoardBuilder;
use callboard::prelude::*;
use tokio::runtime::{Builder, Runtime};

/// A running board; it ends with this.
pub(crate) struct Elsewhere(Board);

impl Elsewhere {
    pub(crate) fn new(arbiters: usize, root: Supervisor) -> Self {
        Elsewhere::built(Board::builder().arbiters(arbiters), root)
    }

    pub(crate) fn built(builder: BoardBuilder, root: Supervisor) -> Self {
        Elsewhere(builder.start(root).unwrap())
    }
}

impl std::ops::Deref for Elsewhere {
    type Target = Board;

    fn deref(&self) -> &Board {
        &self.0
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.shutdown_blocking(secs(5));
    }
}

/// A runtime for who calls from a thread that runs nothing else.
pub(crate) fn caller() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// A runtime of so many threads, none of which is the caller's.
pub(crate) fn workers(count: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(count).build().unwrap()
}
