//! What does it cost to start a service, and to have one that is idle?
//!
//! Unit: microseconds per service, from the call until all are up; and bytes per service, kept
//! allocated once all are quiet. A tree of 10 to 100,000 services on this thread, each with a
//! subscription: all to one topic, or spread over 16, since a topic is a type and cannot be made
//! for each of them. Medians of some rounds; prints a Markdown table.
//!
//! The bytes are counted by the allocator of this program, which makes it a little slower.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use std::time::Instant;

use allocation_counter::measure;
use callboard::Child;
use callboard::prelude::*;

use common::ground::Ground;
use common::readers::root;
use common::rounds::median;

const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];
const TOPICS: usize = 16;

/// Services started in all for one figure, at least.
const ENOUGH: usize = 20_000;

const NAMES: [&str; TOPICS] = [
    "n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "n10", "n11", "n12", "n13", "n14",
    "n15",
];

struct News<const N: usize>;
impl<const N: usize> Event for News<N> {
    const NAME: &'static str = NAMES[N];
}

struct Idle;
impl Service for Idle {}
impl<const N: usize> Handle<News<N>> for Idle {
    async fn handle(&mut self, _: &News<N>, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

fn idle<const N: usize>(index: usize) -> Child {
    service(format!("idle{index}"), || Idle)
        .on::<News<N>>()
        .into()
}

type Make = fn(usize) -> Child;

const SHARED: [Make; 1] = [idle::<0>];
const SPREAD: [Make; TOPICS] = [
    idle::<0>, idle::<1>, idle::<2>, idle::<3>, idle::<4>, idle::<5>, idle::<6>, idle::<7>,
    idle::<8>, idle::<9>, idle::<10>, idle::<11>, idle::<12>, idle::<13>, idle::<14>, idle::<15>,
];

fn crowd(size: usize, makes: &[Make]) -> Supervisor {
    let child = |index: usize| makes[index % makes.len()](index);
    (0..size).fold(root(), |root, index| root.child(child(index)))
}

/// Microseconds and bytes per service.
fn start(size: usize, makes: &[Make]) -> (f64, f64) {
    let ground = Ground::new();
    let mut spent = 0.0;
    let mut board = None;
    // The tree is made within, since its parts live on in the board.
    let info = measure(|| {
        let root = crowd(size, makes);
        let begun = Instant::now();
        board = Some(ground.board(root));
        spent = begun.elapsed().as_nanos() as f64 / 1_000.0;
        let board = board.as_ref().unwrap();
        ground.run(board.settle()).unwrap();
    });
    assert_eq!(board.unwrap().services().len(), size);
    let each = |sum: f64| sum / size as f64;
    (each(spent), each(info.bytes_current as f64))
}

fn main() {
    println!("| services | us each, one topic | us each, {TOPICS} topics | bytes each |");
    println!("|---:|---:|---:|---:|");
    for size in SIZES {
        let rounds = (ENOUGH / size).clamp(3, 200);
        let (mut shared, mut spread, mut bytes) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..rounds {
            let (time, each) = start(size, &SHARED);
            shared.push(time);
            bytes = each;
            spread.push(start(size, &SPREAD).0);
        }
        println!(
            "| {size} | {:.2} | {:.2} | {bytes:.0} |",
            median(&shared),
            median(&spread)
        );
    }
}
