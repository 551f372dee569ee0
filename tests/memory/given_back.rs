use std::sync::Arc;
use std::sync::atomic::Ordering;

use allocation_counter::AllocationInfo;
use callboard::Restart;
use callboard::prelude::*;
use tokio::task::yield_now;

use crate::stage::{Add, Parcel, Reader, Stage, Tick, root};

/// What may be there afterwards and was not before: a block that is half full, where there was one
/// that was full, and tables that have grown.
const SLACK_BYTES: i64 = 64 * 1_024 + 16 * 1_024;

const CAPACITY: usize = 4_096;

/// As many events and letters as there is room for, at once, and all of them handled.
fn burst(stage: &Stage, board: &Board, to: &Address<Reader>) -> AllocationInfo {
    let parcels = board.publisher::<Parcel>();
    let before = stage.handled.load(Ordering::Relaxed);
    stage.measure(async {
        for _ in 0..CAPACITY {
            parcels.try_publish(Parcel::new()).unwrap();
            to.try_tell(Add(1)).unwrap();
        }
        stage.until(before + 2 * CAPACITY as u64).await;
        // What was read is freed when its reader falls asleep, in one of its next turns.
        for _ in 0..10 {
            yield_now().await;
        }
    })
}

#[test]
fn memory_comes_back_after_a_burst() {
    let stage = Stage::new();
    let reader = stage.reader(0);
    let reader = reader.on_with::<Parcel>(|on| on.capacity(CAPACITY));
    let board = stage.board(root().child(reader.letters(CAPACITY)));
    let address = board.service("shop/reader0").unwrap();
    for round in 0..3 {
        let info = burst(&stage, &board, &address);
        println!("round {round}: {info:?}");
        assert!(
            info.bytes_max >= (CAPACITY * Parcel::SIZE) as u64,
            "the burst was none: {info:?}"
        );
        assert!(info.bytes_current <= SLACK_BYTES, "kept: {info:?}");
    }
}

/// Starts and ends so many services, one by one, with an event after each hundred if so wanted.
fn come_and_go(stage: &Stage, board: &Board, services: u64, events: bool) -> AllocationInfo {
    let sessions = board.supervisor("shop/sessions").unwrap();
    stage.measure(async {
        for number in 1..=services {
            let path = sessions.start_child_from(7_usize).await.unwrap();
            let address = board.service::<Reader>(&path).unwrap();
            address.ask(Add(1)).await.unwrap();
            if events && number % 100 == 0 {
                board.publish(Tick(0)).await.unwrap();
            }
            sessions.terminate_child("reader7").await.unwrap();
        }
        board.settle().await.unwrap();
    })
}

fn services_leave_nothing(events: bool) {
    const SERVICES: u64 = 1_000;
    let stage = Stage::new();
    let handled = Arc::clone(&stage.handled);
    let recipe = move |index| Stage::reader_of(&handled, index).restart(Restart::Temporary);
    let board = stage.board(root().child(Supervisor::dynamic("sessions", recipe)));
    come_and_go(&stage, &board, SERVICES, events);
    let info = come_and_go(&stage, &board, 4 * SERVICES, events);
    println!("services came and went: {info:?}");
    assert_eq!(stage.handled.load(Ordering::Relaxed), 5 * SERVICES);
    // Up to 64 that have ended are kept in mind until it is worth a search: 16 bytes of each.
    assert!(info.bytes_current <= 64 * 1_024, "{info:?}");
    assert!(info.bytes_max <= 256 * 1_024, "{info:?}");
}

#[test]
fn a_service_that_was_started_and_ended_leaves_nothing_after_the_next_event() {
    services_leave_nothing(true);
}

#[test]
fn a_service_that_was_started_and_ended_leaves_nothing() {
    services_leave_nothing(false);
}
