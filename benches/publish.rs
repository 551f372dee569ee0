//! What does one delivery cost, from publishing to the end of its handler?
//!
//! Unit: time per delivery (an event for one subscriber), shown as its inverse: elements are
//! deliveries. A burst of events is published, and the iteration ends when every subscriber has
//! handled all of them.
//!
//! `publish`: one arbiter; the publisher is a thread of its own that waits for room. Beside it in
//! the same run, on one thread each: tokio's broadcast channel, and one mpsc channel per
//! subscriber into which an `Arc` of each event is sent. `publish here`: everything on one thread.
//! `publishers`: four threads publish at once to ten subscribers, beside one thread that does.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use callboard::Publisher;
use criterion::{
    Bencher, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, oneshot};

use common::elsewhere::{Elsewhere, workers};
use common::ground::Ground;
use common::readers::{Tick, Tock, readers, readers_of_two};
use common::settings::settings;

/// Events in a burst; as many as a subscription may lag behind by default.
const BURST: u64 = 1_000;
/// Events of each of several publishers: enough to hide how their threads begin.
const SHARE: u64 = 5_000;
const CAPACITY: usize = 1_024;

fn across(count: usize, bencher: &mut Bencher<'_>) {
    let board = Elsewhere::new(1, readers(count));
    let ticks = board.publisher::<Tick>();
    bencher.iter(|| {
        publish_blocking(&ticks, BURST);
        board.settle_blocking().unwrap();
    });
}

/// As `across`, with the burst given away at once.
fn in_batches(count: usize, bencher: &mut Bencher<'_>) {
    let board = Elsewhere::new(1, readers(count));
    let ticks = board.publisher::<Tick>();
    bencher.iter(|| {
        ticks.publish_all_blocking((0..BURST).map(Tick)).unwrap();
        board.settle_blocking().unwrap();
    });
}

/// Two topics in turn, so that each reader has to merge them in causal order.
fn two_topics(count: usize, bencher: &mut Bencher<'_>) {
    let board = Elsewhere::new(1, readers_of_two(count));
    let (ticks, tocks) = (board.publisher::<Tick>(), board.publisher::<Tock>());
    bencher.iter(|| {
        for number in 0..BURST / 2 {
            ticks.publish_blocking(Tick(number)).unwrap();
            tocks.publish_blocking(Tock(number)).unwrap();
        }
        board.settle_blocking().unwrap();
    });
}

fn publish_blocking(ticks: &Publisher<Tick>, events: u64) {
    for number in 0..events {
        ticks.publish_blocking(Tick(number)).unwrap();
    }
}

fn here(count: usize, bencher: &mut Bencher<'_>) {
    let ground = Ground::new();
    let board = ground.board(readers(count));
    let ticks = board.publisher::<Tick>();
    bencher.iter(|| {
        ground.run(async {
            for number in 0..BURST {
                ticks.publish(Tick(number)).await.unwrap();
            }
            board.settle().await.unwrap();
        });
    });
}

fn two_topics_here(count: usize, bencher: &mut Bencher<'_>) {
    let ground = Ground::new();
    let board = ground.board(readers_of_two(count));
    let (ticks, tocks) = (board.publisher::<Tick>(), board.publisher::<Tock>());
    bencher.iter(|| {
        ground.run(async {
            for number in 0..BURST / 2 {
                ticks.publish(Tick(number)).await.unwrap();
                tocks.publish(Tock(number)).await.unwrap();
            }
            board.settle().await.unwrap();
        });
    });
}

/// So many threads that publish their shares at once.
fn publishers(threads: u64, bencher: &mut Bencher<'_>) {
    let board = Elsewhere::new(1, readers(10));
    bencher.iter(|| {
        thread::scope(|scope| {
            for _ in 0..threads {
                let ticks = board.publisher::<Tick>();
                scope.spawn(move || publish_blocking(&ticks, SHARE));
            }
        });
        board.settle_blocking().unwrap();
    });
}

/// One thread on which readers run, and what tells when they have read so many events.
struct Pit {
    runtime: Runtime,
    read: Arc<AtomicU64>,
}

impl Pit {
    fn new() -> Self {
        Pit {
            runtime: workers(1),
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

fn tokio_broadcast(count: usize, bencher: &mut Bencher<'_>) {
    let pit = Pit::new();
    // Room for the whole burst: a slow reader here would lose events instead of holding up.
    let (sender, _) = broadcast::channel::<Arc<Tick>>(CAPACITY);
    for _ in 0..count {
        let (mut receiver, read) = (sender.subscribe(), Arc::clone(&pit.read));
        pit.runtime.spawn(async move {
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
        pit.wait(BURST * count as u64);
    });
}

fn tokio_mpsc(count: usize, bencher: &mut Bencher<'_>) {
    let pit = Pit::new();
    let mut senders = Vec::new();
    for _ in 0..count {
        let (sender, mut receiver) = mpsc::channel::<Arc<Tick>>(CAPACITY);
        senders.push(sender);
        let read = Arc::clone(&pit.read);
        pit.runtime.spawn(async move {
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
        pit.wait(BURST * count as u64);
    });
}

/// Its name, and what runs it with so many readers.
type Contender = (&'static str, fn(usize, &mut Bencher<'_>));

fn compare(criterion: &mut Criterion, group: &str, contenders: &[Contender]) {
    let mut group = criterion.benchmark_group(group);
    // An iteration with a thousand readers takes long: each sample has the same few.
    group.sampling_mode(SamplingMode::Flat);
    for count in [1, 10, 100, 1_000_usize] {
        group.throughput(Throughput::Elements(BURST * count as u64));
        for (name, run) in contenders {
            let id = BenchmarkId::new(*name, count);
            group.bench_with_input(id, &count, |bencher, count| run(*count, bencher));
        }
    }
    group.finish();
}

fn publish(criterion: &mut Criterion) {
    let contenders: [Contender; 5] = [
        ("callboard", across),
        ("callboard, in batches", in_batches),
        ("callboard, two topics", two_topics),
        ("tokio broadcast", tokio_broadcast),
        ("tokio mpsc", tokio_mpsc),
    ];
    compare(criterion, "publish", &contenders);
}

fn publish_here(criterion: &mut Criterion) {
    let contenders: [Contender; 2] = [
        ("callboard", here),
        ("callboard, two topics", two_topics_here),
    ];
    compare(criterion, "publish here", &contenders);
}

fn many_publishers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publishers");
    for threads in [1, 4] {
        group.throughput(Throughput::Elements(threads * SHARE * 10));
        let id = BenchmarkId::new("callboard", threads);
        group.bench_with_input(id, &threads, |bencher, threads| {
            publishers(*threads, bencher);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = settings();
    targets = publish, publish_here, many_publishers
}
criterion_main!(benches);
