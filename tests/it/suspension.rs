//! A suspended service handles nothing until it is resumed, and nothing that waits for it is lost.

use std::sync::{Arc, OnceLock};

use callboard::prelude::*;
use callboard::{And, AskError, Nothing, On, PublishError, ServiceSpec, SettleError, State};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support_lives::{
    Deed, Do, Log, Note, boom, end, hearer, here, note, paused, probe, until,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn doing(id: u64, deed: Deed) -> Note {
    Note { id, deed }
}

fn slow(id: u64, time: Duration) -> Note {
    doing(id, Deed::Sleep(time))
}

/// What waits for this service: (queued, in flight, deferred).
fn waiting(board: &Board, path: &str) -> (u64, u64, u64) {
    let load = board.inspect(path).unwrap().mailbox;
    assert_eq!(board.ledger().gap(), 0);
    (load.queued, load.in_flight, load.deferred)
}

/// The services that a board says it cannot settle because of.
async fn held_by(board: &Board) -> Vec<String> {
    match board.settle().await {
        Err(SettleError::Suspended { services, .. }) => services,
        other => panic!("it settles: {other:?}"),
    }
}

/// The board, as soon as there is one.
type Cell = Arc<OnceLock<Board>>;

/// Suspends itself over note 3, and again over its timer.
struct Sleeper {
    log: Log,
    board: Cell,
}

impl Sleeper {
    fn suspend(&self, cx: &Context<Self>) {
        self.board.get().unwrap().suspend(cx.path()).unwrap();
    }
}

impl Service for Sleeper {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        for seconds in [10, 10, 20] {
            cx.after(secs(seconds), async |sleeper: &mut Self, cx| {
                sleeper.log.say("timer");
                sleeper.suspend(cx);
                Ok(())
            });
        }
        Ok(())
    }
}

impl Handle<Note> for Sleeper {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        self.log.say(format!("note {}", note.id));
        if note.id == 3 {
            self.suspend(cx);
        }
        Ok(())
    }
}

impl Answer<Do> for Sleeper {
    async fn answer(&mut self, _: Do, _: &mut Context<Self>) -> Outcome<u32> {
        self.log.say("letter");
        Ok(1)
    }
}

fn sleeper(log: &Log) -> (ServiceSpec<Sleeper>, Cell) {
    let (log, cell) = (log.clone(), Cell::default());
    let board = Arc::clone(&cell);
    let sleeper = service("a", move || Sleeper {
        log: log.clone(),
        board: Arc::clone(&board),
    });
    (sleeper, cell)
}

#[test]
fn nothing_more_of_a_batch_is_delivered_and_its_order_is_kept() {
    paused(async {
        let log = Log::new();
        let (spec, cell) = sleeper(&log);
        let board = here(shop().child(spec.on::<Note>())).await;
        cell.set(board.clone()).unwrap();
        for id in 1..=9 {
            board.try_publish(note(id)).unwrap();
        }
        assert_eq!(held_by(&board).await, ["shop/a"]);
        assert_eq!(log.take(), ["note 1", "note 2", "note 3"]);
        assert_eq!(waiting(&board, "shop/a"), (6, 0, 0));
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        let rest: Vec<String> = (4..=9).map(|id| format!("note {id}")).collect();
        assert_eq!(log.lines(), rest);
        end(&board).await;
    });
}

#[test]
fn timers_wait_as_well_and_run_when_it_is_resumed() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let (spec, cell) = sleeper(&log);
        let a = spec.address();
        let board = here(shop().child(spec.on::<Note>())).await;
        cell.set(board.clone()).unwrap();
        log.wait_for("timer").await;
        assert_eq!(began.elapsed().as_secs(), 10);
        board.publish(note(1)).await.unwrap();
        a.tell(Do(Deed::Nothing)).await.unwrap();
        tokio::time::advance(secs(60)).await;
        assert_eq!(held_by(&board).await, ["shop/a"]);
        assert_eq!(log.take(), ["timer"]);
        let resumed = Instant::now();
        for timers in [1, 2] {
            board.resume("shop/a").unwrap();
            until(|| log.count("timer") == timers).await;
        }
        assert_eq!(log.lines(), ["timer", "timer"]);
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.lines()[2..], ["note 1", "letter"]);
        assert_eq!(resumed.elapsed(), Duration::ZERO);
        end(&board).await;
    });
}

#[test]
fn what_is_in_flight_is_finished_and_events_and_letters_wait() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        for id in 1..=2 {
            board.publish(slow(id, secs(1))).await.unwrap();
        }
        log.wait_for("a 1").await;
        board.suspend("shop/a").unwrap();
        a.tell(Do(Deed::Nothing)).await.unwrap();
        assert_eq!(waiting(&board, "shop/a"), (1, 1, 0));
        let began = Instant::now();
        assert_eq!(held_by(&board).await, ["shop/a"]);
        assert_eq!(began.elapsed(), secs(1));
        assert_eq!(waiting(&board, "shop/a"), (1, 0, 0));
        let found = board.inspect("shop/a").unwrap();
        assert!(found.suspended && found.current.is_none());
        assert_eq!((found.state, found.mailbox.letters), (State::Running, 1));
        let row = board.ledger().delivery("shop/a", "note").unwrap().clone();
        assert_eq!((row.acknowledged, row.retried), (1, 0));
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.lines()[1..], ["a 1", "a 2", "a Nothing"]);
        end(&board).await;
    });
}

/// Goes on with each note later, when its gate lets it; the closed gate is a failure.
struct Patient {
    log: Log,
    gate: Arc<Semaphore>,
}

impl Service for Patient {}

impl Handle<Note> for Patient {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        let (id, gate) = (note.id, Arc::clone(&self.gate));
        self.log.say(format!("note {id}"));
        let pass = async move { gate.acquire().await.map(|permit| permit.forget()) };
        cx.later(pass, async move |patient: &mut Self, passed, _| {
            patient.log.say(format!("passed {id}"));
            Ok(passed?)
        });
        Ok(())
    }
}

type Patients = ServiceSpec<Patient, And<On<Note>, Nothing>>;

fn patient(log: &Log) -> (Patients, Arc<Semaphore>) {
    let (log, gate) = (log.clone(), Arc::new(Semaphore::new(0)));
    let wait = Arc::clone(&gate);
    let patient = service("a", move || Patient {
        log: log.clone(),
        gate: Arc::clone(&wait),
    });
    (patient.on::<Note>(), gate)
}

#[test]
fn later_work_that_has_begun_is_finished_and_nothing_else_begins() {
    paused(async {
        let log = Log::new();
        let (spec, gate) = patient(&log);
        let board = here(shop().child(spec)).await;
        board.publish(note(1)).await.unwrap();
        log.wait_for("note 1").await;
        board.suspend("shop/a").unwrap();
        board.publish(note(2)).await.unwrap();
        assert_eq!(waiting(&board, "shop/a"), (1, 1, 0));
        gate.add_permits(2);
        assert_eq!(held_by(&board).await, ["shop/a"]);
        assert_eq!(log.lines(), ["note 1", "passed 1"]);
        assert_eq!(waiting(&board, "shop/a"), (1, 0, 0));
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.lines()[2..], ["note 2", "passed 2"]);
        end(&board).await;
    });
}

#[test]
fn later_work_that_fails_meanwhile_is_tried_again_when_it_is_resumed() {
    paused(async {
        let log = Log::new();
        let (spec, gate) = patient(&log);
        let spec = spec.policy(Policy::new().retry(Retry::fixed(Duration::ZERO).attempts(2)));
        let board = here(shop().child(spec)).await;
        board.publish(note(1)).await.unwrap();
        log.wait_for("note 1").await;
        board.suspend("shop/a").unwrap();
        gate.close();
        assert_eq!(held_by(&board).await, ["shop/a"]);
        assert_eq!(waiting(&board, "shop/a"), (0, 0, 1));
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.lines(), ["note 1", "passed 1", "note 1", "passed 1"]);
        assert_eq!(board.dead_letters().len(), 1);
        end(&board).await;
    });
}

#[test]
fn it_is_a_state_and_not_a_count() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.resume("shop/a").unwrap();
        for _ in 0..3 {
            board.suspend("shop/a").unwrap();
        }
        board.publish(note(1)).await.unwrap();
        assert_eq!(held_by(&board).await, ["shop/a"]);
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a 1") && !board.inspect("shop/a").unwrap().suspended);
        end(&board).await;
    });
}

#[test]
fn it_survives_a_restart_and_a_crash() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.publish(doing(1, Deed::Hang)).await.unwrap();
        log.wait_for("a 1").await;
        board.suspend("shop/a").unwrap();
        board.publish(note(2)).await.unwrap();
        board.kill("shop/a").await.unwrap();
        log.wait_for("a started 2").await;
        assert_eq!(held_by(&board).await, ["shop/a"]);
        assert_eq!(waiting(&board, "shop/a"), (1, 0, 1));
        board.restart("shop/a").await.unwrap();
        assert_eq!(held_by(&board).await, ["shop/a"]);
        let found = board.inspect("shop/a").unwrap();
        assert!(found.suspended && found.life == 3, "{found:?}");
        assert!(!log.has("a 1, attempt 2") && !log.has("a 2"));
        board.resume("shop/a").unwrap();
        log.wait_for("a 1, attempt 2").await;
        board.kill("shop/a").await.unwrap();
        log.wait_for("a 1, attempt 3").await;
        board.kill("shop/a").await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a 2") && board.dead_letters().len() == 1);
        end(&board).await;
    });
}

#[test]
fn an_ask_ends_by_its_own_deadline_and_is_then_never_handled() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        board.suspend("shop/a").unwrap();
        let error = a.ask(Do(Deed::Nothing)).await.unwrap_err();
        assert!(matches!(error, AskError::TimedOut(_)), "{error}");
        assert_eq!(began.elapsed(), secs(5));
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.lines(), ["a started 1"]);
        let row = board.ledger().letter("shop/a").unwrap().clone();
        assert_eq!((row.accepted, row.answered, row.expired), (1, 0, 1));
        end(&board).await;
    });
}

#[test]
fn settle_names_those_that_hold_work_once_all_else_is_settled() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let retry = Policy::new().retry(Retry::fixed(secs(60)).attempts(2));
        let tired = hearer("tired", &log).policy(retry);
        let (asked, idle) = (probe("asked", &log), probe("idle", &log));
        let (address, busy) = (asked.address(), probe("busy", &log));
        let work = busy.address();
        let root = shop().child(tired).child(idle).child(busy).child(asked);
        let board = here(root).await;
        board.publish(doing(1, Deed::Fail)).await.unwrap();
        log.wait_for("tired 1").await;
        for path in ["shop/tired", "shop/idle", "shop/asked"] {
            board.suspend(path).unwrap();
        }
        address.tell(Do(Deed::Nothing)).await.unwrap();
        work.tell(Do(Deed::Sleep(secs(2)))).await.unwrap();
        let error = board.settle().await.unwrap_err();
        assert_eq!(began.elapsed(), secs(2));
        let text = "cannot settle: suspended services still hold work: shop/asked, shop/tired";
        assert_eq!(error.to_string(), text);
        assert_eq!(waiting(&board, "shop/tired"), (0, 0, 1));
        board.resume("shop/asked").unwrap();
        assert_eq!(held_by(&board).await, ["shop/tired"]);
        board.resume("shop/tired").unwrap();
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), secs(60));
        assert_eq!(board.dead_letters().len(), 1);
        end(&board).await;
    });
}

#[test]
fn one_who_waits_for_quiet_hears_of_a_suspension_that_comes_later() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        for id in 1..=2 {
            board.publish(slow(id, secs(1))).await.unwrap();
        }
        let suspending = async {
            log.wait_for("a 1").await;
            board.suspend("shop/a").unwrap();
        };
        let (services, ()) = tokio::join!(held_by(&board), suspending);
        assert_eq!(services, ["shop/a"]);
        assert!(!log.has("a 2"));
        board.resume("shop/a").unwrap();
        end(&board).await;
        assert!(log.has("a 2"));
    });
}

#[test]
fn at_shutdown_what_it_holds_is_undelivered_and_named() {
    paused(async {
        let log = Log::new();
        let a = hearer("a", &log).shutdown(callboard::Shutdown::Drain(secs(9)));
        let board = here(shop().child(a).child(hearer("b", &log))).await;
        board.suspend("shop/a").unwrap();
        for id in 1..=3 {
            board.publish(slow(id, secs(1))).await.unwrap();
        }
        let report = board.shutdown(secs(60)).await;
        assert_eq!((report.drained, report.took), (false, secs(3)), "{report}");
        assert_eq!(report.undelivered.len(), 1, "{report}");
        let left = &report.undelivered[0];
        assert_eq!((left.service.as_str(), left.count), ("shop/a", 3));
        assert_eq!(left.event_ids.len(), 3);
        assert!(log.has("a stopping: was shut down") && !log.has("a 1") && log.has("b 3"));
        assert_eq!((report.stuck.len(), report.ledger.gap()), (0, 0));
    });
}

#[test]
fn one_that_holds_nothing_does_not_disturb_a_shutdown() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.suspend("shop/a").unwrap();
        let report = board.shutdown(secs(60)).await;
        assert!(report.drained && report.undelivered.is_empty(), "{report}");
        assert_eq!((report.took, report.ledger.gap()), (Duration::ZERO, 0));
    });
}

#[test]
fn a_full_subscription_makes_publishers_wait_and_then_refuses_them() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log).on_with::<Note>(|on| on.capacity(2));
        let board = here(shop().child(spec)).await;
        let fill = async |first: u64| {
            board.suspend("shop/a").unwrap();
            for id in first..first + 2 {
                board.publish(note(id)).await.unwrap();
            }
        };
        fill(1).await;
        let resuming = async {
            tokio::time::sleep(secs(1)).await;
            board.resume("shop/a").unwrap();
        };
        let (accepted, ()) = tokio::join!(board.publish(note(3)), resuming);
        accepted.unwrap();
        assert_eq!(began.elapsed(), secs(1));
        board.settle().await.unwrap();
        fill(4).await;
        let refused = board.publish(note(6)).await.unwrap_err();
        assert!(matches!(refused, PublishError::Full { .. }), "{refused}");
        assert_eq!(refused.to_string(), "the subscription of shop/a is full");
        assert_eq!(began.elapsed(), secs(6));
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        let heard = ["a 1", "a 2", "a 3", "a 4", "a 5"];
        assert_eq!(log.lines()[1..], heard);
        end(&board).await;
    });
}

#[test]
fn one_that_drops_the_oldest_sheds_them_meanwhile() {
    paused(async {
        let log = Log::new();
        let spec =
            probe("a", &log).on_with::<Note>(|on| on.capacity(2).overflow(Overflow::DropOldest));
        let board = here(shop().child(spec)).await;
        board.suspend("shop/a").unwrap();
        for id in 1..=5 {
            board.publish(note(id)).await.unwrap();
        }
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert_eq!(log.lines()[1..], ["a 4", "a 5"]);
        assert_eq!(board.ledger().delivery("shop/a", "note").unwrap().shed, 3);
        end(&board).await;
    });
}

#[test]
fn it_can_subscribe_while_it_is_suspended() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        board.suspend("shop/a").unwrap();
        board.subscribe::<Note>(&a).await.unwrap();
        board.publish(note(1)).await.unwrap();
        assert_eq!(held_by(&board).await, ["shop/a"]);
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a 1"));
        board.suspend("shop/a").unwrap();
        board.publish(note(2)).await.unwrap();
        board.unsubscribe::<Note>(&a).await.unwrap();
        board.settle().await.unwrap();
        board.resume("shop/a").unwrap();
        end(&board).await;
        assert!(!log.has("a 2"));
    });
}

#[test]
fn one_that_has_ended_stays_suspended_when_it_is_started_again() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.suspend("shop/a").unwrap();
        board.publish(note(1)).await.unwrap();
        board.stop("shop/a").await.unwrap();
        board.settle().await.unwrap();
        let shop = board.supervisor("shop").unwrap();
        shop.restart_child("a").await.unwrap();
        board.publish(note(2)).await.unwrap();
        assert_eq!(held_by(&board).await, ["shop/a"]);
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a 2") && !log.has("a 1"));
        end(&board).await;
    });
}

/// Crashes at once.
struct Wreck;
impl Service for Wreck {}
impl Handle<Note> for Wreck {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        boom()
    }
}

#[test]
fn one_that_is_suspended_while_it_has_no_life_does_not_make_settle_hang() {
    paused(async {
        let backoff = callboard::Backoff::fixed(secs(60));
        let root = shop()
            .backoff(backoff, secs(600))
            .child(service("a", || Wreck).on::<Note>());
        let board = here(root).await;
        board.publish(note(1)).await.unwrap();
        let state = || board.inspect("shop/a").unwrap().state;
        until(|| state() == State::BackingOff).await;
        board.suspend("shop/a").unwrap();
        let began = Instant::now();
        assert_eq!(held_by(&board).await, ["shop/a"]);
        assert_eq!(began.elapsed(), Duration::ZERO);
        board.resume("shop/a").unwrap();
        board.settle().await.unwrap();
        assert_eq!(board.dead_letters().len(), 1);
        end(&board).await;
    });
}

#[test]
fn the_last_word_of_many_threads_holds() {
    let rounds = if cfg!(debug_assertions) { 300 } else { 3_000 };
    let log = Log::new();
    let root = shop().child(hearer("a", &log));
    let board = Board::builder().arbiters(1).start(root).unwrap();
    for round in 0..rounds {
        std::thread::scope(|scope| {
            scope.spawn(|| board.suspend("shop/a").unwrap());
            scope.spawn(|| board.resume("shop/a").unwrap());
        });
        board.resume("shop/a").unwrap();
        for id in 0..8 {
            board.publish_blocking(note(id)).unwrap();
        }
        board
            .settle_blocking()
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert_eq!(log.count("a 0"), rounds);
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}
