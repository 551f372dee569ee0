//! What is in force after a subscription, or its service, has ended and come back.

use callboard::prelude::*;
use callboard::{Address, Backoff, Breaker, BreakerState, On, RateLimit, SettleError};

use crate::support_events::{
    Clerk, Log, Memo, Note, Step, clerk, failing, here, paused, row, shop,
};

fn never() -> Policy {
    Policy::new().retry(Retry::never())
}

fn attempts(count: u32) -> Policy {
    Policy::new().retry(Retry::fixed(secs(1)).attempts(count))
}

fn with(policy: Policy) -> impl FnOnce(On<Note>) -> On<Note> {
    |on| on.policy(policy)
}

/// A clerk that fails, and hears notes on these terms of its spec.
async fn failing_with(policy: Policy) -> (Board, Address<Clerk>, Log) {
    let (spec, log) = clerk("clerk", |_| failing());
    let spec = spec.on_with::<Note>(with(policy));
    let address = spec.address();
    (here(shop().child(spec)).await, address, log)
}

async fn stop_and_restart(board: &Board) {
    board.stop("shop/clerk").await.unwrap();
    board.restart("shop/clerk").await.unwrap();
}

/// How many attempts are made at one more note.
async fn tries(board: &Board, log: &Log) -> usize {
    let before = log.ids().len();
    board.publish(Note(1)).await.unwrap();
    board.settle().await.unwrap();
    log.ids().len() - before
}

fn in_words(board: &Board) -> String {
    board.policies().to_string()
}

#[test]
fn a_policy_set_while_a_child_backs_off_is_in_force_after_a_stop_and_a_restart() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match seen.life {
            1 => Step::Panic,
            _ => Step::Done,
        });
        let root = shop().backoff(Backoff::fixed(secs(60)), secs(600));
        let board = here(root.child(spec.on::<Note>())).await;
        board.publish(Note(1)).await.unwrap();
        let state = || board.inspect("shop/clerk").unwrap().state;
        while state() != callboard::State::BackingOff {
            tokio::task::yield_now().await;
        }
        let slow = Policy::new().rate_limit(RateLimit::per_second(1));
        board.set_policy("shop/clerk", slow).unwrap();
        stop_and_restart(&board).await;
        for id in 2..=4 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!((log.ids(), log.lives()), (vec![1, 2, 3, 4], 2));
        assert_eq!(log.pauses()[1..], [secs(1), secs(1)]);
    });
}

#[test]
fn the_policy_of_a_spec_comes_back_with_its_subscription() {
    paused(async {
        let (board, address, log) = failing_with(never()).await;
        board.unsubscribe::<Note>(&address).await.unwrap();
        assert_eq!(in_words(&board), "");
        stop_and_restart(&board).await;
        assert_eq!(
            in_words(&board),
            "shop/clerk on note\n  retry: one attempt (shop/clerk on note)"
        );
        assert_eq!(tries(&board, &log).await, 1);
        // What makes all rules anew finds the same.
        board.set_policy("shop", Policy::new()).unwrap();
        assert_eq!(tries(&board, &log).await, 1);
    });
}

#[test]
fn the_policy_of_a_spec_comes_back_whatever_was_subscribed_to_in_between() {
    paused(async {
        let (board, address, log) = failing_with(never()).await;
        for _ in 0..2 {
            board.unsubscribe::<Note>(&address).await.unwrap();
            let between = with(attempts(3).timeout(secs(7)));
            board.subscribe_with(&address, between).await.unwrap();
            assert_eq!(tries(&board, &log).await, 3);
            assert!(in_words(&board).contains("timeout: 7s"));
            stop_and_restart(&board).await;
            assert!(in_words(&board).contains("one attempt") && !in_words(&board).contains("7s"));
            assert_eq!(tries(&board, &log).await, 1);
        }
    });
}

#[test]
fn a_policy_that_was_set_for_a_subscription_of_the_spec_stays_over_its_ends() {
    paused(async {
        let (board, address, log) = failing_with(never()).await;
        board
            .set_policy_on::<Note>("shop/clerk", attempts(4))
            .unwrap();
        stop_and_restart(&board).await;
        assert_eq!(tries(&board, &log).await, 4);
        board.unsubscribe::<Note>(&address).await.unwrap();
        // There is nothing to set it for.
        let refused = board.set_policy_on::<Note>("shop/clerk", attempts(2));
        assert!(refused.is_err());
        stop_and_restart(&board).await;
        assert_eq!(tries(&board, &log).await, 4);
        assert_eq!(row(&board, "shop/clerk", "note").dead_lettered, 2);
    });
}

#[test]
fn a_subscription_that_has_ended_has_no_guards_in_place_of_the_one_that_follows() {
    paused(async {
        let (board, address, log) = failing_with(Policy::new()).await;
        board.unsubscribe::<Note>(&address).await.unwrap();
        let breaker = Breaker::new().at_least(1).open_for(secs(60 * 60));
        let guarded = with(never().breaker(breaker));
        board.subscribe_with(&address, guarded).await.unwrap();
        board.publish(Note(1)).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        let held = tokio::time::timeout(secs(60), board.settle())
            .await
            .unwrap();
        assert!(matches!(held, Err(SettleError::BreakerOpen { .. })));
        let breaker = || board.inspect("shop/clerk").unwrap().guards[0].breaker;
        assert_eq!((log.ids(), breaker()), (vec![1], Some(BreakerState::Open)));
        // The guards end with what they were for.
        stop_and_restart(&board).await;
        assert_eq!(board.inspect("shop/clerk").unwrap().guards, []);
        assert_eq!(tries(&board, &log).await, 3);
    });
}

#[test]
fn a_subscription_of_the_spec_comes_back_with_the_guards_that_were_set_meanwhile() {
    paused(async {
        let (board, address, log) = failing_with(never()).await;
        board.unsubscribe::<Note>(&address).await.unwrap();
        let breaker = Breaker::new().at_least(1).open_for(secs(60 * 60));
        let policy = Policy::new().breaker(breaker);
        board.set_policy("shop/clerk", policy).unwrap();
        // Has the service look at its rules.
        board.subscribe::<Memo>(&address).await.unwrap();
        board.publish(Memo(1)).await.unwrap();
        board.settle().await.unwrap_err();
        let guards = board.inspect("shop/clerk").unwrap().guards;
        let guards: Vec<_> = guards.iter().map(|guard| guard.event).collect();
        assert_eq!(guards, ["memo"]);
        stop_and_restart(&board).await;
        assert_eq!(tries(&board, &log).await, 1);
        let guards = board.inspect("shop/clerk").unwrap().guards;
        assert_eq!(guards[0].breaker, Some(BreakerState::Open));
    });
}
