//! A full subscription may pass over its oldest events.
//!
//! What it passes over is counted as shed; what is in custody never is.

use std::sync::Arc;

use callboard::prelude::*;
use callboard::{Fate, On, ServiceSpec};
use futures_util::FutureExt;
use tokio::sync::Semaphore;

use crate::support_events::{
    Clerk, Log, Note, Step, clerk, failing, gate, here, paused, row, shop,
};

fn two_newest(on: On<Note>) -> On<Note> {
    on.capacity(2).overflow(Overflow::DropOldest)
}

/// A clerk with room for two, and one event that it does not come to the end of; a permit ends one.
async fn slow_with_one_in_hand() -> (Board, Arc<Semaphore>, Log) {
    let gate = gate();
    let kept = Arc::clone(&gate);
    let (spec, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
    let board = here(shop().child(spec.on_with(two_newest))).await;
    board.publish(Note(1)).await.unwrap();
    log.until(1).await;
    (board, gate, log)
}

/// The same after ten events.
async fn slow_with_ten() -> (Board, Arc<Semaphore>, Log) {
    let (board, gate, log) = slow_with_one_in_hand().await;
    for id in 2..=10 {
        board.publish(Note(id)).await.unwrap();
    }
    (board, gate, log)
}

#[test]
fn what_is_in_flight_is_never_shed() {
    paused(async {
        let (board, gate, log) = slow_with_ten().await;
        let before = row(&board, "shop/slow", "note");
        assert_eq!((before.shed, before.in_flight, before.queued), (7, 1, 2));
        gate.add_permits(9);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 9, 10]);
        let after = row(&board, "shop/slow", "note");
        assert_eq!((after.accepted, after.acknowledged, after.shed), (10, 3, 7));
    });
}

#[test]
fn what_is_deferred_is_never_shed() {
    paused(async {
        let (spec, log) = clerk("slow", |seen| match (seen.id, seen.attempt) {
            (1, 1..=2) => failing(),
            _ => Step::Done,
        });
        let patient = Policy::new().retry(Retry::fixed(secs(1)));
        let board = here(shop().child(spec.on_with(two_newest).policy(patient))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        for id in 2..=50 {
            board.publish(Note(id)).await.unwrap();
        }
        let before = row(&board, "shop/slow", "note");
        assert_eq!((before.shed, before.deferred, before.queued), (47, 1, 2));
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 3), (49, 1), (50, 1)]);
        let after = row(&board, "shop/slow", "note");
        assert_eq!((after.acknowledged, after.shed, after.retried), (3, 47, 2));
    });
}

#[test]
fn a_publisher_that_waits_hears_that_its_event_was_shed() {
    paused(async {
        let (board, _gate, _) = slow_with_one_in_hand().await;
        let (fates, ()) = tokio::join!(board.publish(Note(2)).settled(), async {
            for id in 3..=4 {
                board.publish(Note(id)).await.unwrap();
            }
        });
        let fates = fates.unwrap();
        assert_eq!((fates.len(), fates[0].fate), (1, Fate::Shed));
        assert_eq!(row(&board, "shop/slow", "note").shed, 1);
    });
}

#[test]
fn events_shed_and_read_at_the_same_time_are_counted_once() {
    const COUNT: u64 = if cfg!(debug_assertions) {
        5_000
    } else {
        200_000
    };
    let (spec, log) = clerk("quick", |_| Step::Done);
    let board = Board::start(shop().child(spec.on_with(two_newest))).unwrap();
    let publisher = board.publisher();
    for id in 0..COUNT {
        publisher.try_publish(Note(id)).unwrap();
        if id % 256 == 0 {
            assert_eq!(board.ledger().gap(), 0);
        }
    }
    board.settle_blocking().unwrap();
    let row = row(&board, "shop/quick", "note");
    assert_eq!((row.accepted, row.acknowledged + row.shed), (COUNT, COUNT));
    let ids = log.ids();
    assert_eq!(ids.len() as u64, row.acknowledged);
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert!(row.shed > 0 && ids.last() == Some(&(COUNT - 1)));
    board.shutdown_blocking(secs(5));
}

#[test]
fn the_log_tells_once_that_a_subscription_sheds() {
    let run = async {
        let (board, gate, _) = slow_with_ten().await;
        assert_eq!(row(&board, "shop/slow", "note").shed, 7);
        gate.add_permits(9);
        board.settle().await.unwrap();
    };
    let witness = crate::tracing::watched("callboard=warn", || paused(run));
    let events = witness.events("callboard::policy", ::tracing::Level::WARN);
    let fields = |name| {
        events
            .iter()
            .map(|seen| seen.field(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(fields("service"), ["shop/slow"]);
    assert_eq!(
        (fields("event"), fields("capacity")),
        (vec!["note"], vec!["2"])
    );
    assert!(
        fields("message")[0].contains("counted as shed"),
        "{events:?}"
    );
}

#[test]
fn one_of_a_hundred_that_stops_reading_holds_up_neither_the_publisher_nor_the_other_99() {
    const OTHERS: usize = 99;
    const BURSTS: u64 = if cfg!(debug_assertions) { 20 } else { 100 };
    const EACH: u64 = 50;
    const STUCK_AT: u64 = 120;
    paused(async {
        let gate = gate();
        let kept = Arc::clone(&gate);
        let (stuck, its) = clerk("stuck", move |seen| match seen.id {
            0..STUCK_AT => Step::Done,
            _ => Step::Wait(Arc::clone(&kept)),
        });
        let others = (0..OTHERS).map(|number| clerk(&format!("quick{number}"), |_| Step::Done));
        let (mut before, logs): (Vec<_>, Vec<_>) = others.unzip();
        let after = before.split_off(OTHERS / 2);
        let quick = |root: Supervisor, spec: ServiceSpec<Clerk>| root.child(spec.on::<Note>());
        let root = before.into_iter().fold(shop(), quick);
        let root = root.child(stuck.on_with(two_newest));
        let board = here(after.into_iter().fold(root, quick)).await;
        for burst in 0..BURSTS {
            for id in burst * EACH..(burst + 1) * EACH {
                // Ready when it is looked at for the first time: it has waited for nobody.
                let published = board.publish(Note(id)).now_or_never();
                published.expect("the publisher waits").unwrap();
            }
            let so_far = usize::try_from((burst + 1) * EACH).unwrap();
            for log in &logs {
                log.until(so_far).await;
            }
        }
        let published = board.ledger().topic("note").unwrap().published;
        assert_eq!(published, BURSTS * EACH);
        let during = row(&board, "shop/stuck", "note");
        assert_eq!((during.in_flight, during.queued), (1, 2));
        assert_eq!(during.acknowledged + during.shed + 3, published);
        let all: Vec<_> = (0..published).collect();
        assert!(logs.iter().all(|log| log.ids() == all));
        gate.add_permits(3);
        board.settle().await.unwrap();
        let after = row(&board, "shop/stuck", "note");
        assert_eq!(after.acknowledged + after.shed, published);
        assert_eq!(after.acknowledged, its.ids().len() as u64);
        assert!(after.shed > published / 2 && its.ids().is_sorted_by(|a, b| a < b));
        assert_eq!(its.ids()[its.ids().len() - 2..], all[all.len() - 2..]);
    });
}
