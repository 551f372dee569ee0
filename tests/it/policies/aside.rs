//! Retries that step aside: deferred, or parked by key.

use std::collections::BTreeMap;

use callboard::prelude::*;
use callboard::{Jitter, Reason};

use super::Bill;
use crate::support_events::{
    HowMany, Log, Memo, Seen, Step, clerk, failing, here, paused, row, shop,
};

fn retry() -> Retry {
    Retry::fixed(millis(100)).attempts(3)
}

/// A board with one clerk who follows this policy, and its log.
async fn bills(
    policy: Policy,
    capacity: usize,
    script: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (Board, Log) {
    let (spec, log) = clerk("clerk", script);
    let spec = spec
        .on_with::<Bill>(|on| on.capacity(capacity))
        .on::<Memo>();
    (here(shop().child(spec.policy(policy))).await, log)
}

fn first_fails_twice(seen: &Seen) -> Step {
    if seen.id == 1 && seen.attempt < 3 {
        failing()
    } else {
        Step::Done
    }
}

async fn publish(board: &Board, bills: impl IntoIterator<Item = (u64, u64)>) {
    for (id, of) in bills {
        board.publish(Bill { id, of }).await.unwrap();
    }
}

#[test]
fn a_deferred_event_steps_aside_and_younger_ones_go_on() {
    paused(async {
        let policy = Policy::new().retry(retry().deferred());
        let fails = |seen: &Seen| match seen.id {
            1 if seen.attempt < 3 => failing(),
            _ => Step::Done,
        };
        let (board, log) = bills(policy, 8, fails).await;
        let began = tokio::time::Instant::now();
        publish(&board, (1..=4).map(|id| (id, 0))).await;
        log.until(4).await;
        assert_eq!(log.attempts(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(row(&board, "shop/clerk", "bill").deferred, 1);
        board.settle().await.unwrap();
        assert_eq!(log.attempts()[4..], [(1, 2), (1, 3)]);
        assert_eq!(log.seen()[5].at - began, millis(200));
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.acknowledged, row.retried), (4, 2));
    });
}

#[test]
fn deferred_events_come_back_when_each_is_due() {
    paused(async {
        let policy = Policy::new().retry(Retry::with(|n| Some(secs(u64::from(n)))).deferred());
        let fails = |seen: &Seen| {
            if seen.attempt == 1 {
                failing()
            } else {
                Step::Done
            }
        };
        let (board, log) = bills(policy, 8, fails).await;
        publish(&board, [(1, 0)]).await;
        log.until(1).await;
        tokio::time::advance(millis(500)).await;
        publish(&board, [(2, 0)]).await;
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (2, 1), (1, 2), (2, 2)]);
        assert_eq!(log.seen()[3].at - log.seen()[2].at, millis(500));
    });
}

#[test]
fn beyond_the_capacity_a_deferred_event_waits_in_place() {
    paused(async {
        let policy = Policy::new().retry(retry().deferred());
        let fails = |seen: &Seen| {
            if seen.id <= 3 && seen.attempt == 1 {
                failing()
            } else {
                Step::Done
            }
        };
        let (board, log) = bills(policy, 2, fails).await;
        publish(&board, [(1, 0), (2, 0)]).await;
        log.until(2).await;
        publish(&board, [(3, 0), (4, 0)]).await;
        log.until(3).await;
        board.publish(Memo(9)).await.unwrap();
        let clerk: Address<crate::support_events::Clerk> = board.service("shop/clerk").unwrap();
        // The third waits in place: nothing younger is read, but letters are.
        assert_eq!(clerk.ask(HowMany).await.unwrap(), 3);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3, 3, 1, 2, 4, 9], "{:?}", log.attempts());
    });
}

#[test]
fn a_parked_event_holds_its_key_alone() {
    paused(async {
        let policy = Policy::new().retry(retry().parked());
        let (board, log) = bills(policy, 8, first_fails_twice).await;
        publish(&board, [(1, 7), (2, 7), (3, 8), (4, 7), (5, 8)]).await;
        log.until(3).await;
        assert_eq!(log.ids(), [1, 3, 5]);
        assert_eq!(row(&board, "shop/clerk", "bill").deferred, 3);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 3, 5, 1, 1, 2, 4]);
        // Another round finds no line left.
        publish(&board, [(6, 7), (7, 8)]).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids()[7..], [6, 7]);
    });
}

#[test]
fn the_next_of_a_key_goes_on_when_the_first_is_given_up() {
    paused(async {
        let policy = Policy::new().retry(retry().parked());
        let fails = |seen: &Seen| {
            if seen.id <= 2 { failing() } else { Step::Done }
        };
        let (board, log) = bills(policy, 8, fails).await;
        publish(&board, [(1, 7), (2, 7), (3, 7), (4, 7)]).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 1, 1, 2, 2, 2, 3, 4]);
        let letters = board.dead_letters();
        assert_eq!(letters.len(), 2);
        assert!(
            letters
                .iter()
                .all(|letter| letter.reason() == Reason::AttemptsUsedUp)
        );
    });
}

#[test]
fn a_full_park_pauses_the_reading_until_one_is_done() {
    paused(async {
        let policy = Policy::new().retry(retry().parked());
        let (board, log) = bills(policy, 2, first_fails_twice).await;
        publish(&board, [(1, 7), (2, 7)]).await;
        log.until(1).await;
        publish(&board, [(3, 7), (4, 8)]).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 1, 1, 2, 3, 4]);
    });
}

#[test]
fn a_crash_brings_an_event_that_stood_aside_back_first() {
    paused(async {
        let policy = Policy::new().retry(retry().parked());
        let fails = |seen: &Seen| match (seen.id, seen.attempt) {
            (1, 1) => failing(),
            (1, 2) => Step::Panic,
            _ => Step::Done,
        };
        let (board, log) = bills(policy, 8, fails).await;
        publish(&board, [(1, 7), (2, 7), (3, 8)]).await;
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (3, 1), (1, 2), (1, 3), (2, 1)]);
        assert_eq!(log.lives(), 2);
        assert_eq!(log.seen()[3].at, log.seen()[2].at);
    });
}

#[test]
fn a_key_that_panics_is_no_key() {
    struct Rude(u64);
    impl Event for Rude {
        const NAME: &'static str = "rude";
        fn key(&self) -> callboard::Key {
            panic!("{}", crate::support_events::ON_PURPOSE)
        }
    }
    impl Handle<Rude> for crate::support_events::Clerk {
        async fn handle(&mut self, rude: &Rude, cx: &mut Context<Self>) -> Outcome {
            self.see(rude.0, cx).await
        }
    }
    paused(async {
        let (spec, log) = clerk("clerk", |seen| {
            if seen.attempt == 1 {
                failing()
            } else {
                Step::Done
            }
        });
        let policy = Policy::new().retry(retry().parked());
        let board = here(shop().child(spec.on::<Rude>().policy(policy))).await;
        board.publish(Rude(1)).await.unwrap();
        board.publish(Rude(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 1, 2]);
        assert_eq!(log.lives(), 1);
    });
}

/// 100 poison events among 10,000 (100,000 in release), of 500 keys.
#[test]
fn poison_hurts_nobody_but_itself() {
    const EVENTS: u64 = if cfg!(debug_assertions) {
        10_000
    } else {
        100_000
    };
    let poison = |id: u64| id % (EVENTS / 100) == 7;
    for parked in [false, true] {
        paused(async move {
            let retry = Retry::exponential(millis(50))
                .jitter(Jitter::Full)
                .attempts(4);
            let retry = if parked {
                retry.parked()
            } else {
                retry.deferred()
            };
            let (spec, log) = clerk("clerk", move |seen| {
                if poison(seen.id) {
                    failing()
                } else {
                    Step::Done
                }
            });
            let spec = spec.on_with::<Bill>(|on| on.capacity(2_048));
            let board = here(shop().child(spec.policy(Policy::new().retry(retry)))).await;
            let began = tokio::time::Instant::now();
            let keys = EVENTS / 100 * 5;
            publish(&board, (0..EVENTS).map(|id| (id, id % keys))).await;
            board.settle().await.unwrap();
            let mut tries = BTreeMap::<u64, u32>::new();
            let mut delayed = 0;
            for seen in log.seen() {
                *tries.entry(seen.id).or_default() += 1;
                delayed += u64::from(!poison(seen.id) && seen.at > began);
            }
            assert_eq!(tries.len() as u64, EVENTS);
            for (id, tries) in tries {
                assert_eq!(tries, if poison(id) { 4 } else { 1 }, "{id}");
            }
            let letters = board.dead_letters();
            assert_eq!(letters.len(), 100);
            for letter in letters {
                assert!(poison(letter.downcast_ref::<Bill>().unwrap().id));
                assert_eq!(letter.attempts().len(), 4);
            }
            if !parked {
                assert_eq!(delayed, 0);
            }
            let row = row(&board, "shop/clerk", "bill");
            assert_eq!((row.acknowledged, row.dead_lettered), (EVENTS - 100, 100));
        });
    }
}
