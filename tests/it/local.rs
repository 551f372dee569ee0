//! A board on the caller's own thread: one clock, one seed, and the same run each time.

use std::thread;

use callboard::prelude::*;
use callboard::{AskError, ChildError, Jitter, PublishError, SettleError, StartError, TellError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support_lives::{
    Deed, Do, Hook, Log, Note, end, hearer, here, note, paused, probe, probe_with, try_here,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

const NO_LOCAL_SET: &str = "on_this_thread needs a tokio runtime and a LocalSet around the call";

#[tokio::test]
async fn it_needs_a_local_set() {
    let log = Log::new();
    let error = try_here(shop().child(probe("a", &log))).await.unwrap_err();
    assert!(matches!(error, StartError::NoLocalSet));
    assert_eq!(error.to_string(), NO_LOCAL_SET);
    assert_eq!(log.lines(), [""; 0]);
}

#[test]
fn it_needs_a_runtime() {
    let mut start = Box::pin(try_here(shop()));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(started) = start.as_mut().poll(&mut task) else {
        panic!("it waits");
    };
    assert_eq!(started.unwrap_err().to_string(), NO_LOCAL_SET);
}

#[test]
fn it_needs_timers() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let started = tokio::task::LocalSet::new().block_on(&runtime, try_here(shop()));
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::NoTimers), "{error}");
}

#[test]
fn a_verb_that_would_block_its_thread_is_refused_until_it_has_ended() {
    let log = Log::new();
    let spec = hearer("a", &log);
    let address = spec.address();
    let tell = || address.tell_blocking(Do(Deed::Nothing));
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let set = tokio::task::LocalSet::new();
    let board = set.block_on(&runtime, here(shop().child(spec)));
    assert!(matches!(tell(), Err(TellError::Blocking(_))));
    let asked = address.ask_blocking(Do(Deed::Nothing));
    assert!(matches!(asked, Err(AskError::Blocking(_))));
    let published = board.publish_blocking(note(1));
    assert!(matches!(published, Err(PublishError::Blocking { .. })));
    let published = board.publish(note(1)).settled().wait_blocking();
    assert!(matches!(published, Err(PublishError::Blocking { .. })));
    assert_eq!(board.settle_blocking(), Err(SettleError::Inside));
    let stopped = board.stop_blocking(address.path());
    assert!(matches!(stopped, Err(ChildError::Blocking)), "{stopped:?}");
    // Another thread may wait for it, while this one runs it.
    let elsewhere = thread::spawn({
        let address = address.clone();
        move || address.tell_blocking(Do(Deed::Nothing))
    });
    set.block_on(&runtime, log.wait_for("a Nothing"));
    elsewhere.join().unwrap().unwrap();
    // It begins, and does not wait.
    assert!(!board.shutdown_blocking(secs(60)).over);
    set.block_on(&runtime, board.wait()).unwrap();
    assert!(matches!(tell(), Err(TellError::Stopped(_))));
}

#[test]
fn a_thread_whose_board_was_dropped_with_its_local_set_may_block_again() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let set = tokio::task::LocalSet::new();
    let _kept = set.block_on(&runtime, here(shop()));
    let spec = hearer("a", &Log::new());
    let address = spec.address();
    let board = Board::builder()
        .arbiters(1)
        .start(shop().child(spec))
        .unwrap();
    let tell = || address.tell_blocking(Do(Deed::Nothing));
    assert!(matches!(tell(), Err(TellError::Blocking(_))));
    drop(set);
    tell().unwrap();
    board.shutdown_blocking(secs(60));
}

#[test]
fn it_runs_on_the_callers_thread_wherever_services_were_to_be_placed() {
    struct Here(thread::ThreadId);
    impl Service for Here {
        async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
            assert_eq!(thread::current().id(), self.0);
            Ok(())
        }
    }
    paused(async {
        let own = thread::current().id();
        let here_too = || service("dedicated", move || Here(own)).dedicated();
        let team = Supervisor::one_for_one("team").spread().child(here_too());
        let team = team.child(service("far", move || Here(own)).arbiter(7));
        let board = here(shop().child(here_too()).child(team)).await;
        end(&board).await;
    });
}

/// Fails now and then, and writes down when it did what.
struct Flaky(Log, Instant);
impl Service for Flaky {}
impl Handle<Note> for Flaky {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        let at = self.1.elapsed().as_micros();
        self.0
            .say(format!("{} {} {at} {}", cx.path(), note.id, cx.attempt()));
        match (note.id + u64::from(cx.attempt())) % 4 {
            0 => Err(Failure::new("no")),
            1 if cx.attempt() == 1 => crate::support_lives::boom(),
            _ => Ok(()),
        }
    }
}

fn trace(seed: u64) -> Vec<String> {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let retry = Retry::exponential(millis(100))
            .jitter(Jitter::Full)
            .attempts(3);
        let root = shop()
            .max_restarts(1_000, secs(3_600))
            .policy(Policy::new().retry(retry));
        let flaky = |name: &str| {
            let log = log.clone();
            service(name, move || Flaky(log.clone(), began)).on::<Note>()
        };
        let root = root
            .child(flaky("a"))
            .child(flaky("b"))
            .child(hearer("c", &log));
        let board = Board::builder()
            .seed(seed)
            .on_this_thread()
            .start(root)
            .await
            .unwrap();
        for id in 0..60 {
            board.publish(note(id)).await.unwrap();
        }
        board.settle().await.unwrap();
        let ledger = board.ledger();
        assert!(ledger.deliveries.iter().any(|row| row.retried > 0));
        end(&board).await;
        log.say(ledger.to_string());
        log.take()
    })
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = trace(7);
    assert!(first.len() > 200);
    assert_eq!(first, trace(7));
    assert_ne!(first, trace(8));
}

#[test]
fn two_boards_on_one_thread_do_not_hear_each_other() {
    paused(async {
        let log = Log::new();
        let (first, second) = (
            here(shop().child(hearer("a", &log))).await,
            here(shop().child(hearer("b", &log))).await,
        );
        first
            .publish(Note {
                id: 1,
                deed: Deed::Panic,
            })
            .await
            .unwrap();
        second.publish(note(2)).await.unwrap();
        first.settle().await.unwrap();
        second.settle().await.unwrap();
        let heard = ["a 1", "a 2", "b 1", "b 2"].map(|line| log.count(line));
        assert_eq!(heard, [1, 0, 0, 1]);
        end(&first).await;
        assert!(second.publish(note(3)).await.is_ok());
        end(&second).await;
    });
}

#[test]
fn a_start_that_is_given_up_leaves_nothing_running() {
    paused(async {
        let log = Log::new();
        let slow: Hook = |_| Deed::Sleep(secs(3));
        let root = shop()
            .child(probe("a", &log))
            .child(probe_with("b", &log, slow))
            .child(probe("c", &log));
        let start = Box::pin(try_here(root));
        assert!(tokio::time::timeout(secs(1), start).await.is_err());
        assert_eq!(log.take(), ["a started 1"]);
        log.wait_for("a dropped").await;
        assert_eq!(log.count("c started 1"), log.count("c dropped"));
    });
}

#[test]
fn a_board_that_has_ended_keeps_nothing_of_its_services() {
    struct Holds(#[expect(dead_code)] mpsc::UnboundedSender<()>);
    impl Service for Holds {}
    paused(async {
        let (held, mut holds) = mpsc::unbounded_channel();
        let again = held.clone();
        let team = Supervisor::one_for_one("team");
        let root = shop()
            .child(service("a", move || Holds(held.clone())))
            .child(team.child(service("b", move || Holds(again.clone())).workers(2)));
        let board = here(root).await;
        end(&board).await;
        drop(board);
        let left = tokio::time::timeout(secs(1), holds.recv()).await;
        assert_eq!(left, Ok(None));
    });
}
