//! `settle` returns when nothing is queued, in flight or deferred, and not before.
//!
//! It looks through chains of services and backoffs, and ignores timers.

use callboard::prelude::*;
use tokio::time::Instant;

use crate::support_events::{Memo, Note, Step, clerk, failing, here, paused, row, shop};

const HOPS: u64 = 50;

/// Passes a note on, after a while, with one hop less to go.
struct Relay;
impl Service for Relay {}
impl Handle<Note> for Relay {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        tokio::time::sleep(millis(10)).await;
        if note.0 == 0 {
            cx.publish(Memo(1)).await?;
        } else {
            cx.publish(Note(note.0 - 1)).await?;
        }
        Ok(())
    }
}

#[test]
fn a_chain_of_relays_is_waited_for_to_its_end() {
    paused(async {
        let (last, log) = clerk("last", |seen| match seen.attempt {
            1..=2 => failing(),
            _ => Step::Sleep(secs(1)),
        });
        let patient = Policy::new().retry(Retry::fixed(secs(60)));
        let root = shop()
            .child(last.on::<Memo>().policy(patient))
            .child(service("relay", || Relay).on::<Note>());
        let board = here(root).await;
        let began = Instant::now();
        board.publish(Note(HOPS)).await.unwrap();
        assert!(!board.ledger().is_settled());
        board.settle().await.unwrap();
        assert!(board.ledger().is_settled());
        assert_eq!(began.elapsed(), millis(10) * (HOPS as u32 + 1) + secs(121));
        assert_eq!((log.seen().len(), log.finished()), (3, 1));
        assert_eq!(row(&board, "shop/relay", "note").acknowledged, HOPS + 1);
    });
}

#[test]
fn chains_across_threads_are_waited_for() {
    const CHAINS: u64 = if cfg!(debug_assertions) { 20 } else { 200 };
    for round in 1..=CHAINS {
        let (last, log) = clerk("last", |_| Step::Done);
        let root = shop()
            .child(last.on::<Memo>().spread())
            .child(service("relay", || Quick).on::<Note>().spread());
        let board = Board::builder().arbiters(2).start(root).unwrap();
        board.publish_blocking(Note(HOPS)).unwrap();
        board.settle_blocking().unwrap();
        assert_eq!(log.ids(), [1], "in round {round}");
        assert_eq!(row(&board, "shop/relay", "note").acknowledged, HOPS + 1);
        board.shutdown_blocking(secs(5));
    }
}

/// A relay that loses no time.
struct Quick;
impl Service for Quick {}
impl Handle<Note> for Quick {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        if note.0 == 0 {
            cx.publish(Memo(1)).await?;
        } else {
            cx.publish(Note(note.0 - 1)).await?;
        }
        Ok(())
    }
}

/// Publishes a note an hour after its start.
struct Later;
impl Service for Later {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        cx.after(secs(3_600), async |_: &mut Self, cx: &mut Context<Self>| {
            cx.publish(Note(1)).await?;
            Ok(())
        });
        Ok(())
    }
}

#[test]
fn timers_are_not_waited_for() {
    paused(async {
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let root = shop()
            .child(spec.on::<Note>())
            .child(service("later", || Later));
        let board = here(root).await;
        let began = Instant::now();
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        log.until(1).await;
        assert_eq!(began.elapsed(), secs(3_600));
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/clerk", "note").acknowledged, 1);
    });
}
