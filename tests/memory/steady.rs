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

/// What a message costs that is sent in this way, the second time: in hundredths of an allocation,
/// so that what is shared by many shows.
fn hundredths(what: &str, send: impl AsyncFn(&Stage, &Address<Reader>)) -> u64 {
    let stage = Stage::new();
    let board = stage.board(root().child(stage.reader(0)));
    let address = board.service("shop/reader0").unwrap();
    stage.run(send(&stage, &address));
    let info = stage.measure(send(&stage, &address));
    let each = info.count_total * 100 / EVENTS;
    println!("{what}: {each} hundredths of an allocation: {info:?}");
    each
}

/// Sends in bursts, each of which is handled before the next.
async fn in_bursts(stage: &Stage, send: impl AsyncFn(u64)) {
    let before = stage.handled.load(Ordering::Relaxed);
    for burst in 1..=BURSTS {
        for number in 0..BURST {
            send(number).await;
        }
        stage.until(before + burst * BURST).await;
    }
}

#[test]
fn a_tell_allocates_a_share_of_a_bundle() {
    let each = hundredths("a tell", async |stage, to| {
        in_bursts(stage, async |_| to.tell(Add(1)).await.unwrap()).await;
    });
    // A box and the room of a bundle for 17, and a box for all that one turn answers.
    assert!((1..=20).contains(&each), "{each}");
}

#[test]
fn tells_of_two_types_in_turn_allocate_a_box_each() {
    let each = hundredths("a tell of two in turn", async |stage, to| {
        let tell = async |number: u64| match number % 2 {
            0 => to.tell(Add(1)).await.unwrap(),
            _ => to.tell(Again(1)).await.unwrap(),
        };
        in_bursts(stage, tell).await;
    });
    // Here nothing is shared: a box for each letter, and one for its answering.
    assert!((150..=205).contains(&each), "{each}");
}

#[test]
fn an_ask_allocates_its_answering_and_the_way_back() {
    let each = hundredths("an ask", async |_, to| {
        for _ in 0..EVENTS {
            to.ask(Add(1)).await.unwrap();
        }
    });
    // The box of who answers, and the slot of the answer.
    assert!((100..=205).contains(&each), "{each}");
}
