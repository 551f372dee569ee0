//! A million events, ten thousand panics: nothing is lost and nothing is out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::prelude::*;

use crate::support_events::{ON_PURPOSE, be_quiet, row, shop};

const EVENTS: u64 = if cfg!(debug_assertions) {
    50_000
} else {
    1_000_000
};
/// Each event whose number is divisible by this makes its handler panic, once.
const PANICS_EVERY: u64 = 100;
const PANICS: u64 = EVENTS / PANICS_EVERY;

struct Step(u64);
impl Event for Step {
    const NAME: &'static str = "step";
}

/// What outlives every life of the counter.
#[derive(Default)]
struct Seen {
    lives: AtomicU64,
    /// The number of the last event handled.
    last: AtomicU64,
    handled: AtomicU64,
    misplaced: AtomicU64,
    panics: AtomicU64,
}

struct Counter(Arc<Seen>);
impl Service for Counter {}
impl Handle<Step> for Counter {
    async fn handle(&mut self, step: &Step, cx: &mut Context<Self>) -> Outcome {
        if step.0.is_multiple_of(PANICS_EVERY) && cx.attempt() == 1 {
            self.0.panics.fetch_add(1, Ordering::Relaxed);
            panic!("{ON_PURPOSE}");
        }
        let last = self.0.last.swap(step.0, Ordering::Relaxed);
        self.0.handled.fetch_add(1, Ordering::Relaxed);
        let misplaced = u64::from(step.0 != last + 1);
        self.0.misplaced.fetch_add(misplaced, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_million_events_and_ten_thousand_panics_lose_nothing() {
    be_quiet();
    let seen = Arc::new(Seen::default());
    let kept = Arc::clone(&seen);
    let counter = service("counter", move || {
        kept.lives.fetch_add(1, Ordering::Relaxed);
        Counter(Arc::clone(&kept))
    });
    let restarts = u32::try_from(PANICS).unwrap();
    let root = shop()
        .max_restarts(restarts, secs(600))
        .child(counter.on::<Step>());
    let board = Board::start(root).unwrap();
    let publisher = board.publisher();
    for number in 1..=EVENTS {
        publisher.publish_blocking(Step(number)).unwrap();
        if number % 65_536 == 0 {
            assert_eq!(board.ledger().gap(), 0);
        }
    }
    board.settle_blocking().unwrap();
    assert_eq!(seen.handled.load(Ordering::Relaxed), EVENTS);
    assert_eq!(seen.misplaced.load(Ordering::Relaxed), 0);
    assert_eq!(seen.panics.load(Ordering::Relaxed), PANICS);
    assert_eq!(seen.lives.load(Ordering::Relaxed), PANICS + 1);
    let row = row(&board, "shop/counter", "step");
    assert_eq!((row.accepted, row.acknowledged), (EVENTS, EVENTS));
    assert_eq!((row.retried, row.dead_lettered), (PANICS, 0));
    let report = board.shutdown_blocking(secs(5));
    assert_eq!((report.drained, report.ledger.gap()), (true, 0));
}
