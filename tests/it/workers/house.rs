//! Workers beside all the rest: waits, policies, later work, the tree.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use callboard::prelude::*;
use callboard::{AskError, ChildError, Key, PublishError, SubscribeError};

use super::hands::{Order, Slip, hands, worker_of};
use crate::support_events::{
    Note, ON_PURPOSE, Step, be_quiet, failing, gate, here, paused, row, shop,
};

/// Tells a worker to try something that may wait for itself.
#[derive(Clone)]
struct Try(What, u64);
#[derive(Clone, Copy)]
enum What {
    AskTheOwner,
    PublishSettled,
    Scale,
}
impl Message for Try {
    type Reply = Option<String>;
    fn key(&self) -> Key {
        Key::from(self.1)
    }
}

struct Loop(Address<Loop>);
impl Service for Loop {}
impl Handle<Order> for Loop {
    async fn handle(&mut self, _: &Order, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
impl Answer<Slip> for Loop {
    async fn answer(&mut self, _: Slip, cx: &mut Context<Self>) -> Outcome<usize> {
        Ok(cx.worker().unwrap())
    }
}
impl Answer<Try> for Loop {
    async fn answer(
        &mut self,
        Try(what, key): Try,
        cx: &mut Context<Self>,
    ) -> Outcome<Option<String>> {
        Ok(match what {
            What::AskTheOwner => {
                let asked = cx
                    .ask(
                        &self.0,
                        Slip {
                            key: key.into(),
                            number: 0,
                        },
                    )
                    .await;
                asked.err().map(|error| match error {
                    AskError::Cycle { path, .. } => path,
                    other => other.to_string(),
                })
            }
            What::PublishSettled => {
                let told = cx.publish(Order::new(key, 0)).settled().await;
                told.err().map(|error| match error {
                    PublishError::Cycle { path, .. } => path,
                    other => other.to_string(),
                })
            }
            What::Scale => {
                let board = Board::of(cx).unwrap();
                let scaled = board.scale("shop/loop", 3).await;
                scaled.err().map(|error| match error {
                    ChildError::Cycle { path, .. } => path,
                    other => other.to_string(),
                })
            }
        })
    }
}

#[test]
fn a_worker_may_wait_for_another_and_never_for_itself() {
    paused(async {
        let own: Arc<Mutex<Option<Address<Loop>>>> = Arc::default();
        let kept = Arc::clone(&own);
        let make = move || Loop(kept.lock().unwrap().clone().unwrap());
        let spec = service("loop", make).on::<Order>().workers(2);
        let address = spec.address();
        *own.lock().unwrap() = Some(address.clone());
        let board = here(shop().child(spec)).await;
        let me = worker_of(&Order::new(1, 0), 2);
        let another = (0..)
            .find(|key| worker_of(&Order::new(*key, 0), 2) != me)
            .unwrap();
        let mine = format!("shop/loop/{me} -> shop/loop/{me}");
        let asked = address.ask(Try(What::AskTheOwner, 1)).await.unwrap();
        assert_eq!(asked.as_deref(), Some(&*mine));
        let asked = address
            .ask(Slip {
                key: another.into(),
                number: 0,
            })
            .await
            .unwrap();
        assert_ne!(asked, me);
        let published = address
            .ask(Try(What::PublishSettled, another))
            .await
            .unwrap();
        assert!(published.unwrap().starts_with("shop/loop/"));
        let scaled = address.ask(Try(What::Scale, 1)).await.unwrap().unwrap();
        assert!(scaled.contains("shop/loop/"), "{scaled}");
        assert_eq!(board.inspect("shop/loop").unwrap().workers, Some(2));
        *own.lock().unwrap() = None;
    });
}

/// Asks the other worker, by the key it is given.
struct Chat(u64);
impl Message for Chat {
    type Reply = usize;
    fn key(&self) -> Key {
        self.0.into()
    }
}
impl Answer<Chat> for Loop {
    async fn answer(&mut self, chat: Chat, cx: &mut Context<Self>) -> Outcome<usize> {
        let owner = |key| worker_of(&Order::new(key, 0), 2);
        let other = (0..).find(|key| owner(*key) != owner(chat.0)).unwrap();
        let slip = Slip {
            key: other.into(),
            number: 0,
        };
        Ok(cx.ask(&self.0, slip).await?)
    }
}

#[test]
fn one_worker_asks_another_of_its_own_service() {
    paused(async {
        let own: Arc<Mutex<Option<Address<Loop>>>> = Arc::default();
        let kept = Arc::clone(&own);
        let make = move || Loop(kept.lock().unwrap().clone().unwrap());
        let spec = service("loop", make).workers(2);
        let address = spec.address();
        *own.lock().unwrap() = Some(address.clone());
        let _board = here(shop().child(spec)).await;
        for key in 0..10 {
            let other = address.ask(Chat(key)).await.unwrap();
            assert_ne!(other, worker_of(&Order::new(key, 0), 2));
        }
        *own.lock().unwrap() = None;
    });
}

#[test]
fn workers_follow_the_policy_of_their_service() {
    paused(async {
        let (spec, book) = hands(|_| failing());
        let tries = |attempts| Policy::new().retry(Retry::fixed(millis(1)).attempts(attempts));
        let spec = spec.on::<Order>().on::<Note>().policy(tries(2)).workers(3);
        let board = here(shop().max_restarts(9, secs(1)).child(spec)).await;
        let policies = board.policies();
        let rows: Vec<_> = policies
            .rows
            .iter()
            .map(|row| (&*row.service, row.event))
            .collect();
        assert_eq!(rows, [("shop/hands", "note"), ("shop/hands", "order")]);
        board.publish(Order::new(1, 0)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(book.seen().len(), 2);
        board.set_policy("shop/hands", tries(4)).unwrap();
        board.publish(Order::new(2, 1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(book.seen().len(), 6);
        board
            .set_policy_on::<Order>("shop/hands", tries(5))
            .unwrap();
        board.scale("shop/hands", 5).await.unwrap();
        for key in 0..20 {
            board.publish(Order::new(key, 2)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(book.seen().len(), 6 + 100);
        assert!(board.set_policy("shop/hands/1", tries(1)).is_err());
        assert!(board.set_policy("shop/hands", tries(10)).is_err());
    });
}

/// Goes on with every order later.
struct Later(Arc<tokio::sync::Semaphore>, Arc<Mutex<Vec<(u64, usize)>>>);
impl Service for Later {}
impl Handle<Order> for Later {
    async fn handle(&mut self, order: &Order, cx: &mut Context<Self>) -> Outcome {
        let (gate, number, worker) = (Arc::clone(&self.0), order.number, cx.worker().unwrap());
        let open = async move { gate.acquire().await.unwrap().forget() };
        cx.later(open, async move |later: &mut Self, (), _| {
            later.1.lock().unwrap().push((number, worker));
            Ok(())
        });
        Ok(())
    }
}

#[test]
fn a_change_waits_for_later_work_too() {
    paused(async {
        let (gate, done) = (gate(), Arc::<Mutex<Vec<_>>>::default());
        let (held, kept) = (Arc::clone(&gate), Arc::clone(&done));
        let make = move || Later(Arc::clone(&held), Arc::clone(&kept));
        let board = here(shop().child(service("later", make).on::<Order>().workers(2))).await;
        for number in 0..10 {
            board.publish(Order::new(number, number)).await.unwrap();
        }
        let rest = async {
            tokio::time::sleep(secs(1)).await;
            for number in 10..20 {
                board.publish(Order::new(number, number)).await.unwrap();
            }
            tokio::time::sleep(secs(1)).await;
            let row = row(&board, "shop/later", "order");
            assert_eq!((row.in_flight, row.queued), (10, 10));
            gate.add_permits(20);
        };
        let (changed, ()) = tokio::join!(board.scale("shop/later", 3), rest);
        changed.unwrap();
        board.settle().await.unwrap();
        let done = done.lock().unwrap();
        assert_eq!(done.len(), 20);
        assert!(done[..10].iter().all(|(number, _)| *number < 10));
    });
}

#[test]
fn parked_keys_keep_their_order_while_the_number_changes() {
    paused(async {
        let dice = AtomicU64::new(7);
        let (spec, book) = hands(move |_| {
            let roll = dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            if (roll ^ (roll >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 62 == 0 {
                failing()
            } else {
                Step::Sleep(millis(1))
            }
        });
        let retry = Retry::fixed(millis(20)).attempts(20).parked();
        let spec = spec
            .on::<Order>()
            .policy(Policy::new().retry(retry))
            .workers(2);
        let board = here(shop().max_restarts(100, secs(1)).child(spec)).await;
        let publishing = async {
            for number in 0..500 {
                board
                    .publish(Order::new(number % 19, number))
                    .await
                    .unwrap();
                tokio::time::sleep(millis(1)).await;
            }
        };
        let scaling = async {
            for workers in [3, 1, 4, 2, 5] {
                tokio::time::sleep(millis(40)).await;
                board.scale("shop/hands", workers).await.unwrap();
            }
        };
        tokio::join!(publishing, scaling);
        board.settle().await.unwrap();
        book.check_order();
        let row = row(&board, "shop/hands", "order");
        assert_eq!((row.acknowledged, row.dead_lettered), (500, 0));
        assert!(row.retried > 50);
    });
}

#[test]
fn a_service_with_workers_comes_and_goes_while_the_board_runs() {
    paused(async {
        let board = here(shop()).await;
        let shop = board.supervisor("shop").unwrap();
        for round in 1..=3 {
            let (spec, book) = hands(|_| Step::Done);
            let spec = spec.on::<Order>().workers(3);
            let address = spec.address();
            assert_eq!(shop.start_child(spec).await.unwrap(), "shop/hands");
            assert_eq!((shop.count().services, shop.count().supervisors), (1, 0));
            for number in 0..30 {
                board.publish(Order::new(number, number)).await.unwrap();
                address
                    .tell(Slip {
                        key: number.into(),
                        number,
                    })
                    .await
                    .unwrap();
            }
            board.scale("shop/hands", 4).await.unwrap();
            board.settle().await.unwrap();
            assert_eq!(book.handled().len(), 60);
            shop.terminate_child("hands").await.unwrap();
            shop.delete_child("hands").await.unwrap();
            let ledger = board.ledger();
            assert_eq!(ledger.gap(), 0);
            let row = ledger.delivery("shop/*", "order").unwrap();
            assert_eq!((row.accepted, row.acknowledged), (30 * round, 30 * round));
            assert_eq!(ledger.letter("shop/*").unwrap().answered, 30 * round);
            assert_eq!(
                (ledger.deliveries.len(), ledger.letters.len()),
                (1, 1),
                "{ledger}"
            );
            assert!(board.inspect("shop/hands/0").is_err());
        }
    });
}

#[test]
fn a_recipe_that_panics_is_called_again_for_every_worker() {
    paused(async {
        be_quiet();
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        struct Fresh;
        impl Service for Fresh {}
        impl Handle<Order> for Fresh {
            async fn handle(&mut self, order: &Order, _: &mut Context<Self>) -> Outcome {
                assert!(order.number > 0, "{ON_PURPOSE}");
                Ok(())
            }
        }
        let make = move || {
            assert!(count.fetch_add(1, Ordering::Relaxed) != 3, "{ON_PURPOSE}");
            Fresh
        };
        let policy = Policy::new().retry(Retry::fixed(millis(1)).attempts(1));
        let spec = service("fresh", make)
            .on::<Order>()
            .policy(policy)
            .workers(3);
        let board = here(shop().child(spec)).await;
        board.publish(Order::new(1, 0)).await.unwrap();
        board.publish(Order::new(1, 1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/fresh", "order").acknowledged, 1);
        assert_eq!(made.load(Ordering::Relaxed), 5);
    });
}

#[test]
fn workers_subscribe_in_their_spec_alone() {
    paused(async {
        let (spec, _) = hands(|_| Step::Done);
        let spec = spec.on::<Order>().workers(2);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let refused = board.subscribe::<Note>(&address).await.unwrap_err();
        assert!(matches!(refused, SubscribeError::Impossible { .. }));
        let expected = "shop/hands, on note: the workers of a service subscribe in its spec";
        assert_eq!(refused.to_string(), expected);
        assert!(board.unsubscribe::<Order>(&address).await.is_err());
    });
}

#[test]
fn dedicated_workers_have_a_thread_each() {
    let (spec, book) = hands(|_| Step::Done);
    let root = shop().child(spec.on::<Note>().dedicated().workers(3));
    let board = Board::builder().arbiters(1).start(root).unwrap();
    for number in 0..30 {
        board.publish_blocking(Note(number)).unwrap();
    }
    board.settle_blocking().unwrap();
    assert_eq!(book.threads(), 3);
    board.scale_blocking("shop/hands", 4).unwrap();
    board.scale_blocking("shop/hands", 1).unwrap();
    board.shutdown_blocking(secs(5));
}

#[test]
fn a_monitor_of_the_service_hears_of_it_as_a_whole() {
    paused(async {
        let (spec, _) = hands(|_| Step::Done);
        let spec = spec.workers(2);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let mut monitor = board.monitor(&address).unwrap();
        board.restart("shop/hands/1").await.unwrap();
        board.stop("shop/hands").await.unwrap();
        board.shutdown(secs(1)).await;
        let mut changes = BTreeSet::new();
        while let Some(news) = monitor.next().await {
            assert_eq!(news.path(), "shop/hands");
            changes.insert(news.change().to_string());
        }
        assert!(changes.contains("has ended for good"), "{changes:?}");
    });
}
