//! Ends that a failure policy asks for: of the service for good, or of its supervisor as well.

use callboard::prelude::*;
use callboard::{AutoShutdown, Restart, State};

use super::stage::eventually;
use crate::support_lives::{
    Deed, Do, Hook, Log, Note, end, hearer, here, note, paused, probe, probe_hooked,
};

/// Killed by the test while it does this.
const STUCK: Deed = Deed::Sleep(secs(3_600));

/// How a handler may come to grief, and what is said of it.
const TROUBLES: [(Deed, &str); 4] = [
    (Deed::Fail, "no"),
    (Deed::PanicAlways, "panicked: boom"),
    (Deed::Hang, "no result within 1s"),
    (STUCK, "killed on request"),
];

const TYPES: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];

fn policy(then: OnFailure, deed: Deed) -> Policy {
    let policy = Policy::new().retry(Retry::never()).failure(then);
    match deed {
        Deed::Hang => policy.timeout(secs(1)),
        _ => policy,
    }
}

/// Lets `shop/team/a` come to grief over its first event, with another one behind it.
async fn suffer(board: &Board, log: &Log, deed: Deed) {
    board.try_publish(Note { id: 1, deed }).unwrap();
    board.try_publish(note(2)).unwrap();
    if deed == STUCK {
        log.wait_for("a 1").await;
        board.kill("shop/team/a").await.unwrap();
    }
}

/// Every restart type with every trouble.
fn cases() -> impl Iterator<Item = (Restart, (Deed, &'static str))> {
    let types = TYPES.into_iter();
    types.flat_map(|one| TROUBLES.map(|two| (one, two)))
}

async fn closes(board: &Board, path: &str) {
    let state = || board.inspect(path).map(|found| found.state);
    eventually(|| !matches!(state(), Ok(state) if state != State::Closed)).await;
}

#[test]
fn a_retired_service_ends_for_good_whatever_its_restart_type_and_trouble() {
    for (restart, (deed, why)) in cases() {
        paused(async {
            let log = Log::new();
            let a = hearer("a", &log).restart(restart);
            let a = a.policy(policy(OnFailure::dead_letter().stop(), deed));
            let team = Supervisor::one_for_all("team").max_restarts(1, secs(3_600));
            let b = probe("b", &log);
            let b_address = b.address();
            let team = team.child(a).child(b);
            let board = here(Supervisor::one_for_one("shop").child(team)).await;
            suffer(&board, &log, deed).await;
            log.wait_for("a dropped").await;
            closes(&board, "shop/team/a").await;
            let found = board.inspect("shop/team/a");
            assert_eq!(found.is_err(), restart == Restart::Temporary);
            if let Ok(found) = found {
                let exit = found.last_exit.as_ref().unwrap().to_string();
                assert_eq!(exit, format!("was retired: {why}"), "{deed:?}");
                assert_eq!(found.restarts(), 0);
            }
            board.settle().await.unwrap();
            let ledger = board.ledger();
            let row = ledger.delivery("shop/team/a", "note").unwrap();
            assert_eq!((row.dead_lettered, row.undelivered), (1, 1), "{deed:?}");
            // It has disturbed nobody, and spent nothing of a budget of one.
            assert!(!log.has("b dropped"));
            b_address.try_tell(Do(Deed::Panic)).unwrap();
            log.wait_for("b started 2").await;
            assert!(!log.has("a started 2"));
            // It is told only where its state is to be trusted.
            let was_told = log.has(&format!("a stopping: was retired: {why}"));
            assert_eq!(was_told, deed == Deed::Fail, "{deed:?}");
            end(&board).await;
        });
    }
}

#[test]
fn a_fatal_failure_ends_the_supervisor_whatever_the_budget() {
    for (restart, (deed, why)) in cases() {
        paused(async {
            let log = Log::new();
            let a = hearer("a", &log).restart(restart);
            let a = a.policy(policy(OnFailure::discard().escalate(), deed));
            let team = Supervisor::one_for_one("team").max_restarts(100, secs(3_600));
            let team = team.child(a).child(probe("b", &log));
            let root = Supervisor::one_for_one("shop").max_restarts(0, secs(3_600));
            let board = here(root.child(team)).await;
            suffer(&board, &log, deed).await;
            let error = board.wait().await.unwrap_err();
            let chain =
                format!("shop gave up: shop/team gave up: shop/team/a failed fatally: {why}");
            assert_eq!(error.to_string(), chain, "{deed:?}");
            assert!(log.has("b dropped") && !log.has("a started 2"));
            let ledger = board.ledger();
            let row = ledger.delivery("shop/team/a", "note").unwrap();
            assert_eq!((row.discarded, row.undelivered), (1, 1), "{deed:?}");
            assert_eq!(ledger.gap(), 0);
        });
    }
}

#[test]
fn what_a_retired_service_does_on_its_way_out_brings_it_not_back() {
    let hooks: [Hook; 2] = [|_| Deed::PanicAlways, |_| Deed::Hang];
    for (hook, is_killed) in hooks.into_iter().zip([false, true]) {
        paused(async {
            let log = Log::new();
            let a = probe_hooked("a", &log, (|_| Deed::Nothing, hook)).on::<Note>();
            let a = a.policy(policy(OnFailure::dead_letter().stop(), Deed::Fail));
            let team = Supervisor::one_for_one("team").child(a);
            let board = here(Supervisor::one_for_one("shop").child(team)).await;
            suffer(&board, &log, Deed::Fail).await;
            log.wait_for("a stopping: was retired: no").await;
            if is_killed {
                board.kill("shop/team/a").await.unwrap();
            }
            closes(&board, "shop/team/a").await;
            let exit = board.inspect("shop/team/a").unwrap().last_exit.unwrap();
            assert_eq!(exit.to_string(), "was retired: no");
            assert!(!log.has("a started 2"));
            end(&board).await;
        });
    }
}

#[test]
fn a_significant_service_that_is_retired_completes_its_supervisor() {
    paused(async {
        let log = Log::new();
        let a = hearer("a", &log).restart(Restart::Transient).significant();
        let a = a.policy(policy(OnFailure::dead_letter().stop(), Deed::Fail));
        let team = Supervisor::one_for_one("team")
            .auto_shutdown(AutoShutdown::AnySignificant)
            .restart(Restart::Transient)
            .child(a)
            .child(probe("b", &log));
        let board = here(Supervisor::one_for_one("shop").child(team)).await;
        suffer(&board, &log, Deed::Fail).await;
        closes(&board, "shop/team").await;
        assert!(log.has("b stopping: was shut down"));
        end(&board).await;
    });
}

#[test]
fn a_retired_service_may_be_asked_back() {
    paused(async {
        let log = Log::new();
        let a = hearer("a", &log);
        let a = a.policy(policy(OnFailure::dead_letter().stop(), Deed::Fail));
        let team = Supervisor::one_for_one("team").child(a);
        let board = here(Supervisor::one_for_one("shop").child(team)).await;
        suffer(&board, &log, Deed::Fail).await;
        closes(&board, "shop/team/a").await;
        let team = board.supervisor("shop/team").unwrap();
        team.restart_child("a").await.unwrap();
        board.publish(note(3)).await.unwrap();
        log.wait_for("a 3").await;
        assert!(log.has("a started 2") && !log.has("a 2"));
        end(&board).await;
    });
}
