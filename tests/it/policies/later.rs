//! Later work: the event stays open, the service goes on.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use callboard::prelude::*;
use callboard::{Panic, ServiceSpec, Shutdown, TimedOut};
use tokio::sync::Semaphore;

use crate::support_events::{
    Log, Memo, Note, ON_PURPOSE, Seen, Step, be_quiet, clerk, gate, here, paused, row, shop,
};
use crate::support_lives::until;

/// What the work of one event does.
#[derive(Clone)]
enum Work {
    Done,
    Wait(Arc<Semaphore>),
    Sleep(Duration),
    Fail,
    /// The handler itself fails, and begins nothing.
    Refuse,
    Panic,
    PanicInDone,
    Twice,
    Again(u32),
}

type Script = Arc<dyn Fn(u64, u32) -> Work + Send + Sync>;

/// Handles every note later, and counts what came of it.
struct Desk {
    script: Script,
    log: Log,
    done: u64,
    /// Not `Send`: the work runs on the service's own thread.
    shared: Rc<Cell<u64>>,
}

struct Done;
impl Message for Done {
    type Reply = u64;
}

impl Service for Desk {}
impl Answer<Done> for Desk {
    async fn answer(&mut self, _: Done, _: &mut Context<Self>) -> Outcome<u64> {
        Ok(self.done)
    }
}
impl Handle<Note> for Desk {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        self.log.write(Seen {
            id: note.0,
            number: cx.event_id().unwrap(),
            attempt: cx.attempt(),
            at: cx.now(),
            redriven: false,
            cause: None,
            life: 0,
        });
        let work = (self.script)(note.0, cx.attempt());
        if matches!(work, Work::Refuse) {
            return Err(Failure::new(ON_PURPOSE));
        }
        let shared = Rc::clone(&self.shared);
        let (again, twice) = (work.clone(), matches!(work, Work::Twice));
        cx.later(
            async move {
                shared.set(shared.get() + 1);
                match work {
                    Work::Wait(gate) => gate.acquire().await.unwrap().forget(),
                    Work::Sleep(time) => tokio::time::sleep(time).await,
                    Work::Panic => panic!("{ON_PURPOSE}"),
                    Work::Fail => return Err(Failure::new(ON_PURPOSE)),
                    _ => tokio::task::yield_now().await,
                }
                Ok(())
            },
            async move |desk: &mut Self, result: Outcome, cx: &mut Context<Self>| {
                result?;
                assert!(!matches!(again, Work::PanicInDone), "{ON_PURPOSE}");
                desk.done += 1;
                if let Work::Again(more) = again {
                    again_later(more, cx);
                }
                Ok(())
            },
        );
        if twice {
            cx.later(
                tokio::time::sleep(secs(1)),
                async |desk: &mut Self, (), _| {
                    desk.done += 10;
                    Ok(())
                },
            );
        }
        Ok(())
    }
}

fn again_later(more: u32, cx: &mut Context<Desk>) {
    if more > 0 {
        cx.later(
            tokio::time::sleep(secs(1)),
            async move |desk: &mut Desk, (), cx| {
                desk.done += 1;
                again_later(more - 1, cx);
                Ok(())
            },
        );
    }
}

async fn desk(
    policy: Policy,
    most: usize,
    script: impl Fn(u64, u32) -> Work + Send + Sync + 'static,
) -> (Board, Log, Address<Desk>) {
    let (spec, log) = spec(script);
    let address = spec.address();
    let root = shop().child(spec.on::<Note>().laters(most).policy(policy));
    (here(root).await, log, address)
}

fn spec(script: impl Fn(u64, u32) -> Work + Send + Sync + 'static) -> (ServiceSpec<Desk>, Log) {
    be_quiet();
    let log = Log::default();
    let (kept, script) = (log.clone(), Arc::new(script) as Script);
    let spec = service("desk", move || Desk {
        script: Arc::clone(&script),
        log: kept.clone(),
        done: 0,
        shared: Rc::default(),
    });
    (spec, log)
}

async fn publish(board: &Board, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        board.publish(Note(id)).await.unwrap();
    }
}

fn retry() -> Policy {
    Policy::new().retry(Retry::fixed(secs(1)).attempts(2))
}

#[test]
fn the_event_stays_open_while_the_service_goes_on() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (board, log, desk) = desk(retry(), 8, move |_, _| Work::Wait(Arc::clone(&wait))).await;
        publish(&board, 1..=3).await;
        log.until(3).await;
        assert_eq!(desk.ask(Done).await.unwrap(), 0);
        let open = row(&board, "shop/desk", "note");
        assert_eq!((open.in_flight, open.acknowledged), (3, 0));
        gate.add_permits(3);
        board.settle().await.unwrap();
        assert_eq!(desk.ask(Done).await.unwrap(), 3);
        let row = row(&board, "shop/desk", "note");
        assert_eq!((row.in_flight, row.acknowledged, row.retried), (0, 3, 0));
    });
}

#[test]
fn reading_pauses_while_too_many_are_open_and_letters_go_on() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (board, log, desk) = desk(retry(), 2, move |_, _| Work::Wait(Arc::clone(&wait))).await;
        publish(&board, 1..=5).await;
        log.until(2).await;
        assert_eq!(desk.ask(Done).await.unwrap(), 0);
        assert_eq!(log.ids(), [1, 2]);
        gate.add_permits(1);
        log.until(3).await;
        assert_eq!(desk.ask(Done).await.unwrap(), 1);
        assert_eq!(
            (log.ids(), row(&board, "shop/desk", "note").queued),
            (vec![1, 2, 3], 2)
        );
        gate.add_permits(4);
        board.settle().await.unwrap();
        assert_eq!(desk.ask(Done).await.unwrap(), 5);
    });
}

#[test]
fn a_failure_of_the_work_runs_the_handler_again_deferred() {
    paused(async {
        let (board, log, desk) = desk(retry(), 8, |id, attempt| match (id, attempt) {
            (1, 1) => Work::Fail,
            (2, 1) => Work::Panic,
            (3, _) => Work::Fail,
            _ => Work::Done,
        })
        .await;
        publish(&board, 1..=4).await;
        board.settle().await.unwrap();
        let first: Vec<_> = (1..=4).map(|id| (id, 1)).collect();
        assert_eq!(log.attempts()[..4], first);
        assert_eq!(log.attempts()[4..], [(1, 2), (2, 2), (3, 2)]);
        assert_eq!(log.seen()[4].at - log.seen()[0].at, secs(1));
        // A panic in the work costs no life.
        assert_eq!(desk.ask(Done).await.unwrap(), 3);
        let letters = board.dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].attempts().len(), 2);
        let row = row(&board, "shop/desk", "note");
        assert_eq!(
            (row.acknowledged, row.dead_lettered, row.retried),
            (3, 1, 3)
        );
    });
}

#[test]
fn an_event_whose_work_has_failed_lets_younger_ones_go_on() {
    paused(async {
        let (board, log, _) = desk(retry(), 8, |id, attempt| match (id, attempt) {
            (1, 1) => Work::Fail,
            _ => Work::Done,
        })
        .await;
        publish(&board, [1]).await;
        until(|| row(&board, "shop/desk", "note").deferred == 1).await;
        publish(&board, [2]).await;
        board.settle().await.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (2, 1), (1, 2)]);
    });
}

#[test]
fn a_panic_in_the_work_is_its_failure() {
    paused(async {
        let policy = Policy::new().retry(Retry::never());
        let (board, ..) = desk(policy, 8, |_, _| Work::Panic).await;
        publish(&board, [1]).await;
        board.settle().await.unwrap();
        let letters = board.dead_letters();
        assert!(letters[0].failure().unwrap().is::<Panic>());
    });
}

#[test]
fn a_timeout_cancels_the_work_while_the_service_goes_on() {
    paused(async {
        let policy = Policy::new().retry(Retry::never()).timeout(secs(5));
        let (board, log, desk) = desk(policy, 8, |id, _| match id {
            1 => Work::Sleep(secs(60)),
            _ => Work::Sleep(secs(1)),
        })
        .await;
        let began = tokio::time::Instant::now();
        publish(&board, 1..=2).await;
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), secs(5));
        assert_eq!((log.ids(), desk.ask(Done).await.unwrap()), (vec![1, 2], 1));
        let letters = board.dead_letters();
        assert!(letters[0].failure().unwrap().is::<TimedOut>());
    });
}

#[test]
fn the_time_of_an_attempt_covers_all_its_later_work() {
    paused(async {
        for policy in [
            Policy::new().timeout(millis(4_500)),
            Policy::new().deadline(millis(4_500)),
        ] {
            let policy = policy.retry(Retry::never());
            let (board, _, desk) = desk(policy, 8, |_, _| Work::Again(9)).await;
            let began = tokio::time::Instant::now();
            publish(&board, [1]).await;
            board.settle().await.unwrap();
            assert_eq!(began.elapsed(), millis(4_500));
            assert_eq!(desk.ask(Done).await.unwrap(), 5);
            let letters = board.dead_letters();
            let timed_out = letters[0].failure().unwrap().downcast_ref::<TimedOut>();
            assert_eq!(timed_out.unwrap().limit, millis(4_500));
        }
    });
}

#[test]
fn an_event_is_done_when_all_its_work_is() {
    paused(async {
        let (board, _, desk) = desk(retry(), 8, |id, _| match id {
            1 => Work::Twice,
            _ => Work::Again(2),
        })
        .await;
        publish(&board, [1]).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert_eq!(desk.ask(Done).await.unwrap(), 1);
        assert_eq!(row(&board, "shop/desk", "note").in_flight, 1);
        board.settle().await.unwrap();
        assert_eq!(desk.ask(Done).await.unwrap(), 11);
        let began = tokio::time::Instant::now();
        publish(&board, [2]).await;
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), secs(2));
        assert_eq!(desk.ask(Done).await.unwrap(), 14);
        assert_eq!(row(&board, "shop/desk", "note").acknowledged, 2);
    });
}

#[test]
fn the_work_ends_with_the_life_and_its_event_comes_back() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (board, log, desk) = desk(retry(), 8, move |id, attempt| match (id, attempt) {
            (3, 1) => Work::PanicInDone,
            (3, _) => Work::Done,
            _ => Work::Wait(Arc::clone(&wait)),
        })
        .await;
        publish(&board, 1..=3).await;
        log.until(6).await;
        // The one whose `done` panicked has one attempt more; the others have none.
        let mut again = log.attempts()[3..].to_vec();
        again.sort_unstable();
        assert_eq!(again, [(1, 1), (2, 1), (3, 2)]);
        gate.add_permits(2);
        board.settle().await.unwrap();
        assert_eq!(desk.ask(Done).await.unwrap(), 3);
        assert_eq!(row(&board, "shop/desk", "note").acknowledged, 3);
    });
}

#[test]
fn an_event_whose_work_ended_with_the_life_has_left_the_order() {
    paused(async {
        let calls = AtomicU32::new(0);
        let (board, log, _) = desk(retry(), 8, move |id, _| match id {
            1 => match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Work::Sleep(secs(60)),
                1 => Work::Refuse,
                _ => Work::Done,
            },
            _ => Work::Done,
        })
        .await;
        publish(&board, [1]).await;
        log.until(1).await;
        board.restart("shop/desk").await.unwrap();
        log.until(2).await;
        publish(&board, [2]).await;
        board.settle().await.unwrap();
        // It is tried again in place by its policy, but not by its place.
        assert_eq!(log.attempts(), [(1, 1), (1, 1), (2, 1), (1, 2)]);
    });
}

/// Goes on later with the first note; of the second it fails, and had more in mind.
struct Hasty(Arc<Semaphore>);
impl Service for Hasty {}
impl Handle<Note> for Hasty {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        let gate = Arc::clone(&self.0);
        cx.later(
            async move { gate.acquire().await.unwrap().forget() },
            async |_: &mut Self, (), _| Ok(()),
        );
        if note.0 == 1 {
            return Ok(());
        }
        cx.publish_on_success(Memo(note.0));
        Err(Failure::permanent(ON_PURPOSE))
    }
}

#[test]
fn what_a_failed_handler_had_in_mind_is_not_done_with_the_work_of_another() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, memos) = clerk("memos", |_| Step::Done);
        let hasty = service("hasty", move || Hasty(Arc::clone(&wait)));
        let board = here(shop().child(spec.on::<Memo>()).child(hasty.on::<Note>())).await;
        publish(&board, 1..=2).await;
        until(|| board.dead_letters().len() == 1).await;
        gate.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(row(&board, "shop/hasty", "note").acknowledged, 1);
        assert!(memos.ids().is_empty());
    });
}

struct Extra;
impl Event for Extra {
    const NAME: &'static str = "extra";
}

struct Pause;
impl Event for Pause {
    const NAME: &'static str = "pause";
}

/// Wants two things published when the work for a note is done, the first of which nobody has room
/// for.
struct Wishful;
impl Service for Wishful {}
impl Handle<Note> for Wishful {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        cx.publish_on_success(Memo(note.0));
        cx.publish_on_success(Extra);
        cx.later(async {}, async |_: &mut Self, (), _| Ok(()));
        Ok(())
    }
}
impl Handle<Pause> for Wishful {
    async fn handle(&mut self, _: &Pause, _: &mut Context<Self>) -> Outcome {
        // Long enough for the work, and too short to end a turn.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[test]
fn what_work_that_failed_had_in_mind_is_not_done_with_the_next_event() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (full, _) = clerk("full", move |_| Step::Wait(Arc::clone(&wait)));
        let wishful = service("wishful", || Wishful).on::<Note>().on::<Pause>();
        let root = shop().child(full.on_with::<Memo>(|on| on.capacity(1)));
        let board = here(root.child(wishful)).await;
        // One at work, one queued, and one that has waited in vain: the next ones do not wait.
        for id in 1..=3 {
            let published = board.publish(Memo(id)).await;
            assert_eq!(published.is_ok(), id < 3);
        }
        board.publish(Note(1)).await.unwrap();
        board.publish_all([Pause, Pause]).await.unwrap();
        tokio::time::sleep(secs(60)).await;
        assert_eq!(row(&board, "shop/wishful", "note").dead_lettered, 1);
        assert_eq!(row(&board, "shop/wishful", "pause").acknowledged, 2);
        assert_eq!(board.ledger().topic("extra").unwrap().published, 0);
        gate.add_permits(100);
        board.settle().await.unwrap();
    });
}

/// Wants something published on success, by its handler and when its work is done.
struct Thorough(Arc<Semaphore>);
impl Service for Thorough {}
impl Handle<Note> for Thorough {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        let (gate, id) = (Arc::clone(&self.0), note.0);
        cx.publish_on_success(Memo(id));
        cx.later(
            async move { gate.acquire().await.unwrap().forget() },
            async move |_: &mut Self, (), cx: &mut Context<Self>| {
                cx.publish_on_success(Memo(id + 1));
                Ok(())
            },
        );
        Ok(())
    }
}

#[test]
fn what_is_to_follow_a_success_follows_the_last_of_its_work() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let (spec, memos) = clerk("memos", |_| Step::Done);
        let thorough = service("thorough", move || Thorough(Arc::clone(&wait)));
        let root = shop().child(spec.on::<Memo>());
        let board = here(root.child(thorough.on::<Note>())).await;
        publish(&board, [1]).await;
        until(|| row(&board, "shop/thorough", "note").in_flight == 1).await;
        assert!(memos.ids().is_empty());
        gate.add_permits(1);
        board.settle().await.unwrap();
        assert_eq!(memos.ids(), [1, 2]);
    });
}

#[test]
fn what_comes_of_the_work_is_not_heard_when_its_subscription_has_ended() {
    paused(async {
        for is_added in [false, true] {
            let gate = gate();
            let wait = Arc::clone(&gate);
            let (spec, log) = spec(move |_, _| Work::Wait(Arc::clone(&wait)));
            let desk = spec.address();
            let board = if is_added {
                let board = here(shop().child(spec)).await;
                board.subscribe::<Note>(&desk).await.unwrap();
                board
            } else {
                here(shop().child(spec.on::<Note>())).await
            };
            publish(&board, [1]).await;
            log.until(1).await;
            board.unsubscribe::<Note>(&desk).await.unwrap();
            gate.add_permits(1);
            // The work ends: only the test and the script hold the gate.
            until(|| Arc::strong_count(&gate) == 2).await;
            for _ in 0..2 {
                assert_eq!(desk.ask(Done).await.unwrap(), 0, "added: {is_added}");
            }
            assert_eq!(gate.available_permits(), 1);
            assert_eq!(row(&board, "shop/desk", "note").undelivered, 1);
        }
    });
}

impl Handle<Memo> for Desk {
    async fn handle(&mut self, _: &Memo, _: &mut Context<Self>) -> Outcome {
        self.done += 100;
        Ok(())
    }
}

#[test]
fn the_work_of_a_subscription_that_has_ended_keeps_nobody_waiting() {
    paused(async {
        let gate = gate();
        let (spec, log) = spec(move |_, _| Work::Wait(Arc::clone(&gate)));
        let desk = spec.address();
        let spec = spec.on::<Note>().on::<Memo>().laters(1);
        let root = shop().child(spec.shutdown(Shutdown::Drain(secs(60))));
        let board = here(root).await;
        publish(&board, [1]).await;
        log.until(1).await;
        board.unsubscribe::<Note>(&desk).await.unwrap();
        board.publish(Memo(2)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(desk.ask(Done).await.unwrap(), 100);
        let began = tokio::time::Instant::now();
        board.stop("shop/desk").await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_drain_waits_for_the_work_and_a_stop_leaves_it_undelivered() {
    paused(async {
        for drained in [true, false] {
            let (board, log, _) = desk(retry(), 8, |_, _| Work::Sleep(secs(2))).await;
            publish(&board, 1..=3).await;
            log.until(3).await;
            let report = board
                .shutdown(if drained { secs(60) } else { secs(1) })
                .await;
            let row = report.ledger.delivery("shop/desk", "note").unwrap();
            let expected = if drained { (3, 0) } else { (0, 3) };
            assert_eq!((row.acknowledged, row.undelivered), expected, "{report}");
            assert_eq!(report.ledger.gap(), 0);
        }
    });
}

#[test]
fn one_that_is_stopped_and_drains_waits_for_its_work() {
    paused(async {
        let (spec, log) = spec(|_, _| Work::Sleep(secs(2)));
        let spec = spec.on::<Note>().shutdown(Shutdown::Drain(secs(60)));
        let board = here(shop().child(spec)).await;
        publish(&board, 1..=3).await;
        log.until(3).await;
        board.stop("shop/desk").await.unwrap();
        let row = row(&board, "shop/desk", "note");
        assert_eq!((row.acknowledged, row.undelivered), (3, 0));
    });
}

#[test]
fn a_service_that_may_open_no_event_is_refused() {
    paused(async {
        let (spec, _) = spec(|_, _| Work::Done);
        let root = shop().child(spec.on::<Note>().laters(0));
        let refused = Board::builder().on_this_thread().start(root).await;
        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("shop/desk") && text.contains("later work"),
            "{text}"
        );
    });
}

#[test]
fn nothing_is_lost_when_more_fail_than_may_wait_aside() {
    paused(async {
        let (spec, log) = spec(|_, attempt| match attempt {
            1 => Work::Sleep(secs(1)),
            _ => Work::Done,
        });
        let policy = retry().timeout(millis(500));
        let spec = spec.on_with::<Note>(|on| on.capacity(1).policy(policy));
        let board = here(shop().child(spec)).await;
        publish(&board, 1..=5).await;
        log.until(5).await;
        board.settle().await.unwrap();
        let row = row(&board, "shop/desk", "note");
        assert_eq!((row.acknowledged, row.retried), (5, 5));
    });
}
