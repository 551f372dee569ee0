//! A handler that takes too long is cancelled at its await point, and its state is kept.
//!
//! It may cost the life instead; one that never waits can only be noted as late.

use callboard::TimedOut;
use callboard::policy::Trouble;
use callboard::prelude::*;
use tokio::time::Instant;

use crate::support_events::{Note, Step, clerk, failing, here, paused, row, shop};

fn hurried() -> Policy {
    Policy::new()
        .timeout(millis(100))
        .retry(Retry::fixed(millis(10)))
}

#[test]
fn a_handler_is_cancelled_at_its_deadline_and_its_life_goes_on() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match (seen.id, seen.attempt) {
            (1, 1..=2) => Step::Sleep(secs(60)),
            _ => Step::Sleep(millis(99)),
        });
        let board = here(shop().child(spec.on::<Note>().policy(hurried()))).await;
        let began = Instant::now();
        board.publish(Note(1)).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 3), (2, 1)]);
        assert_eq!(began.elapsed(), millis(2 * 110 + 2 * 99));
        // What was cancelled never came to its end, and no state was lost.
        assert_eq!((log.finished(), log.lives()), (2, 1));
        let row = row(&board, "shop/clerk", "note");
        assert_eq!((row.acknowledged, row.retried, row.late), (2, 2, 0));
    });
}

#[test]
fn a_timeout_is_found_by_its_failure() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Sleep(secs(60)));
        let board = here(shop().child(spec.on::<Note>().policy(hurried()))).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!((log.seen().len(), log.finished()), (3, 0));
        let letter = &board.dead_letters()[0];
        for attempt in letter.attempts() {
            assert_eq!(attempt.trouble, Trouble::TimedOut);
            assert!(attempt.failure.is::<TimedOut>());
        }
        let limit = letter.failure().unwrap().downcast_ref::<TimedOut>();
        assert_eq!(limit.unwrap().limit, millis(100));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_policy_may_tell_timeouts_from_other_failures() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match seen.id {
            1 => Step::Sleep(secs(60)),
            _ => failing(),
        });
        let retry = Retry::fixed(millis(10)).when(|failure| failure.is::<TimedOut>());
        let board = here(shop().child(spec.on::<Note>().policy(hurried().retry(retry)))).await;
        board.publish(Note(1)).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2), (1, 3), (2, 1)]);
        assert_eq!(board.dead_letters().len(), 2);
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_timeout_may_cost_the_life() {
    paused(async {
        let (spec, log) = clerk("clerk", |seen| match (seen.id, seen.attempt) {
            (1, 1) => Step::Sleep(secs(60)),
            _ => Step::Done,
        });
        let policy = hurried().timeout_restarts();
        let board = here(shop().child(spec.on::<Note>().policy(policy))).await;
        board.publish(Note(1)).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        board.settle().await.unwrap();
        let seen = log.seen();
        let lives: Vec<_> = seen
            .iter()
            .map(|seen| (seen.id, seen.attempt, seen.life))
            .collect();
        assert_eq!(lives, [(1, 1, 1), (1, 2, 2), (2, 1, 2)]);
        assert_eq!(log.pauses()[0], millis(100));
        assert_eq!(row(&board, "shop/clerk", "note").acknowledged, 2);
    });
}

/// Has a timeout from above, unless its own policy lifts it.
#[test]
fn a_timeout_is_inherited_and_may_be_lifted() {
    paused(async {
        let (strict, cut) = clerk("strict", |_| Step::Sleep(millis(150)));
        let (free, whole) = clerk("free", |_| Step::Sleep(millis(150)));
        let root = shop()
            .policy(hurried())
            .child(strict.on::<Note>())
            .child(free.on::<Note>().policy(Policy::new().no_timeout()));
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!((cut.seen().len(), cut.finished()), (3, 0));
        assert_eq!((whole.seen().len(), whole.finished()), (1, 1));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_handler_that_finishes_late_without_waiting_is_acknowledged_and_noted() {
    // Time that passes while a handler runs is real time, so this board has threads.
    let (spec, log) = clerk("clerk", |seen| match (seen.id, seen.attempt) {
        (1, _) | (2, 2) => Step::Spin(millis(30)),
        (2, _) => failing(),
        _ => Step::Done,
    });
    let policy = Policy::new()
        .timeout(millis(20))
        .retry(Retry::fixed(Duration::ZERO));
    let board = Board::start(shop().child(spec.on::<Note>().policy(policy))).unwrap();
    for id in 1..=2 {
        board.publish_blocking(Note(id)).unwrap();
    }
    board.settle_blocking().unwrap();
    assert_eq!(log.attempts(), [(1, 1), (2, 1), (2, 2)]);
    let row = row(&board, "shop/clerk", "note");
    assert_eq!((row.acknowledged, row.late, row.dead_lettered), (2, 2, 0));
    board.shutdown_blocking(secs(5));
}

/// Counts half-done work, to show what a cancelled handler leaves behind.
#[derive(Default)]
struct Half {
    begun: u32,
    done: u32,
}
struct Halves;
impl Message for Halves {
    type Reply = (u32, u32);
}
impl Service for Half {}
impl Handle<Note> for Half {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        self.begun += 1;
        tokio::time::sleep(secs(60)).await;
        self.done += 1;
        Ok(())
    }
}
impl Answer<Halves> for Half {
    async fn answer(&mut self, _: Halves, _: &mut Context<Self>) -> Outcome<(u32, u32)> {
        Ok((self.begun, self.done))
    }
}

#[test]
fn a_cancelled_handler_keeps_what_it_had_written_to_its_state() {
    paused(async {
        let spec = service("half", Half::default)
            .on::<Note>()
            .policy(hurried());
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(Note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(address.ask(Halves).await.unwrap(), (3, 0));
        assert_eq!(row(&board, "shop/half", "note").dead_lettered, 1);
    });
}
