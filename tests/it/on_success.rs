//! What is published on success is published only after success.
//!
//! What is published at once is published by every attempt, with the same cause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use callboard::defaults;
use callboard::prelude::*;

use crate::support_events::{
    Memo, Note, ON_PURPOSE, Step, be_quiet, clerk, here, paused, row, shop,
};

/// Publishes a memo in each attempt, at once or on success, and succeeds in the third.
struct Teller {
    on_success: bool,
    panics: bool,
}
impl Service for Teller {}
impl Handle<Note> for Teller {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        let memo = Memo(note.0 * 10 + u64::from(cx.attempt()));
        if self.on_success {
            cx.publish_on_success(memo);
            tokio::time::sleep(millis(1)).await;
        } else {
            cx.publish(memo).await?;
        }
        if cx.attempt() == 3 {
            return Ok(());
        }
        assert!(!self.panics, "{ON_PURPOSE}");
        Err(Failure::new(ON_PURPOSE))
    }
}

async fn told(on_success: bool, panics: bool) -> (Board, crate::support_events::Log) {
    be_quiet();
    let teller = service("teller", move || Teller { on_success, panics });
    let (spec, log) = clerk("clerk", |_| Step::Done);
    let policy = Policy::new().retry(Retry::fixed(millis(10)));
    let root = shop()
        .child(spec.on::<Memo>())
        .child(teller.on::<Note>().policy(policy));
    let board = here(root).await;
    let number = board.publish(Note(1)).await.unwrap();
    board.settle().await.unwrap();
    for seen in log.seen() {
        let cause = seen.cause.unwrap();
        assert_eq!((cause.id, u64::from(cause.attempt)), (number, seen.id - 10));
        assert!(seen.number > number);
    }
    let row = row(&board, "shop/teller", "note");
    assert_eq!((row.acknowledged, row.retried), (1, 2));
    (board, log)
}

#[test]
fn failed_attempts_send_nothing_that_waits_for_success() {
    paused(async {
        for panics in [false, true] {
            let (_, log) = told(true, panics).await;
            assert_eq!(log.ids(), [13]);
        }
    });
}

/// Wants a memo about each note to be published, and fails with the odd ones.
struct Fickle;
impl Service for Fickle {}
impl Handle<Note> for Fickle {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Memo(note.0));
        if note.0 % 2 == 1 {
            return Err(Failure::permanent(ON_PURPOSE));
        }
        Ok(())
    }
}

#[test]
fn what_a_failed_event_had_in_mind_is_not_done_with_the_next() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let fickle = service("fickle", || Fickle).on::<Note>();
        let board = here(shop().child(spec.on::<Memo>()).child(fickle)).await;
        board.publish_all((0..6).map(Note)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [0, 2, 4]);
        let row = row(&board, "shop/fickle", "note");
        assert_eq!((row.acknowledged, row.dead_lettered), (3, 3));
    });
}

#[test]
fn what_is_published_before_a_failure_is_published_again_with_the_same_cause() {
    paused(async {
        for panics in [false, true] {
            let (board, log) = told(false, panics).await;
            assert_eq!(log.ids(), [11, 12, 13]);
            assert_eq!(board.ledger().topic("memo").unwrap().published, 3);
        }
    });
}

/// Publishes on success what nobody has room for.
struct Hopeful;
impl Service for Hopeful {}
impl Handle<Note> for Hopeful {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Memo(note.0));
        Ok(())
    }
}

/// Wants a memo to be published, and work to be done later, and fails.
struct Wish(bool);
impl Message for Wish {
    type Reply = ();
}
impl Answer<Wish> for Hopeful {
    async fn answer(&mut self, Wish(fails): Wish, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Memo(1));
        let board = Board::of(cx).unwrap();
        cx.later(
            async move { board.publish(Memo(2)).await },
            async |_: &mut Self, done: Result<_, _>, _: &mut Context<Self>| {
                done?;
                Ok(())
            },
        );
        if fails {
            return Err(Failure::new(ON_PURPOSE));
        }
        Ok(())
    }
}

#[test]
fn an_answer_that_fails_publishes_and_begins_nothing() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let hopeful = service("hopeful", || Hopeful).on::<Note>();
        let address = hopeful.address();
        let board = here(shop().child(spec.on::<Memo>()).child(hopeful)).await;
        address.ask(Wish(true)).await.unwrap_err();
        address.tell(Wish(true)).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.ids().is_empty());
        address.ask(Wish(false)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2]);
    });
}

/// Wants a memo to be published, and then something to be begun.
struct Plan(Arc<AtomicBool>);
impl Message for Plan {
    type Reply = ();
}
impl Answer<Plan> for Hopeful {
    async fn answer(&mut self, Plan(begun): Plan, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Memo(3));
        cx.later(
            async move { begun.store(true, Ordering::SeqCst) },
            async |_: &mut Self, (), _: &mut Context<Self>| Ok(()),
        );
        Ok(())
    }
}

#[test]
fn an_answer_whose_follow_up_finds_no_room_has_failed_and_begins_nothing() {
    paused(async {
        let (slow, log) = clerk("slow", |_| Step::Sleep(secs(3_600)));
        let hopeful = service("hopeful", || Hopeful);
        let address = hopeful.address();
        let slow = slow.on_with::<Memo>(|on| on.capacity(1));
        let board = here(shop().child(slow).child(hopeful)).await;
        board.publish(Memo(1)).await.unwrap();
        log.until(1).await;
        board.publish(Memo(2)).await.unwrap();
        let begun = Arc::<AtomicBool>::default();
        address.tell(Plan(Arc::clone(&begun))).await.unwrap();
        board.settle().await.unwrap();
        let letters = board.ledger().letter("shop/hopeful").unwrap().clone();
        assert_eq!((letters.accepted, letters.failed), (1, 1));
        assert_eq!(row(&board, "shop/slow", "memo").accepted, 2);
        assert!(!begun.load(Ordering::SeqCst));
    });
}

/// Publishes on success what itself has no room for, so that it fails without a wait.
struct Overfull(Arc<Mutex<Vec<&'static str>>>);
impl Service for Overfull {}
impl Handle<Note> for Overfull {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        self.0.lock().unwrap().push("overfull");
        cx.publish_on_success(Memo(note.0));
        Ok(())
    }
}
impl Handle<Memo> for Overfull {
    async fn handle(&mut self, _: &Memo, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

struct Neighbour(Arc<Mutex<Vec<&'static str>>>);
impl Service for Neighbour {}
impl Handle<Note> for Neighbour {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        self.0.lock().unwrap().push("neighbour");
        Ok(())
    }
}

#[test]
fn one_whose_follow_ups_all_fail_lets_its_neighbours_have_their_turn() {
    const NOTES: u64 = 4 * defaults::BATCH_DELIVERIES_MAX as u64;
    paused(async {
        let seen = Arc::<Mutex<Vec<&'static str>>>::default();
        let [mine, theirs] = [0, 1].map(|_| Arc::clone(&seen));
        let overfull = service("overfull", move || Overfull(Arc::clone(&mine)));
        let neighbour = service("neighbour", move || Neighbour(Arc::clone(&theirs)));
        let let_go = Policy::new()
            .retry(Retry::never())
            .failure(OnFailure::discard());
        let overfull = overfull
            .on::<Note>()
            .on_with::<Memo>(|on| on.capacity(1))
            .policy(let_go);
        let board = here(shop().child(overfull).child(neighbour.on::<Note>())).await;
        board.publish_all((0..NOTES).map(Note)).await.unwrap();
        board.settle().await.unwrap();
        let row = row(&board, "shop/overfull", "note");
        assert_eq!((row.acknowledged, row.discarded), (1, NOTES - 1));
        let seen = seen.lock().unwrap();
        let turns = seen.chunk_by(|one, next| one == next);
        let longest = turns.map(<[_]>::len).max().unwrap();
        // Whoever yields last goes on first, so that two turns may follow each other.
        let two = 2 * defaults::BATCH_DELIVERIES_MAX;
        assert!(longest <= two, "{longest} in a row");
    });
}

#[test]
fn an_attempt_whose_follow_up_finds_no_room_has_failed() {
    paused(async {
        let (slow, log) = clerk("slow", |_| Step::Sleep(secs(3_600)));
        let policy = Policy::new().retry(Retry::never());
        let root = shop()
            .child(slow.on_with::<Memo>(|on| on.capacity(1)))
            .child(service("hopeful", || Hopeful).on::<Note>().policy(policy));
        let board = here(root).await;
        board.publish(Memo(1)).await.unwrap();
        log.until(1).await;
        board.publish(Memo(2)).await.unwrap();
        let fates = board.publish(Note(3)).settled().await.unwrap();
        assert_eq!(fates[0].fate, callboard::Fate::DeadLettered);
        let letter = &board.dead_letters()[0];
        let failure = letter.failure().unwrap().to_string();
        assert_eq!(failure, "the subscription of shop/slow is full");
        assert_eq!(row(&board, "shop/slow", "memo").accepted, 2);
    });
}
