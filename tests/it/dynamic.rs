//! Children that are started, stopped, restarted and forgotten while the board runs.

mod crowd;

mod ends;

mod errors;

mod races;

use std::time::Duration;

use callboard::prelude::*;
use callboard::{Backoff, Restart, State, SupervisorHandle};
use tokio::time::sleep;

use crate::support_lives::{Deed, Do, Log, end, hearer, here, note, paused, probe, until};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop").max_restarts(10, secs(10))
}

fn names(handle: &SupervisorHandle) -> Vec<String> {
    let children = handle.children();
    children.into_iter().map(|child| child.name).collect()
}

#[test]
fn a_child_is_started_stopped_started_again_and_deleted() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(probe("first", &log))).await;
        let handle = board.supervisor("shop").unwrap();
        let path = handle.start_child(hearer("a", &log)).await.unwrap();
        assert_eq!((path.as_str(), log.has("a started 1")), ("shop/a", true));
        board.publish(note(1)).await.unwrap();
        board.settle().await.unwrap();
        let below = Supervisor::one_for_one("team").child(probe("b", &log));
        assert_eq!(handle.start_child(below).await.unwrap(), "shop/team");
        let count = handle.count();
        assert_eq!((count.specs, count.active), (3, 3));
        assert_eq!((count.supervisors, count.services), (1, 2));

        handle.terminate_child("a").await.unwrap();
        handle.terminate_child("a").await.unwrap();
        assert!(log.has("a stopped") && log.has("a 1"));
        assert_eq!(handle.children()[1].state, State::Closed);
        assert_eq!((handle.count().specs, handle.count().active), (3, 2));
        board.publish(note(2)).await.unwrap();
        assert_eq!(board.ledger().topic("note").unwrap().unheard, 1);

        handle.restart_child("a").await.unwrap();
        board.publish(note(3)).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a started 2") && log.has("a 3") && !log.has("a 2"));
        assert_eq!(handle.children()[1].life, 2);

        handle.terminate_child("team").await.unwrap();
        handle.delete_child("team").await.unwrap();
        assert_eq!(names(&handle), ["first", "a"]);
        assert!(log.has("b stopped") && board.inspect("shop/team/b").is_err());
        // The name is free again.
        handle.start_child(probe("team", &log)).await.unwrap();
        assert!(!handle.children()[2].is_supervisor);
        end(&board).await;
        let stops = log.lines();
        let stops = stops.iter().filter(|line| line.ends_with(" stopped"));
        let stops: Vec<&str> = stops.map(String::as_str).collect();
        let expected = [
            "a stopped",
            "b stopped",
            "team stopped",
            "a stopped",
            "first stopped",
        ];
        assert_eq!(stops, expected);
    });
}

#[test]
fn one_that_is_terminated_in_its_backoff_stays_terminated() {
    paused(async {
        let log = Log::new();
        let root = shop().backoff(Backoff::fixed(secs(10)), secs(60));
        let board = here(root).await;
        let handle = board.supervisor("shop").unwrap();
        let a = probe("a", &log);
        let address = a.address();
        handle.start_child(a).await.unwrap();
        address.try_tell(Do(Deed::Panic)).unwrap();
        let state = || handle.children()[0].state;
        until(|| state() == State::BackingOff).await;
        handle.terminate_child("a").await.unwrap();
        sleep(secs(100)).await;
        assert_eq!((state(), log.has("a started 2")), (State::Closed, false));
        handle.restart_child("a").await.unwrap();
        assert_eq!((state(), handle.children()[0].life), (State::Running, 2));
        end(&board).await;
    });
}

#[test]
fn one_that_is_restarted_in_its_backoff_does_not_wait() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log);
        let address = a.address();
        let root = shop().backoff(Backoff::fixed(secs(10)), secs(60));
        let board = here(root.child(a)).await;
        address.try_tell(Do(Deed::Panic)).unwrap();
        until(|| board.inspect("shop/a").unwrap().state == State::BackingOff).await;
        let began = tokio::time::Instant::now();
        board.restart("shop/a").await.unwrap();
        assert_eq!(began.elapsed().as_millis(), 0);
        sleep(secs(100)).await;
        assert_eq!(board.inspect("shop/a").unwrap().life, 2);
        end(&board).await;
    });
}

#[test]
fn added_children_and_their_mailboxes_survive_a_restart_of_their_supervisor() {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team").max_restarts(0, secs(60));
        let board = here(shop().child(team.child(probe("fuse", &log)))).await;
        let handle = board.supervisor("shop/team").unwrap();
        let once = Policy::new().retry(Retry::never());
        let a = hearer("a", &log).policy(once).restart(Restart::Temporary);
        handle.start_child(a).await.unwrap();
        let fuse = board
            .service::<crate::support_lives::Probe>("shop/team/fuse")
            .unwrap();
        fuse.try_tell(Do(Deed::Panic)).unwrap();
        until(|| log.has("a dropped")).await;
        board.publish(note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert!(
            log.has("a started 2") && log.has("a 1"),
            "{:#?}",
            log.lines()
        );
        assert_eq!(names(&handle), ["fuse", "a"]);
        end(&board).await;
    });
}

#[test]
fn a_temporary_child_is_forgotten_and_its_counts_are_kept() {
    paused(async {
        let log = Log::new();
        // One of the spec, and one that is added.
        let spec = |name: &str| hearer(name, &log).restart(Restart::Temporary);
        let board = here(shop().child(spec("a"))).await;
        let handle = board.supervisor("shop").unwrap();
        handle.start_child(spec("b")).await.unwrap();
        for _ in 0..2 {
            for name in ["a", "b"] {
                let path = format!("shop/{name}");
                let address = board.service::<crate::support_lives::Probe>(&path).unwrap();
                address.ask(Do(Deed::Nothing)).await.unwrap();
                board.publish(note(1)).await.unwrap();
                board.settle().await.unwrap();
                address.tell(Do(Deed::Stop)).await.unwrap();
                until(|| board.inspect(&path).is_err()).await;
                handle.start_child(spec(name)).await.unwrap();
            }
        }
        assert_eq!(names(&handle), ["a", "b"]);
        let ledger = board.ledger();
        let letters = ledger
            .letters
            .iter()
            .map(|row| (&*row.service, row.answered));
        let letters: Vec<(&str, u64)> = letters.collect();
        assert_eq!(letters, [("shop/*", 8)]);
        let notes = ledger.deliveries.iter().map(|row| row.acknowledged);
        assert_eq!(notes.sum::<u64>(), 8);
        assert_eq!(ledger.gap(), 0);
        end(&board).await;
    });
}

/// Says when its thread has ended.
struct Thread(std::sync::mpsc::Sender<()>);
impl Drop for Thread {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

thread_local! {
    static THREAD: std::cell::RefCell<Option<Thread>> = const { std::cell::RefCell::new(None) };
}

struct Alone(std::sync::mpsc::Sender<()>, Outcome);
impl Service for Alone {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        THREAD.set(Some(Thread(self.0.clone())));
        self.1.clone()
    }
}

fn alone(outcome: Outcome) -> (callboard::ServiceSpec<Alone>, std::sync::mpsc::Receiver<()>) {
    let (sender, ended) = std::sync::mpsc::channel();
    let spec = service("alone", move || Alone(sender.clone(), outcome.clone()));
    (spec, ended)
}

#[test]
fn the_thread_of_a_dedicated_child_ends_with_its_spec() {
    let board = Board::builder().arbiters(1).start(shop()).unwrap();
    let handle = board.supervisor("shop").unwrap();
    let limit = Duration::from_secs(50);
    for nested in [false, true] {
        let (spec, ended) = alone(Ok(()));
        let name = if nested {
            let team = Supervisor::one_for_one("team").child(spec.dedicated());
            handle.start_child_blocking(team).unwrap();
            "team"
        } else {
            handle.start_child_blocking(spec.dedicated()).unwrap();
            "alone"
        };
        handle.terminate_child_blocking(name).unwrap();
        assert!(ended.try_recv().is_err());
        handle.delete_child_blocking(name).unwrap();
        ended.recv_timeout(limit).unwrap();
    }
    // One that does not start is not kept, and neither is its thread.
    let (spec, ended) = alone(Err(Failure::new("no")));
    handle.start_child_blocking(spec.dedicated()).unwrap_err();
    ended.recv_timeout(limit).unwrap();
    let report = board.shutdown_blocking(secs(60));
    assert_eq!((report.ledger.gap(), report.stuck.len()), (0, 0));
}
