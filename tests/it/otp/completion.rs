//! A supervisor whose significant children are done ends, in order and as if told to.

use callboard::prelude::*;
use callboard::{AutoShutdown, Restart, Shutdown, State};

use super::stage::eventually;
use crate::support_lives::{Deed, Do, Log, Note, end, hearer, here, note, paused, probe};

fn team(when: AutoShutdown) -> Supervisor {
    Supervisor::one_for_one("team")
        .auto_shutdown(when)
        .restart(Restart::Transient)
}

#[test]
fn any_or_all_significant_children_complete_their_supervisor() {
    for (when, ends) in [
        (AutoShutdown::AnySignificant, 1),
        (AutoShutdown::AllSignificant, 2),
    ] {
        paused(async {
            let log = Log::new();
            let significant = ["b", "c"].map(|name| {
                let spec = probe(name, &log).restart(Restart::Transient);
                spec.significant()
            });
            let addresses = significant.each_ref().map(|spec| spec.address());
            let below = team(when).child(probe("a", &log));
            let below = significant.into_iter().fold(below, Supervisor::child);
            let root = Supervisor::one_for_one("shop").child(below.child(probe("d", &log)));
            let board = here(root).await;
            log.take();
            for (at, address) in addresses.iter().enumerate() {
                let state = board.inspect("shop/team").unwrap().state;
                assert_eq!(state == State::Running, at < ends);
                if at < ends {
                    address.try_tell(Do(Deed::Stop)).unwrap();
                    let name = ["b", "c"][at];
                    log.wait_for(&format!("{name} dropped")).await;
                    if at + 1 == ends {
                        log.wait_for("a dropped").await;
                    }
                }
                board.settle().await.unwrap();
            }
            let state = || board.inspect("shop/team").unwrap().state;
            eventually(|| state() == State::Closed).await;
            let lines = log.lines();
            let is_stop = |line: &&String| line.contains("stopping: was shut down");
            let stopped: Vec<&str> = lines
                .iter()
                .filter(is_stop)
                .map(|line| &line[..1])
                .collect();
            let expected = if ends == 1 {
                vec!["d", "c", "a"]
            } else {
                vec!["d", "a"]
            };
            assert_eq!(stopped, expected);
            let exit = board.inspect("shop/team").unwrap().last_exit.unwrap();
            assert_eq!(exit.to_string(), "was shut down");
            end(&board).await;
        });
    }
}

#[test]
fn a_significant_child_that_fails_or_is_terminated_completes_nothing() {
    paused(async {
        let log = Log::new();
        let b = probe("b", &log).restart(Restart::Transient).significant();
        let address = b.address();
        let below = team(AutoShutdown::AnySignificant).child(b);
        let board = here(Supervisor::one_for_one("shop").child(below)).await;
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("b started 2").await;
        board.stop("shop/team/b").await.unwrap();
        board.settle().await.unwrap();
        let found = board.inspect("shop/team").unwrap();
        assert_eq!(found.state, State::Running);
        assert_eq!(found.children[0].state, State::Closed);
        end(&board).await;
    });
}

#[test]
fn a_root_that_is_complete_ends_its_board_without_an_error() {
    paused(async {
        let log = Log::new();
        let b = hearer("b", &log).restart(Restart::Transient).significant();
        let address = b.address();
        let root = Supervisor::one_for_one("shop").auto_shutdown(AutoShutdown::AnySignificant);
        let board = here(root.child(hearer("a", &log)).child(b)).await;
        address.try_tell(Do(Deed::Stop)).unwrap();
        board.wait().await.unwrap();
        assert!(log.has("a stopped"));
        end(&board).await;
    });
}

#[test]
fn what_a_temporary_significant_child_had_not_read_is_undelivered() {
    paused(async {
        let log = Log::new();
        let b = hearer("b", &log).restart(Restart::Temporary).significant();
        let below = team(AutoShutdown::AnySignificant).child(b);
        let board = here(Supervisor::one_for_one("shop").child(below)).await;
        let deed = Deed::Stop;
        board.try_publish(Note { id: 1, deed }).unwrap();
        board.try_publish(note(2)).unwrap();
        log.wait_for("b dropped").await;
        let state = || board.inspect("shop/team").unwrap().state;
        eventually(|| state() == State::Closed).await;
        board.settle().await.unwrap();
        let row = board
            .ledger()
            .delivery("shop/team/b", "note")
            .unwrap()
            .clone();
        assert_eq!((row.acknowledged, row.undelivered), (1, 1));
        assert!(board.inspect("shop/team/b").is_err());
        end(&board).await;
    });
}

#[test]
fn a_supervisor_that_drains_lets_all_below_finish_what_they_had_accepted() {
    paused(async {
        let log = Log::new();
        let b = probe("b", &log).restart(Restart::Transient).significant();
        let address = b.address();
        let below = team(AutoShutdown::AnySignificant).shutdown(Shutdown::Drain(secs(60)));
        let below = below.child(hearer("a", &log)).child(b);
        let board = here(Supervisor::one_for_one("shop").child(below)).await;
        let deed = Deed::Sleep(secs(1));
        for id in 1..=3 {
            board.try_publish(Note { id, deed }).unwrap();
        }
        board.stop("shop/team").await.unwrap();
        assert!(log.has("a 3"), "{:#?}", log.lines());
        assert!(address.try_tell(Do(Deed::Nothing)).is_err());
        end(&board).await;
    });
}
