use std::sync::atomic::Ordering;

use callboard::Publisher;
use callboard::prelude::*;

use crate::stage::{Add, Again, BLOCK, Reader, Stage, Tick, root};

/// Less than a subscription, or a mailbox, has room for.
const BURST: u64 = 8 * BLOCK;
const BURSTS: u64 = 20;
const EVENTS: u64 = BURST * BURSTS;

/// A block with all its slots.
const PER_BLOCK: u64 = 1;
/// What it takes to wake everybody up, for lists that grow.
const PER_BURST: u64 = 5;

/// Publishes in bursts, each handled before the next, and waits without allocating.
async fn publish(stage: &Stage, ticks: &Publisher<Tick>, readers: u64) {
    let before = stage.handled.load(Ordering::Relaxed);
    for burst in 1..=BURSTS {
        for _ in 0..BURST {
            ticks.publish(Tick(1)).await.unwrap();
        }
        stage.until(before + burst * BURST * readers).await;
    }
}

fn allocations_of_publishing_to(readers: u64) -> u64 {
    let stage = Stage::new();
    let named = |index| stage.reader(usize::try_from(index).unwrap());
    let tree = (0..readers).fold(root(), |root, index| root.child(named(index)));
    let board = stage.board(tree);
    let ticks = board.publisher::<Tick>();
    stage.run(publish(&stage, &ticks, readers));
    let info = stage.measure(publish(&stage, &ticks, readers));
    println!("{EVENTS} events to {readers}: {info:?}");
    assert_eq!(board.ledger().gap(), 0);
    info.count_total
}

#[test]
fn an_event_allocates_its_share_of_a_block_and_a_delivery_nothing() {
    for readers in [1, 10, 100] {
        let count = allocations_of_publishing_to(readers);
        let blocks = EVENTS / BLOCK;
        assert!(count >= PER_BLOCK * blocks, "no block was written");
        let most = PER_BLOCK * blocks + PER_BURST * BURSTS;
        assert!(
            count <= most,
            "{count} for {blocks} blocks, to {readers} subscribers"
        );
    }
}

fn sum() -> (Stage, Board, Address<Reader>) {
    let stage = Stage::new();
    let board = stage.board(root().child(stage.reader(0)));
    let address = board.service("shop/reader0").unwrap();
    (stage, board, address)
}

async fn tell(stage: &Stage, to: &Address<Reader>) {
    let before = stage.handled.load(Ordering::Relaxed);
    for burst in 1..=BURSTS {
        for _ in 0..BURST {
            to.tell(Add(1)).await.unwrap();
        }
        stage.until(before + burst * BURST).await;
    }
}

/// Hundredths per message, so that what is shared by many shows.
fn hundredths(count: u64, messages: u64) -> u64 {
    count * 100 / messages
}

#[test]
fn a_tell_allocates_a_share_of_a_bundle() {
    let (stage, _board, address) = sum();
    stage.run(tell(&stage, &address));
    let info = stage.measure(tell(&stage, &address));
    let each = hundredths(info.count_total, EVENTS);
    println!("a tell: {each} hundredths of an allocation");
    // A box and the room of a bundle for 17, and a box for all that one turn answers.
    assert!((1..=20).contains(&each), "{info:?}");
}

async fn tell_in_turn(stage: &Stage, to: &Address<Reader>) {
    let before = stage.handled.load(Ordering::Relaxed);
    for burst in 1..=BURSTS {
        for _ in 0..BURST / 2 {
            to.tell(Add(1)).await.unwrap();
            to.tell(Again(1)).await.unwrap();
        }
        stage.until(before + burst * BURST).await;
    }
}

#[test]
fn tells_of_two_types_in_turn_allocate_a_box_each() {
    let (stage, _board, address) = sum();
    stage.run(tell_in_turn(&stage, &address));
    let info = stage.measure(tell_in_turn(&stage, &address));
    let each = hundredths(info.count_total, EVENTS);
    println!("a tell of two in turn: {each} hundredths of an allocation");
    // Here nothing is shared: a box for each letter, and one for its answering.
    assert!((150..=205).contains(&each), "{info:?}");
}

async fn ask(to: &Address<Reader>) {
    for _ in 0..EVENTS {
        to.ask(Add(1)).await.unwrap();
    }
}

#[test]
fn an_ask_allocates_its_answering_and_the_way_back() {
    let (stage, _board, address) = sum();
    stage.run(ask(&address));
    let info = stage.measure(ask(&address));
    let each = hundredths(info.count_total, EVENTS);
    println!("an ask: {each} hundredths of an allocation");
    // The box of who answers, and the slot of the answer.
    assert!((100..=205).contains(&each), "{info:?}");
}
