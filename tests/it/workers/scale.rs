//! The number of workers changes while they work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use callboard::prelude::*;
use callboard::{ChildError, Key, Shutdown, State};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::hands::{Change, Hand, Order, Slip, hands, publish, worker_of};
use crate::support_events::{Note, Step, failing, gate, here, paused, row, shop};
use crate::support_lives::{Log, until};

fn slip(key: u64, number: u64) -> Slip {
    let key = Key::from(key);
    Slip { key, number }
}

#[test]
fn a_service_gets_more_workers_and_fewer() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Note>().workers(2))).await;
        for workers in [5, 3, 1, 4] {
            board.scale("shop/hands", workers).await.unwrap();
            let inspection = board.inspect("shop/hands").unwrap();
            assert_eq!(inspection.workers, Some(workers));
            let before = book.workers();
            for number in 0..60 {
                board.publish(Note(number)).await.unwrap();
            }
            board.settle().await.unwrap();
            let after = book.workers();
            let count = |book: &std::collections::BTreeMap<usize, usize>, index| {
                book.get(&index).copied().unwrap_or(0)
            };
            let gained: Vec<_> = (0..5)
                .map(|one| count(&after, one) - count(&before, one))
                .collect();
            for (index, gained) in gained.iter().enumerate() {
                let expected = if index < workers { 60 / workers } else { 0 };
                assert_eq!(*gained, expected, "{workers}");
            }
        }
        let row = row(&board, "shop/hands", "note");
        assert_eq!((row.acknowledged, row.undelivered), (240, 0));
    });
}

#[test]
fn keys_keep_their_order_while_the_number_changes() {
    for seed in 0..40_u64 {
        paused(async move {
            let dice = AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let roll = move || {
                let roll = dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                (roll ^ (roll >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 58
            };
            let (spec, book) = hands(move |_| match roll() {
                0..=7 => failing(),
                8..=11 => Step::Panic,
                12..=30 => Step::Sleep(millis(seed % 7 + 1)),
                _ => Step::Done,
            });
            let policy = Policy::new().retry(Retry::fixed(millis(3)).attempts(20));
            let spec = spec.on::<Order>().policy(policy).workers(2);
            let address = spec.address();
            let root = shop().max_restarts(1_000_000, secs(1)).child(spec);
            let board = here(root).await;
            let publishing = async {
                for number in 0..400 {
                    let key = number % 13;
                    board.publish(Order::new(key, number)).await.unwrap();
                    address.tell(slip(100 + key, number)).await.unwrap();
                    if number % 7 == seed % 7 {
                        tokio::time::sleep(millis(1)).await;
                    }
                }
            };
            let scaling = async {
                for step in 0..12 {
                    tokio::time::sleep(millis(seed % 5 + 1)).await;
                    let workers = usize::try_from((seed * 7 + step * 5) % 6 + 1).unwrap();
                    board.scale("shop/hands", workers).await.unwrap();
                    assert_eq!(board.ledger().gap(), 0);
                }
            };
            tokio::join!(publishing, scaling);
            board.settle().await.unwrap();
            book.check_order();
            let row = row(&board, "shop/hands", "order");
            assert_eq!((row.accepted, row.undelivered), (400, 0));
            assert_eq!(row.acknowledged + row.dead_lettered, 400);
            let letters = board.ledger().letter("shop/hands").unwrap().clone();
            assert_eq!((letters.accepted, letters.undelivered), (400, 0));
            let handled = book.handled().len() as u64;
            assert_eq!(handled, row.acknowledged + letters.answered);
        });
    }
}

#[test]
fn what_comes_after_a_change_waits_for_what_came_before() {
    paused(async {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, book) = hands(move |seen| {
            if seen.number == 0 {
                Step::Wait(Arc::clone(&held))
            } else {
                Step::Done
            }
        });
        let board = here(shop().child(spec.on::<Order>().workers(2))).await;
        board.publish(Order::new(1, 0)).await.unwrap();
        book.until(1).await;
        let change = board.scale("shop/hands", 4);
        let rest = async {
            // Long enough for the workers to start and for the change to be made.
            tokio::time::sleep(secs(1)).await;
            for number in 1..40 {
                board.publish(Order::new(number, number)).await.unwrap();
            }
            tokio::time::sleep(secs(1)).await;
            assert_eq!(book.seen().len(), 1, "nothing overtakes");
            assert_eq!(board.ledger().gap(), 0);
            gate.add_permits(1);
        };
        let (changed, ()) = tokio::join!(change, rest);
        changed.unwrap();
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 40);
        assert_eq!(book.workers().len(), 4);
    });
}

#[test]
fn a_worker_that_is_let_go_finishes_what_is_its_own() {
    paused(async {
        let (spec, book) = hands(|_| Step::Sleep(millis(10)));
        let spec = spec.on::<Order>().workers(4);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        for number in 0..100 {
            board.publish(Order::new(number, number)).await.unwrap();
            address.tell(slip(number, number)).await.unwrap();
        }
        board.scale("shop/hands", 1).await.unwrap();
        assert_eq!(book.handled().len(), 200);
        let row = row(&board, "shop/hands", "order");
        assert_eq!((row.acknowledged, row.undelivered), (100, 0));
        assert_eq!(board.inspect("shop/hands").unwrap().children.len(), 1);
        assert!(board.inspect("shop/hands/3").is_err());
    });
}

#[test]
fn a_change_that_cannot_be_made_changes_nothing() {
    paused(async {
        let (spec, _) = hands(|_| Step::Done);
        let (plain, _) = crate::support_events::clerk("clerk", |_| Step::Done);
        let root = shop().child(spec.on::<Order>().workers(2)).child(plain);
        let board = here(root).await;
        let none = board.scale("shop/hands", 0).await.unwrap_err();
        assert!(matches!(none, ChildError::Refused { .. }), "{none}");
        let many = board.scale("shop/hands", 1_025).await.unwrap_err();
        assert!(many.to_string().contains("of at most 1024"), "{many}");
        let plain = board.scale("shop/clerk", 2).await.unwrap_err();
        assert!(matches!(plain, ChildError::NoWorkers { .. }), "{plain}");
        let nobody = board.scale("shop/nobody", 2).await.unwrap_err();
        assert!(matches!(nobody, ChildError::Lookup(_)), "{nobody}");
        board.scale("shop/hands", 2).await.unwrap();
        assert_eq!(board.inspect("shop/hands").unwrap().workers, Some(2));
    });
}

#[test]
fn one_change_is_made_at_a_time() {
    paused(async {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, book) = hands(move |_| Step::Wait(Arc::clone(&held)));
        let board = here(shop().child(spec.on::<Order>().workers(2))).await;
        board.publish(Order::new(1, 0)).await.unwrap();
        book.until(1).await;
        let first = board.scale("shop/hands", 3);
        let second = async {
            tokio::time::sleep(secs(1)).await;
            let second = board.scale("shop/hands", 4).await.unwrap_err();
            assert!(matches!(second, ChildError::Scaling { .. }), "{second}");
            gate.add_permits(1);
        };
        let (first, ()) = tokio::join!(first, second);
        first.unwrap();
        board.scale("shop/hands", 4).await.unwrap();
    });
}

/// Fails to start as the worker with this index.
struct Picky(usize);
impl Service for Picky {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        if cx.worker() == Some(self.0) {
            return Err(Failure::new("not me"));
        }
        Ok(())
    }
}
impl Handle<Order> for Picky {
    async fn handle(&mut self, _: &Order, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_worker_that_does_not_start_undoes_the_change() {
    paused(async {
        let spec = service("picky", || Picky(3)).on::<Order>().workers(2);
        let board = here(shop().child(spec)).await;
        let failed = board.scale("shop/picky", 5).await.unwrap_err();
        assert!(matches!(failed, ChildError::Failed { .. }), "{failed}");
        assert_eq!(board.inspect("shop/picky").unwrap().workers, Some(2));
        for number in 0..40 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        board.settle().await.unwrap();
        let row = row(&board, "shop/picky", "order");
        assert_eq!((row.acknowledged, row.undelivered), (40, 0));
        board.scale("shop/picky", 3).await.unwrap();
    });
}

#[test]
fn a_dead_letter_goes_to_the_worker_that_has_its_key_now() {
    paused(async {
        let (spec, book) = hands(|seen| if seen.redriven { Step::Done } else { failing() });
        let policy = Policy::new().retry(Retry::fixed(millis(1)).attempts(1));
        let board = here(shop().child(spec.on::<Order>().policy(policy).workers(4))).await;
        for number in 0..20 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        board.settle().await.unwrap();
        board.scale("shop/hands", 2).await.unwrap();
        for letter in board.dead_letters() {
            board.redrive(&letter).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 20);
        assert!(book.handled().iter().all(|one| one.worker < 2));
        let row = row(&board, "shop/hands", "order");
        assert_eq!((row.accepted, row.acknowledged), (40, 20));
    });
}

#[test]
fn a_change_outlives_a_restart_of_the_service() {
    paused(async {
        let (spec, book) = hands(|_| Step::Sleep(millis(1)));
        let board = here(shop().child(spec.on::<Order>().workers(2))).await;
        board.scale("shop/hands", 4).await.unwrap();
        publish(&board, 0..50, 30).await;
        board.restart("shop/hands").await.unwrap();
        board.settle().await.unwrap();
        book.check_order();
        assert_eq!(row(&board, "shop/hands", "order").acknowledged, 50);
        assert_eq!(board.inspect("shop/hands").unwrap().workers, Some(4));
        assert_eq!(book.workers().len(), 4);
    });
}

#[test]
fn keys_keep_their_order_across_arbiters_while_the_number_changes() {
    let (spec, book) = hands(|seen| {
        if seen.number % 89 == 0 && seen.attempt == 1 {
            Step::Panic
        } else {
            Step::Done
        }
    });
    let root = shop()
        .max_restarts(1_000_000, secs(1))
        .child(spec.on::<Order>().workers(2));
    let board = Board::builder().arbiters(3).start(root).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..10_000 {
                board
                    .publish_blocking(Order::new(number % 17, number))
                    .unwrap();
            }
        });
        for workers in [4, 1, 3, 6, 2, 5] {
            board.scale_blocking("shop/hands", workers).unwrap();
            assert_eq!(board.ledger().gap(), 0);
        }
    });
    board.settle_blocking().unwrap();
    book.check_order();
    assert_eq!(book.handled().len(), 10_000);
    let report = board.shutdown_blocking(secs(5));
    assert_eq!(report.ledger.gap(), 0, "{report}");
}

/// Events of two types and letters, one after the other, by one sender: all about few keys.
async fn send(board: &Board, address: &Address<Hand>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let key = number % 5;
        match number % 3 {
            0 => drop(board.publish(Order::new(key, number)).await.unwrap()),
            1 => drop(board.publish(Change(key, number)).await.unwrap()),
            _ => address.tell(slip(key, number)).await.unwrap(),
        }
    }
}

#[test]
fn events_of_all_types_and_letters_keep_one_order_by_key() {
    for seed in 0..30_u64 {
        paused(async move {
            let (spec, book) = hands(move |seen| {
                if (seen.number * 7 + seed) % 5 == 0 {
                    Step::Sleep(millis(seed % 3 + 1))
                } else {
                    Step::Done
                }
            });
            let spec = spec.on::<Order>().on::<Change>().workers(2);
            let address = spec.address();
            let board = here(shop().child(spec)).await;
            let scaling = async {
                for step in 0..8 {
                    tokio::time::sleep(millis(seed % 4 + 1)).await;
                    let workers = usize::try_from((seed * 3 + step * 5) % 4 + 1).unwrap();
                    board.scale("shop/hands", workers).await.unwrap();
                }
            };
            tokio::join!(send(&board, &address, 0..600), scaling);
            board.settle().await.unwrap();
            book.check_order();
            assert_eq!(book.handled().len(), 600);
            assert_eq!(board.ledger().gap(), 0);
        });
    }
}

#[test]
fn all_keep_one_order_by_key_across_arbiters() {
    for _ in 0..5 {
        let (spec, book) = hands(|_| Step::Done);
        let spec = spec.on::<Order>().on::<Change>().workers(2);
        let address = spec.address();
        let board = Board::builder()
            .arbiters(3)
            .start(shop().child(spec))
            .unwrap();
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| {
                let time = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                time.block_on(send(&board, &address, 0..6_000));
            });
            let mut workers = 0;
            while !sent.is_finished() {
                workers = (workers + 3) % 7;
                board.scale_blocking("shop/hands", workers + 1).unwrap();
                assert_eq!(board.ledger().gap(), 0);
            }
        });
        board.settle_blocking().unwrap();
        book.check_order();
        assert_eq!(book.handled().len(), 6_000);
        let report = board.shutdown_blocking(secs(5));
        assert_eq!(report.ledger.gap(), 0, "{report}");
    }
}

#[test]
fn a_board_that_ends_during_a_change_drains_what_it_can() {
    for seed in 0..20 {
        paused(async move {
            let (spec, book) = hands(|_| Step::Sleep(millis(5)));
            let spec = spec
                .on::<Order>()
                .shutdown(Shutdown::Drain(secs(60)))
                .workers(4);
            let board = here(shop().child(spec)).await;
            publish(&board, 0..100, 13).await;
            let change = async {
                tokio::time::sleep(millis(seed)).await;
                // Begun, and overtaken by the end.
                let _ = board.scale("shop/hands", 2).await;
            };
            let end = async {
                tokio::time::sleep(millis(seed * 2)).await;
                for number in 100..130 {
                    let _ = board.publish(Order::new(number % 13, number)).await;
                }
                board.shutdown(secs(100)).await
            };
            let ((), report) = tokio::join!(change, end);
            book.check_order();
            let row = report.ledger.delivery("shop/hands", "order").unwrap();
            assert_eq!((row.acknowledged, row.undelivered), (130, 0), "{report}");
            assert_eq!(report.ledger.gap(), 0);
        });
    }
}

#[test]
fn a_service_that_is_stopped_during_a_change_counts_all_it_leaves() {
    for seed in 0..20 {
        paused(async move {
            let (spec, book) = hands(|_| Step::Sleep(millis(5)));
            let spec = spec.on::<Order>().workers(3);
            let board = here(shop().child(spec)).await;
            publish(&board, 0..60, 13).await;
            let change = async {
                tokio::time::sleep(millis(seed)).await;
                let _ = board.scale("shop/hands", 5).await;
            };
            let end = async {
                tokio::time::sleep(millis(seed * 2)).await;
                publish(&board, 60..90, 13).await;
                board.stop("shop/hands").await.unwrap();
            };
            tokio::join!(change, end);
            let row = row(&board, "shop/hands", "order");
            assert_eq!(row.acknowledged + row.undelivered, 90);
            assert_eq!(row.acknowledged, book.handled().len() as u64);
            board.restart("shop/hands").await.unwrap();
            let workers = board.inspect("shop/hands").unwrap().workers;
            board.scale("shop/hands", 2).await.unwrap();
            publish(&board, 90..120, 13).await;
            board.settle().await.unwrap();
            book.check_order();
            let row = crate::support_events::row(&board, "shop/hands", "order");
            assert_eq!(row.acknowledged + row.undelivered, 120, "{workers:?}");
        });
    }
}

#[test]
fn workers_that_drain_during_a_change_leave_nothing() {
    for seed in 0..20 {
        paused(async move {
            let (spec, book) = hands(|_| Step::Sleep(millis(5)));
            let spec = spec.on::<Order>().shutdown(Shutdown::Drain(secs(60)));
            let board = here(shop().child(spec.workers(3))).await;
            publish(&board, 0..60, 13).await;
            let change = async {
                tokio::time::sleep(millis(seed)).await;
                let _ = board.scale("shop/hands", 2).await;
            };
            let end = async {
                tokio::time::sleep(millis(seed + 1)).await;
                publish(&board, 60..90, 13).await;
                board.stop("shop/hands").await.unwrap();
            };
            tokio::join!(change, end);
            let row = row(&board, "shop/hands", "order");
            assert_eq!((row.acknowledged, row.undelivered), (90, 0));
            book.check_order();
        });
    }
}

#[test]
fn workers_that_are_hired_while_the_service_is_suspended_are_suspended() {
    paused(async {
        let (spec, _) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Note>().workers(1))).await;
        board.suspend("shop/hands").unwrap();
        let worker = |index: usize| board.inspect(&format!("shop/hands/{index}"));
        let is_there = |index| worker(index).is_ok_and(|one| one.state == State::Running);
        let resume = async {
            while !(0..4).all(is_there) {
                tokio::task::yield_now().await;
            }
            assert!((0..4).all(|index| worker(index).unwrap().suspended));
            board.resume("shop/hands").unwrap();
        };
        let (scaled, ()) = tokio::join!(board.scale("shop/hands", 4), resume);
        scaled.unwrap();
        assert!((0..4).all(|index| !worker(index).unwrap().suspended));
    });
}

/// Takes its time to stop.
#[derive(Default)]
struct Slow;
impl Service for Slow {
    async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
        tokio::time::sleep(secs(1)).await;
    }
}

#[test]
fn a_worker_that_is_let_go_is_not_restarted() {
    paused(async {
        let board = here(shop().child(service("slow", Slow::default).workers(2))).await;
        let restarting = async {
            let path = "shop/slow/1";
            until(|| board.inspect(path).unwrap().state == State::Stopping).await;
            board.restart(path).await
        };
        let (scaled, restarted) = tokio::join!(board.scale("shop/slow", 1), restarting);
        scaled.unwrap();
        let error = restarted.unwrap_err();
        assert!(matches!(error, ChildError::Scaling { .. }), "{error}");
        assert!(board.inspect("shop/slow/1").is_err());
        assert_eq!(board.inspect("shop/slow").unwrap().workers, Some(1));
    });
}

/// Takes long to start, but for the first two, and its time to stop.
struct Late(Arc<AtomicU64>);
impl Service for Late {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        if self.0.fetch_add(1, Ordering::Relaxed) == 2 {
            tokio::time::sleep(secs(20)).await;
        }
        Ok(())
    }
    async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
        tokio::time::sleep(secs(1)).await;
    }
}
impl Handle<Note> for Late {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_worker_that_lives_is_let_go_in_order_when_a_restart_overtakes_the_change() {
    paused(async {
        let starts = Arc::new(AtomicU64::new(0));
        let late = service("late", move || Late(Arc::clone(&starts)));
        let late = late.on::<Note>().workers(1);
        let board = here(shop().child(late)).await;
        let restarting = async {
            let is = |path, state| board.inspect(path).is_ok_and(|one| one.state == state);
            until(|| is("shop/late/1", State::Running) && is("shop/late/2", State::Starting)).await;
            board.restart("shop/late").await
        };
        let (scaled, restarted) = tokio::join!(board.scale("shop/late", 3), restarting);
        let error = scaled.unwrap_err();
        assert!(error.to_string().contains("shop/late"), "{error}");
        restarted.unwrap();
        assert_eq!(board.inspect("shop/late").unwrap().workers, Some(1));
        for number in 0..3_000 {
            board.publish(Note(number)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/late", "note").acknowledged, 3_000);
    });
}

/// Asks the other worker, once it may.
struct Curious {
    gate: Arc<Semaphore>,
    own: Arc<OnceLock<Address<Curious>>>,
    log: Log,
}
struct Ping(Key);
impl Message for Ping {
    type Reply = ();
    fn key(&self) -> Key {
        self.0.clone()
    }
}
impl Service for Curious {}
impl Answer<Ping> for Curious {
    async fn answer(&mut self, _: Ping, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
impl Handle<Order> for Curious {
    async fn handle(&mut self, order: &Order, cx: &mut Context<Self>) -> Outcome {
        self.log.say("began");
        self.gate.acquire().await?.forget();
        let ping = Ping(order.number.into());
        let asked = cx.ask_within(self.own.get().unwrap(), ping, secs(60)).await;
        self.log.say(match asked {
            Ok(()) => "answered".to_owned(),
            Err(error) => error.to_string(),
        });
        Ok(())
    }
}

#[test]
fn a_worker_that_asks_another_during_a_change_hears_at_once_that_it_would_wait_for_itself() {
    paused(async {
        let (gate, own, log) = (
            gate(),
            Arc::<OnceLock<Address<Curious>>>::default(),
            Log::new(),
        );
        let parts = (Arc::clone(&gate), Arc::clone(&own), log.clone());
        let curious = service("curious", move || Curious {
            gate: Arc::clone(&parts.0),
            own: Arc::clone(&parts.1),
            log: parts.2.clone(),
        });
        let spec = curious.on::<Order>().workers(2);
        own.set(spec.address()).unwrap();
        let board = here(shop().child(spec)).await;
        let me = worker_of(&Order::new(1, 0), 2);
        let other = (0..)
            .find(|key| worker_of(&Order::new(*key, 0), 2) != me)
            .unwrap();
        let began = Instant::now();
        board.publish(Order::new(1, other)).await.unwrap();
        log.wait_for("began").await;
        let asking = async {
            until(|| board.inspect("shop/curious").unwrap().workers == Some(3)).await;
            // The change is under way once the third has started.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            gate.add_permits(1);
        };
        let (scaled, ()) = tokio::join!(board.scale("shop/curious", 3), asking);
        scaled.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        let me = format!("shop/curious/{me}");
        let cycle = format!("a cycle of waits: {me} -> shop/curious/scale -> {me}");
        assert_eq!(log.lines(), ["began", &*cycle]);
        // Once the new number is in force, nobody waits for anybody.
        gate.add_permits(1);
        board.publish(Order::new(1, other_of(1))).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("answered"));
        assert!(board.dead_letters().is_empty());
    });
}

/// A key that is of another worker than this one, of three.
fn other_of(key: u64) -> u64 {
    let me = worker_of(&Order::new(key, 0), 3);
    (0..)
        .find(|key| worker_of(&Order::new(*key, 0), 3) != me)
        .unwrap()
}
