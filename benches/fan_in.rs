//! What does a message cost of eight senders to one service?
//!
//! Unit: time per message, shown as its inverse: elements are messages. Eight services on two
//! arbiters are told to send their shares, and a burst ends when the last of them was handled;
//! senders wait for room. In the same run: eight tasks on two arbiters of actix and an actor
//! there, and eight tasks and a reader on two threads of tokio.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use actix::{Arbiter, System};
use callboard::prelude::*;
use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use tokio::sync::oneshot;

use common::actix_peer;
use common::elsewhere::{Elsewhere, workers};
use common::readers::{Add, Reader, reader, root};
use common::settings::settings;
use common::tokio_peer;

const SENDERS: usize = 8;
/// Messages of each sender in a burst: enough to hide how it begins.
const SHARE: u64 = 4_000;

/// Send your share; the answer says that it has been handled.
struct Go;
impl Message for Go {
    type Reply = ();
}

struct Sender(Address<Reader>);
impl Service for Sender {}
impl Answer<Go> for Sender {
    async fn answer(&mut self, _: Go, cx: &mut Context<Self>) -> Outcome {
        for number in 1..SHARE {
            cx.tell(&self.0, Add(number)).await?;
        }
        cx.ask(&self.0, Add(0)).await?;
        Ok(())
    }
}

fn callboard(bencher: &mut Bencher<'_>) {
    let reader = reader(0).arbiter(0);
    let to = reader.address();
    let (mut root, mut senders) = (root().child(reader), Vec::new());
    for index in 0..SENDERS {
        let to = to.clone();
        let sender = service(format!("sender{index}"), move || Sender(to.clone()));
        senders.push(sender.address());
        root = root.child(sender.arbiter(index % 2));
    }
    let _board = Elsewhere::new(2, root);
    let caller = common::elsewhere::caller();
    bencher.iter(|| {
        caller.block_on(async {
            let asks = senders.iter().map(|sender| sender.ask(Go));
            for answer in futures_util::future::join_all(asks).await {
                answer.unwrap();
            }
        });
    });
}

fn actix(bencher: &mut Bencher<'_>) {
    let system = System::new();
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let reader = actix_peer::elsewhere(&arbiters[0]);
    bencher.iter(|| {
        let sent = (0..SENDERS).map(|index| {
            let (reader, (done, sent)) = (reader.clone(), oneshot::channel());
            arbiters[index % 2].spawn(async move {
                actix_peer::burst(&reader, SHARE).await;
                let _ = done.send(());
            });
            sent
        });
        let sent: Vec<_> = sent.collect();
        system.block_on(async { drop(futures_util::future::join_all(sent).await) });
    });
}

fn tokio_mpsc(bencher: &mut Bencher<'_>) {
    let workers = workers(2);
    let (reader, task) = tokio_peer::reader();
    workers.spawn(task);
    bencher.iter(|| {
        let send = |_| {
            let reader = reader.clone();
            workers.spawn(async move { tokio_peer::burst(&reader, SHARE).await })
        };
        let sent: Vec<_> = (0..SENDERS).map(send).collect();
        workers.block_on(async { drop(futures_util::future::join_all(sent).await) });
    });
}

fn fan_in(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_in");
    group.throughput(Throughput::Elements(SENDERS as u64 * SHARE));
    group.bench_function("callboard", callboard);
    group.bench_function("actix", actix);
    group.bench_function("tokio mpsc", tokio_mpsc);
    group.finish();
}

criterion_group! {
    name = benches;
    config = settings();
    targets = fan_in
}
criterion_main!(benches);
