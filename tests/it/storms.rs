//! Restart storms: the budget holds, exactly one escalation follows, neighbours keep working.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use callboard::prelude::*;
use callboard::{Backoff, Change, Jitter, Lifecycle};

use crate::support_lives::{Deed, Hook, Log, Note, boom, end, hearer, here, paused, probe_with};

const ALWAYS: Hook = |_| Deed::TimerPanics;
const BUDGET: usize = 5;
const WINDOW: Duration = secs(10);

/// Notes when which life started, and who gave up.
#[derive(Clone, Default)]
struct Ear(Arc<std::sync::Mutex<(Vec<Duration>, Vec<String>)>>);
impl Service for Ear {}
impl Handle<Lifecycle> for Ear {
    async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
        let mut heard = self.0.lock().unwrap();
        match news.change() {
            Change::Starting if news.path() == "shop/team/a" && news.life() > 1 => {
                heard.0.push(news.at());
            }
            Change::Ended(Exit::Escalated { .. }) => heard.1.push(news.path().to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// Lets a child that always fails run on for so long; when it was restarted, and who gave up.
fn storm(backoff: Option<Backoff>, lasts: Duration) -> (Vec<Duration>, Vec<String>) {
    paused(async {
        let (log, ear) = (Log::new(), Ear::default());
        let heard = ear.clone();
        let ear = service("ear", move || ear.clone());
        let ear = ear.on::<Lifecycle>();
        let max = u32::try_from(BUDGET).unwrap();
        let mut team = Supervisor::one_for_one("team")
            .restart(callboard::Restart::Temporary)
            .max_restarts(max, WINDOW);
        if let Some(delays) = backoff {
            team = team.backoff(delays, secs(60));
        }
        let team = team.child(probe_with("a", &log, ALWAYS));
        let board = here(Supervisor::one_for_one("shop").child(ear).child(team)).await;
        tokio::time::sleep(lasts).await;
        board.settle().await.unwrap();
        let found = heard.0.lock().unwrap().clone();
        // Every life has failed.
        assert_eq!(log.count("a dropped"), found.0.len() + 1);
        end(&board).await;
        found
    })
}

/// The most restarts that any window holds, wherever it is laid.
fn most(restarts: &[Duration]) -> usize {
    let within = |from: &Duration| {
        let all = restarts.iter();
        all.filter(|at| *at >= from && **at - *from <= WINDOW)
            .count()
    };
    restarts.iter().map(within).max().unwrap_or_default()
}

#[test]
fn a_child_that_always_fails_spends_its_budget_and_not_more() {
    let fixed = |ms| Some(Backoff::fixed(millis(ms)));
    let doubling = Backoff::exponential(millis(100)).jitter(Jitter::None);
    for backoff in [None, fixed(1), fixed(1_000), fixed(1_900), Some(doubling)] {
        let (restarts, given_up) = storm(backoff, secs(1_000));
        assert_eq!(restarts.len(), BUDGET, "{backoff:?}: {restarts:?}");
        assert_eq!(given_up, ["shop/team"], "{backoff:?}");
    }
}

#[test]
fn with_a_backoff_that_is_long_enough_it_never_gives_up() {
    let (restarts, given_up) = storm(Some(Backoff::fixed(millis(2_100))), secs(3_000));
    assert!(restarts.len() > 1_400 && most(&restarts) <= BUDGET);
    assert_eq!(given_up, Vec::<String>::new());
    let full = Backoff::fixed(secs(60)).jitter(Jitter::Full);
    let (restarts, _) = storm(Some(full), secs(1_000));
    assert!(restarts.len() > 5 && most(&restarts) <= BUDGET);
}

/// A thousand children fail over the same event; how many restarts, and how the board ends.
fn thousand(budget: u32) -> (usize, Option<String>) {
    paused(async {
        let log = Log::new();
        let team = Supervisor::one_for_one("team").max_restarts(budget, secs(60));
        let names = (0..1_000).map(|number| format!("c{number}"));
        let team = names.fold(team, |team, name| team.child(hearer(&name, &log)));
        let root = Supervisor::one_for_one("shop").max_restarts(0, secs(1));
        let board = here(root.child(team)).await;
        let deed = Deed::Panic;
        board.publish(Note { id: 1, deed }).await.unwrap();
        board.settle().await.unwrap();
        let ended = tokio::time::timeout(secs(1), board.wait()).await;
        let ended = ended.ok().map(|ended| ended.unwrap_err().to_string());
        let lines = log.lines();
        let again = |line: &&String| line.ends_with(" started 2");
        assert!(!lines.iter().any(|line| line.ends_with(" started 3")));
        let restarts = lines.iter().filter(again).count();
        let ledger = board.ledger();
        assert_eq!((ledger.gap(), ledger.deliveries.len()), (0, 1_000));
        let sum = |of: fn(&callboard::DeliveryRow) -> u64| ledger.deliveries.iter().map(of).sum();
        let (retried, done): (u64, u64) = (sum(|row| row.retried), sum(|row| row.acknowledged));
        if ended.is_none() {
            assert_eq!((retried, done), (1_000, 1_000));
        }
        end(&board).await;
        (restarts, ended)
    })
}

#[test]
fn a_thousand_that_fail_at_once_all_come_back_within_the_budget() {
    assert_eq!(thousand(1_000), (1_000, None));
}

#[test]
fn a_thousand_that_fail_at_once_are_one_too_many_for_a_smaller_budget() {
    for budget in [999, 10] {
        let (restarts, ended) = thousand(budget);
        assert!(restarts <= budget as usize, "{restarts}");
        let ended = ended.unwrap();
        assert!(ended.starts_with("shop gave up: shop/team gave up: shop/team/c"));
        assert!(ended.ends_with("panicked: boom"), "{ended}");
    }
}

/// Publishes the next one whenever it has handled one, for as long as it is let.
struct Tick;
impl Event for Tick {
    const NAME: &'static str = "tick";
}
struct Tock;
impl Event for Tock {
    const NAME: &'static str = "tock";
}

#[derive(Clone, Default)]
struct Neighbour {
    handled: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Neighbour {
    fn note(&self) -> bool {
        self.handled.fetch_add(1, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }
    fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }
}
impl Service for Neighbour {}
impl Handle<Tick> for Neighbour {
    async fn handle(&mut self, _: &Tick, cx: &mut Context<Self>) -> Outcome {
        if self.note() {
            cx.publish(Tick).await?;
        }
        Ok(())
    }
}
impl Handle<Tock> for Neighbour {
    async fn handle(&mut self, _: &Tock, cx: &mut Context<Self>) -> Outcome {
        if self.note() {
            cx.publish(Tock).await?;
        }
        Ok(())
    }
}

/// Fails whenever it is told to.
struct Stormy;
impl Service for Stormy {}
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Calm,
    Fail,
}
impl Message for Step {
    type Reply = ();
}
impl Answer<Step> for Stormy {
    async fn answer(&mut self, step: Step, _: &mut Context<Self>) -> Outcome {
        if step == Step::Fail {
            boom()
        }
        Ok(())
    }
}

struct Town {
    stormy: Address<Stormy>,
    near: Neighbour,
    far: Neighbour,
}

fn town(arbiters: usize) -> (Supervisor, Town) {
    let spec = service("stormy", || Stormy);
    let (near, far) = (Neighbour::default(), Neighbour::default());
    let town = Town {
        stormy: spec.address(),
        near: near.clone(),
        far: far.clone(),
    };
    let near = service("near", move || near.clone()).on::<Tick>();
    let far = service("far", move || far.clone()).on::<Tock>();
    let max = 1_000_000;
    let storm = Supervisor::one_for_one("storm").max_restarts(max, secs(3_600));
    let root = Supervisor::one_for_one("shop")
        .child(storm.child(spec).arbiter(0))
        .child(Supervisor::one_for_one("same").child(near).arbiter(0))
        .child(
            Supervisor::one_for_one("other")
                .child(far)
                .arbiter(arbiters - 1),
        );
    (root, town)
}

impl Town {
    async fn begin(&self, board: &Board) {
        board.publish(Tick).await.unwrap();
        board.publish(Tock).await.unwrap();
    }

    async fn step(&self, step: Step) {
        let answer = self.stormy.ask(step).await;
        assert_eq!(answer.is_err(), step == Step::Fail, "{answer:?}");
    }

    async fn over(&self, board: &Board) {
        for one in [&self.near, &self.far] {
            one.over.store(true, Ordering::Relaxed);
        }
        end(board).await;
    }
}

/// What the two neighbours handle during so many steps of this kind, all on one thread.
fn handled(step: Step, steps: u64) -> [u64; 2] {
    paused(async {
        let (root, town) = town(1);
        let board = here(root).await;
        town.begin(&board).await;
        for _ in 0..steps {
            town.step(step).await;
        }
        let handled = [town.near.handled(), town.far.handled()];
        let life = board.inspect("shop/storm/stormy").unwrap().life;
        assert_eq!(life > steps, step == Step::Fail, "{life}");
        town.over(&board).await;
        handled
    })
}

#[test]
fn neighbours_on_the_same_thread_do_as_much_as_beside_a_calm_one() {
    let (calm, storm) = (handled(Step::Calm, 1_000), handled(Step::Fail, 1_000));
    for (calm, storm) in calm.into_iter().zip(storm) {
        assert!(
            calm > 1_000 && 2 * storm >= calm,
            "{storm} instead of {calm}"
        );
    }
}

#[test]
fn neighbours_on_this_and_other_arbiters_go_on_during_a_storm() {
    let (root, town) = town(2);
    let board = Board::builder().arbiters(2).start(root).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        town.begin(&board).await;
        for _ in 0..100 {
            let before = [town.near.handled(), town.far.handled()];
            let mut steps = 0;
            while town.near.handled() == before[0] || town.far.handled() == before[1] {
                town.step(Step::Fail).await;
                steps += 1;
                assert!(steps < 10_000, "a neighbour stands still");
            }
        }
        town.step(Step::Fail).await;
        assert!(board.inspect("shop/storm/stormy").unwrap().life > 1);
        town.over(&board).await;
    });
}
