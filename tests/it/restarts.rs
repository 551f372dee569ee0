//! A life that ends abnormally is followed by another on the same mailbox, within a budget.

use callboard::prelude::*;
use callboard::{AskError, Restart};

use crate::support_lives::{
    Deed, Do, Log, Note, Seen, end, hearer, here, note, paused, probe, probe_with, until,
};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

#[test]
fn nothing_sent_while_a_service_panics_right_after_each_start_is_lost() {
    const LIVES: u32 = 1_000;
    const EVENTS: u64 = 1_000;
    let log = Log::new();
    let dying = |life| {
        if life <= LIVES {
            Deed::TimerPanics
        } else {
            Deed::Nothing
        }
    };
    let spec = probe_with("a", &log, dying).on::<Note>();
    let a = spec.address();
    let root = shop().max_restarts(LIVES, secs(3_600)).child(spec);
    let board = Board::builder().arbiters(1).start(root).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..EVENTS).for_each(|id| {
                    board.publish_blocking(note(id)).unwrap();
                })
            });
        }
        scope.spawn(|| {
            (0..EVENTS).for_each(|_| {
                a.ask_blocking(Do(Deed::Nothing)).unwrap();
            })
        });
    });
    board.settle_blocking().unwrap();
    while a.ask_blocking(Do(Deed::Nothing)).unwrap() <= LIVES {}
    let report = board.shutdown_blocking(secs(60));
    let row = report.ledger.delivery("shop/a", "note").unwrap().clone();
    assert_eq!(
        (row.accepted, row.acknowledged, row.retried),
        (2 * EVENTS, 2 * EVENTS, 0)
    );
    assert_eq!(report.ledger.letter("shop/a").unwrap().failed, 0);
    assert_eq!(log.count("a dropped"), LIVES as usize + 1);
    assert_eq!(report.ledger.gap(), 0);
}

#[test]
fn one_for_one_restarts_only_the_one_that_failed() {
    paused(async {
        let log = Log::new();
        let (a, b, c) = (probe("a", &log), probe("b", &log), probe("c", &log));
        let addresses = [a.address(), b.address(), c.address()];
        let board = here(shop().child(a).child(b).child(c)).await;
        addresses[1].tell(Do(Deed::Panic)).await.unwrap();
        log.wait_for("b started 2").await;
        let mut lives = Vec::new();
        for address in &addresses {
            lives.push(address.ask(Do(Deed::Nothing)).await.unwrap());
        }
        assert_eq!(lives, [1, 2, 1]);
        end(&board).await;
    });
}

/// Whether a child with this restart type comes back after this, and what its hook was told.
fn comes_back(restart: Restart, deed: Deed) -> (bool, Vec<String>) {
    paused(async {
        let log = Log::new();
        let spec = hearer("a", &log).restart(restart);
        let a = spec.address();
        let board = here(shop().child(spec)).await;
        let _ = a.tell(Do(deed)).await;
        let ended = || a.try_tell(Do(Deed::Nothing)).is_err();
        until(|| log.has("a started 2") || ended()).await;
        let back = log.has("a started 2");
        assert_eq!(ended(), !back);
        let told = log
            .lines()
            .into_iter()
            .filter(|line| line.contains("stopping"))
            .collect();
        if !back {
            // It has closed its subscriptions, so nobody hears this.
            board.publish(note(1)).await.unwrap();
            assert_eq!(board.ledger().topic("note").unwrap().unheard, 1);
        }
        end(&board).await;
        (back, told)
    })
}

#[test]
fn each_restart_type_answers_each_end_as_it_says() {
    let (normal, failed) = ("a stopping: ended normally", "a stopping: failed: late");
    #[rustfmt::skip]
    let table = [
        (Deed::Stop,       Some(normal), [true, false, false]),
        (Deed::TimerFails, Some(failed), [true, true, false]),
        (Deed::Panic,      None,         [true, true, false]),
    ];
    for (deed, told, expected) in table {
        let types = [Restart::Permanent, Restart::Transient, Restart::Temporary];
        for (restart, expected) in types.into_iter().zip(expected) {
            let (back, hook) = comes_back(restart, deed);
            assert_eq!(back, expected, "{restart:?} after {deed:?}");
            let told: Vec<&str> = told.into_iter().collect();
            assert_eq!(hook, told, "{restart:?} after {deed:?}");
        }
    }
}

#[test]
fn one_restart_more_than_allowed_in_the_window_ends_the_board() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log);
        let address = a.address();
        let board = here(shop().max_restarts(3, secs(10)).child(a)).await;
        for life in 2..=4 {
            address.tell(Do(Deed::Panic)).await.unwrap();
            log.wait_for(&format!("a started {life}")).await;
        }
        address.tell(Do(Deed::Panic)).await.unwrap();
        let error = board.wait().await.unwrap_err();
        assert_eq!(error.to_string(), "shop gave up: shop/a panicked: boom");
        assert!(!log.has("a started 5"));
        assert!(matches!(
            address.ask(Do(Deed::Nothing)).await,
            Err(AskError::Stopped(_))
        ));
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn one_event_that_always_panics_uses_up_no_budget_and_two_or_one_for_two_services_do() {
    for (events, services, ends) in [(1, 1, false), (2, 1, true), (1, 2, true)] {
        paused(async {
            let log = Log::new();
            let mut root = shop().max_restarts(3, secs(3_600));
            for name in ["a", "b"].iter().take(services) {
                root = root.child(hearer(name, &log));
            }
            let board = here(root).await;
            for id in 0..events {
                let deed = Deed::PanicAlways;
                board.try_publish(Note { id, deed }).unwrap();
            }
            if ends {
                let waited = tokio::time::timeout(secs(60), board.wait()).await;
                let error = waited.unwrap().unwrap_err().to_string();
                assert!(error.starts_with("shop gave up: "), "{error}");
            } else {
                board.settle().await.unwrap();
                board.publish(note(9)).await.unwrap();
                board.settle().await.unwrap();
                assert!(log.has("a started 4") && log.has("a 9"));
                assert_eq!(board.dead_letters().len(), 1);
            }
            assert_eq!(board.ledger().gap(), 0);
        });
    }
}

#[test]
fn restarts_older_than_the_window_do_not_count() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log);
        let address = a.address();
        let board = here(shop().max_restarts(1, secs(10)).child(a)).await;
        for life in 2..=6 {
            address.tell(Do(Deed::Panic)).await.unwrap();
            log.wait_for(&format!("a started {life}")).await;
            tokio::time::sleep(millis(10_001)).await;
        }
        assert_eq!(address.ask(Do(Deed::Nothing)).await.unwrap(), 6);
        end(&board).await;
    });
}

#[test]
fn a_supervisor_that_gives_up_is_restarted_by_its_own_with_all_mailboxes_kept() {
    paused(async {
        let log = Log::new();
        let once = Policy::new().retry(Retry::never());
        let (a, b) = (hearer("a", &log).policy(once), probe("b", &log));
        let (to_a, to_b) = (a.address(), b.address());
        let team = Supervisor::one_for_one("team").max_restarts(1, secs(3_600));
        let board = here(shop().child(team.child(a).child(b))).await;
        for id in 1..=5 {
            let deed = if id <= 2 { Deed::Panic } else { Deed::Nothing };
            board.try_publish(Note { id, deed }).unwrap();
        }
        to_a.try_tell(Do(Deed::Nothing)).unwrap();
        board.settle().await.unwrap();
        let heard: Vec<String> = log.lines();
        let heard: Vec<&String> = heard.iter().filter(|line| line.starts_with("a")).collect();
        let expected = [
            "a started 1",
            "a 1",
            "a dropped",
            "a started 2",
            "a 2",
            "a dropped",
            "a started 3",
            "a 3",
            "a 4",
            "a 5",
            "a Nothing",
        ];
        assert_eq!(heard, expected);
        assert_eq!(to_b.ask(Do(Deed::Nothing)).await.unwrap(), 2);
        assert!(log.has("b stopping: was shut down"));
        assert_eq!(board.dead_letters().len(), 2);
        end(&board).await;
    });
}

#[test]
fn the_board_ends_with_the_whole_chain_of_reasons_when_its_root_gives_up() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log);
        let address = a.address();
        let team = Supervisor::one_for_one("team")
            .max_restarts(0, secs(1))
            .child(a);
        let root = shop().max_restarts(0, secs(1));
        let board = here(root.child(probe("b", &log)).child(team)).await;
        address.tell(Do(Deed::Panic)).await.unwrap();
        let error = board.wait().await.unwrap_err();
        let chain = "shop gave up: shop/team gave up: shop/team/a panicked: boom";
        assert_eq!(error.to_string(), chain);
        assert!(log.has("b stopping: was shut down"));
        assert!(board.try_publish(note(1)).is_err());
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn the_event_in_flight_comes_back_first_with_attempt_2() {
    paused(async {
        let log = Log::new();
        let board = here(shop().child(hearer("a", &log))).await;
        board
            .try_publish(Note {
                id: 1,
                deed: Deed::Panic,
            })
            .unwrap();
        board.try_publish(note(2)).unwrap();
        board.try_publish(note(3)).unwrap();
        board.settle().await.unwrap();
        let expected = [
            "a started 1",
            "a 1",
            "a dropped",
            "a started 2",
            "a 1, attempt 2",
            "a 2",
            "a 3",
        ];
        assert_eq!(log.lines(), expected);
        let row = board.ledger().delivery("shop/a", "note").unwrap().clone();
        assert_eq!((row.accepted, row.acknowledged, row.retried), (3, 3, 1));
        end(&board).await;
    });
}

#[test]
fn queued_letters_survive_and_the_asker_of_the_one_in_flight_hears_of_the_crash_at_once() {
    paused(async {
        let log = Log::new();
        let a = probe_with("a", &log, |life| match life {
            1 => Deed::Nothing,
            _ => Deed::Sleep(secs(1)),
        });
        let address = a.address();
        let board = here(shop().child(a)).await;
        let began = tokio::time::Instant::now();
        let crash = async {
            let answer = address.ask(Do(Deed::Panic)).await;
            (answer, began.elapsed())
        };
        let (crashed, queued) = tokio::join!(crash, address.ask(Do(Deed::Nothing)));
        assert!(matches!(crashed.0, Err(AskError::Crashed)));
        assert_eq!(crashed.1, Duration::ZERO);
        assert_eq!(queued.unwrap(), 2);
        let row = board.ledger().letter("shop/a").unwrap().clone();
        assert_eq!((row.accepted, row.answered, row.failed), (2, 1, 1));
        end(&board).await;
    });
}

#[test]
fn the_recipe_builds_the_state_anew() {
    paused(async {
        let log = Log::new();
        let a = hearer("a", &log);
        let address = a.address();
        let board = here(shop().child(a)).await;
        board.publish(note(1)).await.unwrap();
        assert_eq!(address.ask(Seen).await.unwrap(), 1);
        address.tell(Do(Deed::Panic)).await.unwrap();
        assert_eq!(address.ask(Seen).await.unwrap(), 0);
        end(&board).await;
    });
}

#[test]
fn three_services_of_one_type_keep_their_own_state_and_lives() {
    paused(async {
        let log = Log::new();
        let specs = ["a", "b", "c"].map(|name| probe(name, &log));
        let addresses = specs.each_ref().map(|spec| spec.address());
        let board = here(specs.into_iter().fold(shop(), Supervisor::child)).await;
        for (crashes, address) in addresses.iter().enumerate() {
            for _ in 0..crashes {
                address.tell(Do(Deed::Panic)).await.unwrap();
            }
        }
        for (crashes, address) in addresses.iter().enumerate() {
            assert_eq!(
                address.ask(Do(Deed::Nothing)).await.unwrap() as usize,
                crashes + 1
            );
        }
        assert_eq!(
            addresses.map(|one| one.path().to_owned()),
            ["shop/a", "shop/b", "shop/c"]
        );
        end(&board).await;
    });
}

#[test]
fn lives_are_counted_on_when_the_supervisor_is_restarted() {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team").child(probe("a", &log));
        let board = here(shop().child(team)).await;
        board.kill("shop/team/a").await.unwrap();
        log.wait_for("a started 2").await;
        board.restart("shop/team").await.unwrap();
        assert!(log.has("a started 3"));
        let team = board.inspect("shop/team").unwrap();
        assert_eq!((team.life, team.children[0].life), (2, 3));
        // A control verb names the life it means by its number.
        board.kill("shop/team/a").await.unwrap();
        log.wait_for("a started 4").await;
        assert_eq!(board.inspect("shop/team/a").unwrap().restarts(), 3);
        end(&board).await;
    });
}
