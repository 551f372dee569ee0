//! What does one delivery cost, from publishing to the end of its handler?
//!
//! Unit: time per delivery (an event for one subscriber), shown as its inverse: elements are
//! deliveries. A burst of events is published, and the iteration ends when every subscriber has
//! handled all of them. One arbiter; the publisher is a thread of its own that waits for room.
//! In the same run, on one thread each: tokio's broadcast channel, and one mpsc channel per
//! subscriber into which an `Arc` of each event is sent.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Events in a burst; as many as a subscription may lag behind by default.
const BURST: u64 = 1_000;

struct Tick(u64);
impl Event for Tick {
    const NAME: &'static str = "tick";
}

struct Tock(u64);
impl Event for Tock {
    const NAME: &'static str = "tock";
}

#[derive(Default)]
struct Reader {
    sum: u64,
}
impl Service for Reader {}
impl Handle<Tick> for Reader {
    async fn handle(&mut self, tick: &Tick, _: &mut Context<Self>) -> Outcome {
        self.sum = black_box(self.sum.wrapping_add(tick.0));
        Ok(())
    }
}
impl Handle<Tock> for Reader {
    async fn handle(&mut self, tock: &Tock, _: &mut Context<Self>) -> Outcome {
        self.sum = black_box(self.sum.wrapping_add(tock.0));
        Ok(())
    }
}

fn board(readers: usize, topics: usize) -> Board {
    let mut root = Supervisor::one_for_one("bench");
    for index in 0..readers {
        let reader = service(format!("reader{index}"), Reader::default).on::<Tick>();
        root = match topics {
            1 => root.child(reader),
            _ => root.child(reader.on::<Tock>()),
        };
    }
    Board::builder().arbiters(1).start(root).unwrap()
}

fn ours(readers: usize, bencher: &mut criterion::Bencher<'_>) {
    let board = board(readers, 1);
    let ticks = board.publisher::<Tick>();
    bencher.iter(|| {
        for number in 0..BURST {
            ticks.publish_blocking(Tick(number)).unwrap();
        }
        board.settle_blocking().unwrap();
    });
    board.shutdown_blocking(secs(5));
}

/// As `ours`, with the burst given away at once.
fn in_batches(readers: usize, bencher: &mut criterion::Bencher<'_>) {
    let board = board(readers, 1);
    let ticks = board.publisher::<Tick>();
    bencher.iter(|| {
        ticks.publish_all_blocking((0..BURST).map(Tick)).unwrap();
        board.settle_blocking().unwrap();
    });
    board.shutdown_blocking(secs(5));
}

/// Two topics in turn, so that each reader has to merge them in causal order.
fn alternating(readers: usize, bencher: &mut criterion::Bencher<'_>) {
    let board = board(readers, 2);
    let (ticks, tocks) = (board.publisher::<Tick>(), board.publisher::<Tock>());
    bencher.iter(|| {
        for number in 0..BURST / 2 {
            ticks.publish_blocking(Tick(number)).unwrap();
            tocks.publish_blocking(Tock(number)).unwrap();
        }
        board.settle_blocking().unwrap();
    });
    board.shutdown_blocking(secs(5));
}

/// One thread on which readers run, and what tells when they have read so many events.
struct Ground {
    runtime: tokio::runtime::Runtime,
    read: Arc<AtomicU64>,
}

impl Ground {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ground {
            runtime: builder.worker_threads(1).build().unwrap(),
            read: Arc::default(),
        }
    }

    /// Runs on the readers' thread; `settle_blocking` waits in the same way, for a wake-up.
    fn wait(&self, deliveries: u64) {
        let (done, wait) = oneshot::channel();
        let read = Arc::clone(&self.read);
        self.runtime.spawn(async move {
            while read.load(Ordering::Acquire) < deliveries {
                tokio::task::yield_now().await;
            }
            let _ = done.send(());
        });
        wait.blocking_recv().unwrap();
        self.read.store(0, Ordering::Release);
    }
}

fn tokio_broadcast(readers: usize, bencher: &mut criterion::Bencher<'_>) {
    let ground = Ground::new();
    // Room for the whole burst: a slow reader here would lose events instead of holding up.
    let (sender, _) = broadcast::channel::<Arc<Tick>>(1_024);
    for _ in 0..readers {
        let (mut receiver, read) = (sender.subscribe(), Arc::clone(&ground.read));
        ground.runtime.spawn(async move {
            let mut sum = 0_u64;
            while let Ok(tick) = receiver.recv().await {
                sum = black_box(sum.wrapping_add(tick.0));
                read.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
    bencher.iter(|| {
        for number in 0..BURST {
            assert!(sender.send(Arc::new(Tick(number))).is_ok());
        }
        ground.wait(BURST * readers as u64);
    });
}

fn tokio_mpsc(readers: usize, bencher: &mut criterion::Bencher<'_>) {
    let ground = Ground::new();
    let mut senders = Vec::new();
    for _ in 0..readers {
        let (sender, mut receiver) = mpsc::channel::<Arc<Tick>>(1_024);
        senders.push(sender);
        let read = Arc::clone(&ground.read);
        ground.runtime.spawn(async move {
            let mut sum = 0_u64;
            while let Some(tick) = receiver.recv().await {
                sum = black_box(sum.wrapping_add(tick.0));
                read.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
    bencher.iter(|| {
        for number in 0..BURST {
            let tick = Arc::new(Tick(number));
            for sender in &senders {
                sender.blocking_send(Arc::clone(&tick)).unwrap();
            }
        }
        ground.wait(BURST * readers as u64);
    });
}

/// Its name, and what runs it with so many readers.
type Contender = (&'static str, fn(usize, &mut criterion::Bencher<'_>));

const CONTENDERS: [Contender; 4] = [
    ("callboard", ours),
    ("callboard, in batches", in_batches),
    ("tokio broadcast", tokio_broadcast),
    ("tokio mpsc", tokio_mpsc),
];

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for readers in [1, 10, 100_usize] {
        group.throughput(Throughput::Elements(BURST * readers as u64));
        for (name, run) in CONTENDERS {
            let id = BenchmarkId::new(name, readers);
            group.bench_with_input(id, &readers, |bencher, readers| run(*readers, bencher));
        }
    }
    let id = BenchmarkId::new("callboard, two topics", 100);
    group.bench_with_input(id, &100, |bencher, readers| alternating(*readers, bencher));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = publish
}
criterion_main!(benches);
