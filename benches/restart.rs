//! How long does it take from a failing event to the next answer?
//!
//! Unit: time per restart. An event is published whose handler panics, and a question is asked:
//! the service gets a new life, the event comes back first and is handled, and then the question
//! is answered. The panic hook is silent, and retries have no delay. Beside it, what a panic
//! costs by itself: one that is raised and caught, with that hook and without any.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use std::hint::black_box;
use std::panic::{catch_unwind, panic_any, resume_unwind, set_hook};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};

use common::ground::Ground;
use common::phoenix::{Boom, Tally, phoenix};
use common::readers::{Add, root};
use common::settings::settings;

fn callboard(bencher: &mut Bencher<'_>) {
    let (ground, tally) = (Ground::new(), Arc::new(Tally::default()));
    let spec = phoenix(&tally);
    let address = spec.address();
    let board = ground.board(root().child(spec));
    let booms = board.publisher::<Boom>();
    let mut restarts = 0;
    bencher.iter(|| {
        ground.run(async {
            booms.publish(Boom).await.unwrap();
            black_box(address.ask(Add(1)).await.unwrap());
        });
        restarts += 1;
    });
    // Each event has cost a life, and none was lost.
    assert_eq!(tally.lives.load(Relaxed), restarts + 1);
    assert_eq!(tally.handled.load(Relaxed), restarts);
}

fn restart(criterion: &mut Criterion) {
    set_hook(Box::new(|_| {}));
    let mut group = criterion.benchmark_group("restart");
    group.bench_function("callboard", callboard);
    group.bench_function("a panic caught", |bencher| {
        bencher.iter(|| catch_unwind(|| panic_any(black_box("on purpose"))).is_err());
    });
    group.bench_function("unwinding alone", |bencher| {
        bencher.iter(|| catch_unwind(|| resume_unwind(Box::new(black_box(1)))).is_err());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = settings();
    targets = restart
}
criterion_main!(benches);
