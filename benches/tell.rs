//! What does a message cost, told or asked?
//!
//! Unit: time per message, shown as its inverse: elements are messages. `tell` sends a burst and
//! asks once at its end, so that all have been answered; `ask` waits for each reply before the
//! next. Both from a task on the service's own thread: nothing crosses threads. In the same run,
//! an actix actor: `do_send` and `send`, on one thread as well.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::Duration;

use actix::Actor;
use callboard::prelude::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// Messages in a burst; fewer than a mailbox takes.
const BURST: u64 = 1_000;

struct Add(u64);
impl Message for Add {
    type Reply = u64;
}
impl actix::Message for Add {
    type Result = u64;
}

#[derive(Default)]
struct Sum(u64);
impl Service for Sum {}
impl Answer<Add> for Sum {
    async fn answer(&mut self, add: Add, _: &mut Context<Self>) -> Outcome<u64> {
        self.0 = black_box(self.0.wrapping_add(add.0));
        Ok(self.0)
    }
}

struct ActixSum(u64);
impl Actor for ActixSum {
    type Context = actix::Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1_024);
    }
}
impl actix::Handler<Add> for ActixSum {
    type Result = u64;

    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        self.0 = black_box(self.0.wrapping_add(add.0));
        self.0
    }
}

fn here() -> (Runtime, LocalSet) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    (builder.enable_all().build().unwrap(), LocalSet::new())
}

fn tell(criterion: &mut Criterion) {
    let (runtime, set) = here();
    let spec = service("sum", Sum::default);
    let ours = spec.address();
    let tree = Supervisor::one_for_one("bench").child(spec);
    let started = Board::builder().on_this_thread().start(tree);
    let board = set.block_on(&runtime, started).unwrap();
    let theirs = set.block_on(&runtime, async { ActixSum(0).start() });

    let mut group = criterion.benchmark_group("messages");
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("callboard tell", |bencher| {
        bencher.iter(|| set.block_on(&runtime, tell_burst(&ours)));
    });
    group.bench_function("actix do_send", |bencher| {
        bencher.iter(|| set.block_on(&runtime, do_send_burst(&theirs)));
    });
    group.bench_function("callboard ask", |bencher| {
        bencher.iter(|| set.block_on(&runtime, ask_burst(&ours)));
    });
    group.bench_function("actix send", |bencher| {
        bencher.iter(|| set.block_on(&runtime, send_burst(&theirs)));
    });
    group.finish();
    set.block_on(&runtime, board.shutdown(secs(5)));
}

async fn tell_burst(to: &Address<Sum>) {
    for number in 1..BURST {
        to.tell(Add(number)).await.unwrap();
    }
    to.ask(Add(0)).await.unwrap();
}

async fn do_send_burst(to: &actix::Addr<ActixSum>) {
    for number in 1..BURST {
        to.do_send(Add(number));
    }
    to.send(Add(0)).await.unwrap();
}

async fn ask_burst(to: &Address<Sum>) {
    for number in 0..BURST {
        to.ask(Add(number)).await.unwrap();
    }
}

async fn send_burst(to: &actix::Addr<ActixSum>) {
    for number in 0..BURST {
        to.send(Add(number)).await.unwrap();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = tell
}
criterion_main!(benches);
