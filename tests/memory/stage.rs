//! A board on the thread of its test, and the services on it.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use allocation_counter::{AllocationInfo, measure};
use callboard::prelude::*;
use callboard::{And, Nothing, On, ServiceSpec};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, yield_now};

/// Slots in a block of small events, once a topic has grown.
pub(crate) const BLOCK: u64 = 64;

pub(crate) struct Tick(pub(crate) u64);
impl Event for Tick {
    const NAME: &'static str = "tick";
}

/// An event that would show if it were copied or kept.
pub(crate) struct Parcel([u8; Self::SIZE]);
impl Parcel {
    pub(crate) const SIZE: usize = 1_024;

    pub(crate) fn new() -> Self {
        Parcel([1; Self::SIZE])
    }
}
impl Event for Parcel {
    const NAME: &'static str = "parcel";
}

pub(crate) struct Add(pub(crate) u64);
impl Message for Add {
    type Reply = u64;
}

/// Counts what it handles, over all readers.
pub(crate) struct Reader(Arc<AtomicU64>);
impl Reader {
    fn add(&self, number: u64) -> u64 {
        self.0.fetch_add(number, Ordering::Relaxed) + number
    }
}
impl Service for Reader {}
impl Handle<Tick> for Reader {
    async fn handle(&mut self, tick: &Tick, _: &mut Context<Self>) -> Outcome {
        self.add(tick.0);
        Ok(())
    }
}
impl Handle<Parcel> for Reader {
    async fn handle(&mut self, parcel: &Parcel, _: &mut Context<Self>) -> Outcome {
        self.add(u64::from(parcel.0[0]));
        Ok(())
    }
}
/// A message of another type.
pub(crate) struct Again(pub(crate) u64);
impl Message for Again {
    type Reply = ();
}

impl Answer<Again> for Reader {
    async fn answer(&mut self, add: Again, _: &mut Context<Self>) -> Outcome {
        self.add(add.0);
        Ok(())
    }
}

impl Answer<Add> for Reader {
    async fn answer(&mut self, add: Add, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(self.add(add.0))
    }
}

/// Never done with the first thing it gets.
pub(crate) struct Stuck;
impl Service for Stuck {}
impl Handle<Parcel> for Stuck {
    async fn handle(&mut self, _: &Parcel, _: &mut Context<Self>) -> Outcome {
        pending().await
    }
}
impl Answer<Add> for Stuck {
    async fn answer(&mut self, _: Add, _: &mut Context<Self>) -> Outcome<u64> {
        pending().await
    }
}

/// One thread with a board on it.
pub(crate) struct Stage {
    // Dropped before the runtime that its tasks may need.
    set: LocalSet,
    runtime: Runtime,
    pub(crate) handled: Arc<AtomicU64>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        Stage {
            set: LocalSet::new(),
            runtime,
            handled: Arc::default(),
        }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.set.block_on(&self.runtime, work)
    }

    pub(crate) fn board(&self, root: Supervisor) -> Board {
        let started = Board::builder().on_this_thread().start(root);
        self.run(started).unwrap()
    }

    pub(crate) fn reader(&self, index: usize) -> ServiceSpec<Reader, And<On<Tick>, Nothing>> {
        Self::reader_of(&self.handled, index)
    }

    pub(crate) fn reader_of(
        handled: &Arc<AtomicU64>,
        index: usize,
    ) -> ServiceSpec<Reader, And<On<Tick>, Nothing>> {
        let handled = Arc::clone(handled);
        let recipe = move || Reader(Arc::clone(&handled));
        service(format!("reader{index}"), recipe).on::<Tick>()
    }

    /// What the work allocates, all of it done on this thread.
    pub(crate) fn measure(&self, work: impl Future<Output = ()>) -> AllocationInfo {
        measure(|| self.run(work))
    }

    /// Lets the others go on until they have handled so much in all.
    pub(crate) async fn until(&self, handled: u64) {
        for _ in 0..1_000_000 {
            if self.handled.load(Ordering::Relaxed) >= handled {
                return;
            }
            yield_now().await;
        }
        panic!(
            "{} handled, not {handled}",
            self.handled.load(Ordering::Relaxed)
        );
    }
}

pub(crate) fn root() -> Supervisor {
    Supervisor::one_for_one("shop")
}
