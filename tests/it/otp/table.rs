//! Every strategy, restart type, exit and place, as the tables in the docs say.

use callboard::prelude::*;
use callboard::{Restart, State, Strategy};

use super::semantics::{Lot, exits, groups};
use super::stage::{Case, Long, NAMES, Stage, Work, eventually};
use super::watch::watched;
use crate::support_lives::{end, paused, try_here};

fn cases(limit: Duration) -> Vec<Case> {
    let mut cases = Vec::new();
    for (exit, restart, lot) in exits() {
        for group in groups() {
            cases.extend([false, true].map(|busy| Case {
                exit,
                restart,
                lot,
                group: group.clone(),
                busy,
                limit,
            }));
        }
    }
    cases
}

/// Plays one case and compares all that is said of it.
async fn play(stage: Stage, board: Board) {
    let case = stage.case.clone();
    board.try_publish(Long).unwrap();
    for name in NAMES.into_iter().filter(|name| case.is_busy(name)) {
        stage.log.wait_for(&format!("{name} long, attempt 1")).await;
    }
    let ups = stage.log.lines();
    let ups: Vec<&String> = ups.iter().filter(|line| line.contains(" up ")).collect();
    assert!(ups.iter().filter(|up| !up.starts_with("fuse")).is_sorted());
    board.try_publish(Work(1)).unwrap();
    stage.trouble(&board, &[2, 3]).await;
    moves_are_right(&stage, &board).await;
    // Those that were not restarted have still to do what they are at.
    stage.gate.add_permits(NAMES.len());
    board.settle().await.unwrap();
    nothing_is_lost(&stage, &board);
    one_restart_was_counted(&stage, &board).await;
}

/// Who stopped and started, and in which order.
async fn moves_are_right(stage: &Stage, board: &Board) {
    let (case, ended) = (&stage.case, stage.case.group.ended);
    let mut expected = vec![format!("{ended} gone")];
    if case.lot == Lot::Restarted {
        let (stopped, started) = (&case.group.stopped, &case.group.started);
        expected.extend(stopped.iter().map(|name| format!("{name} gone")));
        expected.extend(started.iter().map(|name| format!("{name} up 2")));
    }
    stage.log.wait_for(expected.last().unwrap()).await;
    let path = format!("shop/{ended}");
    let state = || board.inspect(&path).map(|found| found.state);
    eventually(|| match case.lot {
        Lot::Restarted => matches!(state(), Ok(State::Running)),
        Lot::Ended => matches!(state(), Ok(State::Closed)),
        Lot::Forgotten => state().is_err(),
    })
    .await;
    let lines = stage.log.lines();
    let is_move = |line: &&String| line.contains(" gone") || line.contains(" up 2");
    let moves = lines.iter().filter(is_move);
    let moves: Vec<&String> = moves.filter(|line| !line.starts_with("fuse")).collect();
    assert_eq!(moves, expected.iter().collect::<Vec<_>>(), "{lines:#?}");
    for name in NAMES {
        // A kill and a panic leave no time for the hook.
        let was_told = match name == ended {
            true => matches!(case.exit, "normal" | "failure"),
            false => expected.contains(&format!("{name} gone")) && !case.busy,
        };
        let told = stage.log.has(&format!("{name} stopping"));
        assert_eq!(told, was_told, "{name}: {lines:#?}");
    }
}

/// Each event was handled once and in order by those that live, and is undelivered elsewhere.
fn nothing_is_lost(stage: &Stage, board: &Board) {
    let case = &stage.case;
    let ledger = board.ledger();
    assert_eq!(ledger.gap(), 0);
    let lines = stage.log.lines();
    for name in NAMES {
        let ended = name == case.group.ended;
        let (path, gone) = match ended && case.is_nested() {
            true => (format!("shop/{name}/player"), case.lot != Lot::Restarted),
            false => (format!("shop/{name}"), ended && case.lot != Lot::Restarted),
        };
        let did = lines
            .iter()
            .filter(|line| line.starts_with(&format!("{name} did")));
        let did: Vec<u64> = did.map(|line| line[6..].parse().unwrap()).collect();
        let handled: &[u64] = match gone {
            false => &[1, 2, 3],
            true if case.is_nested() => &[],
            true => &[1],
        };
        assert_eq!(did, handled, "{name}: {lines:#?}");
        let row = ledger.delivery(&path, "work").unwrap();
        let counts = (row.accepted, row.acknowledged, row.undelivered, row.retried);
        let handled = handled.len() as u64;
        assert_eq!(counts, (3, handled, 3 - handled, 0), "{row:?}");
        if case.is_busy(name) {
            let row = ledger.delivery(&path, "long").unwrap();
            let counts = (row.acknowledged, row.undelivered, row.retried);
            assert_eq!(counts, (u64::from(!gone), u64::from(gone), 0), "{row:?}");
            // It came back to those that were restarted, and as the first attempt.
            let restarted = stage.log.has(&format!("{name} up 2"));
            let times = stage.log.count(&format!("{name} long, attempt 1"));
            assert_eq!(times, 1 + usize::from(restarted), "{name}: {lines:#?}");
        }
    }
}

/// The budget is 1: another one is refused if one was made, and allowed if none was.
async fn one_restart_was_counted(stage: &Stage, board: &Board) {
    let (case, ended) = (&stage.case, stage.case.group.ended);
    if case.lot != Lot::Restarted {
        let other = stage.crash_another();
        stage.log.wait_for(&format!("{other} up 2")).await;
        let children = board.supervisor("shop").unwrap().children();
        let found = children.iter().find(|child| child.name == ended);
        match case.lot {
            Lot::Forgotten => assert!(found.is_none()),
            // A group restart leaves it alone.
            _ => assert_eq!(found.unwrap().state, State::Closed),
        }
        assert!(!stage.log.has(&format!("{ended} up 2")));
        return end(board).await;
    }
    stage.log.take();
    stage.trouble(board, &[]).await;
    let error = board.wait().await.unwrap_err();
    let said = format!("shop gave up: shop/{ended} {}", case.said());
    assert_eq!(error.to_string(), said);
    let lines = stage.log.lines();
    assert!(!lines.iter().any(|line| line.contains(" up ")), "{lines:?}");
    assert_eq!(board.ledger().gap(), 0);
}

fn run_here(case: Case) {
    paused(async {
        let (stage, root) = Stage::new(&case);
        let board = try_here(root).await.unwrap();
        play(stage, board).await;
    });
}

fn run_on_threads(case: Case) {
    let (stage, root) = Stage::new(&case);
    let board = Board::builder().arbiters(2).start(root).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(play(stage, board));
}

#[test]
fn every_exit_has_the_consequences_that_the_docs_give_it() {
    let cases = cases(secs(1));
    assert_eq!(cases.len(), 3 * 3 * 7 * 3 * 2);
    for case in cases {
        watched(&format!("{case:?}"), move || run_here(case));
    }
}

#[test]
fn the_same_on_threads_of_their_own() {
    let sample = cases(millis(200)).into_iter().step_by(5);
    let mut exits = Vec::new();
    for case in sample {
        exits.push((case.exit, case.restart == Restart::Permanent));
        let what = format!("{case:?}");
        watched(&what, move || run_on_threads(case));
    }
    assert!(exits.len() > 70 && exits.contains(&("escalated", true)));
}

#[test]
fn the_tables_know_every_strategy() {
    let all = [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ];
    for strategy in all {
        assert!(groups().iter().any(|group| group.strategy == strategy));
    }
}
