//! A board ends in two phases, by its deadline, and names what it had to leave.

use std::sync::mpsc;

use callboard::prelude::*;
use callboard::{AskError, PublishError};
use tokio::time::Instant;

use crate::support_lives::{
    Deed, Do, Log, Note, boom, end, hearer, here, note, paused, probe, probe_hooked, probe_with,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn doing(id: u64, deed: Deed) -> Note {
    Note { id, deed }
}

#[test]
fn outsiders_are_refused_while_what_handlers_publish_flows() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(doing(10, Deed::Countdown(9))).await.unwrap();
        let outside = async {
            log.wait_for("a 7").await;
            let refused = board.publish(note(99)).await.unwrap_err();
            assert!(matches!(refused, PublishError::Closed { .. }) && !refused.is_retryable());
            assert_eq!(refused.into_event().id, 99);
            assert!(matches!(
                a.ask(Do(Deed::Nothing)).await,
                Err(AskError::Stopped(_))
            ));
        };
        let (report, ()) = tokio::join!(board.shutdown(secs(5)), outside);
        assert!(report.drained && report.undelivered.is_empty());
        let numbers: Vec<String> = (0..=10).rev().map(|id| format!("a {id}")).collect();
        assert_eq!(log.lines()[1..12], numbers);
        assert_eq!((report.took.as_millis(), report.ledger.gap()), (100, 0));
    });
}

/// Publishes from a timer that takes its time.
struct Tardy(Log);
impl Service for Tardy {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        cx.after(millis(1), async |tardy: &mut Tardy, cx| {
            tardy.0.say("begun");
            tokio::time::sleep(secs(1)).await;
            cx.publish(note(1)).await?;
            Ok(())
        });
        Ok(())
    }
}

#[test]
fn what_a_running_timer_still_publishes_is_delivered() {
    paused(async {
        let log = Log::new();
        let said = log.clone();
        let tardy = service("tardy", move || Tardy(said.clone()));
        let board = here(shop().child(tardy).child(hearer("b", &log))).await;
        log.wait_for("begun").await;
        let report = board.shutdown(secs(60)).await;
        assert!(report.drained && log.has("b 1"), "{report}");
        assert_eq!((report.took.as_secs(), report.ledger.gap()), (1, 0));
    });
}

#[test]
fn children_stop_in_reverse_order_each_before_the_one_before_it() {
    paused(async {
        let log = Log::new();
        let slow =
            |name: &str| probe_hooked(name, &log, (|_| Deed::Nothing, |_| Deed::Sleep(secs(1))));
        let team = Supervisor::one_for_one("team")
            .child(slow("b"))
            .child(slow("c"));
        let board = here(shop().child(slow("a")).child(team).child(slow("d"))).await;
        log.take();
        let report = board.shutdown(secs(60)).await;
        assert_eq!((report.took.as_secs(), report.ledger.gap()), (4, 0));
        let mut expected = Vec::new();
        for name in ["d", "c", "b", "a"] {
            let steps = ["stopping: was shut down", "stopped", "dropped"];
            expected.extend(steps.map(|step| format!("{name} {step}")));
        }
        assert_eq!(log.lines(), expected);
    });
}

#[test]
fn each_child_has_its_own_time_to_stop_and_is_then_killed() {
    paused(async {
        let log = Log::new();
        let never = |name: &str| probe_hooked(name, &log, (|_| Deed::Nothing, |_| Deed::Hang));
        let root = shop()
            .child(never("a").shutdown(secs(1)))
            .child(never("b").shutdown(secs(2)))
            .child(never("c"))
            .child(hearer("d", &log))
            .child(never("stopped before"));
        let board = here(root).await;
        board.stop("shop/stopped before").await.unwrap();
        log.take();
        let report = board.shutdown(secs(60)).await;
        assert_eq!((report.took.as_secs(), report.ledger.gap()), (8, 0));
        let expected = [
            "d stopping: was shut down",
            "d stopped",
            "d dropped",
            "c stopping: was shut down",
            "c dropped",
            "b stopping: was shut down",
            "b dropped",
            "a stopping: was shut down",
            "a dropped",
        ];
        assert_eq!(log.lines(), expected);
        assert!(report.drained && report.stuck.is_empty());
        assert_eq!(report.killed, ["shop/a", "shop/b", "shop/c"]);
    });
}

#[test]
fn the_deadline_of_the_board_caps_those_of_its_children() {
    paused(async {
        let log = Log::new();
        let never = |name: &str| probe_hooked(name, &log, (|_| Deed::Nothing, |_| Deed::Hang));
        let board = here(shop().child(never("a")).child(never("b"))).await;
        let report = board.shutdown(millis(100)).await;
        assert!(report.took < millis(600), "{report}");
        assert!(log.has("a dropped") && log.has("b dropped"));
        assert_eq!((report.stuck.len(), report.ledger.gap()), (0, 0));
    });
}

#[test]
fn what_is_in_flight_or_queued_at_the_deadline_is_undelivered_and_named() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        let mut ids = Vec::new();
        for (id, deed) in [(1, Deed::Nothing), (2, Deed::Hang), (3, Deed::Nothing)] {
            ids.push(board.publish(doing(id, deed)).await.unwrap().number());
        }
        let report = board.shutdown(secs(3)).await;
        assert!(!report.drained && report.took < millis(3_500), "{report}");
        let [row] = &report.undelivered[..] else {
            panic!("{report}")
        };
        assert_eq!(
            (row.service.as_str(), row.event.as_str(), row.count),
            ("shop/a", "note", 2)
        );
        assert_eq!(row.event_ids, ids[1..]);
        let row = report.ledger.delivery("shop/a", "note").unwrap();
        assert_eq!(
            (row.acknowledged, row.undelivered, row.dead_lettered),
            (1, 2, 0)
        );
        assert_eq!((report.ledger.gap(), log.has("a 3")), (0, false));
    });
}

#[test]
fn of_what_was_left_unread_all_is_counted_and_the_last_are_named() {
    const NAMED: usize = callboard::defaults::UNDELIVERED_IDS;
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log).on_with::<Note>(|on| on.capacity(NAMED + 100));
        let board = here(shop().child(spec)).await;
        let mut ids = Vec::new();
        for id in 0..NAMED as u64 + 50 {
            let deed = Deed::Hang;
            ids.push(board.publish(doing(id, deed)).await.unwrap().number());
        }
        board.stop("shop/a").await.unwrap();
        board.restart("shop/a").await.unwrap();
        for id in 0..7 {
            ids.push(board.publish(doing(id, Deed::Hang)).await.unwrap().number());
        }
        let report = board.shutdown(Duration::ZERO).await;
        let [row] = &report.undelivered[..] else {
            panic!("{report}")
        };
        assert_eq!(row.count, ids.len() as u64);
        assert_eq!(row.event_ids, ids[ids.len() - NAMED..]);
        let counted = report.ledger.delivery("shop/a", "note").unwrap();
        assert_eq!((counted.undelivered, report.ledger.gap()), (row.count, 0));
    });
}

#[test]
fn what_waits_to_be_tried_again_at_the_deadline_is_undelivered_and_not_dead() {
    paused(async {
        let log = Log::new();
        let patient = Policy::new().retry(Retry::fixed(secs(60)));
        let board = here(shop().child(hearer("a", &log).policy(patient))).await;
        let id = board.publish(doing(1, Deed::Fail)).await.unwrap().number();
        log.wait_for("a 1").await;
        let report = board.shutdown(secs(3)).await;
        assert_eq!(report.undelivered[0].event_ids, [id]);
        let row = report.ledger.delivery("shop/a", "note").unwrap();
        assert_eq!(
            (row.undelivered, row.dead_lettered, row.deferred),
            (1, 0, 0)
        );
        assert_eq!((report.ledger.gap(), board.dead_letters().len()), (0, 0));
        assert!(log.has("a stopping: was shut down"));
    });
}

#[test]
fn a_report_reads_well() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log)).child(hearer("b", &log))).await;
        board.publish(doing(1, Deed::Hang)).await.unwrap();
        board.publish(note(2)).await.unwrap();
        let report = board.shutdown(Duration::ZERO).await;
        let text = format!(
            "shut down in {:?}, not drained\n\
             undelivered: 2 of note for shop/a\n\
             undelivered: 2 of note for shop/b\n\
             killed, since their time to stop was over: shop/a, shop/b\n\
             gap: 0",
            report.took
        );
        assert_eq!(report.to_string(), text);
    });
}

/// Blocks its thread until it is let go.
struct Blocker {
    entered: mpsc::Sender<()>,
    release: mpsc::Receiver<()>,
}
impl Service for Blocker {}
impl Handle<Note> for Blocker {
    async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
        self.entered.send(()).unwrap();
        let _ = self.release.recv();
        Ok(())
    }
}

#[test]
fn a_handler_that_blocks_its_thread_is_named_and_the_board_ends_all_the_same() {
    let (log, (entered, entering)) = (Log::new(), mpsc::channel());
    let (release, released) = mpsc::channel();
    let mut parts = Some((entered, released));
    let blocker = service("blocker", move || {
        let (entered, release) = parts.take().unwrap();
        Blocker { entered, release }
    });
    let root = shop()
        .child(probe("a", &log))
        .child(blocker.on::<Note>().dedicated());
    let board = Board::builder().arbiters(1).start(root).unwrap();
    board.publish_blocking(note(1)).unwrap();
    entering.recv().unwrap();
    let waits = |wait: fn(Board) -> String| {
        let board = board.clone();
        std::thread::spawn(move || wait(board))
    };
    let settled = waits(|board| {
        let all = board.publish(note(2)).settled().wait_blocking().unwrap();
        all.iter().map(ToString::to_string).collect()
    });
    let quiet = waits(|board| board.settle_blocking().unwrap_err().to_string());
    let row = || board.ledger().delivery("shop/blocker", "note").cloned();
    while row().is_none_or(|row| row.accepted < 2) {
        std::thread::yield_now();
    }
    let report = board.shutdown_blocking(millis(200));
    assert!(!report.drained);
    assert_eq!(settled.join().unwrap(), "shop/blocker: undelivered");
    let left = "cannot settle: the board has ended and left work behind: shop/blocker";
    assert_eq!(quiet.join().unwrap(), left);
    assert_eq!(board.settle_blocking().unwrap_err().to_string(), left);
    // Half a second is promised; the rest is for a machine that does something else.
    assert!(
        report.took >= millis(200) && report.took < secs(5),
        "{report}"
    );
    let [stuck] = &report.stuck[..] else {
        panic!("{report}")
    };
    assert_eq!(
        (stuck.service.as_str(), stuck.event.as_deref()),
        ("shop/blocker", Some("note"))
    );
    assert!(
        stuck.age >= millis(200) && stuck.age <= report.took + secs(5),
        "{report}"
    );
    assert!(
        report
            .to_string()
            .contains("\nstuck: shop/blocker on note, for "),
        "{report}"
    );
    assert_eq!((report.undelivered[0].count, report.ledger.gap()), (2, 0));
    release.send(()).unwrap();
}

#[test]
fn a_board_ends_while_a_child_is_starting_again() {
    paused(async {
        let log = Log::new();
        let spec = probe_with("a", &log, |life| match life {
            1 => Deed::Nothing,
            _ => Deed::Hang,
        });
        let a = spec.address();
        let board = here(shop().child(spec.on::<Note>())).await;
        a.tell(Do(Deed::Panic)).await.unwrap();
        log.wait_for("a dropped").await;
        let id = board.publish(note(1)).await.unwrap().number();
        let report = board.shutdown(secs(1)).await;
        assert_eq!(report.undelivered[0].event_ids, [id]);
        assert!(
            report.took < millis(1_500) && report.stuck.is_empty(),
            "{report}"
        );
        assert_eq!((report.ledger.gap(), log.count("a dropped")), (0, 2));
    });
}

#[test]
fn a_board_under_load_ends_with_every_event_accounted_for() {
    let log = Log::new();
    let root = shop().child(hearer("a", &log)).child(hearer("b", &log));
    let board = Board::builder().arbiters(2).start(root).unwrap();
    let flood = || {
        let mut accepted = 0_u64;
        while board.publish_blocking(note(accepted)).is_ok() {
            accepted += 1;
        }
        accepted
    };
    std::thread::scope(|scope| {
        let floods = [scope.spawn(flood), scope.spawn(flood)];
        while board
            .ledger()
            .topic("note")
            .is_none_or(|row| row.published < 1_000)
        {
            std::thread::yield_now();
        }
        let report = board.shutdown_blocking(secs(60));
        let accepted: u64 = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
        let row = report.ledger.delivery("shop/a", "note").unwrap();
        assert_eq!((row.accepted, row.acknowledged), (accepted, accepted));
        assert!(report.drained && report.undelivered.is_empty(), "{report}");
        assert_eq!(report.ledger.gap(), 0);
    });
}

#[test]
fn two_shutdowns_at_once_and_a_third_return_the_same_report() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.publish(doing(1, Deed::Sleep(secs(2)))).await.unwrap();
        let (first, second) = tokio::join!(board.shutdown(secs(5)), board.shutdown(secs(9)));
        let third = board.shutdown(secs(1)).await;
        assert_eq!(first.took.as_secs(), 2);
        for other in [second, third] {
            assert_eq!(other.to_string(), first.to_string());
            assert_eq!((other.took, &other.ledger), (first.took, &first.ledger));
        }
        assert_eq!(log.count("a stopping: was shut down"), 1);
        board.wait().await.unwrap();
    });
}

#[test]
fn a_board_whose_root_has_given_up_can_still_be_shut_down() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log).policy(Policy::new().retry(Retry::never()));
        let root = shop().max_restarts(1, secs(3_600));
        let board = here(root.child(spec)).await;
        for id in 1..=3 {
            board.try_publish(doing(id, Deed::Panic)).unwrap();
        }
        assert!(board.wait().await.is_err());
        let report = board.shutdown(secs(5)).await;
        assert!(report.took < secs(1), "{report}");
        assert_eq!((report.undelivered[0].count, report.ledger.gap()), (1, 0));
        assert!(board.wait().await.is_err());
    });
}

#[test]
fn whoever_waits_for_room_or_an_answer_is_woken_with_an_error() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log)
            .letters(1)
            .on_with::<Note>(|on| on.capacity(1));
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        a.tell(Do(Deed::Hang)).await.unwrap();
        log.wait_for("a Hang").await;
        board.publish(note(1)).await.unwrap();
        let waits = async {
            let answer = a.ask(Do(Deed::Nothing));
            let letter = async {
                tokio::task::yield_now().await;
                (a.tell(Do(Deed::Nothing)).await, began.elapsed())
            };
            let publish = async { (board.publish(note(2)).await, began.elapsed()) };
            tokio::join!(answer, letter, publish)
        };
        let stop = async {
            tokio::time::sleep(millis(10)).await;
            board.shutdown(secs(1)).await
        };
        let ((answer, letter, publish), report) = tokio::join!(waits, stop);
        assert!(matches!(answer, Err(AskError::Undelivered)));
        assert_eq!(letter.0.unwrap_err().to_string(), "the service has stopped");
        assert!(matches!(publish.0, Err(PublishError::Closed { .. })));
        assert_eq!((letter.1, publish.1), (millis(10), millis(10)));
        assert_eq!(report.ledger.gap(), 0);
    });
}

/// Says so when its thread ends.
struct Leaving(mpsc::Sender<()>);
impl Drop for Leaving {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}
thread_local! {
    static LEAVING: std::cell::RefCell<Option<Leaving>> = const { std::cell::RefCell::new(None) };
}
struct Resident(mpsc::Sender<()>);
impl Service for Resident {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        LEAVING.set(Some(Leaving(self.0.clone())));
        Ok(())
    }
}

#[test]
fn the_threads_of_a_board_end_with_it() {
    let (left, leaving) = mpsc::channel();
    let resident = |name: &str| {
        let left = left.clone();
        service(name, move || Resident(left.clone()))
    };
    let root = shop()
        .child(resident("a").arbiter(0))
        .child(resident("b").arbiter(1))
        .child(resident("c").dedicated());
    let board = Board::builder().arbiters(2).start(root).unwrap();
    assert!(leaving.try_recv().is_err());
    board.shutdown_blocking(secs(60));
    for _ in 0..3 {
        leaving.recv_timeout(secs(60)).unwrap();
    }
}

#[test]
fn a_panic_in_the_stopping_hook_stops_nobody_else() {
    paused(async {
        let log = Log::new();
        let rude = probe_hooked("b", &log, (|_| Deed::Nothing, |_| boom()));
        let board = here(shop().child(probe("a", &log)).child(rude)).await;
        end(&board).await;
        assert!(log.has("b dropped") && log.has("a stopped") && !log.has("b stopped"));
    });
}

/// An event that somebody counts the holders of.
struct Held(#[expect(dead_code, reason = "it is only held")] std::sync::Arc<()>);
impl Event for Held {
    const NAME: &'static str = "held";
}
struct Unable;
impl Service for Unable {}
impl Handle<Held> for Unable {
    async fn handle(&mut self, _: &Held, _: &mut Context<Self>) -> Outcome {
        Err(Failure::permanent("unable"))
    }
}
impl Answer<Do> for Unable {
    async fn answer(&mut self, _: Do, _: &mut Context<Self>) -> Outcome<u32> {
        Ok(1)
    }
}

#[test]
fn a_board_that_has_ended_keeps_nothing_when_its_handles_are_dropped() {
    paused(async {
        let held = std::sync::Arc::new(());
        let weak = std::sync::Arc::downgrade(&held);
        tokio::task::LocalSet::new()
            .run_until(async {
                let spec = service("unable", || Unable).on::<Held>();
                let unable = spec.address();
                let board = here(shop().child(spec)).await;
                board.publish(Held(held)).await.unwrap();
                unable.ask(Do(Deed::Nothing)).await.unwrap();
                end(&board).await;
                assert_eq!((board.dead_letters().len(), weak.strong_count()), (1, 1));
            })
            .await;
        assert_eq!(weak.strong_count(), 0);
    });
}
