//! Several workers share what a service hears.
//!
//! What has equal keys goes to one worker and keeps its order, whatever fails; what has none is
//! shared out in turn. The ledger has one row for all, and its gap is 0.

mod hands;
mod house;
mod letters;
mod scale;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use callboard::prelude::*;
use callboard::{Fate, Key, LookupError, Restart, StartError, State};

use crate::support_events::{Note, Step};
use crate::support_events::{ON_PURPOSE, failing, gate, here, paused, row, shop};
use hands::{Order, hands, publish, worker_of};

#[test]
fn what_has_one_key_goes_to_one_worker_in_order() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Order>().workers(4))).await;
        publish(&board, 0..400, 23).await;
        board.settle().await.unwrap();
        book.check_order();
        assert_eq!(book.handled().len(), 400);
        assert_eq!(book.workers().len(), 4);
        let row = row(&board, "shop/hands", "order");
        assert_eq!((row.accepted, row.acknowledged), (400, 400));
        assert_eq!(board.ledger().deliveries.len(), 1, "{}", board.ledger());
    });
}

#[test]
fn a_batch_reaches_all_whose_it_is() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let spec = spec.on::<Order>().on::<Note>();
        let board = here(shop().child(spec.workers(4))).await;
        for first in [0, 100, 200] {
            let orders = (first..first + 100).map(|number| Order::new(number % 23, number));
            board.publish_all(orders).await.unwrap();
            // All sleep before the next batch, which has to wake them.
            board.settle().await.unwrap();
        }
        book.check_order();
        board.publish_all((0..100).map(Note)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 400);
        assert_eq!(book.workers().len(), 4);
        assert_eq!(row(&board, "shop/hands", "order").acknowledged, 300);
    });
}

#[test]
fn what_has_no_key_is_shared_out_evenly() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Note>().workers(4))).await;
        for number in 0..100 {
            board.publish(Note(number)).await.unwrap();
        }
        board.settle().await.unwrap();
        let counts = book.workers().into_values().collect::<Vec<_>>();
        assert_eq!(counts, [25, 25, 25, 25]);
        assert_eq!(row(&board, "shop/hands", "note").acknowledged, 100);
    });
}

#[test]
fn a_key_that_panics_is_none() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Order>().workers(2))).await;
        for number in 0..10 {
            board
                .publish(Order::new(Order::PANICS, number))
                .await
                .unwrap();
        }
        board.settle().await.unwrap();
        let counts = book.workers().into_values().collect::<Vec<_>>();
        assert_eq!(counts, [5, 5]);
    });
}

#[test]
fn events_keep_their_order_by_key_whatever_fails() {
    for seed in 0..20 {
        paused(async move {
            let dice = AtomicU64::new(seed);
            let (spec, book) = hands(move |_| {
                let roll = dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                match (roll ^ (roll >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 60 {
                    0 | 1 => failing(),
                    2 => Step::Panic,
                    3..=6 => Step::Sleep(millis(seed + 1)),
                    _ => Step::Done,
                }
            });
            let policy = Policy::new().retry(Retry::fixed(millis(5)).attempts(5));
            let spec = spec.on::<Order>().policy(policy).workers(3);
            let root = shop().max_restarts(100_000, secs(1)).child(spec);
            let board = here(root).await;
            for number in 0..300 {
                board
                    .publish(Order::new(number % 11, number))
                    .await
                    .unwrap();
                if number % 50 == 0 {
                    assert_eq!(board.ledger().gap(), 0);
                }
            }
            board.settle().await.unwrap();
            book.check_order();
            let row = row(&board, "shop/hands", "order");
            assert_eq!(row.acknowledged + row.dead_lettered, 300);
            assert_eq!(book.handled().len() as u64, row.acknowledged);
            assert!(row.retried > 0, "nothing failed");
        });
    }
}

#[test]
fn the_keys_of_a_worker_that_restarts_wait_and_the_rest_flows() {
    paused(async {
        let healed = Arc::new(AtomicBool::new(false));
        let fixed = Arc::clone(&healed);
        let bad = Order::new(3, 0);
        let owner = worker_of(&bad, 4);
        let (spec, book) = hands(move |seen| {
            let ill = seen.key == Key::from(3) && !fixed.load(Ordering::Relaxed);
            if ill { Step::Panic } else { Step::Done }
        });
        let policy = Policy::new().retry(Retry::fixed(millis(1)).attempts(5));
        let backoff = callboard::Backoff::fixed(secs(60));
        let root = shop()
            .backoff(backoff, secs(600))
            .child(spec.on::<Order>().policy(policy).workers(4));
        let board = here(root).await;
        publish(&board, 0..100, 20).await;
        let others = (0..100).filter(|number| worker_of(&Order::new(number % 20, 0), 4) != owner);
        let others = others.count();
        book.until(others + 1).await;
        tokio::time::sleep(secs(1)).await;
        assert_eq!(
            book.handled()
                .iter()
                .filter(|one| one.worker != owner)
                .count(),
            others
        );
        let states = board.inspect("shop/hands").unwrap().children;
        let states: Vec<_> = states.iter().map(|child| child.state).collect();
        for (index, state) in states.iter().enumerate() {
            let expected = if index == owner {
                State::BackingOff
            } else {
                State::Running
            };
            assert_eq!(*state, expected, "{states:?}");
        }
        healed.store(true, Ordering::Relaxed);
        board.settle().await.unwrap();
        book.check_order();
        assert_eq!(row(&board, "shop/hands", "order").acknowledged, 100);
        assert_eq!(board.inspect("shop/hands").unwrap().restarts(), 0);
    });
}

#[test]
fn workers_that_fail_too_often_fail_as_a_whole() {
    paused(async {
        let (spec, book) = hands(|seen| {
            if seen.attempt < 3 {
                Step::Panic
            } else {
                Step::Done
            }
        });
        let policy = Policy::new().retry(Retry::fixed(millis(1)).attempts(4));
        let root = shop()
            .max_restarts(4, secs(100))
            .child(spec.on::<Order>().policy(policy).workers(3));
        let board = here(root).await;
        for number in 0..8 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/hands", "order").acknowledged, 8);
        book.check_order();
        assert!(board.inspect("shop/hands").unwrap().restarts() > 0);
    });
}

#[test]
fn a_worker_knows_which_one_it_is_and_the_tree_shows_it() {
    paused(async {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, book) = hands(move |_| Step::Wait(Arc::clone(&held)));
        let board = here(shop().child(spec.on::<Order>().workers(3))).await;
        let order = Order::new(5, 0);
        let owner = worker_of(&order, 3);
        board.publish(order).await.unwrap();
        board.publish(Order::new(5, 1)).await.unwrap();
        book.until(1).await;
        let seen = book.seen()[0].clone();
        assert_eq!(
            (seen.worker, seen.path),
            (owner, format!("shop/hands/{owner}"))
        );
        let inspection = board.inspect("shop/hands").unwrap();
        assert_eq!((inspection.workers, inspection.strategy), (Some(3), None));
        assert_eq!(
            (inspection.mailbox.queued, inspection.mailbox.in_flight),
            (1, 1)
        );
        let worker = &inspection.children[owner];
        assert_eq!((worker.mailbox.queued, worker.mailbox.in_flight), (1, 1));
        let current = worker.current.as_ref().unwrap();
        assert_eq!(current.event.as_deref(), Some("order"));
        assert!(worker.type_name.unwrap().ends_with("Hand"));
        let tree = board.tree().to_string();
        assert!(tree.contains("└─ hands  workers"), "{tree}");
        assert_eq!(board.services(), ["shop/hands"]);
        gate.add_permits(2);
        board.settle().await.unwrap();
    });
}

#[test]
fn a_publisher_hears_of_the_one_worker_whose_the_event_is() {
    paused(async {
        let (spec, _) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Order>().on::<Note>().workers(4))).await;
        for number in 0..8 {
            let fates = board
                .publish(Order::new(number, number))
                .settled()
                .await
                .unwrap();
            let fates: Vec<_> = fates.iter().map(|one| (&*one.service, one.fate)).collect();
            assert_eq!(fates, [("shop/hands", Fate::Acknowledged)]);
            let fates = board.publish(Note(number)).settled().await.unwrap();
            assert_eq!(fates.len(), 1);
        }
    });
}

#[test]
fn a_dead_letter_goes_back_to_the_worker_whose_it_is() {
    paused(async {
        let (spec, book) = hands(|seen| if seen.redriven { Step::Done } else { failing() });
        let policy = Policy::new().retry(Retry::fixed(millis(1)).attempts(2));
        let board = here(shop().child(spec.on::<Order>().policy(policy).workers(4))).await;
        for number in 0..12 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        board.settle().await.unwrap();
        let letters = board.dead_letters();
        assert_eq!(letters.len(), 12);
        for letter in &letters {
            assert_eq!(letter.service(), "shop/hands");
            board.redrive(letter).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 12);
        for one in book.handled() {
            let Key::Number(key) = one.key else {
                panic!("{ON_PURPOSE}")
            };
            assert_eq!(one.worker, worker_of(&Order::new(key, 0), 4));
        }
        let row = row(&board, "shop/hands", "order");
        assert_eq!(
            (row.accepted, row.acknowledged, row.dead_lettered),
            (24, 12, 12)
        );
    });
}

#[test]
fn what_is_shed_is_only_the_workers_own() {
    paused(async {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, book) = hands(move |_| Step::Wait(Arc::clone(&held)));
        let spec = spec.on_with::<Order>(|on| on.capacity(10).overflow(Overflow::DropOldest));
        let board = here(shop().child(spec.workers(3))).await;
        for number in 0..100 {
            board.publish(Order::new(number % 7, number)).await.unwrap();
            assert_eq!(board.ledger().gap(), 0);
        }
        gate.add_permits(100);
        board.settle().await.unwrap();
        book.check_order();
        let row = row(&board, "shop/hands", "order");
        assert_eq!(row.accepted, 100);
        assert_eq!(row.shed + row.acknowledged, 100);
        assert!(row.shed > 50, "{row:?}");
        assert_eq!(row.acknowledged, book.handled().len() as u64);
    });
}

#[test]
fn a_full_worker_makes_publishers_wait_and_is_named_as_the_service() {
    paused(async {
        let gate = gate();
        let held = Arc::clone(&gate);
        let (spec, _) = hands(move |_| Step::Wait(Arc::clone(&held)));
        let spec = spec.on_with::<Order>(|on| on.capacity(2)).workers(2);
        let board = here(shop().child(spec)).await;
        let mut refused = None;
        for number in 0..20 {
            if let Err(error) = board.try_publish(Order::new(number, number)) {
                refused = Some(error.to_string());
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(refused.unwrap(), "the subscription of shop/hands is full");
        assert_eq!(board.ledger().gap(), 0);
        gate.add_permits(100);
        board.settle().await.unwrap();
    });
}

#[test]
fn what_workers_leave_at_the_end_is_undelivered_once() {
    paused(async {
        let (spec, book) = hands(|_| Step::Sleep(millis(1)));
        let spec = spec.on::<Order>().workers(3);
        let board = here(shop().child(spec)).await;
        publish(&board, 0..200, 13).await;
        book.until(30).await;
        board.stop("shop/hands").await.unwrap();
        let row = row(&board, "shop/hands", "order");
        assert_eq!((row.accepted, row.queued, row.in_flight), (200, 0, 0));
        assert_eq!(row.acknowledged, book.handled().len() as u64);
        assert_eq!(row.acknowledged + row.undelivered, 200);
        assert!(row.undelivered > 0);
        let report = board.shutdown(secs(1)).await;
        let left: Vec<_> = report.undelivered.iter().collect();
        assert_eq!(left.len(), 1, "{report}");
        assert_eq!(
            (&*left[0].service, left[0].count),
            ("shop/hands", row.undelivered)
        );
        assert_eq!(left[0].event_ids.len() as u64, row.undelivered);
        assert_eq!(report.ledger.gap(), 0);
    });
}

#[test]
fn a_service_that_was_stopped_hears_again_with_all_its_workers() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Order>().workers(3))).await;
        board.stop("shop/hands").await.unwrap();
        board.publish(Order::new(1, 0)).await.unwrap();
        board.restart("shop/hands").await.unwrap();
        for number in 0..30 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 30);
        assert_eq!(row(&board, "shop/hands", "order").acknowledged, 30);
    });
}

#[test]
fn a_service_with_workers_is_suspended_as_a_whole() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Order>().workers(3))).await;
        board.suspend("shop/hands").unwrap();
        for number in 0..30 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        let stuck = board.settle().await.unwrap_err().to_string();
        assert_eq!(
            stuck,
            "cannot settle: suspended services still hold work: shop/hands"
        );
        assert_eq!(book.handled().len(), 0);
        board.resume("shop/hands").unwrap();
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 30);
        let worker = board.suspend("shop/hands/1").unwrap_err();
        assert!(matches!(worker, LookupError::NotFound { .. }), "{worker}");
    });
}

#[test]
fn one_worker_is_restarted_or_killed_by_path_but_not_stopped() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let board = here(shop().child(spec.on::<Order>().workers(2))).await;
        board.restart("shop/hands/1").await.unwrap();
        board.kill("shop/hands/0").await.unwrap();
        let refused = board.stop("shop/hands/0").await.unwrap_err().to_string();
        let expected =
            "the children of shop/hands are its workers: scale it, or stop it as a whole";
        assert_eq!(refused, expected);
        assert!(board.supervisor("shop/hands").is_err());
        for number in 0..10 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 10);
        let lives = board.inspect("shop/hands").unwrap().children;
        assert_eq!(lives.iter().map(|one| one.life).collect::<Vec<_>>(), [2, 2]);
    });
}

#[test]
fn impossible_workers_are_refused_with_the_path() {
    paused(async {
        let refused = async |root: Supervisor| {
            let started = Board::builder().on_this_thread().start(root).await;
            started.unwrap_err()
        };
        let text = async |root: Supervisor| match refused(root).await {
            StartError::Refused { problems, .. } => {
                let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
                texts.join("\n")
            }
            other => panic!("{other}"),
        };
        let (none, _) = hands(|_| Step::Done);
        let nobody = text(shop().child(none.on::<Order>().workers(0))).await;
        assert_eq!(
            nobody,
            "shop/hands: 0 workers, so nothing would ever be handled"
        );
        let (crowd, _) = hands(|_| Step::Done);
        let many = text(shop().child(crowd.workers(1_000_000_000))).await;
        assert_eq!(many, "shop/hands: 1000000000 workers, of at most 1024");
        let (brief, _) = hands(|_| Step::Done);
        let brief = text(shop().child(brief.restart(Restart::Transient).workers(2))).await;
        let expected = "shop/hands: it has workers but is not permanent: a key would be left to \
                        nobody";
        assert_eq!(brief, expected);
        let (twice, _) = hands(|_| Step::Done);
        let twice = text(shop().child(twice.on::<Order>().on::<Order>().workers(3))).await;
        assert_eq!(twice, "shop/hands, on order: it subscribes twice");
    });
}

#[test]
fn workers_are_spread_over_the_arbiters_and_keep_the_order_there() {
    let (spec, book) = hands(|seen| {
        if seen.number % 97 == 0 && seen.attempt == 1 {
            Step::Panic
        } else {
            Step::Done
        }
    });
    let root = shop()
        .max_restarts(100_000, secs(1))
        .child(spec.on::<Order>().workers(4));
    let board = Board::builder().arbiters(2).start(root).unwrap();
    for number in 0..5_000 {
        board
            .publish_blocking(Order::new(number % 31, number))
            .unwrap();
        if number % 100 == 0 {
            assert_eq!(board.ledger().gap(), 0);
        }
    }
    board.settle_blocking().unwrap();
    book.check_order();
    assert_eq!(book.handled().len(), 5_000);
    assert_eq!(book.threads(), 2);
    let report = board.shutdown_blocking(secs(5));
    assert_eq!(report.ledger.gap(), 0);
    assert_eq!(report.ledger.deliveries[0].acknowledged, 5_000);
}

#[test]
fn shutdown_in_the_middle_leaves_every_event_in_one_state() {
    for seed in 0..10 {
        paused(async move {
            let (spec, book) = hands(|_| Step::Sleep(millis(7)));
            let spec = spec.on::<Order>().workers(3);
            let board = here(shop().child(spec)).await;
            publish(&board, 0..100, 13).await;
            let report = board.shutdown(millis(seed * 20)).await;
            book.check_order();
            let row = report.ledger.delivery("shop/hands", "order").unwrap();
            assert_eq!(row.acknowledged + row.undelivered, 100, "{report}");
            assert_eq!(row.acknowledged, book.handled().len() as u64);
            assert_eq!(report.ledger.gap(), 0);
        });
    }
}

#[test]
fn a_worker_with_nothing_to_do_holds_nobody_up() {
    paused(async {
        let (spec, book) = hands(|_| Step::Done);
        let spec = spec.on_with::<Order>(|on| on.capacity(4)).workers(3);
        let board = here(shop().child(spec)).await;
        for number in 0..1_000 {
            board.try_publish(Order::new(5, number)).unwrap();
            book.until(usize::try_from(number).unwrap() + 1).await;
            // Nobody but the owner is woken, and nobody lags.
            assert_eq!(row(&board, "shop/hands", "order").gap(), 0);
        }
        assert_eq!(book.workers().len(), 1);
    });
}

/// Of 3 workers one handles what is given up, by a policy that says what becomes of it then.
async fn one_gives_up(on_failure: OnFailure) -> (Board, hands::Book) {
    let (spec, book) = hands(|seen| match seen.number {
        7 => failing(),
        _ => Step::Done,
    });
    let policy = Policy::new().retry(Retry::never()).failure(on_failure);
    let spec = spec.on::<Order>().policy(policy).workers(3);
    let board = here(shop().child(spec)).await;
    board.publish(Order::new(7, 7)).await.unwrap();
    (board, book)
}

#[test]
fn a_worker_that_its_policy_stops_for_good_takes_its_service_along() {
    paused(async {
        let (board, book) = one_gives_up(OnFailure::dead_letter().stop()).await;
        board.settle().await.unwrap();
        let service = board.inspect("shop/hands").unwrap();
        assert_eq!(service.state, State::Closed);
        let exit = service.last_exit.unwrap();
        assert!(matches!(exit, Exit::Retired(_)), "{exit}");
        publish(&board, 10..40, 30).await;
        let ledger = board.ledger();
        assert_eq!(ledger.topic("order").unwrap().unheard, 30, "{ledger}");
        board.restart("shop/hands").await.unwrap();
        publish(&board, 40..70, 30).await;
        board.settle().await.unwrap();
        assert_eq!(book.handled().len(), 30);
    });
}

#[test]
fn a_worker_whose_policy_escalates_fails_the_supervisor_of_its_service() {
    paused(async {
        let (board, _) = one_gives_up(OnFailure::dead_letter().escalate()).await;
        let error = board.wait().await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("shop gave up: shop/hands"), "{text}");
    });
}

/// Publishes orders of all keys, and some of none, whenever it starts.
struct Herald;
impl Service for Herald {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        for number in 0..8 {
            cx.publish(Order::new(number, number)).await?;
            cx.publish(Note(number)).await?;
        }
        Ok(())
    }
}
impl Handle<Order> for Herald {
    async fn handle(&mut self, _: &Order, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
impl Handle<Note> for Herald {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

#[test]
fn what_is_published_while_a_service_opens_again_is_in_a_row_or_unheard() {
    paused(async {
        let herald = service("herald", || Herald).on::<Order>().on::<Note>();
        let board = here(shop().child(herald.workers(2))).await;
        board.stop("shop/herald").await.unwrap();
        board.restart("shop/herald").await.unwrap();
        board.settle().await.unwrap();
        let ledger = board.ledger();
        for event in ["order", "note"] {
            let topic = ledger.topic(event).unwrap();
            assert_eq!(topic.published, 32, "{ledger}");
            // The first life heard all of its own; of the second only what came too early is not.
            assert!((1..=8).contains(&topic.unheard), "{ledger}");
            let row = ledger.delivery("shop/herald", event).unwrap();
            assert_eq!(row.acknowledged, topic.heard, "{ledger}");
        }
    });
}

/// Starts late, if it is not the first; fails over orders.
struct Late(Option<usize>);
impl Service for Late {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        self.0 = cx.worker();
        if self.0 != Some(0) {
            tokio::time::sleep(secs(5)).await;
        }
        Ok(())
    }
}
impl Handle<Order> for Late {
    async fn handle(&mut self, _: &Order, _: &mut Context<Self>) -> Outcome {
        Err(Failure::new("no"))
    }
}

#[test]
fn a_worker_that_is_stopped_for_good_while_others_start_fails_no_start() {
    paused(async {
        let policy = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::dead_letter().stop());
        let late = service("late", || Late(None)).on::<Order>();
        let key = (0..).find(|key| worker_of(&Order::new(*key, 0), 2) == 0);
        let order = Order::new(key.unwrap(), 0);
        let herald = service("herald", move || Once(order.clone()));
        let root = shop().child(herald).child(late.policy(policy).workers(2));
        let board = here(root).await;
        let late = board.inspect("shop/late").unwrap();
        assert_eq!(late.state, State::Closed);
        assert!(matches!(late.last_exit, Some(Exit::Retired(_))));
        assert!(board.publish(Note(1)).await.is_ok());
    });
}

/// Publishes one order when it starts.
struct Once(Order);
impl Service for Once {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        cx.publish(self.0.clone()).await?;
        Ok(())
    }
}
