//! Many events may be published at once: accepted in order, the rest comes back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use callboard::prelude::*;
use callboard::{EventId, PublishAllError, PublishError};
use tokio::time::Instant;

use crate::support_events::{Memo, Note, Step, clerk, gate, here, paused, row, shop};

fn notes(ids: std::ops::Range<u64>) -> impl Iterator<Item = Note> {
    ids.map(Note)
}

fn rest(error: &PublishAllError<Note>) -> Vec<u64> {
    error.rest.iter().map(|note| note.0).collect()
}

#[test]
fn a_batch_is_accepted_in_order_by_everybody() {
    paused(async {
        let (first, one) = clerk("first", |_| Step::Done);
        let (second, other) = clerk("second", |_| Step::Done);
        let root = shop().child(first.on_with::<Note>(|on| on.capacity(9)));
        let board = here(root.child(second.on::<Note>())).await;
        // More than fits, than one lock is taken for, and than one turn publishes.
        let ids = board.publish_all(notes(0..3_000)).await.unwrap();
        board.settle().await.unwrap();
        assert!(one.ids().iter().copied().eq(0..3_000));
        assert_eq!(other.ids(), one.ids());
        let seen: Vec<EventId> = one.seen().iter().map(|seen| seen.number).collect();
        assert_eq!(ids, seen);
        assert!(ids.is_sorted());
        assert_eq!(row(&board, "shop/first", "note").acknowledged, 3_000);
    });
}

#[test]
fn a_batch_that_meets_a_full_subscriber_gives_back_what_was_not_accepted() {
    paused(async {
        let hold = gate();
        let kept = Arc::clone(&hold);
        let (slow, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
        let (quick, heard) = clerk("quick", |_| Step::Done);
        let root = shop().child(slow.on_with::<Note>(|on| on.capacity(5)));
        let board = here(root.child(quick.on::<Note>())).await;
        let began = Instant::now();
        let stopped = board.publish_all(notes(0..10)).await.unwrap_err();
        assert_eq!(began.elapsed(), callboard::defaults::PUBLISH_WAIT);
        // One is being handled, five are queued.
        assert_eq!(
            (stopped.accepted.len(), rest(&stopped)),
            (6, vec![6, 7, 8, 9])
        );
        assert_eq!(
            stopped.to_string(),
            "6 events of the batch were accepted, 4 were not"
        );
        let source = &stopped.source;
        assert_eq!(source.to_string(), "the subscription of shop/slow is full");
        assert!(stopped.is_retryable());
        assert_eq!(heard.ids(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(row(&board, "shop/slow", "note").accepted, 6);
        // The next one does not wait for such a reader.
        let again = board.publish_all(stopped.rest).await.unwrap_err();
        assert_eq!(began.elapsed(), callboard::defaults::PUBLISH_WAIT);
        assert_eq!((again.accepted.len(), again.rest.len()), (0, 4));
        hold.add_permits(99);
        board.settle().await.unwrap();
        board.publish_all(again.rest).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.ids().iter().copied().eq(0..10));
    });
}

#[test]
fn each_wait_for_room_has_its_full_time() {
    paused(async {
        let (slow, log) = clerk("slow", |_| Step::Sleep(secs(4)));
        let board = here(shop().child(slow.on_with::<Note>(|on| on.capacity(1)))).await;
        let began = Instant::now();
        board.publish_all(notes(0..6)).await.unwrap();
        // It has waited four times, for longer than it would have for one event.
        assert_eq!(began.elapsed(), secs(16));
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_batch_is_refused_as_a_whole_once_the_board_ends_and_an_empty_one_never() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let board = here(shop().child(spec.on::<Note>())).await;
        assert_eq!(board.publish_all(notes(0..0)).await.unwrap(), []);
        board.shutdown(secs(1)).await;
        assert_eq!(board.publish_all(notes(0..0)).await.unwrap(), []);
        let refused = board.publish_all(notes(0..3)).await.unwrap_err();
        assert_eq!((refused.accepted.len(), rest(&refused)), (0, vec![0, 1, 2]));
        assert!(matches!(refused.source, PublishError::Closed { .. }));
        assert!(!refused.is_retryable());
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn what_was_accepted_before_the_end_stays_accepted() {
    paused(async {
        let (slow, log) = clerk("slow", |_| Step::Sleep(secs(60)));
        let board = here(shop().child(slow.on_with::<Note>(|on| on.capacity(2)))).await;
        board.publish(Note(9)).await.unwrap();
        log.until(1).await;
        let (stopped, report) = tokio::join!(board.publish_all(notes(0..5)), async {
            tokio::time::sleep(secs(1)).await;
            board.shutdown(secs(1)).await
        });
        let stopped = stopped.unwrap_err();
        assert_eq!((stopped.accepted.len(), rest(&stopped)), (2, vec![2, 3, 4]));
        assert_eq!((report.undelivered[0].count, report.ledger.gap()), (3, 0));
        let undelivered = report.undelivered[0].event_ids[1..].iter().copied();
        let accepted = stopped.accepted.iter().map(|id| id.number());
        assert!(accepted.eq(undelivered));
    });
}

#[test]
fn a_batch_that_nobody_hears_is_counted_and_dropped() {
    struct Leaf(Arc<AtomicUsize>);
    impl Event for Leaf {
        const NAME: &'static str = "leaf";
    }
    impl Drop for Leaf {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    paused(async {
        let fallen = Arc::default();
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let board = here(shop().child(spec)).await;
        let leaves = (0..100).map(|_| Leaf(Arc::clone(&fallen)));
        assert_eq!(board.publish_all(leaves).await.unwrap().len(), 100);
        assert_eq!(fallen.load(Ordering::SeqCst), 100);
        let topic = board.ledger().topic("leaf").unwrap().clone();
        assert_eq!((topic.published, topic.unheard), (100, 100));
    });
}

#[test]
fn a_long_batch_lets_others_have_a_turn() {
    paused(async {
        let (spec, _) = clerk("clerk", |_| Step::Done);
        let board = here(shop().child(spec)).await;
        let mut turns = 0;
        let ids = tokio::select! {
            biased;
            ids = board.publish_all(notes(0..10_000)) => ids.unwrap(),
            () = async {
                loop {
                    turns += 1;
                    tokio::task::yield_now().await;
                }
            } => panic!("it has no end"),
        };
        assert_eq!(ids.len(), 10_000);
        assert!(turns >= 9, "{turns}");
        // And takes up again by itself when there are no others.
        board.publish_all(notes(0..10_000)).await.unwrap();
    });
}

#[test]
fn a_batch_passes_over_the_oldest_where_that_is_wanted() {
    paused(async {
        let hold = gate();
        let kept = Arc::clone(&hold);
        let (lazy, log) = clerk("lazy", move |_| Step::Wait(Arc::clone(&kept)));
        let lossy = |on: callboard::On<Note>| on.capacity(3).overflow(Overflow::DropOldest);
        let board = here(shop().child(lazy.on_with(lossy))).await;
        board.publish(Note(1_000)).await.unwrap();
        log.until(1).await;
        board.publish_all(notes(0..200)).await.unwrap();
        let open = row(&board, "shop/lazy", "note");
        assert_eq!((open.accepted, open.shed, open.queued), (201, 197, 3));
        hold.add_permits(999);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1_000, 197, 198, 199]);
        assert_eq!(row(&board, "shop/lazy", "note").acknowledged, 4);
    });
}

#[test]
fn a_batch_that_is_given_up_midway_leaves_accepted_what_was() {
    paused(async {
        let hold = gate();
        let kept = Arc::clone(&hold);
        let (slow, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
        let board = here(shop().child(slow.on_with::<Note>(|on| on.capacity(2)))).await;
        tokio::select! {
            biased;
            _ = board.publish_all(notes(0..9)) => panic!("there is no room"),
            () = log.until(1) => {}
        }
        hold.add_permits(99);
        board.settle().await.unwrap();
        let row = row(&board, "shop/slow", "note");
        assert!((2..=3).contains(&row.accepted), "{row:?}");
        assert_eq!(row.acknowledged, row.accepted);
        board.publish(Note(9)).await.unwrap();
    });
}

/// Publishes a batch from a handler, and says how that went.
struct Batcher(Arc<Mutex<Option<(usize, String)>>>);
impl Service for Batcher {}
impl Handle<Memo> for Batcher {
    async fn handle(&mut self, memo: &Memo, cx: &mut Context<Self>) -> Outcome {
        let published = match memo.0 {
            1 => cx.publish_all(notes(0..4)).await,
            _ => Board::of(cx).unwrap().publish_all_blocking(notes(0..4)),
        };
        if let Err(stopped) = published {
            let said = (stopped.accepted.len(), stopped.source.to_string());
            *self.0.lock().unwrap() = Some(said);
        }
        Ok(())
    }
}
impl Handle<Note> for Batcher {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

#[test]
fn a_handlers_batch_carries_its_cause() {
    paused(async {
        let said = Arc::<Mutex<_>>::default();
        let kept = Arc::clone(&said);
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let batcher = service("batcher", move || Batcher(Arc::clone(&kept))).on::<Memo>();
        let board = here(shop().child(spec.on::<Note>()).child(batcher)).await;
        let id = board.publish(Memo(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [0, 1, 2, 3]);
        let causes = log.seen();
        assert!(causes.iter().all(|seen| seen.cause.unwrap().id == id));
        assert_eq!(*said.lock().unwrap(), None);
    });
}

#[test]
fn a_service_that_would_wait_for_its_own_room_gets_the_rest_back_at_once() {
    paused(async {
        let said = Arc::<Mutex<_>>::default();
        let kept = Arc::clone(&said);
        let batcher = service("batcher", move || Batcher(Arc::clone(&kept)));
        let batcher = batcher.on::<Memo>().on_with::<Note>(|on| on.capacity(3));
        let board = here(shop().child(batcher)).await;
        let began = Instant::now();
        board.publish(Memo(1)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        let cycle = "a cycle of waits: shop/batcher -> shop/batcher".to_owned();
        assert_eq!(*said.lock().unwrap(), Some((3, cycle)));
        assert_eq!(row(&board, "shop/batcher", "note").acknowledged, 3);
    });
}

#[test]
fn a_thread_may_block_for_a_batch_and_a_service_may_not() {
    let said = Arc::<Mutex<_>>::default();
    let kept = Arc::clone(&said);
    let (spec, log) = clerk("clerk", |_| Step::Done);
    let batcher = service("batcher", move || Batcher(Arc::clone(&kept))).on::<Memo>();
    let root = shop()
        .child(spec.on_with::<Note>(|on| on.capacity(8)))
        .child(batcher);
    let board = Board::start(root).unwrap();
    let publisher = board.publisher::<Note>();
    let ids = publisher.publish_all_blocking(notes(0..2_000)).unwrap();
    assert_eq!(ids.len(), 2_000);
    board.publish_blocking(Memo(2)).unwrap();
    board.settle_blocking().unwrap();
    assert!(log.ids().iter().copied().eq(0..2_000));
    let text = "a blocking call on a thread of a board would stop its services: use the async form";
    assert_eq!(*said.lock().unwrap(), Some((0, text.to_owned())));
    assert_eq!(board.ledger().gap(), 0);
    assert!(board.shutdown_blocking(secs(5)).drained);
}
