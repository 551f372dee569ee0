//! One thread that a board and its caller share.
//!
//! Benches make one and run bursts of work on it.
//!
//! Invariant: whatever runs on it runs on the caller's thread.
//!
//! It does not shut a board down: whoever started it does.

use std::future::Future;

use callboard::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

/// A runtime of one thread, and the set that a board on this thread needs.
pub(crate) struct Ground {
    // Dropped first: what its tasks hold may need the runtime.
    set: LocalSet,
    runtime: Runtime,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::of(Builder::new_current_thread().enable_all())
    }

    /// One whose clock stands still while there is work: what depends on time always does the same.
    pub(crate) fn paused() -> Self {
        let mut builder = Builder::new_current_thread();
        Self::of(builder.enable_all().start_paused(true))
    }

    fn of(builder: &mut Builder) -> Self {
        Ground {
            set: LocalSet::new(),
            runtime: builder.build().unwrap(),
        }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.set.block_on(&self.runtime, work)
    }

    /// Runs this as a task, as what asks a service on its own thread mostly is. The outermost
    /// future of a runtime pays a look at its driver for each wait, whoever is asked.
    pub(crate) fn run_as_task(&self, work: impl Future<Output = ()> + 'static) {
        self.run(async { spawn_local(work).await.unwrap() });
    }

    /// Lets a task run here whenever something else does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.set.spawn_local(task);
    }

    /// Starts a board on this thread.
    pub(crate) fn board(&self, root: Supervisor) -> Board {
        let started = Board::builder().on_this_thread().start(root);
        self.run(started).unwrap()
    }
}
