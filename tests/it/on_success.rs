//! What is published on success is published only after success.
//!
//! What is published at once is published by every attempt, with the same cause.

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
