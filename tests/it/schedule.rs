//! An event may be scheduled: it is accepted when it is due, and not before.
//!
//! Until then it is in no row of the ledger; it can be called back, and comes back when the board
//! begins to end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ::tracing::Level;
use callboard::prelude::*;
use callboard::{AskError, Cause, EventId, Exit, On, PublishError, Restart, Scheduled};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support_events::{
    Log, Memo, Note, ON_PURPOSE, Step, be_quiet, clerk, gate, here, paused, row, shop,
};
use crate::tracing::watched;

/// A board with one clerk that hears notes, and its log.
async fn one_clerk() -> (Board, Log) {
    let (spec, log) = clerk("clerk", |_| Step::Done);
    (here(shop().child(spec.on::<Note>())).await, log)
}

fn published(board: &Board, event: &str) -> u64 {
    let ledger = board.ledger();
    assert_eq!(ledger.gap(), 0);
    ledger.topic(event).map_or(0, |topic| topic.published)
}

fn closed<E: Event>(outcome: Result<EventId, PublishError<E>>) -> E {
    match outcome {
        Err(PublishError::Closed { event, .. }) => event,
        other => panic!("not closed: {:?}", other.map_err(|error| error.to_string())),
    }
}

#[test]
fn an_event_is_accepted_exactly_when_it_is_due() {
    paused(async {
        let (board, log) = one_clerk().await;
        let began = Instant::now();
        let mut scheduled = board.publish(Note(1)).after(millis(5_432));
        assert_eq!(scheduled.due() - began, millis(5_432));
        // Nobody waits for it, and no row has it.
        board.settle().await.unwrap();
        assert_eq!(
            (began.elapsed(), scheduled.is_done()),
            (Duration::ZERO, false)
        );
        tokio::time::sleep(millis(5_431)).await;
        assert_eq!((published(&board, "note"), scheduled.is_done()), (0, false));
        let id = (&mut scheduled).await.unwrap();
        board.settle().await.unwrap();
        let seen = log.seen();
        assert_eq!((seen[0].at - began, seen[0].number), (millis(5_432), id));
        assert_eq!((published(&board, "note"), scheduled.is_done()), (1, true));
        assert!(scheduled.cancel().is_none());
    });
}

#[test]
fn what_is_due_already_is_published_at_once() {
    paused(async {
        let (board, log) = one_clerk().await;
        tokio::time::sleep(secs(10)).await;
        let now = Instant::now();
        board.publish(Note(1)).at(now - secs(5)).await.unwrap();
        board.publish(Note(2)).at(now).await.unwrap();
        board.publish(Note(3)).after(Duration::ZERO).await.unwrap();
        assert_eq!(now.elapsed(), Duration::ZERO);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3]);
        // A delay that no clock can count is a very long one.
        let never = board.publish(Note(4)).after(Duration::MAX);
        assert_eq!(never.cancel().map(|note| note.0), Some(4));
    });
}

#[test]
fn events_come_in_the_order_of_their_times_and_then_of_their_scheduling() {
    paused(async {
        let (board, log) = one_clerk().await;
        let now = Instant::now();
        let micros = Duration::from_micros;
        for (id, due) in [
            (6, 9_000),
            (4, 5_002),
            (3, 5_001),
            (1, 1_000),
            (5, 5_002),
            (2, 1_000),
        ] {
            board.publish(Note(id)).at(now + micros(due));
        }
        tokio::time::sleep(secs(1)).await;
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3, 4, 5, 6]);
        let early = log.seen().iter().any(|seen| seen.at < now + micros(1_000));
        assert!(!early);
        // More than are told in one go, scheduled the wrong way round.
        for id in (10..1_010).rev() {
            board.publish(Note(id)).at(now + secs(5) + micros(id));
        }
        tokio::time::sleep(secs(9)).await;
        board.settle().await.unwrap();
        assert!(log.ids()[6..].iter().copied().eq(10..1_010));
    });
}

#[test]
fn what_is_cancelled_in_time_comes_back_and_is_heard_by_nobody() {
    paused(async {
        let (board, log) = one_clerk().await;
        let (first, second) = (
            board.publish(Note(1)).after(secs(1)),
            board.publish(Note(2)).after(secs(1)),
        );
        tokio::time::sleep(millis(999)).await;
        assert_eq!(first.cancel().map(|note| note.0), Some(1));
        tokio::time::sleep(millis(2)).await;
        assert!(second.cancel().is_none());
        tokio::time::sleep(secs(5)).await;
        assert_eq!(log.ids(), [2]);
        assert_eq!(published(&board, "note"), 1);
    });
}

#[test]
fn dropping_the_handle_changes_nothing() {
    paused(async {
        let (board, log) = one_clerk().await;
        drop(board.publish(Note(1)).after(secs(1)));
        let mut polled = Box::pin(board.publish(Note(2)).after(secs(1)));
        tokio::select! {
            biased;
            _ = polled.as_mut() => panic!("it is not due"),
            () = std::future::ready(()) => {}
        }
        drop(polled);
        // Not even dropping the board's handle does.
        drop(board);
        tokio::time::sleep(secs(2)).await;
        log.until(2).await;
        assert_eq!(log.ids(), [1, 2]);
    });
}

#[test]
fn what_finds_no_room_waits_for_it_and_holds_up_nobody() {
    paused(async {
        let (hold, began) = (gate(), Instant::now());
        let kept = Arc::clone(&hold);
        let (slow, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
        let (quick, heard) = clerk("quick", |_| Step::Done);
        let root = shop()
            .child(slow.on_with::<Note>(|on| on.capacity(1)))
            .child(quick.on::<Memo>());
        let board = here(root).await;
        board.publish_all([Note(1)]).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        let waits = board.publish(Note(3)).after(secs(1));
        let cancelled = board.publish(Note(4)).after(secs(1));
        board.publish(Memo(1)).after(millis(1_001));
        tokio::time::sleep(secs(2)).await;
        assert_eq!(heard.seen()[0].at - began, millis(1_001));
        assert!(!waits.is_done() && !cancelled.is_done());
        assert_eq!(cancelled.cancel().map(|note| note.0), Some(4));
        hold.add_permits(2);
        waits.await.unwrap();
        assert_eq!(began.elapsed(), secs(2));
        log.until(3).await;
        // There will be no room for as long as publishers wait.
        board.publish(Note(5)).await.unwrap();
        match board.publish(Note(6)).after(secs(1)).await {
            Err(PublishError::Full { service, event, .. }) => {
                assert_eq!((service.as_str(), event.0), ("shop/slow", 6));
            }
            other => panic!("{:?}", other.map_err(|error| error.to_string())),
        }
        assert_eq!(began.elapsed(), secs(3) + callboard::defaults::PUBLISH_WAIT);
        hold.add_permits(9);
        board.settle().await.unwrap();
        assert_eq!(log.ids(), [1, 2, 3, 5]);
        assert_eq!(row(&board, "shop/slow", "note").accepted, 4);
    });
}

#[test]
fn a_shutdown_waits_for_nothing_that_is_scheduled_and_gives_it_back() {
    paused(async {
        let (board, log) = one_clerk().await;
        let kept = board.publish(Note(1)).after(secs(60));
        drop(board.publish(Note(2)).after(secs(60)));
        board.publish(Memo(3)).after(millis(1));
        let gone = board.publish(Note(4)).after(secs(60));
        assert_eq!(gone.cancel().map(|note| note.0), Some(4));
        let began = Instant::now();
        let report = board.shutdown(secs(5)).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!((report.drained, report.not_due), (true, 3));
        let text = report.to_string();
        assert!(
            text.contains("\n3 scheduled events were not due yet\n"),
            "{text}"
        );
        assert!(kept.is_done());
        assert_eq!(closed(kept.await).0, 1);
        // From now on it comes back at once, and is nobody's to count.
        let late = board.publish(Note(5)).after(secs(60));
        assert_eq!(late.cancel().map(|note| note.0), Some(5));
        assert_eq!(closed(board.publish(Note(6)).after(secs(1)).await).0, 6);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!((log.ids(), published(&board, "note")), (vec![], 0));
        assert_eq!(board.shutdown(secs(5)).await.not_due, 3);
    });
}

#[test]
fn nothing_falls_due_while_a_board_drains() {
    paused(async {
        let (slow, log) = clerk("slow", |_| Step::Sleep(secs(3)));
        let board = here(shop().child(slow.on::<Note>())).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        let scheduled = board.publish(Note(2)).after(secs(1));
        let report = board.shutdown(secs(60)).await;
        assert_eq!(
            (report.drained, report.took, report.not_due),
            (true, secs(3), 1)
        );
        assert_eq!(closed(scheduled.await).0, 2);
        assert_eq!(log.ids(), [1]);
    });
}

#[test]
fn what_waits_for_room_comes_back_when_the_board_begins_to_end() {
    paused(async {
        let hold = gate();
        let kept = Arc::clone(&hold);
        let (slow, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
        let board = here(shop().child(slow.on_with::<Note>(|on| on.capacity(1)))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        let waits = board.publish(Note(3)).after(millis(1));
        tokio::time::sleep(millis(10)).await;
        let (report, outcome) = tokio::join!(board.shutdown(secs(1)), waits);
        assert_eq!(closed(outcome).0, 3);
        // It was due.
        assert_eq!((report.not_due, report.ledger.gap()), (0, 0));
        assert_eq!(report.undelivered[0].count, 2);
    });
}

/// A board whose one clerk is full: it waits at the gate over one note, and another is queued.
async fn full_clerk() -> (Board, Log, Arc<Semaphore>) {
    let gate = gate();
    let kept = Arc::clone(&gate);
    let (spec, log) = clerk("clerk", move |_| Step::Wait(Arc::clone(&kept)));
    let board = here(shop().child(spec.on_with(|on: On<Note>| on.capacity(1)))).await;
    board.publish(Note(1)).await.unwrap();
    log.until(1).await;
    board.publish(Note(2)).await.unwrap();
    (board, log, gate)
}

#[test]
fn what_is_refused_when_nobody_waits_for_it_is_told_of() {
    let seen = watched("callboard=warn", || {
        paused(async {
            let (board, log, gate) = full_clerk().await;
            let kept = board.publish(Note(3)).after(secs(1));
            drop(board.publish(Note(4)).after(secs(1)));
            assert!(matches!(kept.await, Err(PublishError::Full { .. })));
            tokio::time::sleep(millis(1)).await;
            gate.add_permits(2);
            board.settle().await.unwrap();
            assert_eq!(log.ids(), [1, 2]);
        });
    });
    let told = seen.events("callboard::schedule", Level::WARN);
    let [told] = &*told else { panic!("{told:?}") };
    assert_eq!(told.field("event"), "note");
    assert!(told.field("error").contains("shop/clerk"), "{told:?}");
}

#[test]
fn what_waits_for_room_when_a_shutdown_begins_is_counted_unless_it_comes_back() {
    paused(async {
        let (board, log, gate) = full_clerk().await;
        let mut kept = board.publish(Note(3)).after(secs(1));
        drop(board.publish(Note(4)).after(secs(1)));
        // Both wait for room by now.
        tokio::time::sleep(secs(2)).await;
        assert!(!kept.is_done());
        gate.add_permits(2);
        let report = board.shutdown(secs(5)).await;
        assert_eq!(closed((&mut kept).await).0, 3);
        assert_eq!((report.not_due, report.drained), (1, true));
        assert_eq!((log.ids(), report.ledger.gap()), (vec![1, 2], 0));
    });
}

#[test]
fn a_board_whose_root_gives_up_gives_back_what_is_scheduled() {
    paused(async {
        let (bad, _) = clerk("bad", |_| Step::Panic);
        let once = Policy::new().retry(Retry::fixed(millis(1)).attempts(1));
        let root = shop().max_restarts(1, secs(1)).policy(once);
        let board = here(root.child(bad.on::<Memo>())).await;
        let scheduled = board.publish(Note(1)).after(secs(60));
        let began = Instant::now();
        board.publish_all([Memo(1), Memo(2)]).await.unwrap();
        let given_up = board.wait().await.unwrap_err();
        assert!(matches!(given_up.exit, Exit::Escalated { .. }));
        assert_eq!(closed(scheduled.await).0, 1);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(board.shutdown(secs(1)).await.not_due, 1);
    });
}

/// Schedules a note for each memo, and keeps the handle of none.
struct Clock;
impl Service for Clock {}
impl Handle<Memo> for Clock {
    async fn handle(&mut self, memo: &Memo, cx: &mut Context<Self>) -> Outcome {
        cx.publish(Note(memo.0)).after(secs(1));
        match cx.attempt() {
            1 => Err(Failure::new(ON_PURPOSE)),
            2 => panic!("{ON_PURPOSE}"),
            _ => {
                cx.stop();
                Ok(())
            }
        }
    }
}

#[test]
fn what_a_handler_schedules_keeps_its_cause_and_outlives_its_life() {
    paused(async {
        be_quiet();
        let (spec, log) = clerk("clerk", |_| Step::Done);
        let policy = Policy::new().retry(Retry::fixed(millis(1)).attempts(3));
        // Less than the room it may have to wait for: the scheduled event does not care.
        let clock = service("clock", || Clock)
            .on::<Memo>()
            .policy(policy.timeout(millis(2)));
        let root = shop()
            .child(clock.restart(Restart::Temporary))
            .child(spec.on::<Note>());
        let board = here(root).await;
        let began = Instant::now();
        let id = board.publish(Memo(7)).await.unwrap();
        log.until(2).await;
        let seen = log.seen();
        assert_eq!(log.ids(), [7, 7]);
        let cause = |cause: Option<Cause>| cause.map(|cause| (cause.id, cause.attempt));
        assert_eq!(cause(seen[0].cause), Some((id, 1)));
        assert_eq!(cause(seen[1].cause), Some((id, 2)));
        assert_eq!(seen[0].at - began, secs(1));
        assert!(board.inspect("shop/clock").is_err());
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn what_a_handler_schedules_waits_for_room_as_long_as_any_publisher() {
    paused(async {
        let hold = gate();
        let kept = Arc::clone(&hold);
        let (slow, log) = clerk("slow", move |_| Step::Wait(Arc::clone(&kept)));
        // Its handler has 2 ms, and has been over for a second when the event is due.
        let hasty = Policy::new().retry(Retry::never()).timeout(millis(2));
        let clock = service("clock", || Clock).on::<Memo>().policy(hasty);
        let root = shop()
            .child(clock)
            .child(slow.on_with::<Note>(|on| on.capacity(1)));
        let board = here(root).await;
        board.publish(Memo(3)).await.unwrap();
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        tokio::time::sleep(secs(4)).await;
        hold.add_permits(9);
        log.until(3).await;
        assert_eq!(log.ids(), [1, 2, 3]);
    });
}

/// Drops are counted, and one of them panics.
struct Fuse {
    burnt: Arc<std::sync::atomic::AtomicUsize>,
}
impl Event for Fuse {
    const NAME: &'static str = "fuse";
}
impl Drop for Fuse {
    fn drop(&mut self) {
        self.burnt.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        panic!("{ON_PURPOSE}");
    }
}

#[test]
fn an_event_that_panics_when_it_is_dropped_harms_nobody() {
    paused(async {
        be_quiet();
        let burnt = Arc::default();
        let fuse = || Fuse {
            burnt: Arc::clone(&burnt),
        };
        let (board, log) = one_clerk().await;
        // Heard by nobody: dropped when it is due. Then another, which is not due in time.
        drop(board.publish(fuse()).after(secs(1)));
        drop(board.publish(fuse()).after(secs(60)));
        board.publish(Note(1)).after(secs(1));
        tokio::time::sleep(secs(2)).await;
        assert_eq!((log.ids(), published(&board, "fuse")), (vec![1], 1));
        let report = board.shutdown(secs(1)).await;
        assert_eq!((report.not_due, report.drained), (1, true));
        assert_eq!(burnt.load(std::sync::atomic::Ordering::SeqCst), 2);
    });
}

#[test]
fn what_is_scheduled_comes_back_when_the_boards_runtime_goes() {
    let (kept, full): (Rc<RefCell<Vec<Scheduled<Note>>>>, _) = (Rc::default(), Rc::default());
    let handles: Rc<RefCell<Vec<Scheduled<Note>>>> = Rc::clone(&full);
    let waiting = Rc::clone(&kept);
    paused(async move {
        let hold = gate();
        let (stuck, log) = clerk("stuck", move |_| Step::Wait(Arc::clone(&hold)));
        let board = here(shop().child(stuck.on_with::<Note>(|on| on.capacity(1)))).await;
        board.publish(Note(1)).await.unwrap();
        log.until(1).await;
        board.publish(Note(2)).await.unwrap();
        handles
            .borrow_mut()
            .push(board.publish(Note(3)).after(secs(1)));
        waiting
            .borrow_mut()
            .push(board.publish(Note(4)).after(secs(60)));
        tokio::time::sleep(secs(2)).await;
    });
    // One waits for room, one for its time; nobody is left to give them either.
    for (scheduled, id) in [(full, 3), (kept, 4)] {
        let scheduled = scheduled.borrow_mut().pop().unwrap();
        let outcome = paused(async { closed(scheduled.await) });
        assert_eq!(outcome.0, id);
    }
}

#[test]
fn a_board_on_its_own_threads_keeps_the_time_by_itself() {
    let (spec, log) = clerk("clerk", |_| Step::Done);
    let board = Board::start(shop().child(spec.on::<Note>())).unwrap();
    // From a thread without a runtime.
    board.publish(Note(1)).after(millis(2));
    let last = board.publish(Note(2)).after(millis(4));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let due = last.due();
    runtime.block_on(last).unwrap();
    assert!(Instant::now() >= due);
    board.settle_blocking().unwrap();
    assert_eq!(log.ids(), [1, 2]);
    let kept = board.publish(Note(3)).after(secs(60));
    let report = board.shutdown_blocking(secs(5));
    assert_eq!((report.drained, report.not_due), (true, 1));
    assert!(runtime.block_on(kept).is_err());
}

/// Asks its service for an answer when it is dropped, and blocks its thread for that.
struct Clingy(Address<Deaf>, std::sync::mpsc::Sender<bool>);
impl Event for Clingy {
    const NAME: &'static str = "clingy";
}
impl Drop for Clingy {
    fn drop(&mut self) {
        let refused = matches!(self.0.ask_blocking(Hello), Err(AskError::Blocking(_)));
        self.1.send(refused).unwrap();
    }
}
struct Hello;
impl Message for Hello {
    type Reply = ();
}
struct Deaf;
impl Service for Deaf {}
impl Answer<Hello> for Deaf {
    async fn answer(&mut self, _: Hello, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

#[test]
fn an_event_that_is_dropped_when_it_is_due_does_not_block_the_thread_that_keeps_the_time() {
    let service = service("deaf", || Deaf);
    let (to, (heard, hears)) = (service.address(), std::sync::mpsc::channel());
    let board = Board::start(shop().child(service)).unwrap();
    // Nobody hears it.
    board
        .publish(Clingy(to.clone(), heard.clone()))
        .after(millis(1));
    assert!(hears.recv().unwrap());
    let series = board.every(millis(1), move |_| Clingy(to.clone(), heard.clone()));
    assert!(hears.recv().unwrap());
    series.cancel();
    assert!(board.shutdown_blocking(secs(60)).drained);
}
