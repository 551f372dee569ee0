//! What does a message cost that is told?
//!
//! Unit: time per message, shown as its inverse: elements are messages. A burst is sent, and its
//! last message is asked, so that all have been handled. `here`: from a task on the service's own
//! thread. `across`: from a thread of its own, which waits for room. In the same run: an actor of
//! actix (`do_send`, which knows no bound, here; `try_send` and `send` across) and a task with
//! tokio's bounded mpsc channel.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use actix::{Actor, Addr, Arbiter, System};
use callboard::prelude::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use common::actix_peer::{self, ActixReader};
use common::elsewhere::{Elsewhere, caller, workers};
use common::ground::Ground;
use common::readers::{Add, Reader, readers};
use common::settings::settings;
use common::tokio_peer;

/// Messages in a burst on one thread; fewer than a mailbox takes.
const BURST: u64 = 1_000;
/// Messages in a burst to another thread: enough to hide the one wake-up at its end.
const LONG_BURST: u64 = 20_000;

async fn burst(to: &Address<Reader>, messages: u64) {
    for number in 1..messages {
        to.tell(Add(number)).await.unwrap();
    }
    to.ask(Add(0)).await.unwrap();
}

async fn do_send_burst(to: &Addr<ActixReader>) {
    for number in 1..BURST {
        to.do_send(Add(number));
    }
    to.send(Add(0)).await.unwrap();
}

fn here(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tell/here");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("callboard", |bencher| {
        let ground = Ground::new();
        let board = ground.board(readers(1));
        let reader = board.service("bench/reader0").unwrap();
        bencher.iter(|| ground.run(burst(&reader, BURST)));
    });
    group.bench_function("actix", |bencher| {
        let ground = Ground::new();
        let reader = ground.run(async { ActixReader::default().start() });
        bencher.iter(|| ground.run(do_send_burst(&reader)));
    });
    group.bench_function("tokio mpsc", |bencher| {
        let ground = Ground::new();
        let (reader, task) = tokio_peer::reader();
        ground.spawn(task);
        bencher.iter(|| ground.run(tokio_peer::burst(&reader, BURST)));
    });
    group.finish();
}

fn across(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tell/across");
    group.throughput(Throughput::Elements(LONG_BURST));
    group.bench_function("callboard", |bencher| {
        let board = Elsewhere::new(1, readers(1));
        let (caller, reader) = (caller(), board.service("bench/reader0").unwrap());
        bencher.iter(|| caller.block_on(burst(&reader, LONG_BURST)));
    });
    group.bench_function("actix", |bencher| {
        let system = System::new();
        let reader = actix_peer::elsewhere(&Arbiter::new());
        bencher.iter(|| system.block_on(actix_peer::burst(&reader, LONG_BURST)));
    });
    group.bench_function("tokio mpsc", |bencher| {
        let (caller, workers) = (caller(), workers(1));
        let (reader, task) = tokio_peer::reader();
        workers.spawn(task);
        bencher.iter(|| caller.block_on(tokio_peer::burst(&reader, LONG_BURST)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = settings();
    targets = here, across
}
criterion_main!(benches);
