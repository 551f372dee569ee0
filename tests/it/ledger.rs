//! Every delivery is in exactly one state, and the gap is 0 at every moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callboard::prelude::*;
use callboard::{Ledger, On};

use crate::support_events::{
    HowMany, Memo, Note, Raise, Step, clerk, failing, gate, here, paused, row, shop,
};

/// A board that holds deliveries in every state there is.
async fn every_state(gate: &Arc<tokio::sync::Semaphore>) -> Board {
    let (one, two) = (Arc::clone(gate), Arc::clone(gate));
    let (busy, at_work) = clerk("busy", move |seen| match seen.id {
        1 => Step::Done,
        2 => Step::Fail(Failure::permanent("no")),
        _ => Step::Wait(Arc::clone(&one)),
    });
    let (lossy, losing) = clerk("lossy", move |_| Step::Wait(Arc::clone(&two)));
    let (mourner, _) = clerk("mourner", |_| Step::Fail(Failure::permanent("no")));
    let (tired, _) = clerk("tired", |_| failing());
    let patient = Policy::new().retry(Retry::fixed(secs(3_600)));
    let newest = |on: On<Memo>| on.capacity(1).overflow(Overflow::DropOldest);
    let busy = busy.on::<Note>();
    let address = busy.address();
    let root = shop()
        .child(busy)
        .child(lossy.on_with(newest))
        .child(mourner.on::<DeadLetter>())
        .child(tired.on::<Memo>().policy(patient));
    let board = here(root).await;
    assert_eq!(address.ask(HowMany).await.unwrap(), 0);
    for id in 1..=5 {
        board.publish(Note(id)).await.unwrap();
    }
    board.publish(Memo(1)).await.unwrap();
    losing.until(1).await;
    at_work.until(3).await;
    for id in 2..=4 {
        board.publish(Memo(id)).await.unwrap();
    }
    tokio::task::yield_now().await;
    board
}

#[test]
fn every_state_has_its_column() {
    paused(async {
        let gate = gate();
        let board = every_state(&gate).await;
        let busy = row(&board, "shop/busy", "note");
        assert_eq!((busy.accepted, busy.taken), (5, 3));
        assert_eq!((busy.acknowledged, busy.dead_lettered), (1, 1));
        assert_eq!((busy.in_flight, busy.queued), (1, 2));
        let lossy = row(&board, "shop/lossy", "memo");
        assert_eq!((lossy.accepted, lossy.shed), (4, 2));
        assert_eq!((lossy.in_flight, lossy.queued), (1, 1));
        let tired = row(&board, "shop/tired", "memo");
        assert_eq!((tired.deferred, tired.queued), (1, 3));
        let mourner = row(&board, "shop/mourner", DeadLetter::NAME);
        assert_eq!((mourner.discarded, mourner.accepted), (1, 1));
        let letters = board.ledger().letter("shop/busy").unwrap().clone();
        assert_eq!((letters.accepted, letters.answered), (1, 1));
        assert!(!board.ledger().is_settled());
        let after = board.shutdown(secs(1)).await.ledger;
        assert!(after.is_settled());
        assert_eq!(after.gap(), 0);
        let undelivered = |service, event| after.delivery(service, event).unwrap().undelivered;
        assert_eq!(undelivered("shop/busy", "note"), 3);
        assert_eq!(undelivered("shop/lossy", "memo"), 2);
        assert_eq!(undelivered("shop/tired", "memo"), 4);
    });
}

#[test]
fn a_ledger_prints_as_a_table() {
    paused(async {
        let gate = gate();
        let board = every_state(&gate).await;
        let expected = "\
deliveries to  event                  accepted  acknowledged  dead  discarded  shed  queued  \
in flight  deferred
shop/busy      note                          5             1     1          0     0       2\
\x20         1         0
shop/lossy     memo                          4             0     0          0     2       1\
\x20         1         0
shop/mourner   callboard.dead_letter         1             0     0          1     0       0\
\x20         0         0
shop/tired     memo                          4             0     0          0     0       3\
\x20         0         1

letters to  accepted  answered  failed  queued
shop/busy          1         1       0       0

topic                  published  heard  unheard
callboard.dead_letter          1      1        0
memo                           4      4        0
note                           5      5        0

gap: 0";
        assert_eq!(board.ledger().to_string(), expected);
    });
}

#[test]
fn a_ledger_is_data_that_can_be_stored() {
    paused(async {
        let gate = gate();
        let ledger = every_state(&gate).await.ledger();
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        assert_eq!(ledger.gap(), 0);
    });
}

#[test]
fn events_that_nobody_hears_are_counted() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let board = here(shop().child(spec.on::<Note>())).await;
        for id in 0..7 {
            board.publish(Memo(id)).await.unwrap();
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        let ledger = board.ledger();
        let counts = |name| {
            let topic = ledger.topic(name).unwrap();
            (topic.published, topic.heard, topic.unheard)
        };
        assert_eq!((counts("memo"), counts("note")), ((7, 0, 7), (7, 7, 0)));
        assert_eq!((ledger.gap(), log.seen().len()), (0, 7));
        assert!(ledger.delivery("shop/clerk", "memo").is_none());
    });
}

#[test]
fn the_gap_is_0_in_every_ledger_under_load() {
    const LEDGERS: u64 = if cfg!(debug_assertions) {
        1_000
    } else {
        10_000
    };
    let rough = |seen: &crate::support_events::Seen| match (seen.id % 40, seen.attempt) {
        (0, 1) => Step::Panic,
        (1, 1..=2) => failing(),
        (2, _) => Step::Fail(Failure::permanent("no")),
        _ => Step::Done,
    };
    let (one, first) = clerk("one", rough);
    let (two, _) = clerk("two", rough);
    let (three, _) = clerk("three", |_| failing());
    let newest = |on: On<Note>| on.capacity(8).overflow(Overflow::DropOldest);
    let quick = Policy::new().retry(Retry::fixed(Duration::ZERO));
    let root = shop()
        .max_restarts(u32::MAX, secs(600))
        .policy(quick)
        .child(one.on::<Note>().spread())
        .child(two.on_with(newest).spread())
        .child(three.on::<DeadLetter>().spread());
    let board = Board::builder().arbiters(2).start(root).unwrap();
    let done = AtomicBool::new(false);
    let (published, moving) = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let publisher = board.publisher();
            let mut id = 0;
            while !done.load(Ordering::Relaxed) {
                publisher.publish_blocking(Note(id)).unwrap();
                id += 1;
            }
            id
        });
        let over = Raise(&done);
        let (mut taken, mut moving) = (0, 0);
        // Also until there is something to see: the other threads may have had no turn as yet.
        while taken < LEDGERS || moving == 0 || first.lives() < 2 {
            taken += 1;
            let ledger = board.ledger();
            assert_eq!(ledger.gap(), 0, "{ledger}");
            moving += u64::from(!ledger.is_settled());
        }
        drop(over);
        (publishing.join().unwrap(), moving)
    });
    board.settle_blocking().unwrap();
    let (one, two) = (
        row(&board, "shop/one", "note"),
        row(&board, "shop/two", "note"),
    );
    assert_eq!((one.accepted, two.accepted), (published, published));
    assert_eq!(one.dead_lettered, published.saturating_sub(2).div_ceil(40));
    assert!(moving > 0 && first.lives() > 1);
    let report = board.shutdown_blocking(secs(5));
    assert_eq!((report.drained, report.ledger.gap()), (true, 0));
}
