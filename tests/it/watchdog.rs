//! A handler that blocks its thread, or waits too long, is noticed, told of once, and reported.

use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::{env, thread};

use callboard::prelude::*;
use callboard::{Inspection, StartError, Watchdog};

use crate::support_blocker::{blocker, blocker_per_key};
use crate::support_lives::{Deed, Log, Note, end, hearer, note, paused};

/// A board whose first arbiter a service blocks, with neighbours there and one elsewhere.
fn blocked(watchdog: Watchdog) -> (Board, Sender<()>) {
    let (wall, reins) = blocker("wall");
    let log = Log::new();
    let root = Supervisor::one_for_one("shop")
        .child(wall.arbiter(0))
        .child(hearer("b", &log).arbiter(0))
        .child(hearer("a", &log).arbiter(0))
        .child(hearer("far", &log).arbiter(1));
    let builder = Board::builder().arbiters(2).watchdog(watchdog);
    let board = builder.start(root).unwrap();
    board.publish_blocking(note(1)).unwrap();
    reins.blocks.recv().unwrap();
    (board, reins.release)
}

fn quick() -> Watchdog {
    Watchdog::new().blocked_after(millis(20))
}

/// Looks until it is so: the watchdog runs on another thread.
fn until(board: &Board, so: impl Fn(&Inspection) -> bool) -> Inspection {
    loop {
        let wall = board.inspect("shop/wall").unwrap();
        if so(&wall) {
            return wall;
        }
        thread::yield_now();
    }
}

#[test]
fn a_handler_that_blocks_its_thread_is_seen_with_its_neighbours_until_it_lets_go() {
    let (board, free) = blocked(quick());
    let found = until(&board, |wall| {
        wall.current.as_ref().is_some_and(|current| current.blocked)
    });
    let current = found.current.unwrap();
    assert_eq!(current.event.as_deref(), Some("note"));
    assert_eq!(current.attempt, 1);
    assert!(
        current.on_thread && current.age >= millis(20),
        "{current:?}"
    );
    assert_eq!(current.neighbours, ["shop/a", "shop/b"]);
    free.send(()).unwrap();
    until(&board, |wall| wall.current.is_none());
    board.settle_blocking().unwrap();
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}

#[test]
fn an_instance_that_blocks_its_thread_is_seen_as_its_service() {
    let (wall, reins) = blocker_per_key("wall");
    let builder = Board::builder().arbiters(1).watchdog(quick());
    let board = builder
        .start(Supervisor::one_for_one("shop").child(wall))
        .unwrap();
    board.publish_blocking(note(1)).unwrap();
    reins.blocks.recv().unwrap();
    let found = until(&board, |wall| {
        wall.current.as_ref().is_some_and(|current| current.blocked)
    });
    let current = found.current.unwrap();
    assert_eq!(current.event.as_deref(), Some("note"));
    assert!(current.on_thread && current.attempt == 1, "{current:?}");
    reins.release.send(()).unwrap();
    until(&board, |wall| wall.current.is_none());
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}

#[test]
fn a_shutdown_leaves_a_blocked_thread_behind_and_says_so() {
    let (board, free) = blocked(quick());
    let report = board.shutdown_blocking(millis(50));
    let [stuck] = &*report.stuck else {
        panic!("{report}");
    };
    assert_eq!(
        (&*stuck.service, stuck.event.as_deref(), stuck.blocks),
        ("shop/wall", Some("note"), true)
    );
    assert_eq!(stuck.neighbours, ["shop/a", "shop/b"]);
    let said = "stuck: shop/wall on note, for";
    let text = report.to_string();
    let line = text.lines().find(|line| line.starts_with(said)).unwrap();
    assert!(line.ends_with("and with it shop/a, shop/b"), "{line}");
    assert_eq!(report.ledger.gap(), 0);
    free.send(()).unwrap();
}

#[test]
fn a_watchdog_that_is_off_says_nothing_and_the_report_still_does() {
    let (board, free) = blocked(Watchdog::off());
    let current = board.inspect("shop/wall").unwrap().current.unwrap();
    assert!(current.on_thread && !current.blocked);
    assert_eq!(board.shutdown_blocking(millis(50)).stuck.len(), 1);
    free.send(()).unwrap();
}

#[test]
fn a_limit_of_zero_is_refused() {
    for watchdog in [
        Watchdog::new().blocked_after(Duration::ZERO),
        Watchdog::new().waiting_after(Duration::ZERO),
    ] {
        let root = Supervisor::one_for_one("shop");
        let refused = Board::builder().watchdog(watchdog).start(root).unwrap_err();
        assert!(matches!(refused, StartError::Refused { .. }), "{refused}");
        let text = "a limit of the watchdog is zero, so every handler would be stuck";
        assert!(refused.to_string().ends_with(text), "{refused}");
    }
}

#[test]
fn a_handler_that_waits_too_long_is_told_of_once_and_can_be_killed() {
    use ::tracing::Level;
    let log = Log::new();
    let witness = crate::tracing::watched("callboard=warn", || {
        paused(async {
            let root = Supervisor::one_for_one("shop").child(hearer("a", &log));
            let watchdog = Watchdog::new().waiting_after(secs(10));
            let builder = Board::builder().watchdog(watchdog).on_this_thread();
            let board = builder.start(root).await.unwrap();
            let hang = Note {
                id: 1,
                deed: Deed::Hang,
            };
            board.publish(hang).await.unwrap();
            tokio::time::sleep(secs(60)).await;
            for life in 1..=3 {
                log.wait_for(&format!("a started {life}")).await;
                board.kill("shop/a").await.unwrap();
            }
            board.settle().await.unwrap();
            assert_eq!(board.dead_letters().len(), 1);
            end(&board).await;
        });
    });
    let told = witness.events("callboard::watchdog", Level::WARN);
    let [told] = &*told else { panic!("{told:?}") };
    let fields = ["service", "event", "attempt"].map(|name| told.field(name));
    assert_eq!(fields, ["shop/a", "note", "1"]);
    let text = "a handler has been waiting for long: set a timeout, or end it with Board::kill";
    assert_eq!(told.field("message"), text);
}

/// Goes on for ever, beside its service.
struct Zeal;
impl Event for Zeal {
    const NAME: &'static str = "z.later";
}

/// Keeps its service for ever.
struct Queue;
impl Event for Queue {
    const NAME: &'static str = "b.block";
}
impl Message for Queue {
    type Reply = ();
}

struct Desk;
impl Service for Desk {}
impl Handle<Zeal> for Desk {
    async fn handle(&mut self, _: &Zeal, cx: &mut Context<Self>) -> Outcome {
        cx.later(std::future::pending(), async |_, (), _| Ok(()));
        Ok(())
    }
}
impl Handle<Queue> for Desk {
    async fn handle(&mut self, _: &Queue, _: &mut Context<Self>) -> Outcome {
        std::future::pending().await
    }
}
impl Answer<Queue> for Desk {
    async fn answer(&mut self, _: Queue, _: &mut Context<Self>) -> Outcome {
        std::future::pending().await
    }
}

#[test]
fn what_a_service_is_busy_with_is_told_apart_from_what_is_open_beside_it() {
    use ::tracing::Level;
    let witness = crate::tracing::watched("callboard::watchdog=warn", || {
        for is_event in [true, false] {
            paused(async {
                let desk = service("desk", || Desk).on::<Zeal>().on::<Queue>();
                let address = desk.address();
                let root = Supervisor::one_for_one("shop").child(desk);
                let watchdog = Watchdog::new().waiting_after(secs(10));
                let builder = Board::builder().watchdog(watchdog).on_this_thread();
                let board = builder.start(root).await.unwrap();
                let open = board.publish(Zeal).await.unwrap().number();
                let busy = if is_event {
                    board.publish(Queue).await.unwrap().number()
                } else {
                    address.tell(Queue).await.unwrap();
                    open + 1
                };
                let current = || board.inspect("shop/desk").unwrap().current;
                let is_busy = || current().is_some_and(|now| now.event_id == Some(busy));
                crate::support_lives::until(is_busy).await;
                let row = board.ledger().delivery("shop/desk", "z.later").cloned();
                assert_eq!(row.unwrap().in_flight, 1);
                let event = current().unwrap().event;
                assert_eq!(event.as_deref(), is_event.then_some("b.block"));
                tokio::time::sleep(secs(60)).await;
                board.shutdown(Duration::ZERO).await;
            });
        }
    });
    let told = witness.events("callboard::watchdog", Level::WARN);
    let told: Vec<_> = told
        .iter()
        .map(|told| (told.field("event"), told.field("message")))
        .collect();
    let handler = "a handler has been waiting for long: set a timeout, or end it with Board::kill";
    let answer = "an answer, hook or timer has been waiting for long: limit what it waits for, or \
                  end it with Board::kill";
    assert_eq!(told, [("b.block", handler), ("", answer)]);
}

/// Waits that long; of each key another instance.
struct Wait(u64, Duration);
impl Event for Wait {
    const NAME: &'static str = "wait";
    fn key(&self) -> callboard::Key {
        self.0.into()
    }
}
struct Waits;
impl Service for Waits {}
impl Handle<Wait> for Waits {
    async fn handle(&mut self, wait: &Wait, _: &mut Context<Self>) -> Outcome {
        tokio::time::sleep(wait.1).await;
        Ok(())
    }
}

#[test]
fn each_instance_that_waits_too_long_is_told_of_and_the_oldest_is_seen() {
    use ::tracing::Level;
    let witness = crate::tracing::watched("callboard=warn", || {
        paused(async {
            let waits = service("a", || Waits).on::<Wait>().per_key(|_| Waits);
            let watchdog = Watchdog::new().waiting_after(secs(10));
            let builder = Board::builder().watchdog(watchdog).on_this_thread();
            let root = Supervisor::one_for_one("shop").child(waits);
            let board = builder.start(root).await.unwrap();
            let current = || board.inspect("shop/a").unwrap().current;
            board.publish(Wait(1, secs(60))).await.unwrap();
            tokio::time::sleep(secs(30)).await;
            board.publish(Wait(2, secs(60))).await.unwrap();
            board.publish(Wait(3, secs(1))).await.unwrap();
            tokio::time::sleep(secs(20)).await;
            let oldest = current().unwrap();
            assert_eq!((oldest.event_id, oldest.age.as_secs()), (Some(1), 50));
            tokio::time::sleep(secs(20)).await;
            let oldest = current().unwrap();
            assert_eq!((oldest.event_id, oldest.age.as_secs()), (Some(2), 40));
            board.settle().await.unwrap();
            assert!(current().is_none());
            end(&board).await;
        });
    });
    let told = witness.events("callboard::watchdog", Level::WARN);
    let told: Vec<_> = told.iter().map(|told| told.field("event_id")).collect();
    assert_eq!(told, ["1", "2"]);
}

#[test]
fn later_work_that_blocks_its_thread_is_seen_though_its_service_rests() {
    struct Later(Sender<()>, Arc<Mutex<Receiver<()>>>);
    impl Service for Later {}
    impl Handle<Note> for Later {
        async fn handle(&mut self, _: &Note, cx: &mut Context<Self>) -> Outcome {
            let (at, free) = (self.0.clone(), Arc::clone(&self.1));
            let blocks = async move {
                // The service comes to rest first.
                tokio::task::yield_now().await;
                at.send(()).unwrap();
                free.lock().unwrap().recv().unwrap();
            };
            cx.later(blocks, async |_, (), _| Ok(()));
            Ok(())
        }
    }
    let ((at, blocks), (release, free)) = (channel(), channel());
    let free = Arc::new(Mutex::new(free));
    let wall = service("wall", move || Later(at.clone(), Arc::clone(&free))).on::<Note>();
    let root = Supervisor::one_for_one("shop").child(wall);
    let builder = Board::builder().arbiters(1).watchdog(quick());
    let board = builder.start(root).unwrap();
    board.publish_blocking(note(1)).unwrap();
    blocks.recv().unwrap();
    let found = until(&board, |wall| {
        wall.current.as_ref().is_some_and(|current| current.blocked)
    });
    let current = found.current.unwrap();
    assert!(
        current.on_thread && current.age >= millis(20),
        "{current:?}"
    );
    assert_eq!(current.event.as_deref(), Some("note"));
    release.send(()).unwrap();
    until(&board, |wall| wall.current.is_none());
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}

const CASE: &str = "CALLBOARD_WATCHDOG_CASE";

#[test]
fn a_handler_that_blocks_is_told_of_with_its_neighbours() {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["watchdog::one_case_in_a_process_of_its_own", "--exact"]);
    let out = child.arg("--nocapture").env(CASE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    let warned = |line: &&str| line.contains("a handler is blocking its thread");
    let lines: Vec<&str> = text.lines().filter(warned).collect();
    let [line] = &*lines else { panic!("{text}") };
    for part in [
        "WARN callboard::watchdog",
        "service=\"shop/wall\" event=\"note\"",
        "attempt=1",
        "neighbours=\"shop/a, shop/b\"",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

/// The watchdog speaks on a thread of the board's, so the whole process has to listen.
#[test]
fn one_case_in_a_process_of_its_own() {
    if env::var(CASE).is_err() {
        return;
    }
    let listening = tracing_subscriber::fmt().with_ansi(false);
    listening.with_writer(std::io::stderr).init();
    let (board, free) = blocked(quick());
    until(&board, |wall| {
        wall.current.as_ref().is_some_and(|current| current.blocked)
    });
    // A handler that goes on blocking is not told of again.
    let more = board.inspect("shop/wall").unwrap().current.unwrap().age + millis(100);
    until(&board, |wall| {
        wall.current
            .as_ref()
            .is_some_and(|current| current.age > more)
    });
    free.send(()).unwrap();
    board.settle_blocking().unwrap();
    board.shutdown_blocking(secs(5));
}
