//! Work that several benches measure in the same way.
//!
//! The gate and the scaling bench make it; `rounds` runs it.
//!
//! Invariant: a burst is over when everything in it has been handled.
//!
//! It measures nothing.

use super::ground::Ground;
use super::readers::{Tick, readers};
use super::rounds::Work;

/// Bursts of events to so many subscribers, on one thread. An operation is a delivery.
pub(crate) fn publishing(subscribers: usize, burst: u64) -> Work<'static> {
    let ground = Ground::new();
    let board = ground.board(readers(subscribers));
    let ticks = board.publisher::<Tick>();
    Work::new(burst * subscribers as u64, move || {
        ground.run(async {
            for number in 0..burst {
                ticks.publish(Tick(number)).await.unwrap();
            }
            board.settle().await.unwrap();
        });
    })
}
