//! The workloads that are counted.
//!
//! The runner calls each in a process of its own, under callgrind.
//!
//! Invariant: a workload always does the same. One thread, a fixed number of operations, a first
//! burst before the one that is counted, and a clock that stands still: the turn of a service ends
//! after so many deliveries or so much time, and under callgrind everything takes longer.
//!
//! It knows no bounds.
#![allow(clippy::exit, unused_qualifications, reason = "the macros write so")]

use std::hint::black_box;
use std::panic::set_hook;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use callboard::prelude::*;
use callboard::{Breaker, Publisher, RateLimit};
use gungraun::{library_benchmark, library_benchmark_group, main};

use super::bounds::{APART, ASKS, EVENTS, RESTARTS, STARTED, TOLD};
use super::common::ground::Ground;
use super::common::phoenix::{Boom, Phoenix, Tally, phoenix};
use super::common::readers::{Add, Reader, Tick, Tock, reader, readers, readers_of_two, root};

/// A board on this thread, and handles to it.
struct Stage {
    ground: Ground,
    board: Board,
    ticks: Publisher<Tick>,
    tocks: Publisher<Tock>,
    first: Address<Reader>,
}

impl Stage {
    fn new(root: Supervisor) -> Self {
        let ground = Ground::paused();
        let board = ground.board(root);
        let first = board.service("bench/reader0").unwrap();
        Stage {
            ticks: board.publisher(),
            tocks: board.publisher(),
            ground,
            board,
            first,
        }
    }

    fn warmed(self, burst: impl Fn(&Stage)) -> Self {
        burst(&self);
        self
    }

    fn publish(&self) {
        self.ground.run(async {
            for number in 0..EVENTS {
                self.ticks.publish(Tick(number)).await.unwrap();
            }
            self.board.settle().await.unwrap();
        });
    }

    fn publish_all(&self) {
        self.ground.run(async {
            let ticks = (0..EVENTS).map(Tick);
            black_box(self.ticks.publish_all(ticks).await.unwrap());
            self.board.settle().await.unwrap();
        });
    }

    /// Each event is handled before the next one is published.
    fn publish_apart(&self) {
        self.ground.run(async {
            for number in 0..APART {
                self.ticks.publish(Tick(number)).await.unwrap();
                self.board.settle().await.unwrap();
            }
        });
    }

    fn publish_in_turn(&self) {
        self.ground.run(async {
            for number in 0..EVENTS / 2 {
                self.ticks.publish(Tick(number)).await.unwrap();
                self.tocks.publish(Tock(number)).await.unwrap();
            }
            self.board.settle().await.unwrap();
        });
    }

    fn tell(&self) {
        self.ground.run(async {
            for number in 0..TOLD {
                self.first.tell(Add(number)).await.unwrap();
            }
            self.board.settle().await.unwrap();
        });
    }

    fn ask(&self) {
        let first = self.first.clone();
        self.ground.run_as_task(async move {
            for number in 0..ASKS {
                black_box(first.ask(Add(number)).await.unwrap());
            }
        });
    }
}

fn audience(count: usize) -> Stage {
    Stage::new(readers(count)).warmed(Stage::publish)
}

fn audience_apart(count: usize) -> Stage {
    Stage::new(readers(count)).warmed(Stage::publish_apart)
}

fn audience_of_two(count: usize) -> Stage {
    Stage::new(readers_of_two(count)).warmed(Stage::publish_in_turn)
}

/// One reader, under a policy that has nothing to do.
fn under(policy: Policy) -> Stage {
    Stage::new(root().child(reader(0).policy(policy))).warmed(Stage::publish)
}

fn timed() -> Stage {
    under(Policy::new().timeout(secs(3_600)))
}

fn guarded() -> Stage {
    under(Policy::new().breaker(Breaker::new()))
}

fn limited() -> Stage {
    under(Policy::new().rate_limit(RateLimit::per_second(1_000_000_000)))
}

fn told() -> Stage {
    Stage::new(readers(1)).warmed(Stage::tell)
}

fn asked() -> Stage {
    Stage::new(readers(1)).warmed(Stage::ask)
}

// What is given back is dropped outside of what is counted.
#[library_benchmark]
#[bench::to_1(args = [1], setup = audience)]
#[bench::to_10(args = [10], setup = audience)]
#[bench::to_100(args = [100], setup = audience)]
fn publish(stage: Stage) -> Stage {
    stage.publish();
    stage
}

#[library_benchmark]
#[bench::to_10(args = [10], setup = audience)]
fn publish_all(stage: Stage) -> Stage {
    stage.publish_all();
    stage
}

#[library_benchmark]
#[bench::to_1(args = [1], setup = audience_apart)]
fn publish_apart(stage: Stage) -> Stage {
    stage.publish_apart();
    stage
}

#[library_benchmark]
#[bench::to_10(args = [10], setup = audience_of_two)]
#[bench::to_100(args = [100], setup = audience_of_two)]
fn publish_in_turn(stage: Stage) -> Stage {
    stage.publish_in_turn();
    stage
}

#[library_benchmark]
#[bench::timeout(args = [], setup = timed)]
#[bench::breaker(args = [], setup = guarded)]
#[bench::rate_limit(args = [], setup = limited)]
fn publish_under(stage: Stage) -> Stage {
    stage.publish();
    stage
}

#[library_benchmark]
#[bench::here(args = [], setup = told)]
fn tell(stage: Stage) -> Stage {
    stage.tell();
    stage
}

#[library_benchmark]
#[bench::here(args = [], setup = asked)]
fn ask(stage: Stage) -> Stage {
    stage.ask();
    stage
}

fn tree() -> (Ground, Supervisor) {
    let ground = Ground::paused();
    ground.board(readers(1));
    let root = (0..STARTED as usize).fold(root(), |root, index| root.child(reader(index)));
    (ground, root)
}

// From the tree to a board of which every service is up.
#[library_benchmark]
#[bench::here(args = [], setup = tree)]
fn start((ground, root): (Ground, Supervisor)) -> (Ground, Board) {
    let board = ground.board(root);
    (ground, board)
}

/// A service that dies of every event, once.
struct Pyre {
    ground: Ground,
    board: Board,
    booms: Publisher<Boom>,
    phoenix: Address<Phoenix>,
    tally: Arc<Tally>,
}

impl Pyre {
    fn burn(&self) {
        for _ in 0..RESTARTS {
            self.ground.run(async {
                self.booms.publish(Boom).await.unwrap();
                black_box(self.phoenix.ask(Add(1)).await.unwrap());
            });
        }
    }
}

fn pyre() -> Pyre {
    set_hook(Box::new(|_| {}));
    let (ground, tally) = (Ground::paused(), Arc::new(Tally::default()));
    let spec = phoenix(&tally);
    let phoenix = spec.address();
    let board = ground.board(root().child(spec));
    let pyre = Pyre {
        booms: board.publisher(),
        ground,
        board,
        phoenix,
        tally,
    };
    pyre.burn();
    pyre
}

// From the event that fails to the next answer, with everything kept.
#[library_benchmark]
#[bench::here(args = [], setup = pyre)]
fn restart(pyre: Pyre) -> Pyre {
    pyre.burn();
    assert_eq!(pyre.tally.lives.load(Relaxed), 2 * RESTARTS + 1);
    assert_eq!(pyre.board.ledger().gap(), 0);
    pyre
}

library_benchmark_group!(
    name = hot_paths;
    benchmarks = publish, publish_all, publish_apart, publish_in_turn, publish_under, tell, ask,
        start, restart
);

main!(library_benchmark_groups = hot_paths);

/// Hands over to the runner, or does the workload it asks for.
pub(crate) fn run() {
    main();
}
