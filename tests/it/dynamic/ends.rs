//! Dynamic children end all at once, are forgotten, and leave one row behind.

use callboard::prelude::*;
use callboard::{Child, Restart, Shutdown};

use super::{names, shop};
use crate::support_lives::{
    Deed, Do, Hook, Log, Note, Probe, end, hearer, here, note, paused, probe, probe_hooked, until,
};

fn crowd(log: &Log, restart: Restart) -> Supervisor {
    let log = log.clone();
    Supervisor::dynamic("sessions", move |name: &'static str| {
        let slow: Hook = |_| Deed::Sleep(secs(1));
        let fine: Hook = |_| Deed::Nothing;
        probe_hooked(name, &log, (fine, slow))
            .on::<Note>()
            .restart(restart)
    })
}

#[test]
fn they_stop_all_at_once_and_restart_one_for_one() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(crowd(&log, Restart::Permanent))).await;
        let handle = board.supervisor("shop/sessions").unwrap();
        assert!(handle.is_dynamic());
        for name in ["a", "b", "c", "d"] {
            handle.start_child_from(name).await.unwrap();
        }
        let b = board.service::<Probe>("shop/sessions/b").unwrap();
        b.tell(Do(Deed::Panic)).await.unwrap();
        log.wait_for("b started 2").await;
        assert_eq!(
            log.lines()
                .iter()
                .filter(|line| line.contains("dropped"))
                .count(),
            1
        );
        let began = tokio::time::Instant::now();
        board.restart("shop/sessions").await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);
        assert_eq!(names(&handle), ["a", "b", "c", "d"]);
        assert!(log.has("a started 2") && log.has("b started 3"));
        let began = tokio::time::Instant::now();
        end(&board).await;
        assert_eq!(began.elapsed().as_secs(), 1);
    });
}

#[test]
fn those_that_end_for_good_are_forgotten_and_counted_in_one_row() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        paused(async {
            let log = Log::new();
            let board = here(shop().child(crowd(&log, restart))).await;
            let handle = board.supervisor("shop/sessions").unwrap();
            for round in 1..=3 {
                for name in ["a", "b"] {
                    handle.start_child_from(name).await.unwrap();
                }
                board.publish(note(round)).await.unwrap();
                for name in ["a", "b"] {
                    let path = format!("shop/sessions/{name}");
                    let one = board.service::<Probe>(&path).unwrap();
                    one.ask(Do(Deed::Nothing)).await.unwrap();
                    if restart == Restart::Permanent {
                        handle.terminate_child(name).await.unwrap();
                    } else {
                        one.tell(Do(Deed::Stop)).await.unwrap();
                        until_gone(&board, &path).await;
                    }
                }
                assert_eq!(names(&handle), Vec::<String>::new());
            }
            let ledger = board.ledger();
            let row = ledger.delivery("shop/sessions/*", "note").unwrap();
            assert_eq!((row.accepted, row.acknowledged), (6, 6));
            let letters = ledger.letter("shop/sessions/*").unwrap();
            let stops = if restart == Restart::Permanent { 0 } else { 6 };
            assert_eq!(letters.answered, 6 + stops);
            assert_eq!((ledger.deliveries.len(), ledger.letters.len()), (1, 1));
            assert_eq!(board.services(), Vec::<String>::new());
            end(&board).await;
        });
    }
}

async fn until_gone(board: &Board, path: &str) {
    for _ in 0..200 {
        if board.inspect(path).is_err() {
            return;
        }
        tokio::time::advance(millis(10)).await;
        tokio::task::yield_now().await;
    }
    panic!("{path} stays");
}

#[test]
fn nested_ones_leave_one_row_with_all_below_them() {
    paused(async {
        let log = Log::new();
        let kept = log.clone();
        let tenants = Supervisor::dynamic("tenants", move |name: &'static str| -> Child {
            let fixed = hearer("fixed", &kept);
            let brief = probe("brief", &kept).restart(Restart::Temporary);
            let below = crowd(&kept, Restart::Transient);
            Supervisor::one_for_one(name)
                .child(fixed)
                .child(brief)
                .child(below)
                .into()
        });
        let board = here(shop().child(tenants)).await;
        let handle = board.supervisor("shop/tenants").unwrap();
        for name in ["x", "y"] {
            handle.start_child_from(name).await.unwrap();
            let sessions = format!("shop/tenants/{name}/sessions");
            let crowd = board.supervisor(&sessions).unwrap();
            crowd.start_child_from("a").await.unwrap();
            crowd.start_child_from("b").await.unwrap();
            board.publish(note(1)).await.unwrap();
            for one in ["sessions/a", "brief"] {
                let path = format!("shop/tenants/{name}/{one}");
                let one = board.service::<Probe>(&path).unwrap();
                one.ask(Do(Deed::Nothing)).await.unwrap();
            }
            crowd.terminate_child("a").await.unwrap();
            board
                .stop(&format!("shop/tenants/{name}/brief"))
                .await
                .unwrap();
            handle.terminate_child(name).await.unwrap();
        }
        board.settle().await.unwrap();
        let ledger = board.ledger();
        assert_eq!(
            (ledger.deliveries.len(), ledger.letters.len()),
            (1, 1),
            "{ledger}"
        );
        let row = ledger.delivery("shop/tenants/*", "note").unwrap();
        assert_eq!((row.accepted, row.acknowledged), (6, 6));
        assert_eq!(ledger.letter("shop/tenants/*").unwrap().answered, 4);
        assert!(board.supervisor("shop/tenants/x/sessions").is_err());
        end(&board).await;
    });
}

#[test]
fn one_that_is_terminated_while_its_supervisor_gives_up_is_closed_all_the_same() {
    paused(async {
        let log = Log::new();
        let sessions = crowd(&log, Restart::Permanent).max_restarts(3, secs(60));
        let board = here(shop().child(sessions)).await;
        let handle = board.supervisor("shop/sessions").unwrap();
        handle.start_child_from("a").await.unwrap();
        handle.start_child_from("b").await.unwrap();
        let b = board.service::<Probe>("shop/sessions/b").unwrap();
        let crash = async {
            // Stopping takes a second, and what is published meanwhile is not read.
            log.wait_for("a stopping: was shut down").await;
            board.publish(note(7)).await.unwrap();
            for life in 2..=4 {
                b.tell(Do(Deed::Panic)).await.unwrap();
                log.wait_for(&format!("b started {life}")).await;
            }
            b.tell(Do(Deed::Panic)).await.unwrap();
        };
        let (_, ()) = tokio::join!(handle.terminate_child("a"), crash);
        log.wait_for("b started 5").await;
        until(|| board.inspect("shop/sessions/a").is_err()).await;
        board.settle().await.unwrap();
        assert_eq!(names(&handle), ["b"]);
        let row = board
            .ledger()
            .delivery("shop/sessions/*", "note")
            .unwrap()
            .clone();
        assert_eq!((row.accepted, row.undelivered), (1, 1));
        assert!(!log.has("a started 2"));
        let report = board.shutdown(secs(60)).await;
        let [left] = &*report.undelivered else {
            panic!("{report}");
        };
        assert_eq!((&*left.service, &*left.event), ("shop/sessions/*", "note"));
        assert_eq!(left.event_ids.len(), 1);
        assert_eq!(report.ledger.gap(), 0);
    });
}

#[test]
fn one_that_is_deleted_while_it_is_suspended_leaves_its_name_free() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board.suspend("shop/a").unwrap();
        let handle = board.supervisor("shop").unwrap();
        handle.terminate_child("a").await.unwrap();
        handle.delete_child("a").await.unwrap();
        handle.start_child(hearer("a", &log)).await.unwrap();
        board.publish(note(1)).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("a 1"));
        board.publish(note(2)).await.unwrap();
        end(&board).await;
        assert!(log.has("a 2"), "a shutdown drains it");
    });
}

#[test]
fn what_those_that_come_and_go_leave_unread_is_counted_and_the_last_are_named() {
    const NAMED: usize = callboard::defaults::UNDELIVERED_IDS;
    paused(async {
        let log = Log::new();
        let kept = log.clone();
        let recipe = move |name: &'static str| hearer(name, &kept).shutdown(Shutdown::Kill);
        let board = here(shop().child(Supervisor::dynamic("sessions", recipe))).await;
        let handle = board.supervisor("shop/sessions").unwrap();
        let mut ids = Vec::new();
        for name in ["a", "b", "a"] {
            handle.start_child_from(name).await.unwrap();
            for id in 0..NAMED as u64 / 2 {
                let deed = Deed::Hang;
                ids.push(board.publish(Note { id, deed }).await.unwrap().number());
            }
            handle.terminate_child(name).await.unwrap();
        }
        let report = board.shutdown(secs(60)).await;
        let [left] = &*report.undelivered else {
            panic!("{report}");
        };
        assert_eq!((&*left.service, &*left.event), ("shop/sessions/*", "note"));
        assert_eq!(left.count, ids.len() as u64);
        assert_eq!(left.event_ids, ids[ids.len() - NAMED..]);
        assert_eq!(report.ledger.gap(), 0);
    });
}
