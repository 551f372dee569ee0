//! A kill ends everything below at once, and only a service that was meant loses an attempt.

use callboard::prelude::*;

use crate::support_lives::{Deed, Log, Note, end, hearer, here, note, paused, until};

fn shop(log: &Log) -> Supervisor {
    let team = Supervisor::one_for_one("team")
        .child(hearer("a", log))
        .child(hearer("b", log));
    Supervisor::one_for_one("shop")
        .max_restarts(1, secs(100_000))
        .child(team)
}

/// Hangs in the first attempt that is counted as such.
fn hanging() -> Note {
    Note {
        id: 1,
        deed: Deed::Sleep(secs(3_600)),
    }
}

#[test]
fn a_killed_supervisor_comes_back_with_all_events_and_no_attempt_counted() {
    paused(async {
        let log = Log::new();
        let board = here(shop(&log)).await;
        board.publish(hanging()).await.unwrap();
        board.publish(note(2)).await.unwrap();
        log.wait_for("b 1").await;
        log.take();
        board.kill("shop/team").await.unwrap();
        log.wait_for("b 1").await;
        assert!(!log.has("a stopping: was killed") && log.has("a dropped"));
        let found = board.inspect("shop/team").unwrap();
        assert_eq!(found.last_exit.as_ref().unwrap().to_string(), "was killed");
        assert_eq!((found.life, found.children[1].life), (2, 2));
        board.settle().await.unwrap();
        for name in ["a", "b"] {
            let path = format!("shop/team/{name}");
            let row = board.ledger().delivery(&path, "note").unwrap().clone();
            assert_eq!((row.acknowledged, row.retried), (2, 0));
        }
        // The kill was counted: one more is one too many.
        board.kill("shop/team").await.unwrap();
        let error = board.wait().await.unwrap_err();
        assert_eq!(error.to_string(), "shop gave up: shop/team was killed");
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_killed_service_loses_an_attempt_and_its_sibling_none() {
    paused(async {
        let log = Log::new();
        let board = here(shop(&log)).await;
        board.publish(hanging()).await.unwrap();
        log.wait_for("b 1").await;
        board.kill("shop/team/b").await.unwrap();
        log.wait_for("b 1, attempt 2").await;
        assert!(!log.has("a dropped"));
        let row = board
            .ledger()
            .delivery("shop/team/b", "note")
            .unwrap()
            .clone();
        assert_eq!(row.retried, 1);
        board.settle().await.unwrap();
        end(&board).await;
    });
}

#[test]
fn a_kill_of_what_does_not_live_changes_nothing() {
    paused(async {
        let log = Log::new();
        let delays = callboard::Backoff::fixed(secs(10));
        let root = Supervisor::one_for_one("shop").backoff(delays, secs(60));
        let board = here(root.child(hearer("a", &log))).await;
        let deed = Deed::Panic;
        board.publish(Note { id: 1, deed }).await.unwrap();
        let state = || board.inspect("shop/a").unwrap().state;
        until(|| state() == callboard::State::BackingOff).await;
        board.kill("shop/a").await.unwrap();
        board.settle().await.unwrap();
        assert_eq!(board.inspect("shop/a").unwrap().life, 2);
        end(&board).await;
    });
}
