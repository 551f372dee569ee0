//! The sequence lock around a reader's counters: `topic/tally.rs`.
//!
//! Invariant: a reading is never torn: both counters stand as they did between two changes.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

/// How a variant departs from the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    NoFenceOfWriter,
    NoFenceOfReader,
    /// The version rises before the change and not after it.
    OneStep,
}

/// Two counters whose sum changes never.
struct Tally {
    version: AtomicU64,
    queued: AtomicU64,
    done: AtomicU64,
}

const SUM: u64 = 2;

impl Tally {
    fn change(&self, flaw: Flaw) {
        let version = self.version.load(Ordering::Relaxed);
        let begun = if flaw == Flaw::OneStep { 2 } else { 1 };
        self.version.store(version + begun, Ordering::Relaxed);
        if flaw != Flaw::NoFenceOfWriter {
            fence(Ordering::Release);
        }
        let queued = self.queued.load(Ordering::Relaxed);
        self.queued.store(queued - 1, Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed);
        self.done.store(done + 1, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    /// One attempt at a reading; the loop around it adds nothing to what it may see.
    fn read(&self, flaw: Flaw) -> Option<u64> {
        let before = self.version.load(Ordering::Acquire);
        let queued = self.queued.load(Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed);
        if flaw != Flaw::NoFenceOfReader {
            fence(Ordering::Acquire);
        }
        (before % 2 == 0 && self.version.load(Ordering::Relaxed) == before).then_some(queued + done)
    }
}

fn model(flaw: Flaw) {
    loom::model(move || {
        let tally = Arc::new(Tally {
            version: AtomicU64::new(0),
            queued: AtomicU64::new(SUM),
            done: AtomicU64::new(0),
        });
        let writer = {
            let tally = Arc::clone(&tally);
            thread::spawn(move || {
                for _ in 0..SUM {
                    tally.change(flaw);
                }
            })
        };
        for _ in 0..2 {
            if let Some(sum) = tally.read(flaw) {
                assert_eq!(sum, SUM, "torn");
            }
        }
        writer.join().unwrap();
        assert_eq!(tally.read(flaw), Some(SUM), "at rest it is read at once");
    });
}

#[test]
fn a_reading_is_never_torn() {
    model(Flaw::None);
}

#[test]
#[should_panic(expected = "torn")]
fn a_writer_without_its_fence_is_caught() {
    model(Flaw::NoFenceOfWriter);
}

#[test]
#[should_panic(expected = "torn")]
fn a_reader_without_its_fence_is_caught() {
    model(Flaw::NoFenceOfReader);
}

#[test]
#[should_panic(expected = "torn")]
fn a_version_that_does_not_say_when_a_change_is_under_way_is_caught() {
    model(Flaw::OneStep);
}
