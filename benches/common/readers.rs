//! Services that add up what they hear, and nothing else: what is measured is the way to them.
//!
//! Benches put them under a supervisor.
//!
//! Invariant: a handler's sum goes through `black_box`, so none is left out by the compiler.
//!
//! They never fail.

use std::hint::black_box;

use callboard::prelude::*;
use callboard::{And, Nothing, On, ServiceSpec};

pub(crate) struct Tick(pub(crate) u64);
impl Event for Tick {
    const NAME: &'static str = "tick";
}

pub(crate) struct Tock(pub(crate) u64);
impl Event for Tock {
    const NAME: &'static str = "tock";
}

/// Adds to the sum and answers with it.
pub(crate) struct Add(pub(crate) u64);
impl Message for Add {
    type Reply = u64;
}

#[derive(Default)]
pub(crate) struct Reader {
    sum: u64,
}
impl Reader {
    fn add(&mut self, number: u64) -> u64 {
        self.sum = black_box(self.sum.wrapping_add(number));
        self.sum
    }
}
impl Service for Reader {}
impl Handle<Tick> for Reader {
    async fn handle(&mut self, tick: &Tick, _: &mut Context<Self>) -> Outcome {
        self.add(tick.0);
        Ok(())
    }
}
impl Handle<Tock> for Reader {
    async fn handle(&mut self, tock: &Tock, _: &mut Context<Self>) -> Outcome {
        self.add(tock.0);
        Ok(())
    }
}
impl Answer<Add> for Reader {
    async fn answer(&mut self, add: Add, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(self.add(add.0))
    }
}

/// The root of a tree, without a limit of restarts that a measurement would meet.
pub(crate) fn root() -> Supervisor {
    Supervisor::one_for_one("bench").max_restarts(u32::MAX, millis(1))
}

/// One reader of ticks.
pub(crate) fn reader(index: usize) -> ServiceSpec<Reader, And<On<Tick>, Nothing>> {
    service(format!("reader{index}"), Reader::default).on::<Tick>()
}

/// So many readers of ticks.
pub(crate) fn readers(count: usize) -> Supervisor {
    (0..count).fold(root(), |root, index| root.child(reader(index)))
}

/// So many readers of ticks and tocks, which they have to merge in causal order.
pub(crate) fn readers_of_two(count: usize) -> Supervisor {
    let both = |index| reader(index).on::<Tock>();
    (0..count).fold(root(), |root, index| root.child(both(index)))
}
