//! What the functions of a policy have captured may do anything when it is dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use callboard::prelude::*;
use callboard::{Address, SubscribeError};

use crate::support_events::{
    Clerk, Memo, Note, ON_PURPOSE, Step, be_quiet, clerk, clerks, gate, here, paused,
    paused_elsewhere, row, shop,
};

/// Panics when it is dropped, and counts that.
struct Bomb(Arc<AtomicUsize>);
impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("{ON_PURPOSE}");
    }
}

/// Does this when it is dropped.
struct Last<F: FnMut()>(F);
impl<F: FnMut()> Drop for Last<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Makes policies whose function keeps this.
fn keeping(kept: impl Send + Sync + 'static) -> Policy {
    let when = move |_: &Failure| {
        let _ = &kept;
        true
    };
    Policy::new().retry(Retry::fixed(secs(1)).when(when))
}

/// Every function that a policy may have keeps a bomb.
fn armed(bombs: &Arc<AtomicUsize>) -> Policy {
    let bomb = || Bomb(Arc::clone(bombs));
    let [delays, copies, counted, given_up, made, hooked] = [(); 6].map(|()| bomb());
    let delays = move |_| {
        let _ = &delays;
        None
    };
    let counts = move |_: &Failure| {
        let _ = &counted;
        true
    };
    let copies = move |_: &Note| {
        let _ = &copies;
        callboard::Key::None
    };
    let given_up = move |_: &Note, _: &Failure| {
        let _ = &given_up;
        Memo(1)
    };
    let made = move |_: &Clerk, _: &Note| {
        let _ = &made;
        Memo(1)
    };
    let hooked = move |_: &mut Clerk, _: &Note, _: &mut Context<Clerk>| {
        let _ = &hooked;
        Ok(())
    };
    Policy::new()
        .retry(Retry::with(delays))
        .breaker(callboard::Breaker::new().when(counts))
        .dedupe(callboard::Dedupe::by(secs(1), copies))
        .failure(OnFailure::dead_letter().publish(given_up))
        .success(OnSuccess::acknowledge().publish(made).hook(hooked))
}

fn note_on(policy: Policy) -> impl FnOnce(callboard::On<Note>) -> callboard::On<Note> {
    |on| on.policy(policy)
}

#[test]
fn terms_that_are_refused_and_panic_when_dropped_end_no_broker() {
    paused(async {
        let bombs = Arc::new(AtomicUsize::new(0));
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let spec = spec.on::<Note>();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let bomb = || note_on(keeping(Bomb(Arc::clone(&bombs))));
        let refused = board.subscribe_with(&address, bomb()).await;
        assert!(matches!(
            refused,
            Err(SubscribeError::AlreadySubscribed { .. })
        ));
        let (one, other) = tokio::join!(
            board.subscribe_with(&address, bomb()),
            board.subscribe_with(&address, bomb()),
        );
        for refused in [one, other] {
            assert!(matches!(
                refused,
                Err(SubscribeError::AlreadySubscribed { .. })
            ));
        }
        assert_eq!(bombs.load(Ordering::SeqCst), 3);
        let refused = board.subscribe_with(&address, note_on(armed(&bombs))).await;
        assert!(matches!(
            refused,
            Err(SubscribeError::AlreadySubscribed { .. })
        ));
        assert_eq!(bombs.load(Ordering::SeqCst), 9);
        board.subscribe::<Memo>(&address).await.unwrap();
        board.publish(Memo(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1]);
    });
}

#[test]
fn a_policy_that_panics_when_dropped_is_replaced_between_two_lives() {
    paused(async {
        let bombs = Arc::new(AtomicUsize::new(0));
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, log) = clerk("clerk", move |seen| match seen.life {
            1 => Step::Wait(Arc::clone(&wait)),
            _ => Step::Done,
        });
        let board = here(shop().child(spec.on::<Note>())).await;
        let set = |policy| board.set_policy_on::<Note>("shop/clerk", policy).unwrap();
        set(keeping(Bomb(Arc::clone(&bombs))));
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        // The rules that are being followed are the last to hold it.
        set(Policy::new());
        assert_eq!(bombs.load(Ordering::SeqCst), 0);
        board.kill("shop/clerk").await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(bombs.load(Ordering::SeqCst), 1);
        assert_eq!((log.attempts(), log.lives()), (vec![(1, 1), (1, 2)], 2));
        assert_eq!(row(&board, "shop/clerk", "note").acknowledged, 1);
    });
}

#[test]
fn a_policy_that_panics_when_dropped_is_forgotten_with_its_subscription_and_its_child() {
    paused(async {
        let bombs = Arc::new(AtomicUsize::new(0));
        let board = here(shop()).await;
        let handle = board.supervisor("shop").unwrap();
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let address = spec.address();
        handle
            .start_child(spec.policy(keeping(Bomb(Arc::clone(&bombs)))))
            .await
            .unwrap();
        for round in 1..=2 {
            board
                .subscribe_with(&address, note_on(keeping(Bomb(Arc::clone(&bombs)))))
                .await
                .unwrap();
            board.publish(Note(round)).await.unwrap();
            board.settle().await.unwrap();
            handle.terminate_child("clerk").await.unwrap();
            handle.restart_child("clerk").await.unwrap();
        }
        assert_eq!((log.ids(), bombs.load(Ordering::SeqCst)), (vec![1, 2], 2));
        handle.terminate_child("clerk").await.unwrap();
        handle.delete_child("clerk").await.unwrap();
        drop(address);
        let (again, log) = clerk("clerk", |_| Step::Done);
        handle.start_child(again.on::<Note>()).await.unwrap();
        assert_eq!(bombs.load(Ordering::SeqCst), 3);
        board.publish(Note(3)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [3]);
    });
}

#[test]
fn what_blocks_when_terms_are_dropped_is_refused_on_the_thread_of_the_broker() {
    be_quiet();
    let said = Arc::new(Mutex::new(Vec::new()));
    let (spec, _) = clerk("clerk", |_| Step::Done);
    let spec = spec.on::<Note>().on::<Memo>();
    let address: Address<Clerk> = spec.address();
    let board = Board::builder()
        .arbiters(1)
        .start(shop().child(spec))
        .unwrap();
    let last = {
        let (said, board, address) = (Arc::clone(&said), board.clone(), address.clone());
        Last(move || {
            let blocked = board.unsubscribe_blocking::<Memo>(&address);
            said.lock().unwrap().push(blocked);
        })
    };
    let refused = board.subscribe_with_blocking(&address, note_on(keeping(last)));
    assert!(matches!(
        refused,
        Err(SubscribeError::AlreadySubscribed { .. })
    ));
    let said = std::mem::take(&mut *said.lock().unwrap());
    assert!(
        matches!(said[..], [Err(SubscribeError::Blocking)]),
        "{said:?}"
    );
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

#[test]
fn a_policy_may_look_at_all_policies_when_it_is_dropped_with_its_subscription() {
    paused_elsewhere(|| async {
        let looks = Arc::new(AtomicUsize::new(0));
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let handle = board.supervisor("shop").unwrap();
        let nosy = {
            let (looks, board) = (Arc::clone(&looks), board.clone());
            Last(move || {
                let _ = board.policies();
                looks.fetch_add(1, Ordering::SeqCst);
            })
        };
        board
            .subscribe_with(&address, note_on(keeping(nosy)))
            .await
            .unwrap();
        handle.terminate_child("clerk").await.unwrap();
        handle.restart_child("clerk").await.unwrap();
        board.subscribe::<Note>(&address).await.unwrap();
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1]);
    });
}

#[test]
fn a_policy_of_workers_may_set_another_when_it_is_dropped() {
    paused_elsewhere(|| async {
        let (make, _) = clerks(|_| Step::Done);
        let spec = service("clerk", make).on::<Note>().workers(2);
        let board = here(shop().child(spec)).await;
        let set = Arc::new(OnceLock::new());
        let busy = {
            let (set, board) = (Arc::clone(&set), board.clone());
            Last(move || {
                let last = Policy::new().timeout(secs(7));
                let _ = set.set(board.set_policy_on::<Note>("shop/clerk", last).is_ok());
            })
        };
        let on_note = |policy| board.set_policy_on::<Note>("shop/clerk", policy).unwrap();
        on_note(keeping(busy));
        // Before any worker follows the first.
        on_note(Policy::new());
        assert_eq!(set.get(), Some(&true));
        assert!(board.policies().to_string().contains("timeout: 7s"));
    });
}
