//! Letters to a service with workers.

use std::sync::{Arc, mpsc};
use std::thread;

use callboard::prelude::*;
use callboard::{AskError, Key, TellError};
use tokio::time::Instant;

use super::hands::{Order, Slip, hands, worker_of};
use crate::support_events::{Step, gate, here, paused, paused_elsewhere, shop};

fn slip(key: impl Into<Key>, number: u64) -> Slip {
    let key = key.into();
    Slip { key, number }
}

#[test]
fn a_letter_goes_to_the_worker_that_has_its_key() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let spec = spec.on::<Order>().workers(4);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        for key in 0..40 {
            let owner = worker_of(&Order::new(key, 0), 4);
            assert_eq!(address.ask(slip(key, key)).await.unwrap(), owner);
            address.tell(slip(key, 100 + key)).await.unwrap();
            address.try_tell(slip(key, 200 + key)).unwrap();
        }
        board.settle().await.unwrap();
        book.check_order();
        let found = board.service::<super::hands::Hand>("shop/hands").unwrap();
        assert_eq!(found.path(), "shop/hands");
        assert!(found.try_ask(slip("ada", 0)).await.unwrap() < 4);
        let ledger = board.ledger();
        assert_eq!((ledger.gap(), ledger.letters.len()), (0, 1), "{ledger}");
        let row = ledger.letter("shop/hands").unwrap();
        assert_eq!((row.accepted, row.answered), (121, 121));
    });
}

#[test]
fn letters_without_a_key_are_shared_out_in_turn() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let spec = spec.workers(3);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        for number in 0..30 {
            address.tell(slip(Key::None, number)).await.unwrap();
        }
        board.settle().await.unwrap();
        let counts: Vec<_> = book.workers().into_values().collect();
        assert_eq!(counts, [10, 10, 10]);
    });
}

#[test]
fn a_letter_to_all_reaches_every_worker() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let spec = spec.workers(5);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        address.tell_all(slip(7, 1)).await.unwrap();
        board.settle().await.unwrap();
        let counts: Vec<_> = book.workers().into_iter().collect();
        assert_eq!(counts, [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(board.ledger().letter("shop/hands").unwrap().answered, 5);
    });
}

#[test]
fn a_letter_to_all_reaches_the_one_there_is() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        address.tell_all(slip(7, 1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 1);
    });
}

#[test]
fn a_letter_to_all_waits_until_all_have_room() {
    paused(async {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, book) = hands(move |_| Step::Wait(Arc::clone(&held)));
        let spec = spec.letters(1).workers(3);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        // One is being answered, one is queued: that worker has no room.
        address.tell(slip(1, 0)).await.unwrap();
        book.until(1).await;
        address.tell(slip(1, 1)).await.unwrap();
        let full = address.tell_all(slip(9, 2)).await.unwrap_err();
        assert_eq!(full.to_string(), "the mailbox is full");
        assert_eq!(full.into_message().number, 2);
        assert_eq!(board.ledger().letter("shop/hands").unwrap().accepted, 2);
        let (told, ()) = tokio::join!(address.tell_all(slip(9, 3)), async {
            tokio::task::yield_now().await;
            gate.add_permits(100);
        });
        told.unwrap();
        board.settle().await.unwrap();
        assert_eq!(
            book.handled().iter().filter(|one| one.number == 3).count(),
            3
        );
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_letter_to_all_that_waits_for_room_comes_back_as_soon_as_the_board_drains() {
    paused_elsewhere(async || {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, book) = hands(move |_| Step::Wait(Arc::clone(&held)));
        let spec = spec.letters(1).workers(1);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        // One is being answered, one is queued: there is no room.
        address.tell(slip(1, 0)).await.unwrap();
        book.until(1).await;
        address.tell(slip(1, 1)).await.unwrap();
        let began = Instant::now();
        let telling = async {
            let told = address.tell_all(slip(1, 2)).await;
            assert_eq!(began.elapsed(), Duration::ZERO);
            gate.add_permits(2);
            told.unwrap_err()
        };
        let (back, report) = tokio::join!(telling, async {
            tokio::task::yield_now().await;
            board.shutdown(secs(1)).await
        });
        assert!(matches!(back, TellError::Stopped(Slip { number: 2, .. })));
        let row = report.ledger.letter("shop/hands").unwrap();
        assert_eq!((row.accepted, row.answered), (2, 2));
    });
}

#[test]
fn a_letter_to_all_reaches_all_or_none_while_the_board_begins_to_drain() {
    const WORKERS: u64 = 64;
    for round in 0..30 {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, _) = hands(move |seen| match seen.number {
            0 => Step::Wait(Arc::clone(&held)),
            _ => Step::Done,
        });
        let spec = spec.letters(usize::MAX).workers(WORKERS as usize);
        let address = spec.address();
        let board = Board::builder().arbiters(1).start(shop().child(spec));
        let board = board.unwrap();
        // Keeps the board draining until nothing more is sent.
        address.tell_blocking(slip(7, 0)).unwrap();
        let (told, sent) = mpsc::channel();
        let sender = thread::spawn(move || {
            let back = loop {
                match address.tell_all_blocking(slip(7, 1)) {
                    Ok(()) => told.send(()).unwrap(),
                    Err(back) => break back,
                }
            };
            gate.add_permits(1);
            back
        });
        sent.recv().unwrap();
        let report = board.shutdown_blocking(secs(60));
        assert!(matches!(sender.join().unwrap(), TellError::Stopped(_)));
        let letters = 1 + WORKERS * (1 + sent.iter().count() as u64);
        let row = report.ledger.letter("shop/hands").unwrap();
        assert_eq!(row.accepted, letters, "in round {round}");
    }
}

#[test]
fn a_letter_that_waited_for_room_goes_to_whoever_has_its_key_by_then() {
    paused(async {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, book) = hands(move |seen| match seen.number {
            0 => Step::Wait(Arc::clone(&held)),
            _ => Step::Done,
        });
        let spec = spec.letters(1).workers(2);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let owners = |key: u64| [2, 3].map(|workers| worker_of(&Order::new(key, 0), workers));
        let key = (1..)
            .find(|key| owners(*key)[0] != owners(*key)[1])
            .unwrap();
        // One is being answered, one is queued: the third waits for room.
        address.tell(slip(key, 0)).await.unwrap();
        book.until(1).await;
        address.tell(slip(key, 1)).await.unwrap();
        let opening = async {
            // Long enough for the worker to start and for the change to be made.
            tokio::time::sleep(secs(1)).await;
            gate.add_permits(1);
        };
        let (answer, scaled, ()) = tokio::join!(
            address.ask(slip(key, 2)),
            board.scale("shop/hands", 3),
            opening
        );
        scaled.unwrap();
        assert_eq!(answer.unwrap(), owners(key)[1]);
        book.check_order();
        assert_eq!(
            book.handled()[..2]
                .iter()
                .map(|one| one.worker)
                .collect::<Vec<_>>(),
            [owners(key)[0]; 2]
        );
    });
}

#[test]
fn letters_before_the_start_and_after_the_end_come_back() {
    paused(async {
        let (spec, _) = hands(|_| Step::Done);
        let spec = spec.workers(2);
        let address = spec.address();
        assert!(matches!(
            address.tell(slip(1, 0)).await,
            Err(TellError::NotStarted(_))
        ));
        assert!(matches!(
            address.tell_all(slip(1, 0)).await,
            Err(TellError::NotStarted(_))
        ));
        let board = here(shop().child(spec)).await;
        assert_eq!(address.path(), "shop/hands");
        board.shutdown(secs(1)).await;
        assert!(matches!(
            address.tell(slip(1, 0)).await,
            Err(TellError::Stopped(_))
        ));
        assert!(matches!(
            address.try_tell(slip(1, 0)),
            Err(TellError::Stopped(_))
        ));
        assert!(matches!(
            address.tell_all(slip(1, 0)).await,
            Err(TellError::Stopped(_))
        ));
        assert!(matches!(
            address.ask(slip(1, 0)).await,
            Err(AskError::Stopped(_))
        ));
    });
}

#[test]
fn an_ask_hears_of_the_crash_of_its_worker() {
    paused(async {
        let (spec, _) = hands(|seen| {
            if seen.number == 1 {
                Step::Panic
            } else {
                Step::Done
            }
        });
        let spec = spec.workers(2);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        assert!(matches!(
            address.ask(slip(1, 1)).await,
            Err(AskError::Crashed)
        ));
        address.ask(slip(1, 2)).await.unwrap();
        let row = board.ledger().letter("shop/hands").unwrap().clone();
        assert_eq!((row.failed, row.answered), (1, 1));
    });
}
