//! The bell itself in random schedules, where the task that reads changes its waker.
//!
//! Invariant: a reader that sleeps is woken by its last waker. A lost wake-up shows as a deadlock.

use std::sync::Arc;

use shuttle::thread;

use super::world::{FEW, MANY, Signal, check};
use crate::bell::Bell;
use crate::sync::{AtomicU64, Ordering};

const RINGS: u64 = 3;

/// It reads what two others write, with another of its wakers each time it sleeps.
fn a_reader_with_several_wakers_is_woken() {
    let (bell, written) = (Arc::new(Bell::new()), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (bell, written) = (Arc::clone(&bell), Arc::clone(&written));
            thread::spawn(move || {
                for _ in 0..RINGS {
                    written.fetch_add(1, Ordering::SeqCst);
                    bell.ring();
                }
            })
        })
        .collect();
    let signals = [Signal::new(), Signal::new(), Signal::new()];
    let (mut seen, mut turn) = (0, 0);
    while seen < 2 * RINGS {
        let signal = &signals[turn % signals.len()];
        turn += 1;
        bell.arm(&signal.waker());
        let now = written.load(Ordering::SeqCst);
        if now == seen {
            signal.wait();
        }
        seen = now;
        bell.disarm();
    }
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn a_reader_is_woken_whichever_waker_it_has() {
    check(FEW, a_reader_with_several_wakers_is_woken);
}

#[test]
#[ignore = "long"]
fn a_reader_is_woken_whichever_waker_it_has_for_long() {
    check(MANY, a_reader_with_several_wakers_is_woken);
}
