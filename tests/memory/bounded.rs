use callboard::prelude::*;
use callboard::{PublishError, TellError, defaults};

use crate::stage::{Add, BLOCK, Parcel, Stage, Stuck, root};

const CAPACITY: usize = 1_024;
/// What a slot may hold besides the event: number, cause, time and the like.
const STAMP: usize = 128;
/// No block of big events grows beyond this.
const BLOCK_BYTES: usize = 64 * 1_024;

const OFFERED: u64 = if cfg!(debug_assertions) {
    200_000
} else {
    10_000_000
};

/// What so many parcels may hold: those within the capacity, and up to two blocks more, the one
/// that is being read and the one that is being written.
fn held(parcels: usize) -> u64 {
    (parcels * (Parcel::SIZE + STAMP) + 2 * BLOCK_BYTES) as u64
}

fn stuck(overflow: Overflow) -> (Stage, Board) {
    let stage = Stage::new();
    let stuck = service("stuck", || Stuck);
    let stuck = stuck.on_with::<Parcel>(|on| on.capacity(CAPACITY).overflow(overflow));
    let board = stage.board(root().child(stuck));
    // The topic is there, and the handler is stuck, before anything is counted.
    stage.run(async {
        board.publish(Parcel::new()).await.unwrap();
        while board
            .ledger()
            .delivery("shop/stuck", "parcel")
            .unwrap()
            .in_flight
            == 0
        {
            tokio::task::yield_now().await;
        }
    });
    (stage, board)
}

/// Offers without waiting; how many were taken.
fn offer(board: &Board, events: u64) -> u64 {
    let parcels = board.publisher::<Parcel>();
    let mut taken = 0;
    for _ in 0..events {
        match parcels.try_publish(Parcel::new()) {
            Ok(_) => taken += 1,
            Err(PublishError::Full { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    taken
}

#[test]
fn who_lags_holds_its_capacity() {
    let (stage, board) = stuck(Overflow::Wait);
    let mut taken = 0;
    let info = stage.measure(async { taken = offer(&board, 2 * CAPACITY as u64) });
    println!("{taken} taken: {info:?}");
    // One is in flight, and counts as read or not.
    assert!(
        (CAPACITY as u64 - 1..=CAPACITY as u64).contains(&taken),
        "{taken}"
    );
    assert!(
        info.bytes_max >= taken * Parcel::SIZE as u64,
        "nothing was held: {info:?}"
    );
    assert!(info.bytes_max <= held(CAPACITY), "{info:?}");
}

#[test]
fn who_drops_the_oldest_holds_its_capacity() {
    let (stage, board) = stuck(Overflow::DropOldest);
    let mut taken = 0;
    let info = stage.measure(async { taken = offer(&board, 20 * CAPACITY as u64) });
    println!("{taken} taken: {info:?}");
    assert_eq!(taken, 20 * CAPACITY as u64);
    assert!(
        info.bytes_max >= (CAPACITY * Parcel::SIZE) as u64,
        "nothing was held: {info:?}"
    );
    // Blocks are dropped when the next one is appended.
    assert!(
        info.bytes_max <= held(CAPACITY) + BLOCK_BYTES as u64,
        "{info:?}"
    );
    let row = board
        .ledger()
        .delivery("shop/stuck", "parcel")
        .unwrap()
        .clone();
    assert!(row.shed >= 18 * CAPACITY as u64, "{row:?}");
}

#[test]
fn ten_million_events_offered_to_who_is_stuck_take_no_more_room() {
    let (stage, board) = stuck(Overflow::Wait);
    let mut taken = 0;
    let info = stage.measure(async { taken = offer(&board, OFFERED) });
    println!("{taken} of {OFFERED} taken: {info:?}");
    assert!(taken <= CAPACITY as u64, "{taken}");
    let most = CAPACITY * Parcel::SIZE + 16 * 1_024 * 1_024;
    assert!(info.bytes_max <= most as u64, "{info:?}");
    assert_eq!(board.ledger().gap(), 0);
}

#[test]
fn letters_to_who_is_stuck_take_no_more_room_either() {
    let (stage, board) = stuck(Overflow::Wait);
    let address = board.service::<Stuck>("shop/stuck").unwrap();
    let mut taken = 0;
    let info = stage.measure(async {
        for number in 0..OFFERED / 10 {
            match address.try_tell(Add(number)) {
                Ok(()) => taken += 1,
                Err(TellError::Full(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    });
    println!("{taken} letters taken: {info:?}");
    assert_eq!(taken, defaults::LETTER_CAPACITY);
    assert!(
        info.bytes_max <= (taken * STAMP) as u64 + 8 * BLOCK * STAMP as u64,
        "{info:?}"
    );
}
