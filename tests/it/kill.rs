//! A kill ends a handler that waits for ever, with its event, and no kill is forgotten.

use callboard::policy::Trouble;
use callboard::prelude::*;
use callboard::{AskError, Reason, Restart, State};

use crate::support_blocker::blocker;
use crate::support_lives::{Deed, Do, Log, Note, end, hearer, here, note, paused, probe, until};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn hanging(id: u64) -> Note {
    let deed = Deed::Hang;
    Note { id, deed }
}

fn row(board: &Board, service: &str) -> callboard::DeliveryRow {
    board.ledger().delivery(service, "note").unwrap().clone()
}

#[test]
fn each_kill_counts_one_attempt_until_the_event_is_a_dead_letter() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.publish(hanging(1)).await.unwrap();
        board.publish(note(2)).await.unwrap();
        for line in ["a 1", "a 1, attempt 2", "a 1, attempt 3"] {
            log.wait_for(line).await;
            assert!(board.dead_letters().is_empty());
            board.kill("shop/a").await.unwrap();
        }
        board.settle().await.unwrap();
        assert!(log.has("a 2"));
        let letters = board.dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].reason(), Reason::AttemptsUsedUp);
        let troubles = letters[0].attempts().iter().map(|one| one.trouble);
        assert_eq!(troubles.collect::<Vec<_>>(), [Trouble::Killed; 3]);
        let failure = letters[0].failure().unwrap().to_string();
        assert_eq!(failure, "killed on request");
        let (dead, done) = (row(&board, "shop/a").dead_lettered, log.count("a stopped"));
        assert_eq!((dead, done), (1, 0));
        let found = board.inspect("shop/a").unwrap();
        assert!(matches!(found.last_exit, Some(Exit::Killed)) && found.restarts() == 3);
        let last = found.last_failure.unwrap();
        assert_eq!((last.event, last.attempt), ("note", 3));
        end(&board).await;
    });
}

#[test]
fn an_event_that_may_be_tried_once_is_a_dead_letter_at_once() {
    paused(async {
        let log = Log::new();
        let once = Policy::new().retry(Retry::never());
        let spec = hearer("a", &log).policy(once).restart(Restart::Temporary);
        let board = here(shop().child(spec)).await;
        board.publish(hanging(1)).await.unwrap();
        board.publish(note(2)).await.unwrap();
        log.wait_for("a 1").await;
        board.kill("shop/a").await.unwrap();
        until(|| board.inspect("shop/a").is_err()).await;
        assert_eq!(board.dead_letters().len(), 1);
        board.settle().await.unwrap();
        let row = row(&board, "shop/a");
        assert_eq!((row.dead_lettered, row.undelivered), (1, 1));
        end(&board).await;
    });
}

#[test]
fn one_that_is_idle_is_ended_and_restarted_and_that_is_counted() {
    paused(async {
        let log = Log::new();
        let root = shop().max_restarts(3, secs(60));
        let board = here(root.child(hearer("a", &log))).await;
        for life in 2..=4 {
            board.kill("shop/a").await.unwrap();
            log.wait_for(&format!("a started {life}")).await;
        }
        assert!(!log.has("a stopping: was killed") && log.count("a dropped") == 3);
        assert!(board.inspect("shop/a").unwrap().last_failure.is_none());
        board.kill("shop/a").await.unwrap();
        let error = board.wait().await.unwrap_err();
        assert_eq!(error.to_string(), "shop gave up: shop/a was killed");
        end(&board).await;
    });
}

#[test]
fn a_letter_in_flight_is_lost_with_its_life_and_the_others_are_answered() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let killing = async {
            log.wait_for("a Hang").await;
            board.kill("shop/a").await.unwrap();
        };
        let both = async { tokio::join!(a.ask(Do(Deed::Hang)), a.ask(Do(Deed::Nothing))) };
        let ((first, second), ()) = tokio::join!(both, killing);
        assert!(matches!(first, Err(AskError::Crashed)), "{first:?}");
        assert_eq!(second.unwrap(), 2);
        assert_eq!(board.ledger().letter("shop/a").unwrap().failed, 1);
        end(&board).await;
    });
}

#[test]
fn the_kill_of_a_supervisor_ends_all_below_it_and_counts_no_attempt() {
    paused(async {
        let log = Log::new();
        let below = Supervisor::one_for_one("below").child(probe("c", &log));
        let team = Supervisor::one_for_one("team")
            .child(hearer("b", &log))
            .child(below);
        let board = here(shop().child(team)).await;
        board.publish(hanging(1)).await.unwrap();
        board.publish(note(2)).await.unwrap();
        log.wait_for("b 1").await;
        board.kill("shop/team").await.unwrap();
        log.wait_for("c started 2").await;
        until(|| log.count("b 1") == 2).await;
        assert!(!log.has("b stopped") && !log.has("c stopped"));
        let found = board.inspect("shop/team").unwrap();
        assert!(matches!(found.last_exit, Some(Exit::Killed)));
        assert_eq!((found.life, found.state), (2, State::Running));
        assert_eq!(row(&board, "shop/team/b").retried, 0);
        for line in ["b 1, attempt 2", "b 1, attempt 3"] {
            board.kill("shop/team/b").await.unwrap();
            log.wait_for(line).await;
        }
        board.kill("shop/team/b").await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("b 2"));
        assert_eq!(row(&board, "shop/team/b").dead_lettered, 1);
        end(&board).await;
    });
}

#[test]
fn one_that_does_not_end_in_its_time_can_be_killed_before() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log).shutdown(secs(1_000));
        let began = tokio::time::Instant::now();
        let board = here(shop().child(spec)).await;
        board.publish(hanging(1)).await.unwrap();
        log.wait_for("a 1").await;
        let killing = async {
            until(|| board.inspect("shop/a").unwrap().state == State::Stopping).await;
            board.kill("shop/a").await.unwrap();
        };
        let (stopped, ()) = tokio::join!(board.stop("shop/a"), killing);
        stopped.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        let row = row(&board, "shop/a");
        assert_eq!((row.undelivered, row.dead_lettered), (1, 0));
        end(&board).await;
    });
}

#[test]
fn it_does_not_reach_a_handler_that_blocks_its_thread_until_that_returns() {
    let (spec, reins) = blocker("a");
    let root = shop().child(spec.dedicated());
    let board = Board::builder().arbiters(1).start(root).unwrap();
    board.publish_blocking(note(1)).unwrap();
    reins.blocks.recv().unwrap();
    board.kill_blocking("shop/a").unwrap();
    let found = board.inspect("shop/a").unwrap();
    assert_eq!((found.life, found.mailbox.in_flight), (1, 1));
    assert!(found.current.unwrap().on_thread);
    reins.release.send(()).unwrap();
    while board.inspect("shop/a").unwrap().life == 1 {
        std::thread::yield_now();
    }
    board.publish_blocking(note(2)).unwrap();
    board.settle_blocking().unwrap();
    let row = row(&board, "shop/a");
    assert_eq!((row.acknowledged, row.retried), (2, 0));
    let exit = board.inspect("shop/a").unwrap().last_exit;
    assert!(matches!(exit, Some(Exit::Killed)));
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}
