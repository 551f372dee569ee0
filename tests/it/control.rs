//! Restart and stop by path, from anywhere, while handlers run and mailboxes are full.

use callboard::prelude::*;
use callboard::{AskError, Backoff, ChildError, LookupError, Restart, State};
use tokio::time::Instant;

use crate::support_lives::{
    Deed, Do, Hook, Log, Note, end, hearer, here, note, paused, probe, probe_with, until,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

fn slow(id: u64, time: Duration) -> Note {
    let deed = Deed::Sleep(time);
    Note { id, deed }
}

fn row(board: &Board) -> callboard::DeliveryRow {
    board.ledger().delivery("shop/a", "note").unwrap().clone()
}

#[test]
fn a_restart_keeps_the_mailbox_and_lets_the_event_in_flight_finish() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = hearer("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(slow(1, secs(2))).await.unwrap();
        board.publish(note(2)).await.unwrap();
        log.wait_for("a 1").await;
        a.tell(Do(Deed::Nothing)).await.unwrap();
        board.restart("shop/a").await.unwrap();
        assert_eq!(began.elapsed(), secs(2));
        board.settle().await.unwrap();
        let lines = [
            "a started 1",
            "a 1",
            "a stopping: was shut down",
            "a stopped",
            "a dropped",
            "a started 2",
            "a 2",
            "a Nothing",
        ];
        assert_eq!(log.lines(), lines);
        assert_eq!((row(&board).acknowledged, row(&board).retried), (2, 0));
        end(&board).await;
    });
}

#[test]
fn a_restart_on_request_is_not_counted_against_the_budget() {
    paused(async {
        let log = Log::new();
        let quiet = Policy::new().retry(Retry::never());
        let root = shop().max_restarts(1, secs(3_600)).policy(quiet);
        let board = here(root.child(hearer("a", &log))).await;
        for life in 2..=30 {
            board.restart("shop/a").await.unwrap();
            assert_eq!(board.inspect("shop/a").unwrap().life, life);
        }
        board.kill("shop/a").await.unwrap();
        log.wait_for("a started 31").await;
        board.kill("shop/a").await.unwrap();
        let error = board.wait().await.unwrap_err();
        assert_eq!(error.to_string(), "shop gave up: shop/a was killed");
        end(&board).await;
    });
}

#[test]
fn one_that_overstays_its_restart_is_killed_and_gets_its_event_back_uncounted() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = hearer("a", &log).shutdown(secs(3));
        let board = here(shop().child(spec)).await;
        board.publish(slow(1, secs(60))).await.unwrap();
        log.wait_for("a 1").await;
        board.restart("shop/a").await.unwrap();
        assert_eq!(began.elapsed(), secs(3));
        board.settle().await.unwrap();
        assert_eq!(began.elapsed(), secs(63));
        assert_eq!(log.count("a 1"), 2);
        assert!(!log.has("a stopping: was shut down"));
        assert_eq!((row(&board).acknowledged, row(&board).retried), (1, 0));
        let exit = board.inspect("shop/a").unwrap().last_exit.unwrap();
        assert_eq!(exit.to_string(), "was killed");
        end(&board).await;
    });
}

#[test]
fn the_restart_of_a_supervisor_restarts_all_below_it_in_order() {
    paused(async {
        let log = Log::new();
        let below = Supervisor::one_for_one("below").child(probe("c", &log));
        let team = Supervisor::one_for_one("team")
            .child(hearer("b", &log))
            .child(below);
        let board = here(shop().child(probe("a", &log)).child(team)).await;
        board.publish(slow(1, secs(1))).await.unwrap();
        board.publish(note(2)).await.unwrap();
        log.wait_for("b 1").await;
        log.take();
        board.restart("shop/team").await.unwrap();
        let lines = [
            "c stopping: was shut down",
            "c stopped",
            "c dropped",
            "b stopping: was shut down",
            "b stopped",
            "b dropped",
            "b started 2",
        ];
        assert_eq!(log.lines()[..7], lines);
        assert!(log.has("c started 2") && !log.has("a dropped"));
        board.settle().await.unwrap();
        assert!(log.has("b 2"));
        let found = board.inspect("shop/team").unwrap();
        assert_eq!((found.life, found.state), (2, State::Running));
        assert_eq!(found.last_exit.unwrap().to_string(), "was shut down");
        end(&board).await;
    });
}

#[test]
fn a_restart_ends_a_backoff_and_is_not_counted() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let spec = probe("a", &log);
        let a = spec.address();
        let backoff = Backoff::fixed(secs(60));
        let root = shop()
            .max_restarts(3, secs(3_600))
            .backoff(backoff, secs(5));
        let board = here(root.child(spec)).await;
        for life in 1..=9 {
            assert!(matches!(
                a.ask(Do(Deed::PanicAlways)).await,
                Err(AskError::Crashed)
            ));
            until(|| board.inspect("shop/a").unwrap().state == State::BackingOff).await;
            board.restart("shop/a").await.unwrap();
            assert_eq!(a.ask(Do(Deed::Nothing)).await.unwrap(), life + 1);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(board.inspect("shop/a").unwrap().restarts(), 9);
        tokio::time::sleep(secs(3_600)).await;
        assert_eq!(board.inspect("shop/a").unwrap().life, 10);
        end(&board).await;
    });
}

/// Starts at once the first time, and then takes a second.
const SLOW_AGAIN: Hook = |life| match life {
    1 => Deed::Nothing,
    _ => Deed::Sleep(secs(1)),
};

#[test]
fn a_restart_while_it_is_starting_is_done_when_the_last_start_is() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let board = here(shop().child(probe_with("a", &log, SLOW_AGAIN))).await;
        let second = async {
            until(|| board.inspect("shop/a").unwrap().life == 2).await;
            tokio::time::sleep(millis(500)).await;
            assert_eq!(board.inspect("shop/a").unwrap().state, State::Starting);
            board.restart("shop/a").await
        };
        let (first, second) = tokio::join!(board.restart("shop/a"), second);
        first.unwrap();
        second.unwrap();
        assert_eq!(began.elapsed(), millis(1_500));
        let found = board.inspect("shop/a").unwrap();
        assert_eq!((found.life, found.state), (3, State::Running));
        assert!(!log.has("a started 2") && log.has("a started 3"));
        end(&board).await;
    });
}

#[test]
fn who_waits_for_a_restart_hears_of_a_stop_that_overtakes_it() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let board = here(shop().child(hearer("a", &log))).await;
        board.publish(slow(1, secs(3))).await.unwrap();
        log.wait_for("a 1").await;
        let (restarted, stopped) = tokio::join!(board.restart("shop/a"), board.stop("shop/a"));
        stopped.unwrap();
        let error = restarted.unwrap_err().to_string();
        assert_eq!(error, "shop/a did not start: it was shut down");
        assert_eq!(began.elapsed(), secs(3));
        assert_eq!(board.inspect("shop/a").unwrap().state, State::Closed);
        end(&board).await;
    });
}

#[test]
fn who_waits_for_the_start_of_what_was_closed_hears_of_a_stop_that_overtakes_it() {
    paused(async {
        let log = Log::new();
        let second_hangs: Hook = |life| match life {
            2 => Deed::Hang,
            _ => Deed::Nothing,
        };
        let board = here(shop().child(probe_with("a", &log, second_hangs))).await;
        board.stop("shop/a").await.unwrap();
        let stop = async {
            let state = || board.inspect("shop/a").unwrap().state;
            until(|| state() == State::Starting).await;
            board.stop("shop/a").await
        };
        let (restarted, stopped) = tokio::join!(board.restart("shop/a"), stop);
        stopped.unwrap();
        let exit = match restarted.unwrap_err() {
            ChildError::Failed { exit, .. } => exit,
            other => panic!("{other}"),
        };
        assert!(matches!(exit, Exit::Shutdown), "{exit}");
        assert_eq!(board.inspect("shop/a").unwrap().life, 2);
        end(&board).await;
    });
}

#[test]
fn who_waits_for_a_stop_hears_at_once_of_a_restart_that_overtakes_it() {
    paused(async {
        let (log, began) = (Log::new(), Instant::now());
        let board = here(shop().child(hearer("a", &log))).await;
        board.publish(slow(1, secs(3))).await.unwrap();
        log.wait_for("a 1").await;
        let stopping = async { (board.stop("shop/a").await, began.elapsed()) };
        let ((stopped, told), restarted) = tokio::join!(stopping, board.restart("shop/a"));
        restarted.unwrap();
        let error = stopped.unwrap_err();
        assert!(matches!(error, ChildError::Running { .. }), "{error}");
        let text = "shop/a has not ended for good: stop it first, or restart it as it is";
        assert_eq!(error.to_string(), text);
        assert_eq!((told, began.elapsed()), (Duration::ZERO, secs(3)));
        let found = board.inspect("shop/a").unwrap();
        assert_eq!((found.life, found.state), (2, State::Running));
        end(&board).await;
    });
}

#[test]
fn who_waits_for_a_restart_hears_of_a_start_that_fails() {
    paused(async {
        let log = Log::new();
        let second_fails: Hook = |life| match life {
            2 => Deed::Fail,
            _ => Deed::Nothing,
        };
        let board = here(shop().child(probe_with("a", &log, second_fails))).await;
        let error = board.restart("shop/a").await.unwrap_err();
        assert!(matches!(error, ChildError::Failed { .. }));
        assert_eq!(error.to_string(), "shop/a did not start: it failed: no");
        log.wait_for("a started 3").await;
        end(&board).await;
    });
}

#[test]
fn a_stop_leaves_the_unread_undelivered_and_a_start_hears_only_what_is_new() {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(slow(1, secs(1))).await.unwrap();
        for id in 2..=4 {
            board.publish(note(id)).await.unwrap();
        }
        log.wait_for("a 1").await;
        let (stopped, asked) = tokio::join!(board.stop("shop/a"), a.ask(Do(Deed::Nothing)));
        stopped.unwrap();
        assert!(matches!(asked, Err(AskError::Undelivered)));
        assert_eq!((row(&board).acknowledged, row(&board).undelivered), (1, 3));
        board.stop("shop/a").await.unwrap();
        board.publish(note(5)).await.unwrap();
        let refused = a.ask(Do(Deed::Nothing)).await;
        assert!(matches!(refused, Err(AskError::Stopped(_))));
        let shop = board.supervisor("shop").unwrap();
        shop.restart_child("a").await.unwrap();
        board.publish(note(6)).await.unwrap();
        assert_eq!(a.ask(Do(Deed::Nothing)).await.unwrap(), 2);
        let heard: Vec<String> = log.lines();
        assert!(heard.contains(&"a 6".to_owned()) && !heard.contains(&"a 5".to_owned()));
        let report = board.shutdown(secs(60)).await;
        assert_eq!((report.undelivered.len(), report.ledger.gap()), (1, 0));
        assert_eq!(report.undelivered[0].count, 3);
        assert_eq!(report.undelivered[0].service, "shop/a");
    });
}

#[test]
fn the_stop_of_a_supervisor_ends_all_below_it_for_good_until_it_is_started_again() {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team").child(hearer("b", &log));
        let board = here(shop().child(team)).await;
        board.stop("shop/team").await.unwrap();
        let state = |path: &str| board.inspect(path).unwrap().state;
        assert_eq!(
            [state("shop/team"), state("shop/team/b")],
            [State::Closed, State::Closed]
        );
        board.publish(note(1)).await.unwrap();
        assert_eq!(board.ledger().topic("note").unwrap().unheard, 1);
        let error = board.restart("shop/team/b").await.unwrap_err().to_string();
        assert_eq!(error, "shop/team is stopping, or has ended");
        let shop = board.supervisor("shop").unwrap();
        shop.restart_child("team").await.unwrap();
        board.publish(note(2)).await.unwrap();
        board.settle().await.unwrap();
        assert!(log.has("b 2") && !log.has("b 1") && log.has("b started 2"));
        end(&board).await;
    });
}

/// What each verb says of what is at the path; the child is stopped, or started, by that.
async fn told(board: &Board, verb: &str, path: &str) -> String {
    let (above, name) = path.rsplit_once('/').unwrap();
    let above = board.supervisor(above).unwrap();
    let told = match verb {
        "restart" => board.restart(path).await,
        "stop" => board.stop(path).await,
        "kill" => board.kill(path).await,
        "terminate" => above.terminate_child(name).await,
        "start" => above.restart_child(name).await,
        other => panic!("no such verb: {other}"),
    };
    match told {
        Ok(()) => format!("ok, {}", board.inspect(path).unwrap().state),
        Err(ChildError::Failed { exit, .. }) => format!("failed: {exit}"),
        Err(ChildError::Lookup(_)) => "lookup".to_owned(),
        Err(ChildError::NotRunning { .. }) => "not running".to_owned(),
        Err(ChildError::Running { .. }) => "running".to_owned(),
        Err(ChildError::Stopping { path, .. }) => format!("{path} has ended"),
        Err(other) => panic!("{other}"),
    }
}

const VERBS: [&str; 5] = ["restart", "stop", "kill", "terminate", "start"];

/// A board on which each of these stands as its name says.
async fn graveyard(log: &Log) -> Board {
    let done = |life| [Deed::Nothing, Deed::Fail][usize::from(life > 1)];
    let team = Supervisor::one_for_one("team").child(probe("below", log));
    let failing = Supervisor::one_for_one("failing").backoff(Backoff::fixed(secs(60)), secs(5));
    let failing = failing.child(hearer("backoff", log));
    let brief = |name: &str, restart| hearer(name, log).restart(restart);
    let board = here(
        shop()
            .child(probe("stopped", log))
            .child(brief("done", Restart::Transient))
            .child(brief("gone", Restart::Temporary))
            .child(probe_with("spoiled", log, done))
            .child(team)
            .child(failing),
    )
    .await;
    for path in ["shop/stopped", "shop/team", "shop/spoiled"] {
        board.stop(path).await.unwrap();
    }
    board
        .publish(Note {
            id: 1,
            deed: Deed::Stop,
        })
        .await
        .unwrap();
    let state = |path: &str| board.inspect(path).ok().map(|found| found.state);
    until(|| state("shop/done") == Some(State::Closed) && state("shop/gone").is_none()).await;
    until(|| state("shop/failing/backoff") == Some(State::BackingOff)).await;
    board
}

#[test]
fn each_verb_says_of_what_has_ended_what_its_docs_say() {
    let ended = [
        "ok, running",
        "ok, closed",
        "not running",
        "ok, closed",
        "ok, running",
    ];
    let table = [
        ("shop/stopped", ended),
        ("shop/done", ended),
        ("shop/team", ended),
        ("shop/gone", ["lookup"; 5]),
        ("shop/never", ["lookup"; 5]),
        ("shop/team/below", ["shop/team has ended"; 5]),
        (
            "shop/spoiled",
            [
                "failed: failed: no",
                "ok, closed",
                "not running",
                "ok, closed",
                "failed: failed: no",
            ],
        ),
        (
            "shop/failing/backoff",
            [
                "ok, running",
                "ok, closed",
                "ok, backing off",
                "ok, closed",
                "running",
            ],
        ),
    ];
    for (path, expected) in table {
        for (verb, expected) in VERBS.into_iter().zip(expected) {
            paused(async {
                let (log, began) = (Log::new(), Instant::now());
                let board = graveyard(&log).await;
                assert_eq!(told(&board, verb, path).await, expected, "{verb} {path}");
                if expected.starts_with("failed") {
                    assert_eq!(board.inspect(path).unwrap().state, State::Closed);
                }
                assert_eq!(began.elapsed(), Duration::ZERO, "{verb} {path}");
                end(&board).await;
            });
        }
    }
}

#[test]
fn it_is_never_behind_data() {
    paused(async {
        let log = Log::new();
        let spec = probe("a", &log).on_with::<Note>(|on| on.capacity(1_000));
        let board = here(shop().child(spec)).await;
        board.publish(slow(0, millis(10))).await.unwrap();
        log.wait_for("a 0").await;
        let fill = || {
            let refused = (0..).find(|_| board.try_publish(slow(0, millis(10))).is_err());
            assert!(refused.is_some());
            assert_eq!(board.inspect("shop/a").unwrap().mailbox.queued, 1_000);
            Instant::now()
        };
        let began = fill();
        board.restart("shop/a").await.unwrap();
        assert!(began.elapsed() <= millis(10), "{:?}", began.elapsed());
        let began = fill();
        board.kill("shop/a").await.unwrap();
        log.wait_for("a started 3").await;
        assert!(began.elapsed() <= millis(10), "{:?}", began.elapsed());
        let began = fill();
        board.suspend("shop/a").unwrap();
        assert!(board.settle().await.is_err());
        assert!(began.elapsed() <= millis(10), "{:?}", began.elapsed());
        board.resume("shop/a").unwrap();
        let began = fill();
        board.stop("shop/a").await.unwrap();
        assert!(began.elapsed() <= millis(10), "{:?}", began.elapsed());
        assert!(row(&board).undelivered >= 999, "{:?}", row(&board));
        end(&board).await;
    });
}

#[test]
fn it_works_from_outside_any_runtime_and_from_another_one() {
    let log = Log::new();
    let root = shop().child(hearer("a", &log));
    let board = Board::builder().arbiters(1).start(root).unwrap();
    board.suspend("shop/a").unwrap();
    board.resume("shop/a").unwrap();
    board.restart_blocking("shop/a").unwrap();
    board.kill_blocking("shop/a").unwrap();
    while !log.has("a started 3") {
        std::thread::yield_now();
    }
    board.stop_blocking("shop/a").unwrap();
    assert_eq!(board.inspect("shop/a").unwrap().state, State::Closed);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(async {
        let shop = board.supervisor("shop").unwrap();
        shop.restart_child("a").await.unwrap();
        board.restart("shop/a").await.unwrap();
        board.stop("shop/a").await.unwrap();
    });
    assert!(log.has("a started 5") && !log.has("a started 6"));
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}

/// Blocks on its own board, or would.
struct Foolish(Board);
impl Service for Foolish {}
impl Answer<Do> for Foolish {
    async fn answer(&mut self, _: Do, _: &mut Context<Self>) -> Outcome<u32> {
        let tried = [
            self.0.restart_blocking("shop/a"),
            self.0.stop_blocking("shop/a"),
            self.0.kill_blocking("shop/a"),
        ];
        let refused = |tried: &Result<(), ChildError>| matches!(tried, Err(ChildError::Blocking));
        Ok(tried.iter().filter(|tried| refused(tried)).count() as u32)
    }
}

#[test]
fn what_blocks_is_refused_on_a_thread_of_the_board() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(probe("a", &log))).await;
        let mine = board.clone();
        let spec = service("fool", move || Foolish(mine.clone()));
        let fool = spec.address();
        let shop = board.supervisor("shop").unwrap();
        shop.start_child(spec).await.unwrap();
        assert_eq!(fool.ask(Do(Deed::Nothing)).await.unwrap(), 3);
        assert_eq!(log.lines(), ["a started 1"]);
        shop.terminate_child("fool").await.unwrap();
        end(&board).await;
    });
}

#[test]
fn what_cannot_be_done_is_refused_in_words() {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team").child(probe("b", &log));
        let board = here(shop().child(probe("a", &log)).child(team)).await;
        let there = "known paths: shop, shop/a, shop/team, shop/team/b";
        let unknown = format!("there is no service or supervisor at shop/c; {there}");
        let root = "shop is the root: shut the board down";
        for (path, text) in [("shop/c", &*unknown), ("shop", root)] {
            for error in [
                board.restart(path).await.unwrap_err(),
                board.stop(path).await.unwrap_err(),
                board.kill(path).await.unwrap_err(),
            ] {
                assert_eq!(error.to_string(), text);
            }
        }
        assert_eq!(board.inspect("shop/c").unwrap_err().to_string(), unknown);
        for path in ["shop", "shop/team", "", "a"] {
            for error in [board.suspend(path), board.resume(path)] {
                let error = error.unwrap_err();
                assert!(matches!(error, LookupError::NotFound { .. }));
                let text =
                    format!("there is no service at {path}; known paths: shop/a, shop/team/b");
                assert_eq!(error.to_string(), text);
            }
        }
        board.stop("shop/a").await.unwrap();
        let error = board.kill("shop/a").await.unwrap_err();
        assert!(matches!(error, ChildError::NotRunning { .. }));
        let text = "shop/a has ended for good: restart starts it again";
        assert_eq!(error.to_string(), text);
        board.restart("shop/a").await.unwrap();
        assert_eq!(board.inspect("shop/a").unwrap().life, 2);
        end(&board).await;
        let error = board.restart("shop/a").await.unwrap_err().to_string();
        assert_eq!(error, "shop is stopping, or has ended");
    });
}
