//! Work that blocks its thread is done elsewhere, for as long as its event is waited for.
//!
//! What cannot be interrupted is told, counted and named.

use std::env;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use callboard::policy::Trouble;
use callboard::prelude::*;
use callboard::{
    And, BlockingError, On, PublishError, ServiceSpec, SettleError, StartError, Stop, TimedOut,
};

use crate::support_lives::{
    Deed, Do, Log, Note, boom, end, hearer, here, note, paused, probe, until,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn at_once() -> Policy {
    Policy::new().retry(Retry::fixed(Duration::ZERO))
}

/// An event whose handler does the blocking work that comes with it.
struct Errand {
    id: u64,
    /// There is none to do in later attempts.
    attempts: u32,
    work: Work,
}
type Work = Arc<dyn Fn(&Stop, u32) -> u64 + Send + Sync>;
impl Event for Errand {
    const NAME: &'static str = "errand";
}

fn errand(id: u64, work: impl Fn(&Stop, u32) -> u64 + Send + Sync + 'static) -> Errand {
    Errand {
        id,
        attempts: u32::MAX,
        work: Arc::new(work),
    }
}

/// One without blocking work, so without any way to be late.
fn quick(id: u64) -> Errand {
    Errand {
        attempts: 0,
        ..errand(id, |_, _| 0)
    }
}

/// Does errands, and says what came of them.
struct Runner {
    log: Log,
    life: u32,
}

impl Service for Runner {}
impl Handle<Errand> for Runner {
    async fn handle(&mut self, errand: &Errand, cx: &mut Context<Self>) -> Outcome {
        let (id, attempt, work) = (errand.id, cx.attempt(), Arc::clone(&errand.work));
        let (log, life) = (&self.log, self.life);
        log.say(format!("{id}: attempt {attempt} in life {life}"));
        if attempt > errand.attempts {
            log.say(format!("{id}: done"));
            return Ok(());
        }
        let result = cx.blocking_with(move |stop| work(stop, attempt)).await?;
        log.say(format!("{id}: {result}"));
        Ok(())
    }
}

fn runner(log: &Log) -> ServiceSpec<Runner, And<On<Errand>, callboard::Nothing>> {
    let (log, mut life) = (log.clone(), 0);
    let runner = service("runner", move || {
        life += 1;
        Runner {
            log: log.clone(),
            life,
        }
    });
    runner.on::<Errand>().policy(at_once())
}

/// A gate that work waits at; dropping the key opens it as well.
fn gate() -> (Sender<()>, impl Fn() + Send + Sync + Clone) {
    let (key, lock) = channel();
    let lock = Arc::new(Mutex::new(lock));
    let wait = move || {
        let _ = lock.lock().unwrap().recv();
    };
    (key, wait)
}

/// Work that tells its token and then waits at a gate.
fn held() -> (
    Sender<()>,
    Receiver<Stop>,
    impl Fn(&Stop, u32) -> u64 + Send + Sync,
) {
    let ((key, wait), (begun, beginning)) = (gate(), channel());
    let begun = Mutex::new(begun);
    let work = move |stop: &Stop, _: u32| {
        begun.lock().unwrap().send(stop.clone()).unwrap();
        wait();
        7
    };
    (key, beginning, work)
}

/// Waits until no thread does work that was given up.
fn all_back(board: &Board) {
    while !board.left_behind().is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn the_neighbours_on_the_arbiter_go_on_and_the_result_arrives() {
    let log = Log::new();
    let neighbour = probe("neighbour", &log);
    let to_neighbour = neighbour.address();
    let root = shop().child(runner(&log)).child(neighbour);
    let board = Board::builder().arbiters(1).start(root).unwrap();
    let (key, begun, work) = held();
    board.publish_blocking(errand(1, work)).unwrap();
    let stop = begun.recv().unwrap();
    assert_eq!(to_neighbour.ask_blocking(Do(Deed::Nothing)).unwrap(), 1);
    assert!(!stop.is_wanted() && !log.has("1: 7"));
    assert_eq!(board.left_behind(), []);
    key.send(()).unwrap();
    board.settle_blocking().unwrap();
    assert!(log.has("1: 7") && !stop.is_wanted());
    let report = board.shutdown_blocking(secs(60));
    assert!(report.drained && report.left_behind.is_empty(), "{report}");
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn a_service_takes_up_nothing_else_meanwhile() {
    let log = Log::new();
    let board = Board::start(shop().child(runner(&log))).unwrap();
    let (key, begun, work) = held();
    board.publish_blocking(errand(1, work)).unwrap();
    board.publish_blocking(errand(2, |_, _| 2)).unwrap();
    begun.recv().unwrap();
    let row = board.ledger().delivery("shop/runner", "errand").cloned();
    let row = row.unwrap();
    assert_eq!((row.in_flight, row.queued), (1, 1));
    key.send(()).unwrap();
    board.settle_blocking().unwrap();
    let lines = [
        "1: attempt 1 in life 1",
        "1: 7",
        "2: attempt 1 in life 1",
        "2: 2",
    ];
    assert_eq!(log.lines(), lines);
    board.shutdown_blocking(secs(60));
}

#[test]
fn work_that_panics_is_a_failure_that_is_tried_again_and_no_crash() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(runner(&log))).await;
        let work = |_: &Stop, attempt| if attempt < 3 { boom() } else { 7 };
        board.publish(errand(1, work)).await.unwrap();
        board.publish(errand(2, |_, _| boom())).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("1: attempt 3 in life 1") && log.has("1: 7"));
        let [letter] = &board.dead_letters()[..] else {
            panic!("{:?}", log.lines())
        };
        for attempt in letter.attempts() {
            assert_eq!(attempt.trouble, Trouble::Failed);
        }
        assert_eq!(letter.attempts().len(), 3);
        let failure = letter.failure().unwrap();
        let Some(BlockingError::Panicked(panic)) = failure.downcast_ref() else {
            panic!("{failure:?}")
        };
        assert_eq!(panic.message, "boom");
        let text = "no result of the blocking work: panicked: boom";
        assert!(letter.to_string().contains(text), "{letter}");
        end(&board).await;
    });
}

#[test]
fn a_timeout_gives_work_up_and_the_service_goes_on_while_it_still_runs() {
    let log = Log::new();
    let policy = Policy::new().timeout(millis(20)).retry(Retry::never());
    let board = Board::start(shop().child(runner(&log).policy(policy))).unwrap();
    let (key, begun, work) = held();
    let id = board.publish_blocking(errand(1, work)).unwrap();
    let stop = begun.recv().unwrap();
    board.settle_blocking().unwrap();
    assert!(stop.is_wanted());
    let letters = board.dead_letters();
    assert!(letters[0].failure().unwrap().is::<TimedOut>());
    board.publish_blocking(quick(2)).unwrap();
    board.settle_blocking().unwrap();
    assert!(log.has("2: done") && !log.has("1: 7"));
    let left = board.left_behind();
    let [left] = &left[..] else {
        panic!("{left:?}")
    };
    assert_eq!(left.service, "shop/runner");
    assert_eq!(left.event_id, Some(id.number()));
    assert!(left.age >= millis(20));
    key.send(()).unwrap();
    all_back(&board);
    assert!(!log.has("1: 7"));
    let report = board.shutdown_blocking(secs(60));
    assert!(report.drained && report.left_behind.is_empty(), "{report}");
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn long_work_that_looks_at_its_token_ends_when_its_handler_is_cancelled() {
    let log = Log::new();
    let policy = at_once().timeout(millis(5));
    let board = Board::start(shop().child(runner(&log).policy(policy))).unwrap();
    let work = |stop: &Stop, attempt| {
        while attempt < 3 && !stop.is_wanted() {
            std::thread::yield_now();
        }
        7
    };
    board.publish_blocking(errand(1, work)).unwrap();
    board.settle_blocking().unwrap();
    assert!(log.has("1: attempt 3 in life 1"), "{:?}", log.lines());
    all_back(&board);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

/// Panics with its work under way, or not yet taken up by a thread.
struct Fragile {
    lives: Log,
    works: Sender<Stop>,
    lock: Arc<dyn Fn() + Send + Sync>,
}
impl Service for Fragile {}
impl Handle<Errand> for Fragile {
    async fn handle(&mut self, errand: &Errand, cx: &mut Context<Self>) -> Outcome {
        self.lives.say(format!("{}: {}", errand.id, cx.attempt()));
        if cx.attempt() > 1 {
            return Ok(());
        }
        let (works, lock, (begun, beginning)) =
            (self.works.clone(), Arc::clone(&self.lock), channel());
        let _work = cx.blocking_with(move |stop| {
            works.send(stop.clone()).unwrap();
            begun.send(()).unwrap();
            lock();
        });
        beginning.recv().unwrap();
        boom();
    }
}

#[test]
fn a_life_that_ends_gives_its_work_up_and_the_next_one_begins_at_once() {
    let ((key, lock), (works, begun), lives) = (gate(), channel(), Log::new());
    let (log, lock) = (lives.clone(), Arc::new(lock));
    let fragile = service("fragile", move || {
        log.say("life");
        Fragile {
            lives: log.clone(),
            works: works.clone(),
            lock: lock.clone(),
        }
    });
    let fragile = fragile.on::<Errand>().policy(at_once());
    let board = Board::start(shop().child(fragile)).unwrap();
    board.publish_blocking(errand(1, |_, _| 0)).unwrap();
    let stop = begun.recv().unwrap();
    board.settle_blocking().unwrap();
    assert_eq!(lives.lines(), ["life", "1: 1", "life", "1: 2"]);
    assert!(stop.is_wanted());
    assert_eq!(board.left_behind().len(), 1);
    key.send(()).unwrap();
    all_back(&board);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

#[test]
fn a_timeout_that_restarts_gives_work_up_too() {
    let log = Log::new();
    let policy = at_once().timeout(millis(20)).timeout_restarts();
    let board = Board::start(shop().child(runner(&log).policy(policy))).unwrap();
    let (key, begun, work) = held();
    let once = Errand {
        attempts: 1,
        ..errand(1, work)
    };
    board.publish_blocking(once).unwrap();
    let stop = begun.recv().unwrap();
    board.settle_blocking().unwrap();
    assert!(log.has("1: attempt 2 in life 2") && log.has("1: done"));
    assert!(stop.is_wanted() && board.left_behind().len() == 1);
    key.send(()).unwrap();
    all_back(&board);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

#[test]
fn a_shutdown_waits_for_work_until_its_deadline_then_names_what_it_left_behind() {
    let log = Log::new();
    let board = Board::start(shop().child(runner(&log))).unwrap();
    let (key, begun, work) = held();
    let id = board.publish_blocking(errand(1, work)).unwrap();
    let stop = begun.recv().unwrap();
    let report = board.shutdown_blocking(millis(100));
    assert!(stop.is_wanted() && !report.drained, "{report}");
    assert!(
        report.took >= millis(100) && report.took < secs(5),
        "{report}"
    );
    assert_eq!(report.stuck, []);
    let [left] = &report.left_behind[..] else {
        panic!("{report}")
    };
    assert_eq!(
        (left.service.as_str(), left.event_id),
        ("shop/runner", Some(id.number()))
    );
    assert!(left.age >= millis(100), "{report}");
    let text = "\nleft behind: shop/runner, blocking work, for ";
    assert!(report.to_string().contains(text), "{report}");
    assert_eq!(report.undelivered[0].event_ids, [id.number()]);
    assert_eq!(report.ledger.gap(), 0);
    board.wait_blocking().unwrap();
    key.send(()).unwrap();
    all_back(&board);
}

#[test]
fn work_that_ends_before_the_deadline_is_waited_for() {
    let log = Log::new();
    let board = Board::start(shop().child(runner(&log)).child(hearer("b", &log))).unwrap();
    let (key, wait) = gate();
    let (says, said) = (log.clone(), log.clone());
    let publisher = board.publisher();
    // It publishes while outsiders are refused already, and is none itself.
    let work = move |_: &Stop, _| {
        says.say("begun");
        wait();
        publisher.publish_blocking(note(5)).unwrap().number()
    };
    board.publish_blocking(errand(1, work)).unwrap();
    let report = std::thread::scope(|scope| {
        while !said.has("begun") {
            std::thread::yield_now();
        }
        let ending = scope.spawn(|| board.shutdown_blocking(secs(60)));
        while !matches!(board.try_publish(note(9)), Err(PublishError::Closed { .. })) {
            std::thread::yield_now();
        }
        key.send(()).unwrap();
        ending.join().unwrap()
    });
    assert!(report.drained && report.left_behind.is_empty(), "{report}");
    assert!(log.has("b 5"), "{:?}", log.lines());
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn blocking_verbs_that_would_wait_for_the_work_itself_return_at_once() {
    let log = Log::new();
    let board = Board::start(shop().child(runner(&log))).unwrap();
    let inside = board.clone();
    let work = move |_: &Stop, _| {
        assert_eq!(inside.settle_blocking(), Err(SettleError::Inside));
        inside.wait_blocking().unwrap();
        u64::from(inside.shutdown_blocking(secs(60)).over)
    };
    board.publish_blocking(errand(1, work)).unwrap();
    board.wait_blocking().unwrap();
    let report = board.shutdown_blocking(secs(60));
    assert!(log.has("1: 0") && report.over && report.drained, "{report}");
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn a_paused_clock_stands_still_while_work_is_under_way() {
    paused(async {
        let log = Log::new();
        let neighbour = probe("neighbour", &log);
        let to_neighbour = neighbour.address();
        let policy = Policy::new().timeout(millis(1)).retry(Retry::never());
        let board = here(shop().child(runner(&log).policy(policy)).child(neighbour)).await;
        let began = tokio::time::Instant::now();
        let work = move |_: &Stop, _| {
            for _ in 0..100 {
                to_neighbour.ask_blocking(Do(Deed::Nothing)).unwrap();
            }
            7
        };
        board.publish(errand(1, work)).await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.count("neighbour Nothing"), 100);
        assert!(log.has("1: 7"), "{:?}", log.lines());
        assert_eq!(began.elapsed(), Duration::ZERO);
        end(&board).await;
    });
}

#[test]
fn a_timeout_on_a_paused_clock_gives_work_up_when_the_test_moves_the_time() {
    paused(async {
        let log = Log::new();
        let policy = Policy::new().timeout(secs(9)).retry(Retry::never());
        let board = here(shop().child(runner(&log).policy(policy))).await;
        let (key, begun, work) = held();
        board.publish(errand(1, work)).await.unwrap();
        let mut stop = None;
        until(|| {
            stop = stop.take().or(begun.try_recv().ok());
            stop.is_some()
        })
        .await;
        tokio::time::advance(secs(10)).await;
        board.settle().await.unwrap();
        assert!(stop.unwrap().is_wanted());
        assert_eq!(board.left_behind()[0].age, secs(10));
        assert_eq!(board.dead_letters().len(), 1);
        key.send(()).unwrap();
        until(|| board.left_behind().is_empty()).await;
        end(&board).await;
    });
}

/// A result that panics when it is dropped, and says so first.
struct Grenade(Sender<()>);
impl Drop for Grenade {
    fn drop(&mut self) {
        let _ = self.0.send(());
        boom();
    }
}

/// Has work under way when its handler is over, in one way or another.
struct Careless {
    drops: Sender<()>,
    lock: Arc<dyn Fn() + Send + Sync>,
}
impl Service for Careless {}
impl Handle<Errand> for Careless {
    async fn handle(&mut self, errand: &Errand, cx: &mut Context<Self>) -> Outcome {
        if cx.attempt() > 1 {
            return Ok(());
        }
        let (drops, (begun, beginning)) = (self.drops.clone(), channel());
        let lock = (errand.id == 2).then(|| Arc::clone(&self.lock));
        let _work = cx.blocking(move || {
            begun.send(()).unwrap();
            lock.inspect(|lock| lock());
            Grenade(drops)
        });
        beginning.recv().unwrap();
        if errand.id == 1 {
            // There is one thread for such work: when it has done this, the first result is here.
            cx.blocking(|| ()).await?;
        }
        boom();
    }
}

#[test]
fn a_result_that_nobody_wants_is_dropped_where_its_panic_hurts_nobody() {
    let ((key, lock), (drops, dropped)) = (gate(), channel());
    let lock = Arc::new(lock);
    let careless = service("careless", move || Careless {
        drops: drops.clone(),
        lock: lock.clone(),
    });
    let root = shop().child(careless.on::<Errand>().policy(at_once()));
    let board = Board::builder().blocking_threads(1).start(root).unwrap();
    for id in 1..=2 {
        board.publish_blocking(errand(id, |_, _| 0)).unwrap();
        board.settle_blocking().unwrap();
        if id == 2 {
            assert!(dropped.try_recv().is_err());
            key.send(()).unwrap();
        }
        dropped.recv().unwrap();
    }
    let report = board.shutdown_blocking(secs(60));
    let row = report.ledger.delivery("shop/careless", "errand").unwrap();
    assert_eq!((row.acknowledged, row.retried), (2, 2));
    assert_eq!(report.ledger.gap(), 0);
}

/// Has all the time in the world.
struct Calm;
impl Service for Calm {}
impl Handle<Note> for Calm {
    async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
        Ok(cx.blocking(|| ()).await?)
    }
}

#[test]
fn work_that_no_thread_has_taken_up_when_it_is_given_up_is_never_done() {
    let log = Log::new();
    let policy = Policy::new().timeout(millis(20)).retry(Retry::never());
    let calm = service("calm", || Calm).on::<Note>();
    let root = shop().child(runner(&log).policy(policy)).child(calm);
    let board = Board::builder().blocking_threads(1).start(root).unwrap();
    let (key, begun, work) = held();
    board.publish_blocking(errand(1, work)).unwrap();
    begun.recv().unwrap();
    let says = log.clone();
    let second = move |_: &Stop, _| {
        says.say("done");
        2
    };
    board.publish_blocking(errand(2, second)).unwrap();
    board.settle_blocking().unwrap();
    assert_eq!(board.dead_letters().len(), 2);
    key.send(()).unwrap();
    // When this is done, the only thread has come past what was given up.
    board.publish_blocking(note(3)).unwrap();
    board.settle_blocking().unwrap();
    assert_eq!((log.has("done"), board.dead_letters().len()), (false, 2));
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

#[test]
fn a_board_needs_a_thread_for_blocking_work() {
    let board = Board::builder().blocking_threads(0).start(shop());
    let Err(StartError::Refused { problems, .. }) = board else {
        panic!("it starts")
    };
    let text = "board: a board needs at least one thread for blocking work";
    assert_eq!(problems[0].to_string(), text);
}

const CASE: &str = "CALLBOARD_BLOCKING_CASE";

#[test]
fn a_process_ends_while_work_is_left_behind() {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["blocking::work_that_never_ends", "--exact", "--nocapture"]);
    let child = child.env(CASE, "1").output().unwrap();
    let out = String::from_utf8_lossy(&child.stdout).into_owned();
    let text = "left behind: shop/runner, blocking work, for ";
    assert!(child.status.success(), "{}\n{out}", child.status);
    assert!(out.contains(text) && out.contains("gap: 0"), "{out}");
    assert!(out.contains("\nthe end\n"), "{out}");
}

#[test]
fn work_that_never_ends() {
    if env::var(CASE).is_err() {
        return;
    }
    let log = Log::new();
    let board = Board::start(shop().child(runner(&log))).unwrap();
    let (begun, beginning) = channel();
    let work = move |_: &Stop, _| {
        begun.send(()).unwrap();
        loop {
            std::thread::park();
        }
    };
    board.publish_blocking(errand(1, work)).unwrap();
    beginning.recv().unwrap();
    println!("{}", board.shutdown_blocking(millis(50)));
    drop(board);
    println!("the end");
}
