//! How each child is stopped: it drains, finishes what it handles, or is killed; and its group.

use callboard::prelude::*;
use callboard::{AskError, ChildError, DeliveryRow, Shutdown, StartError, State};
use tokio::time::Instant;

use crate::support_lives::{
    Deed, Do, Hook, Log, Note, Probe, end, hearer, here, note, paused, probe, probe_hooked,
    try_here, until,
};

type Hearer =
    callboard::ServiceSpec<Probe, callboard::And<callboard::On<Note>, callboard::Nothing>>;

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn doing(id: u64, deed: Deed) -> Note {
    Note { id, deed }
}

fn slow(id: u64) -> Note {
    doing(id, Deed::Sleep(secs(1)))
}

fn row(board: &Board, service: &str) -> DeliveryRow {
    assert_eq!(board.ledger().gap(), 0);
    board.ledger().delivery(service, "note").unwrap().clone()
}

fn patient(name: &str, log: &Log) -> Hearer {
    let retry = Retry::fixed(secs(10)).attempts(3);
    hearer(name, log).policy(Policy::new().retry(retry))
}

/// Stops a child that has three events of a second each, half a second after the first began,
/// and publishes a fourth while it stops. How long that took, and what became of the four.
async fn stopped(tree: impl FnOnce(Hearer) -> Supervisor, stop: &str, path: &str) -> Outcomes {
    let log = Log::new();
    let board = here(tree(hearer("a", &log))).await;
    for id in 1..=3 {
        board.publish(slow(id)).await.unwrap();
    }
    log.wait_for("a 1").await;
    tokio::time::sleep(millis(500)).await;
    let began = Instant::now();
    let publishing = async {
        until(|| board.inspect(stop).unwrap().state != State::Running).await;
        board.publish(slow(4)).await.unwrap();
    };
    let (stopped, ()) = tokio::join!(board.stop(stop), publishing);
    stopped.unwrap();
    let (took, row) = (began.elapsed(), row(&board, path));
    assert_eq!((row.dead_lettered, row.retried), (0, 0));
    let report = board.shutdown(secs(60)).await;
    assert_eq!((report.ledger.gap(), report.stuck.len()), (0, 0));
    let named: u64 = report.undelivered.iter().map(|left| left.count).sum();
    assert_eq!(named, row.undelivered, "{report}");
    let hook = log.has("a stopping: was shut down");
    // One that is killed may have closed before the fourth was published.
    let unheard = report.ledger.topic("note").unwrap().unheard;
    (took, row.acknowledged, row.undelivered + unheard, hook)
}

/// How long the stop took, what was handled and what not, and whether `stopping` was called.
type Outcomes = (Duration, u64, u64, bool);

#[test]
fn each_way_of_stopping_leaves_what_it_says() {
    let table = [
        (Shutdown::Drain(secs(60)), (millis(2_500), 3, 1, true)),
        (Shutdown::Drain(millis(600)), (millis(600), 1, 3, false)),
        (Shutdown::Graceful(secs(60)), (millis(500), 1, 3, true)),
        (Shutdown::Graceful(millis(300)), (millis(300), 0, 4, false)),
        (Shutdown::Kill, (Duration::ZERO, 0, 4, false)),
    ];
    for (how, expected) in table {
        let child = paused(stopped(
            |a| shop().child(a.shutdown(how)),
            "shop/a",
            "shop/a",
        ));
        assert_eq!(child, expected, "a child: {how}");
    }
}

#[test]
fn a_supervisor_stops_all_below_it_as_it_says() {
    let team = |how: Option<Shutdown>| {
        let team = Supervisor::one_for_one("team");
        match how {
            Some(how) => team.shutdown(how),
            None => team,
        }
    };
    let long = Shutdown::Graceful(secs(60));
    let table = [
        // A supervisor drains those below it, though they would not by themselves.
        (
            Some(Shutdown::Drain(secs(60))),
            long,
            (millis(2_500), 3, 1, true),
        ),
        (
            Some(Shutdown::Drain(millis(600))),
            long,
            (millis(600), 1, 3, false),
        ),
        (
            Some(Shutdown::Graceful(secs(60))),
            long,
            (millis(500), 1, 3, true),
        ),
        (
            Some(Shutdown::Graceful(millis(300))),
            long,
            (millis(300), 0, 4, false),
        ),
        (Some(Shutdown::Kill), long, (Duration::ZERO, 0, 4, false)),
        // Without a limit of its own, each child's holds.
        (None, long, (millis(500), 1, 3, true)),
        (None, Shutdown::Drain(secs(60)), (millis(2_500), 3, 1, true)),
        (None, Shutdown::Kill, (Duration::ZERO, 0, 4, false)),
        // The child's own time caps the draining too.
        (
            Some(Shutdown::Drain(secs(60))),
            Shutdown::Graceful(millis(600)),
            (millis(600), 1, 3, false),
        ),
    ];
    for (above, own, expected) in table {
        let tree = |a: Hearer| {
            let below = Supervisor::one_for_one("below").child(a.shutdown(own));
            shop().child(team(above).child(below))
        };
        let found = paused(stopped(tree, "shop/team", "shop/team/below/a"));
        assert_eq!(found, expected, "{above:?} above {own}");
    }
}

#[test]
fn draining_waits_for_retries_and_handles_letters_meanwhile() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = patient("a", &log).shutdown(Shutdown::Drain(secs(60)));
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(doing(1, Deed::Fail)).await.unwrap();
        board.publish(note(2)).await.unwrap();
        log.wait_for("a 1").await;
        until(|| row(&board, "shop/a").deferred == 1).await;
        a.tell(Do(Deed::Nothing)).await.unwrap();
        board.stop("shop/a").await.unwrap();
        assert_eq!(began.elapsed(), secs(20));
        let lines = [
            "a 1",
            "a Nothing",
            "a 1, attempt 2",
            "a 1, attempt 3",
            "a 2",
        ];
        assert_eq!(log.lines()[1..6], lines);
        let row = row(&board, "shop/a");
        let found = (row.dead_lettered, row.acknowledged, row.undelivered);
        assert_eq!(found, (1, 1, 0));
        end(&board).await;
    });
}

#[test]
fn a_letter_that_comes_too_late_does_not_disturb_a_drain() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = patient("a", &log).shutdown(Shutdown::Drain(secs(60)));
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(doing(1, Deed::Fail)).await.unwrap();
        until(|| row(&board, "shop/a").deferred == 1).await;
        let late = async {
            until(|| board.inspect("shop/a").unwrap().state != State::Running).await;
            a.tell(Do(Deed::Nothing)).await.unwrap();
            board.publish(note(2)).await.unwrap();
        };
        let (stopped, ()) = tokio::join!(board.stop("shop/a"), late);
        stopped.unwrap();
        assert_eq!(began.elapsed(), secs(20));
        assert!(!log.has("a Nothing") && !log.has("a 2"));
        assert_eq!(board.ledger().letter("shop/a").unwrap().undelivered, 1);
        assert_eq!(row(&board, "shop/a").undelivered, 1);
        end(&board).await;
    });
}

#[test]
fn a_drain_that_is_over_time_leaves_the_event_in_backoff_undelivered() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = patient("a", &log).shutdown(Shutdown::Drain(secs(15)));
        let board = here(shop().child(spec)).await;
        board.publish(doing(1, Deed::Fail)).await.unwrap();
        until(|| row(&board, "shop/a").deferred == 1).await;
        board.stop("shop/a").await.unwrap();
        assert_eq!(began.elapsed(), secs(15));
        let row = row(&board, "shop/a");
        assert_eq!((row.retried, row.undelivered, row.dead_lettered), (1, 1, 0));
        end(&board).await;
    });
}

#[test]
fn the_deadline_of_the_board_caps_that_of_its_children() {
    for how in [Shutdown::Drain(secs(600)), Shutdown::Graceful(secs(600))] {
        paused(async {
            let log = Log::new();
            let team = Supervisor::one_for_one("team").shutdown(how);
            let team = team.child(hearer("a", &log).shutdown(how));
            let board = here(shop().child(team).child(hearer("b", &log).shutdown(how))).await;
            board.publish(doing(1, Deed::Hang)).await.unwrap();
            board.publish(note(2)).await.unwrap();
            let report = board.shutdown(secs(2)).await;
            assert!(!report.drained && report.took >= secs(2), "{report}");
            assert!(report.took < millis(2_500), "{report}");
            let counts: Vec<u64> = report.undelivered.iter().map(|left| left.count).collect();
            assert_eq!((counts, report.ledger.gap()), (vec![2, 2], 0));
            assert!(report.stuck.is_empty() && board.dead_letters().is_empty());
        });
    }
}

/// A tree in which `shop/team/x` may be told to stop before `shop/team`, which has 2 s.
fn team_of(x: Supervisor) -> Supervisor {
    let team = Supervisor::one_for_one("team").shutdown(secs(2));
    shop().child(team.child(x))
}

#[test]
fn the_limit_of_a_supervisor_holds_for_those_below_it_that_were_stopping_already() {
    for first in ["shop/team/x/a", "shop/team/x"] {
        paused(async {
            let log = Log::new();
            let long = Shutdown::Graceful(secs(600));
            let x = Supervisor::one_for_one("x").child(hearer("a", &log).shutdown(long));
            let board = here(team_of(x)).await;
            board.publish(doing(1, Deed::Hang)).await.unwrap();
            log.wait_for("a 1").await;
            let began = Instant::now();
            let ending = async {
                until(|| board.inspect(first).unwrap().state == State::Stopping).await;
                tokio::time::sleep(secs(1)).await;
                board.stop("shop/team").await
            };
            let (early, ended) = tokio::join!(board.stop(first), ending);
            ended.unwrap();
            assert_eq!(began.elapsed(), secs(3), "{first}");
            assert!(matches!(early, Err(ChildError::Stopping { .. })), "{first}");
            assert!(!log.has("a stopping: was shut down"), "{first}");
            let row = row(&board, "shop/team/x/a");
            assert_eq!((row.undelivered, row.retried), (1, 0), "{first}");
            end(&board).await;
        });
    }
}

#[test]
fn the_deadline_of_the_board_holds_for_those_that_were_stopping_already() {
    paused(async {
        let (log, quiet) = (Log::new(), Log::new());
        let long = Shutdown::Graceful(secs(600));
        let x = Supervisor::one_for_one("x").child(hearer("a", &log).shutdown(long));
        let board = here(shop().child(probe("b", &quiet)).child(x)).await;
        board.publish(doing(1, Deed::Hang)).await.unwrap();
        log.wait_for("a 1").await;
        let ending = async {
            until(|| board.inspect("shop/x").unwrap().state == State::Stopping).await;
            board.shutdown(secs(2)).await
        };
        let (_, report) = tokio::join!(board.stop("shop/x"), ending);
        // Later than that the whole board would have been killed.
        assert!(report.took < millis(2_100), "{report}");
        assert_eq!(report.ledger.gap(), 0);
        assert!(log.has("a dropped") && report.stuck.is_empty());
        assert!(quiet.has("b stopping: was shut down"));
    });
}

#[test]
fn a_child_that_is_to_be_killed_is_killed_at_shutdown_after_all_was_settled() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log).shutdown(Shutdown::Kill))).await;
        board.publish(slow(1)).await.unwrap();
        let report = board.shutdown(secs(60)).await;
        assert_eq!((report.drained, report.took), (true, secs(1)));
        assert!(report.undelivered.is_empty() && report.ledger.gap() == 0);
        assert_eq!(log.lines(), ["a started 1", "a 1", "a dropped"]);
    });
}

/// A group in which `b` panics while `a` handles the first of its events, a second long.
async fn group(how: Shutdown) -> (Board, Log, Instant) {
    let (log, b_log) = (Log::new(), Log::new());
    let spec = probe("b", &b_log);
    let b = spec.address();
    let root = Supervisor::one_for_all("shop").child(hearer("a", &log).shutdown(how));
    let board = here(root.child(spec)).await;
    for id in 1..=2 {
        board.publish(slow(id)).await.unwrap();
    }
    log.wait_for("a 1").await;
    let began = Instant::now();
    let crash = b.ask(Do(Deed::Panic)).await;
    assert!(matches!(crash, Err(AskError::Crashed)));
    log.wait_for("a started 2").await;
    (board, log, began)
}

#[test]
fn in_the_restart_of_a_group_a_drain_is_graceful_and_nothing_is_lost() {
    let table = [
        (Shutdown::Drain(secs(60)), secs(1), 1),
        (Shutdown::Graceful(secs(60)), secs(1), 1),
        (Shutdown::Graceful(millis(300)), millis(300), 2),
        (Shutdown::Kill, Duration::ZERO, 2),
    ];
    for (how, pause, times) in table {
        paused(async {
            let (board, log, began) = group(how).await;
            assert_eq!(began.elapsed(), pause, "{how}");
            board.settle().await.unwrap();
            let at = |line: &str| log.lines().iter().position(|said| said == line);
            assert!(at("a started 2") < at("a 2"), "{how}: {:#?}", log.lines());
            assert_eq!((log.count("a 1"), log.count("a 2")), (times, 1), "{how}");
            let row = row(&board, "shop/a");
            assert_eq!((row.acknowledged, row.retried), (2, 0), "{how}");
            end(&board).await;
        });
    }
}

#[test]
fn an_asker_hears_whether_its_answerer_was_restarted_or_crashed() {
    let restarted = "the service was restarted while it answered";
    let crashed = "the service crashed while it answered";
    let table = [
        // What `a` does with the letter, how it is stopped, and what its asker hears.
        (
            Deed::Sleep(secs(9)),
            Shutdown::Graceful(secs(2)),
            Some(restarted),
        ),
        (
            Deed::Sleep(secs(9)),
            Shutdown::Drain(secs(2)),
            Some(restarted),
        ),
        (Deed::Sleep(secs(9)), Shutdown::Kill, Some(restarted)),
        (Deed::Sleep(secs(1)), Shutdown::Graceful(secs(2)), None),
        (Deed::Sleep(secs(1)), Shutdown::Drain(secs(2)), None),
        (
            Deed::PanicAlways,
            Shutdown::Graceful(secs(2)),
            Some(crashed),
        ),
    ];
    for (deed, how, error) in table {
        paused(async {
            let (log, b_log) = (Log::new(), Log::new());
            let (first, second) = (probe("a", &log).shutdown(how), probe("b", &b_log));
            let (a, b) = (first.address(), second.address());
            let board = here(Supervisor::one_for_all("shop").child(first).child(second)).await;
            let failing = async {
                log.wait_for(&format!("a {deed:?}")).await;
                let _ = b.ask(Do(Deed::Panic)).await;
            };
            let both = async { tokio::join!(a.ask(Do(deed)), a.ask(Do(Deed::Nothing))) };
            let ((told, queued), ()) = tokio::join!(both, failing);
            let heard = told.err();
            let text = heard.as_ref().map(ToString::to_string);
            assert_eq!(text.as_deref(), error, "{deed:?} {how}");
            assert!(!heard.is_some_and(|heard| heard.is_unheard()));
            assert!(queued.unwrap() > 1, "{deed:?} {how}");
            let failed = board.ledger().letter("shop/a").unwrap().failed;
            assert_eq!(failed, u64::from(error.is_some()));
            end(&board).await;
        });
    }
}

#[test]
fn an_asker_hears_of_a_restart_on_request_that_overtook_its_answer() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log).shutdown(secs(1));
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let restarting = async {
            log.wait_for("a Hang").await;
            board.restart("shop/a").await
        };
        let (told, restarted) = tokio::join!(a.ask(Do(Deed::Hang)), restarting);
        restarted.unwrap();
        assert!(matches!(told, Err(AskError::Restarted)), "{told:?}");
        assert_eq!(began.elapsed(), secs(1));
        let stopping = async {
            until(|| log.count("a Hang") == 2).await;
            board.stop("shop/a").await
        };
        let (told, stopped) = tokio::join!(a.ask(Do(Deed::Hang)), stopping);
        stopped.unwrap();
        assert!(matches!(told, Err(AskError::Crashed)), "{told:?}");
        end(&board).await;
    });
}

#[test]
fn one_that_would_leave_no_time_to_stop_is_refused_at_the_start() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log).shutdown(Duration::ZERO);
        let team = Supervisor::one_for_one("team").shutdown(Shutdown::Drain(Duration::ZERO));
        let Err(StartError::Refused { problems, .. }) = try_here(shop().child(a).child(team)).await
        else {
            panic!("it starts")
        };
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "shop/a: graceful within 0ns leaves no time to stop: use Shutdown::Kill",
            "shop/team: drain within 0ns leaves no time to stop: use Shutdown::Kill",
        ];
        assert_eq!(texts, expected);
    });
}

#[test]
fn one_that_ends_by_itself_has_the_same_time_to_stop() {
    paused(async {
        for shutdown in [Shutdown::Graceful(secs(3)), Shutdown::Kill] {
            let log = Log::new();
            let hooks: (Hook, Hook) = (|_| Deed::Nothing, |_| Deed::Hang);
            let spec = probe_hooked("a", &log, hooks).on::<Note>();
            let board = here(shop().child(spec.shutdown(shutdown))).await;
            let began = Instant::now();
            board.publish(doing(1, Deed::Stop)).await.unwrap();
            log.wait_for("a started 2").await;
            let limit = if shutdown == Shutdown::Kill { 5 } else { 3 };
            assert_eq!(began.elapsed().as_secs(), limit);
            assert!(log.has("a stopping: ended normally"), "{:?}", log.lines());
            let exit = board.inspect("shop/a").unwrap().last_exit.unwrap();
            assert!(matches!(exit, Exit::Normal), "{exit}");
            board.kill("shop/a").await.unwrap();
            end(&board).await;
        }
    });
}
