//! Services run where their spec says: together by default, apart where that is asked for.

use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ThreadId};

use callboard::ServiceSpec;
use callboard::prelude::*;

/// Says on which thread it runs, and keeps what can stay on one thread only.
struct Settler {
    name: &'static str,
    homes: Sender<(&'static str, ThreadId)>,
    visits: Rc<std::cell::Cell<u64>>,
}

impl Service for Settler {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        self.homes.send((self.name, thread::current().id()))?;
        Ok(())
    }
}

struct Visit;
impl Event for Visit {
    const NAME: &'static str = "visit";
}
impl Handle<Visit> for Settler {
    async fn handle(&mut self, _: &Visit, _: &mut Context<Self>) -> Outcome {
        let visits = Rc::clone(&self.visits);
        tokio::task::yield_now().await;
        visits.set(visits.get() + 1);
        Ok(())
    }
}
struct Visits;
impl Message for Visits {
    type Reply = (u64, ThreadId);
}
impl Answer<Visits> for Settler {
    async fn answer(&mut self, _: Visits, _: &mut Context<Self>) -> Outcome<(u64, ThreadId)> {
        Ok((self.visits.get(), thread::current().id()))
    }
}

type Homes = (
    Sender<(&'static str, ThreadId)>,
    Receiver<(&'static str, ThreadId)>,
);

fn settler(name: &'static str, homes: &Homes) -> ServiceSpec<Settler> {
    let homes = homes.0.clone();
    service(name, move || Settler {
        name,
        homes: homes.clone(),
        visits: Rc::default(),
    })
}

/// Starts the tree and says which thread each service was given, in the order of their names.
fn threads<const N: usize>(arbiters: usize, root: Supervisor, homes: &Homes) -> [ThreadId; N] {
    let board = Board::builder().arbiters(arbiters).start(root).unwrap();
    let report = board.shutdown_blocking(secs(60));
    assert_eq!(report.ledger.gap(), 0);
    let mut found: Vec<_> = homes.1.try_iter().collect();
    found.sort_by_key(|(name, _)| *name);
    let threads: Vec<ThreadId> = found.into_iter().map(|(_, thread)| thread).collect();
    threads.try_into().unwrap()
}

fn team(name: &str) -> Supervisor {
    Supervisor::one_for_one(name)
}

#[test]
fn a_subtree_shares_a_thread_and_subtrees_take_turns() {
    let homes = channel();
    let left = team("left")
        .child(settler("a", &homes))
        .child(settler("b", &homes));
    let deep = team("deep").child(settler("d", &homes));
    let right = team("right").child(settler("c", &homes)).child(deep);
    let third = settler("e", &homes);
    let root = team("shop").child(left).child(right).child(third);
    let [a, b, c, d, e] = threads(2, root, &homes);
    assert_eq!((a, c, a), (b, d, e));
    assert_ne!(a, c);
    assert_ne!(a, thread::current().id());
}

#[test]
fn a_service_or_subtree_runs_on_the_arbiter_it_names() {
    let homes = channel();
    let crew = team("crew").arbiter(2).child(settler("d", &homes));
    let root = team("shop")
        .child(settler("a", &homes).arbiter(2))
        .child(settler("b", &homes).arbiter(1))
        .child(settler("c", &homes).arbiter(2))
        .child(crew);
    let [a, b, c, d] = threads(3, root, &homes);
    assert_eq!((a, a), (c, d));
    assert_ne!(a, b);
}

#[test]
fn what_is_spread_takes_turns_within_a_subtree_too() {
    let homes = channel();
    let crew = team("crew").arbiter(0);
    let crew = ["a", "b", "c", "d"].into_iter().fold(crew, |crew, name| {
        crew.child(settler(name, &homes).spread())
    });
    let [a, b, c, d] = threads(2, team("shop").child(crew), &homes);
    assert_eq!((a, b), (c, d));
    assert_ne!(a, b);
}

#[test]
fn what_is_dedicated_has_a_thread_to_itself() {
    let homes = channel();
    let crew = team("crew")
        .dedicated()
        .child(settler("d", &homes))
        .child(settler("e", &homes));
    let root = team("shop")
        .child(settler("a", &homes))
        .child(settler("b", &homes).dedicated())
        .child(settler("c", &homes).dedicated())
        .child(crew);
    let [a, b, c, d, e] = threads(1, root, &homes);
    assert_eq!(d, e);
    let mut apart = vec![a, b, c, d];
    apart.sort_by_key(|thread| format!("{thread:?}"));
    apart.dedup();
    assert_eq!(apart.len(), 4);
}

#[test]
fn a_service_may_keep_what_cannot_leave_its_thread() {
    let homes = channel();
    let specs = ["a", "b"].map(|name| settler(name, &homes).spread().on::<Visit>());
    let addresses = specs.each_ref().map(|spec| spec.address());
    let root = specs.into_iter().fold(team("shop"), Supervisor::child);
    let board = Board::builder().arbiters(2).start(root).unwrap();
    for _ in 0..100 {
        board.publish_blocking(Visit).unwrap();
    }
    board.settle_blocking().unwrap();
    let [a, b] = addresses.map(|address| address.ask_blocking(Visits).unwrap());
    assert_eq!((a.0, b.0), (100, 100));
    assert_ne!(a.1, b.1);
    assert_eq!(board.shutdown_blocking(secs(60)).ledger.gap(), 0);
}

/// Asks another service for what it is asked for.
struct Deputy(Address<Settler>);
impl Service for Deputy {}
impl Answer<Visits> for Deputy {
    async fn answer(&mut self, _: Visits, cx: &mut Context<Self>) -> Outcome<(u64, ThreadId)> {
        Ok(cx.ask(&self.0, Visits).await?)
    }
}

#[test]
fn arbiters_that_spin_answer_each_other_and_end_when_they_are_told_to() {
    let homes = channel();
    let far = settler("far", &homes).arbiter(1).on::<Visit>();
    let address = far.address();
    let near = service("near", move || Deputy(address.clone())).arbiter(0);
    let asked = near.address();
    let root = team("shop").child(far).child(near);
    let builder = Board::builder().arbiters(2).spin(millis(1));
    let board = builder.start(root).unwrap();
    for visits in 0..100 {
        assert_eq!(asked.ask_blocking(Visits).unwrap().0, visits);
        board.publish_blocking(Visit).unwrap();
        board.settle_blocking().unwrap();
    }
    let report = board.shutdown_blocking(secs(60));
    assert_eq!((report.ledger.gap(), report.drained), (0, true));
}
