//! A service panics on one event, is restarted, meets it again, and is rid of it at last.
//!
//! Run: `cargo run --example supervision`. Prints each life and each attempt of the counter, the
//! dead letter, and what its neighbour made of it all: nothing.
#![allow(clippy::panic, clippy::print_stdout)]

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use callboard::prelude::*;

struct Parcel(u64);
impl Event for Parcel {
    const NAME: &'static str = "parcel";
}

struct Counter {
    life: u64,
}
impl Service for Counter {}
impl Handle<Parcel> for Counter {
    async fn handle(&mut self, parcel: &Parcel, cx: &mut Context<Self>) -> Outcome {
        let (life, attempt) = (self.life, cx.attempt());
        println!(
            "counter, life {life}: parcel {}, attempt {attempt}",
            parcel.0
        );
        assert!(parcel.0 != 2, "parcel {} ticks", parcel.0);
        Ok(())
    }
}

struct Neighbour(u64);
struct Parcels;
impl Message for Parcels {
    type Reply = u64;
}
impl Service for Neighbour {}
impl Handle<Parcel> for Neighbour {
    async fn handle(&mut self, _: &Parcel, _: &mut Context<Self>) -> Outcome {
        self.0 += 1;
        Ok(())
    }
}
impl Answer<Parcels> for Neighbour {
    async fn answer(&mut self, _: Parcels, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(self.0)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    panic::set_hook(Box::new(|info| println!("  {info}")));
    // A life cannot count those before it: the recipe, which is called for each, can.
    let lives = Arc::new(AtomicU64::new(0));
    let born = Arc::clone(&lives);
    let recipe = move || Counter {
        life: born.fetch_add(1, Relaxed) + 1,
    };
    let neighbour = service("neighbour", || Neighbour(0)).on::<Parcel>();
    let next_door = neighbour.address();
    let tree = Supervisor::one_for_one("depot")
        .policy(Policy::new().retry(Retry::fixed(millis(10)).attempts(3)))
        .child(service("counter", recipe).on::<Parcel>())
        .child(neighbour);
    let board = Board::start(tree)?;
    for number in 1..=3 {
        board.publish_blocking(Parcel(number))?;
    }
    board.settle_blocking()?;
    let parcels = next_door.ask_blocking(Parcels)?;
    println!("neighbour, still in its first life: {parcels} parcels");
    let letters = board.dead_letters();
    letters
        .iter()
        .for_each(|letter| println!("dead letter: {letter}"));
    println!("{}", board.ledger());

    assert_eq!(lives.load(Relaxed), 4, "three panics, so four lives");
    assert_eq!((letters.len(), letters[0].attempts().len()), (1, 3));
    assert_eq!(
        parcels, 3,
        "the neighbour would have forgotten some in a restart"
    );
    assert_eq!(board.ledger().gap(), 0);
    println!("{}", board.shutdown_blocking(secs(5)));
    Ok(())
}
