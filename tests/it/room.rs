//! A subscription has room for so many events.
//!
//! Publishers wait for it, are refused, or no longer wait; the bound holds at every instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{PublishError, Retry, ServiceSpec};
use tokio::time::Instant;

use crate::support_events::{Clerk, Log, Memo, Note, Step, clerk, gate, here, paused, row, shop};

const PATIENCE: Duration = callboard::defaults::PUBLISH_WAIT;

fn stuck(name: &str) -> (ServiceSpec<Clerk>, Log, Arc<tokio::sync::Semaphore>) {
    let gate = gate();
    let kept = Arc::clone(&gate);
    let (spec, log) = clerk(name, move |_| Step::Wait(Arc::clone(&kept)));
    (spec, log, gate)
}

fn who_is_full(error: PublishError<Note>) -> (String, u64) {
    match error {
        PublishError::Full { service, event, .. } => (service, event.0),
        other => panic!("not full: {other:?}"),
    }
}

#[test]
fn a_publisher_waits_for_room_and_goes_on_when_there_is_some() {
    paused(async {
        let (spec, log, gate) = stuck("slow");
        let board = here(shop().child(spec.on_with::<Note>(|on| on.capacity(1)))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        let began = Instant::now();
        let refused = board.try_publish(Note(3)).unwrap_err();
        assert!(refused.is_retryable());
        assert_eq!(who_is_full(refused), ("shop/slow".to_owned(), 3));
        let (waiting, opening) = tokio::join!(board.publish(Note(4)), async {
            tokio::task::yield_now().await;
            assert_eq!(row(&board, "shop/slow", "note").accepted, 2);
            gate.add_permits(1);
        });
        waiting.unwrap();
        let () = opening;
        assert_eq!(began.elapsed(), Duration::ZERO);
        gate.add_permits(9);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 4]);
        assert_eq!(row(&board, "shop/slow", "note").acknowledged, 3);
    });
}

#[test]
fn whoever_waits_in_vain_gets_the_event_back_and_nobody_has_accepted_it() {
    paused(async {
        let (slow, log, _gate) = stuck("slow");
        let (quick, heard) = clerk("quick", |_| Step::Done);
        let root = shop()
            .child(quick.on::<Note>())
            .child(slow.on_with::<Note>(|on| on.capacity(1)));
        let board = here(root).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        let began = Instant::now();
        let refused = board.publish(Note(3)).await.unwrap_err();
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(refused.to_string(), "the subscription of shop/slow is full");
        assert_eq!(who_is_full(refused), ("shop/slow".to_owned(), 3));
        assert_eq!(heard.ids(), [1, 2]);
        assert_eq!(row(&board, "shop/quick", "note").accepted, 2);
        assert_eq!(board.ledger().topic("note").unwrap().published, 2);
    });
}

#[test]
fn after_one_wait_in_vain_nobody_waits_until_the_subscriber_has_caught_up() {
    paused(async {
        let (spec, log, gate) = stuck("slow");
        let board = here(shop().child(spec.on_with::<Note>(|on| on.capacity(4)))).await;
        board.publish(Note(0)).await.unwrap();
        log.until(1).await;
        for id in 1..=4 {
            board.publish(Note(id)).await.unwrap();
        }
        let began = Instant::now();
        board.publish(Note(9)).await.unwrap_err();
        assert_eq!(began.elapsed(), PATIENCE);
        for _ in 0..3 {
            board.publish(Note(9)).await.unwrap_err();
        }
        gate.add_permits(1);
        log.until(2).await;
        // One place is free, which is not half: what does not fit is still refused at once.
        board.publish(Note(5)).await.unwrap();
        board.publish(Note(9)).await.unwrap_err();
        assert_eq!(began.elapsed(), PATIENCE);
        gate.add_permits(4);
        log.until(6).await;
        for id in 6..=9 {
            board.publish(Note(id)).await.unwrap();
        }
        board.publish(Note(99)).await.unwrap_err();
        assert_eq!(began.elapsed(), PATIENCE * 2);
        gate.add_permits(99);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), (0..=9).collect::<Vec<_>>());
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn one_that_never_reads_holds_nobody_up_if_it_drops_the_oldest() {
    paused(async {
        let (spec, log, gate) = stuck("slow");
        let terms = |on: callboard::On<Note>| on.capacity(1).overflow(Overflow::DropOldest);
        let board = here(shop().child(spec.on_with(terms))).await;
        board.publish(Note(0)).await.unwrap();
        log.until(1).await;
        let began = Instant::now();
        for id in 1..=100 {
            board.publish(Note(id)).await.unwrap();
            board.try_publish(Note(id)).unwrap();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        let row = row(&board, "shop/slow", "note");
        assert_eq!((row.accepted, row.shed), (201, 199));
        assert_eq!((row.in_flight, row.queued), (1, 1));
        gate.add_permits(9);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [0, 100]);
    });
}

/// Publishes a memo while it handles a note, and writes down how long that took.
struct Busy {
    waited: Arc<std::sync::Mutex<Vec<(Duration, bool)>>>,
}
impl Service for Busy {}
impl Handle<Note> for Busy {
    async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
        tokio::time::sleep(millis(100)).await;
        let began = cx.now();
        let published = cx.publish(Memo(9)).await;
        let full = matches!(published, Err(PublishError::Full { .. }));
        self.waited.lock().unwrap().push((cx.now() - began, full));
        Ok(())
    }
}

#[test]
fn a_publish_in_a_handler_waits_only_for_what_is_left_of_its_timeout() {
    paused(async {
        let (slow, log, gate) = stuck("slow");
        let waited = Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = Arc::clone(&waited);
        let busy = service("busy", move || Busy {
            waited: Arc::clone(&kept),
        });
        let hurried = Policy::new().timeout(millis(300)).retry(Retry::never());
        let root = shop()
            .child(slow.on_with::<Memo>(|on| on.capacity(1)))
            .child(busy.on::<Note>().policy(hurried));
        let board = here(root).await;
        board.publish(Memo(1)).await.unwrap();
        log.until(1).await;
        board.publish(Memo(2)).await.unwrap();
        let fate = board.publish(Note(1)).settled().await.unwrap();
        assert_eq!(fate[0].fate, callboard::Fate::Acknowledged);
        assert_eq!(*waited.lock().unwrap(), [(millis(200), true)]);
        // It says nothing of the subscriber that others need to know.
        let opening = async {
            tokio::task::yield_now().await;
            gate.add_permits(9);
        };
        let (published, ()) = tokio::join!(board.publish(Memo(3)), opening);
        published.unwrap();
        board.settle().await.unwrap();
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn the_bound_holds_at_every_instant_with_four_publishers() {
    const EACH: u64 = if cfg!(debug_assertions) {
        1_000
    } else {
        20_000
    };
    const CAPACITY: usize = 8;
    let (one, first) = clerk("one", |_| Step::Done);
    let (two, second) = clerk("two", |_| Step::Done);
    let root = shop()
        .child(one.on_with::<Note>(|on| on.capacity(CAPACITY)).spread())
        .child(two.on_with::<Note>(|on| on.capacity(CAPACITY)).spread());
    let board = Board::builder().arbiters(2).start(root).unwrap();
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..4)
            .map(|number| {
                let publisher = board.publisher::<Note>();
                scope.spawn(move || {
                    for id in 0..EACH {
                        publisher
                            .publish_blocking(Note(number * EACH + id))
                            .unwrap();
                    }
                })
            })
            .collect();
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                let ledger = board.ledger();
                assert_eq!(ledger.gap(), 0, "{ledger}");
                let queued = ledger.deliveries.iter().map(|row| row.queued);
                most = most.max(queued.max().unwrap_or(0));
            }
            most
        });
        publishers.into_iter().for_each(|one| one.join().unwrap());
        done.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    assert!((1..=CAPACITY as u64).contains(&most), "{most}");
    board.settle_blocking().unwrap();
    for log in [first, second] {
        assert_eq!(log.ids().len() as u64, 4 * EACH);
    }
    let report = board.shutdown_blocking(secs(5));
    assert_eq!((report.ledger.gap(), report.drained), (0, true));
}

#[test]
fn room_is_heard_of_while_the_event_that_left_it_is_being_handled() {
    paused(async {
        let (slow, log) = clerk("slow", |_| Step::Sleep(secs(3)));
        let board = here(shop().child(slow.on_with::<Note>(|on| on.capacity(1)))).await;
        let began = Instant::now();
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        board.publish(Note(3)).await.unwrap();
        // The second one has just been taken; its handler takes its time.
        assert_eq!((began.elapsed(), log.ids()), (secs(3), vec![1, 2]));
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3]);
    });
}

/// Passes each of the first notes on, in the very topic that it hears.
struct Echo;
impl Service for Echo {}
impl Handle<Note> for Echo {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        if note.0 < 3 {
            cx.publish(Note(note.0 + 100)).await?;
        }
        Ok(())
    }
}

#[test]
fn a_handler_that_waits_for_room_in_its_own_topic_does_not_wake_itself_for_ever() {
    paused(async {
        let (spec, log) = clerk("slow", |_| Step::Sleep(millis(900)));
        let root = shop()
            .child(service("echo", || Echo).on::<Note>())
            .child(spec.on_with::<Note>(|on| on.capacity(1)));
        let board = here(root).await;
        for id in 0..3 {
            board.publish(Note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        assert_eq!(log.ids().len(), 6);
        assert_eq!(row(&board, "shop/echo", "note").acknowledged, 6);
    });
}

/// Reads notes in no time, and takes its time to answer.
struct Porter;
impl Service for Porter {}
impl Handle<Note> for Porter {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
struct Nap;
impl Message for Nap {
    type Reply = ();
}
impl Answer<Nap> for Porter {
    async fn answer(&mut self, _: Nap, _: &mut Context<Self>) -> Outcome {
        tokio::time::sleep(secs(3)).await;
        Ok(())
    }
}

#[test]
fn room_is_heard_of_while_something_else_is_being_done() {
    paused(async {
        let porter = service("porter", || Porter);
        let address = porter.address();
        let board = here(shop().child(porter.on_with::<Note>(|on| on.capacity(1)))).await;
        let began = Instant::now();
        // Both are there before the service comes to either of them.
        board.publish(Note(1)).await.unwrap();
        address.tell(Nap).await.unwrap();
        board.publish(Note(2)).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(row(&board, "shop/porter", "note").acknowledged, 1);
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), secs(3));
        assert_eq!(row(&board, "shop/porter", "note").acknowledged, 2);
    });
}
