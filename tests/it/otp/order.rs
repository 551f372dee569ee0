//! Children start in order and stop in reverse, nested ones in their place.

use callboard::prelude::*;
use callboard::{Lifecycle, Restart};

use super::watch::watched;
use crate::support_lives::{
    Deed, Do, Hook, Log, end, here, paused, probe, probe_hooked, probe_with, try_here, until,
};

/// `a`, then the team of `b` and `c`, then `d`; every hook takes a second.
fn nested(root: Supervisor, log: &Log) -> Supervisor {
    let slow: Hook = |_| Deed::Sleep(secs(1));
    let slow = |name| probe_hooked(name, log, (slow, slow));
    let team = Supervisor::one_for_one("team")
        .child(slow("b"))
        .child(slow("c"));
    root.child(slow("a")).child(team).child(slow("d"))
}

fn stops(names: &[&str]) -> Vec<String> {
    let lines = |name: &&str| {
        [
            format!("{name} stopping: was shut down"),
            format!("{name} stopped"),
            format!("{name} dropped"),
        ]
    };
    names.iter().flat_map(lines).collect()
}

#[test]
fn a_tree_starts_in_order_and_stops_in_reverse_order() {
    for strategy in [
        Supervisor::one_for_one,
        Supervisor::one_for_all,
        Supervisor::rest_for_one,
    ] {
        paused(async {
            let log = Log::new();
            let board = here(nested(strategy("shop"), &log)).await;
            let started = ["a", "b", "c", "d"].map(|name| format!("{name} started 1"));
            assert_eq!(log.take(), started);
            end(&board).await;
            assert_eq!(log.take(), stops(&["d", "c", "b", "a"]));
        });
    }
}

#[test]
fn a_group_with_a_nested_subtree_restarts_it_in_its_place() {
    paused(async {
        let log = Log::new();
        let root = nested(Supervisor::one_for_all("shop"), &log);
        let first = probe("first", &log);
        let address = first.address();
        let root = root.child(first);
        let board = here(root).await;
        log.take();
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("first started 2").await;
        let mut expected = vec!["first Panic".to_owned(), "first dropped".to_owned()];
        expected.extend(stops(&["d", "c", "b", "a"]));
        let started = ["a", "b", "c", "d", "first"].map(|name| format!("{name} started 2"));
        expected.extend(started);
        assert_eq!(log.take(), expected);
        assert_eq!(board.inspect("shop/team/b").unwrap().life, 2);
        end(&board).await;
    });
}

#[test]
fn the_rest_of_a_group_does_not_include_those_before_a_nested_subtree() {
    paused(async {
        let log = Log::new();
        let c = probe("c", &log);
        let address = c.address();
        let team = Supervisor::one_for_one("team").max_restarts(0, secs(9));
        let root = Supervisor::rest_for_one("shop")
            .child(probe("a", &log))
            .child(team.child(probe("b", &log)).child(c))
            .child(probe("d", &log));
        let board = here(root).await;
        log.take();
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("d started 2").await;
        let mut expected = vec!["c Panic".to_owned(), "c dropped".to_owned()];
        expected.extend(stops(&["b", "d"]));
        expected.extend(["b", "c", "d"].map(|name| format!("{name} started 2")));
        assert_eq!(log.take(), expected);
        end(&board).await;
    });
}

#[test]
fn the_first_start_that_fails_stops_those_before_it_at_every_place() {
    let strategies = [
        Supervisor::one_for_one,
        Supervisor::one_for_all,
        Supervisor::rest_for_one,
    ];
    let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    for (strategy, restart, place) in strategies
        .into_iter()
        .flat_map(|strategy| restarts.map(|restart| (strategy, restart)))
        .flat_map(|(strategy, restart)| [0, 1, 2].map(|place| (strategy, restart, place)))
    {
        let case = async move {
            let (log, names) = (Log::new(), ["a", "b", "c"]);
            let mut root = strategy("shop");
            for (at, name) in names.into_iter().enumerate() {
                let fails: Hook = |_| Deed::Fail;
                let fine: Hook = |_| Deed::Nothing;
                let started = if at == place { fails } else { fine };
                root = root.child(probe_with(name, &log, started).restart(restart));
            }
            let error = try_here(root).await.unwrap_err();
            let name = names[place];
            let said = format!("shop/{name} did not start: it failed: no");
            assert_eq!(error.to_string(), said);
            let before = &names[..place];
            let mut expected: Vec<String> = before
                .iter()
                .map(|name| format!("{name} started 1"))
                .collect();
            expected.push(format!("{name} dropped"));
            let reversed: Vec<&str> = before.iter().rev().copied().collect();
            expected.extend(stops(&reversed));
            assert_eq!(log.take(), expected);
        };
        watched(&format!("{restart:?} at {place}"), || paused(case));
    }
}

#[test]
fn a_restart_that_fails_is_counted_and_tried_again() {
    paused(async {
        let log = Log::new();
        let twice: Hook = |life| match life {
            2 | 3 => Deed::Fail,
            _ => Deed::Nothing,
        };
        let a = probe_with("a", &log, twice);
        let address = a.address();
        let root = Supervisor::one_for_one("shop").max_restarts(3, secs(9));
        let board = here(root.child(a)).await;
        address.try_tell(Do(Deed::Panic)).unwrap();
        log.wait_for("a started 4").await;
        assert_eq!(log.count("a dropped"), 3);
        address.try_tell(Do(Deed::Panic)).unwrap();
        let error = board.wait().await.unwrap_err();
        assert_eq!(error.to_string(), "shop gave up: shop/a panicked: boom");
        assert_eq!(board.ledger().gap(), 0);
    });
}

/// Hears of every change.
struct Ear(Log);
impl Service for Ear {}
impl Handle<Lifecycle> for Ear {
    async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
        self.0.say(news.to_string());
        Ok(())
    }
}

#[test]
fn lives_are_counted_on_over_the_restarts_of_a_supervisor() {
    paused(async {
        let (log, heard) = (Log::new(), Log::new());
        let a = probe("a", &log);
        let address = a.address();
        let ear = heard.clone();
        let ear = service("ear", move || Ear(ear.clone())).on::<Lifecycle>();
        let team = Supervisor::one_for_one("team").max_restarts(1, secs(60));
        let root = Supervisor::one_for_one("shop").child(ear);
        let board = here(root.child(team.child(a))).await;
        for life in 2..=4 {
            address.try_tell(Do(Deed::Panic)).unwrap();
            log.wait_for(&format!("a started {life}")).await;
            until(|| board.inspect("shop/team/a").unwrap().life == life).await;
        }
        board.restart("shop/team").await.unwrap();
        assert_eq!(board.inspect("shop/team/a").unwrap().life, 5);
        board.settle().await.unwrap();
        for life in 1..=5 {
            let started = format!("shop/team/a (life {life}) has started");
            assert_eq!(heard.count(&started), 1, "{:#?}", heard.lines());
        }
        end(&board).await;
    });
}
