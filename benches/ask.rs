//! How long does an answer take?
//!
//! Unit: time per answer, shown as its inverse: elements are answers. One question after the
//! other. `here`: from a task on the service's own thread, with nothing else to do, and from
//! another service there. `across`: from another thread, both idle between questions, so that two
//! wake-ups of a thread are most of it. Beside an actor of actix, and a task with tokio's mpsc and
//! oneshot channels. `between arbiters`: a service on one asks a service on the other, as they
//! are, and with arbiters that spin before they park.
//!
//! Then, printed as microseconds at the median, 99 % and 99.9 %: on the service's own thread,
//! with two neighbours there that are given 256 messages in every round of the thread. What they
//! handle during a question is counted and printed, and how often one of them had no turn.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use actix::{Actor, Arbiter, System};
use callboard::prelude::*;
use criterion::{Criterion, Throughput, criterion_group};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use common::actix_peer::{self, ActixReader, CAPACITY};
use common::elsewhere::{Elsewhere, caller, workers};
use common::ground::Ground;
use common::readers::{Add, Reader, reader, readers, root};
use common::rounds::quantile;
use common::settings::settings;
use common::tokio_peer;

/// Questions of an iteration: enough to hide how it begins.
const ASKS: u64 = 256;

const NEIGHBOURS: usize = 2;
/// Messages that a neighbour has in each round: more than it is given to handle in one turn.
const ALWAYS: u64 = 256;
/// Questions among neighbours: enough that ten lie beyond 99.9 %.
const QUESTIONS: usize = 10_000;

async fn burst(mut ask: impl AsyncFnMut() -> u64) {
    for _ in 0..ASKS {
        black_box(ask().await);
    }
}

fn here(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ask/here");
    group.throughput(Throughput::Elements(ASKS));
    group.bench_function("callboard", |bencher| {
        let ground = Ground::new();
        let board = ground.board(readers(1));
        let reader = board.service::<Reader>("bench/reader0").unwrap();
        bencher.iter(|| {
            let reader = reader.clone();
            ground.run_as_task(burst(async move || reader.ask(Add(1)).await.unwrap()));
        });
    });
    group.bench_function("callboard, between services", |bencher| {
        let ground = Ground::new();
        let spec = reader(0);
        let other = spec.address();
        let asker = service("asker", move || Asker(other.clone()));
        let near = asker.address();
        let _board = ground.board(root().child(spec).child(asker));
        bencher.iter(|| ground.run(near.ask(Go)).unwrap());
    });
    group.bench_function("actix", |bencher| {
        let ground = Ground::new();
        let reader = ground.run(async { ActixReader::default().start() });
        bencher.iter(|| {
            let reader = reader.clone();
            ground.run_as_task(burst(async move || reader.send(Add(1)).await.unwrap()));
        });
    });
    group.bench_function("tokio mpsc, oneshot", |bencher| {
        let ground = Ground::new();
        let (reader, task) = tokio_peer::reader();
        ground.spawn(task);
        bencher.iter(|| {
            let reader = reader.clone();
            ground.run_as_task(burst(async move || tokio_peer::ask(&reader, 1).await));
        });
    });
    group.finish();
}

fn across(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ask/across");
    group.throughput(Throughput::Elements(ASKS));
    group.bench_function("callboard", |bencher| {
        let spec = reader(0);
        let (caller, reader) = (caller(), spec.address());
        let _board = Elsewhere::new(1, root().child(spec));
        bencher.iter(|| caller.block_on(burst(async || reader.ask(Add(1)).await.unwrap())));
    });
    group.bench_function("actix", |bencher| {
        let system = System::new();
        let reader = actix_peer::elsewhere(&Arbiter::new());
        bencher.iter(|| system.block_on(burst(async || reader.send(Add(1)).await.unwrap())));
    });
    group.bench_function("tokio mpsc, oneshot", |bencher| {
        let (caller, workers) = (caller(), workers(1));
        let (reader, task) = tokio_peer::reader();
        workers.spawn(task);
        bencher.iter(|| caller.block_on(burst(async || tokio_peer::ask(&reader, 1).await)));
    });
    group.finish();
}

/// Asks another service, one question after the other.
struct Asker(Address<Reader>);
impl Service for Asker {}
struct Go;
impl Message for Go {
    type Reply = ();
}
impl Answer<Go> for Asker {
    async fn answer(&mut self, _: Go, cx: &mut Context<Self>) -> Outcome {
        burst(async || cx.ask(&self.0, Add(1)).await.unwrap()).await;
        Ok(())
    }
}

/// Longer than a question takes, and than the thread that asks for a burst needs to ask again.
const SPIN: Duration = millis(2);

fn between(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ask/between arbiters");
    group.throughput(Throughput::Elements(ASKS));
    for (name, spin) in [("parking", Duration::ZERO), ("spinning", SPIN)] {
        group.bench_function(name, |bencher| {
            let spec = reader(0).arbiter(0);
            let far = spec.address();
            let asker = service("asker", move || Asker(far.clone())).arbiter(1);
            let near = asker.address();
            let builder = Board::builder().arbiters(2).spin(spin);
            let _board = Elsewhere::built(builder, root().child(spec).child(asker));
            bencher.iter(|| near.ask_blocking(Go).unwrap());
        });
    }
    group.finish();
}

/// Work for a neighbour.
struct Chore;
impl Message for Chore {
    type Reply = ();
}
impl actix::Message for Chore {
    type Result = ();
}

/// How many chores were done.
type Done = Arc<AtomicU64>;

struct Neighbour(Done);
impl Service for Neighbour {}
impl Answer<Chore> for Neighbour {
    async fn answer(&mut self, _: Chore, _: &mut Context<Self>) -> Outcome {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }
}

struct ActixNeighbour(Done);
impl Actor for ActixNeighbour {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(CAPACITY);
    }
}
impl actix::Handler<Chore> for ActixNeighbour {
    type Result = ();

    fn handle(&mut self, _: Chore, _: &mut Self::Context) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Sees to it, whenever it has its turn, that a neighbour has its chores.
fn feed(ground: &Ground, done: &Done, send: impl Fn() + 'static) {
    let done = Arc::clone(done);
    ground.spawn(async move {
        let mut sent = 0;
        loop {
            while sent < done.load(Relaxed) + ALWAYS {
                send();
                sent += 1;
            }
            yield_now().await;
        }
    });
}

/// The times of questions in microseconds, each asked while the neighbours do their chores.
async fn times(mut ask: impl AsyncFnMut() -> u64, neighbours: &[Done]) -> Vec<f64> {
    let chores = || -> Vec<u64> { neighbours.iter().map(|done| done.load(Relaxed)).collect() };
    // Everybody has had a turn before the first one.
    ask().await;
    let (mut times, mut idle) = (Vec::with_capacity(QUESTIONS), 0);
    let first = chores();
    for _ in 0..QUESTIONS {
        let (before, begun) = (chores(), Instant::now());
        black_box(ask().await);
        times.push(begun.elapsed().as_nanos() as f64 / 1_000.0);
        let mut each = chores().into_iter().zip(before);
        idle += usize::from(each.any(|(after, before)| after == before));
    }
    let sum = |chores: Vec<u64>| chores.into_iter().sum::<u64>();
    let meanwhile = (sum(chores()) - sum(first)) as f64 / QUESTIONS as f64;
    println!("  {meanwhile:.0} chores during a question; one idle during {idle} of {QUESTIONS}");
    assert!(
        idle <= QUESTIONS / 100,
        "the neighbours were idle too often"
    );
    times
}

fn dones() -> Vec<Done> {
    (0..NEIGHBOURS).map(|_| Done::default()).collect()
}

fn callboard_among_neighbours() -> Vec<f64> {
    let (ground, neighbours) = (Ground::new(), dones());
    let spec = reader(0);
    let address = spec.address();
    let (mut root, mut addresses) = (root().child(spec), Vec::new());
    for (index, done) in neighbours.iter().enumerate() {
        let kept = Arc::clone(done);
        let neighbour = service(format!("neighbour{index}"), move || {
            Neighbour(Arc::clone(&kept))
        });
        addresses.push(neighbour.address());
        root = root.child(neighbour);
    }
    let _board = ground.board(root);
    for (to, done) in addresses.into_iter().zip(&neighbours) {
        feed(&ground, done, move || to.try_tell(Chore).unwrap());
    }
    ground.run(times(
        async || address.ask(Add(1)).await.unwrap(),
        &neighbours,
    ))
}

fn actix_among_neighbours() -> Vec<f64> {
    let (ground, neighbours) = (Ground::new(), dones());
    let reader = ground.run(async { ActixReader::default().start() });
    for done in &neighbours {
        let actor = ActixNeighbour(Arc::clone(done));
        let to = ground.run(async { actor.start() });
        feed(&ground, done, move || to.try_send(Chore).unwrap());
    }
    ground.run(times(
        async || reader.send(Add(1)).await.unwrap(),
        &neighbours,
    ))
}

fn tokio_among_neighbours() -> Vec<f64> {
    let (ground, neighbours) = (Ground::new(), dones());
    let (reader, task) = tokio_peer::reader();
    ground.spawn(task);
    for done in &neighbours {
        let (sender, mut receiver) = mpsc::channel(CAPACITY);
        let kept = Arc::clone(done);
        ground.spawn(async move {
            while let Some(Chore) = receiver.recv().await {
                kept.fetch_add(1, Relaxed);
            }
        });
        feed(&ground, done, move || sender.try_send(Chore).unwrap());
    }
    ground.run(times(
        async || tokio_peer::ask(&reader, 1).await,
        &neighbours,
    ))
}

/// Its name, and what measures the times of its questions.
type Contender = (&'static str, fn() -> Vec<f64>);

fn among_neighbours() {
    println!("ask among {NEIGHBOURS} neighbours with work in every round, on one thread, in us");
    let contenders: [Contender; 3] = [
        ("callboard", callboard_among_neighbours),
        ("actix", actix_among_neighbours),
        ("tokio mpsc, oneshot", tokio_among_neighbours),
    ];
    for (name, run) in contenders {
        let times = run();
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| quantile(&times, share));
        println!("{name:<20} p50 {p50:>8.1}  p99 {p99:>8.1}  p99.9 {p999:>8.1}");
    }
}

criterion_group! {
    name = benches;
    config = settings();
    targets = here, across, between
}

fn main() {
    benches();
    among_neighbours();
    Criterion::default().configure_from_args().final_summary();
}
