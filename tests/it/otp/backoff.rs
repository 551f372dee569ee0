//! Backoff: restarts wait, longer each time, and begin anew after a stable life.

use callboard::prelude::*;
use callboard::{Backoff, Jitter, StartError, State};
use tokio::time::{Instant, sleep};

use crate::support_lives::{Deed, Do, Hook, Log, end, here, paused, probe, probe_with, try_here};

fn shop() -> Supervisor {
    Supervisor::one_for_one("shop").max_restarts(100, secs(100_000))
}

fn doubling() -> Backoff {
    Backoff::exponential(secs(1))
        .jitter(Jitter::None)
        .at_most(secs(8))
}

#[test]
fn delays_grow_to_their_bound_and_begin_anew_after_a_stable_life() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log);
        let address = a.address();
        let board = here(shop().backoff(doubling(), secs(60)).child(a)).await;
        let crash = async |life: u32, lasts: Duration, delay: Duration| {
            sleep(lasts).await;
            let began = Instant::now();
            address.try_tell(Do(Deed::Panic)).unwrap();
            log.wait_for(&format!("a started {life}")).await;
            assert_eq!(began.elapsed().as_secs(), delay.as_secs(), "life {life}");
        };
        for (life, delay) in [(2, 1), (3, 2), (4, 4), (5, 8), (6, 8)] {
            crash(life, secs(1), secs(delay)).await;
        }
        crash(7, secs(59), secs(8)).await;
        crash(8, secs(61), secs(1)).await;
        crash(9, secs(1), secs(2)).await;
        end(&board).await;
    });
}

#[test]
fn a_restart_that_fails_lengthens_the_next_delay() {
    paused(async {
        let log = Log::new();
        let thrice: Hook = |life| match life {
            2..=4 => Deed::Fail,
            _ => Deed::Nothing,
        };
        let a = probe_with("a", &log, thrice);
        let address = a.address();
        let board = here(shop().backoff(doubling(), secs(60)).child(a)).await;
        let began = Instant::now();
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("a started 5").await;
        assert_eq!(began.elapsed().as_secs(), 1 + 2 + 4 + 8);
        end(&board).await;
    });
}

#[test]
fn jitter_stays_within_the_delay_and_comes_from_the_seed() {
    let pauses = || {
        paused(async {
            let log = Log::new();
            let a = probe("a", &log);
            let address = a.address();
            let delays = Backoff::fixed(secs(10)).jitter(Jitter::Full);
            let board = here(shop().backoff(delays, secs(60)).child(a)).await;
            let mut pauses = Vec::new();
            for life in 2..=30 {
                let began = Instant::now();
                address.try_tell(Do(Deed::Panic)).unwrap();
                log.wait_for(&format!("a started {life}")).await;
                pauses.push(began.elapsed());
            }
            end(&board).await;
            pauses
        })
    };
    let found = pauses();
    assert!(found.iter().all(|pause| *pause <= secs(10) + millis(2)));
    assert!(found.iter().any(|pause| *pause > secs(5)));
    assert!(found.iter().any(|pause| *pause < secs(5)));
    assert_eq!(found, pauses());
}

#[test]
fn a_group_stops_at_once_and_waits_together() {
    paused(async {
        let log = Log::new();
        let (a, b) = (probe("a", &log), probe("b", &log));
        let address = b.address();
        let root = Supervisor::one_for_all("shop").backoff(doubling(), secs(60));
        let board = here(root.child(a).child(b).child(probe("c", &log))).await;
        let began = Instant::now();
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("a dropped").await;
        assert_eq!(began.elapsed().as_millis(), 0);
        let states = board.supervisor("shop").unwrap().children();
        let states: Vec<State> = states.iter().map(|child| child.state).collect();
        assert_eq!(states[1], State::BackingOff);
        log.wait_for("c started 2").await;
        assert_eq!(began.elapsed().as_secs(), 1);
        end(&board).await;
    });
}

#[test]
fn a_restart_is_counted_when_it_is_made() {
    paused(async {
        let log = Log::new();
        let specs = ["a", "b"].map(|name| probe(name, &log));
        let addresses = specs.each_ref().map(|spec| spec.address());
        let root = Supervisor::one_for_one("shop").max_restarts(1, secs(100));
        let root = root.backoff(Backoff::fixed(secs(10)), secs(60));
        let board = here(specs.into_iter().fold(root, Supervisor::child)).await;
        for address in &addresses {
            address.try_tell(Do(Deed::Panic)).unwrap();
        }
        log.wait_for("b dropped").await;
        // Both wait; the first to come back spends the budget, the second finds it spent.
        let began = Instant::now();
        let error = board.wait().await.unwrap_err();
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(error.to_string(), "shop gave up: shop/b panicked: boom");
        assert_eq!(board.ledger().gap(), 0);
    });
}

#[test]
fn a_delay_from_before_a_restart_of_the_supervisor_shortens_none_after_it() {
    paused(async {
        let log = Log::new();
        let a = probe("a", &log);
        let address = a.address();
        let team = Supervisor::one_for_one("team").backoff(Backoff::fixed(secs(10)), secs(60));
        let board = here(Supervisor::one_for_one("shop").child(team.child(a))).await;
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("a dropped").await;
        sleep(secs(1)).await;
        board.restart("shop/team").await.unwrap();
        assert!(log.has("a started 2"));
        sleep(secs(1)).await;
        let began = Instant::now();
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("a started 3").await;
        assert_eq!(began.elapsed().as_secs(), 10);
        end(&board).await;
    });
}

#[test]
fn delays_that_cannot_be_meant_are_refused() {
    paused(async {
        let cases = [
            (
                Backoff::exponential(secs(1)).factor(f64::NAN),
                "shop: backoff: the factor NaN is not a number of at least 1",
            ),
            (
                Backoff::exponential(secs(10)).at_most(secs(1)),
                "shop: backoff: at_most of 1s is shorter than the first delay, 10s",
            ),
        ];
        for (backoff, text) in cases {
            let refused = try_here(shop().backoff(backoff, secs(60))).await;
            let Err(StartError::Refused { problems, .. }) = refused else {
                panic!("started: {text}");
            };
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(said, [text]);
        }
    });
}
