//! The sequence lock around a reader's counters: `topic/tally.rs`; and what is counted while events
//! are taken in a run, outside of it: `topic/place.rs`.
//!
//! Invariant: a reading is never torn: both counters stand as they did between two changes, and of
//! a run each event taken is either done or in flight.

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
    /// The change number `count`. The only writer knows what it has written, and does not load
    /// it: to the checker its own load would hide the reader's from its store.
    fn change(&self, count: u64, flaw: Flaw) {
        let version = 2 * count;
        let begun = if flaw == Flaw::OneStep { 2 } else { 1 };
        self.version.store(version + begun, Ordering::Relaxed);
        if flaw != Flaw::NoFenceOfWriter {
            fence(Ordering::Release);
        }
        self.queued.store(SUM - count - 1, Ordering::Relaxed);
        self.done.store(count + 1, Ordering::Relaxed);
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
                for count in 0..SUM {
                    tally.change(count, flaw);
                }
            })
        };
        if let Some(sum) = tally.read(flaw) {
            assert_eq!(sum, SUM, "torn");
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

/// A place whose reader takes two events in a run, and handles both.
struct Place {
    version: AtomicU64,
    position: AtomicU64,
    run: AtomicU64,
    done: AtomicU64,
    in_flight: AtomicU64,
}

const RUN: u64 = 2;

impl Place {
    fn change(&self, count: u64, change: impl FnOnce()) {
        self.version.store(2 * count + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version.store(2 * count + 2, Ordering::Release);
    }

    /// With `early`, the run is said to be over before the change that counts it.
    fn read_both(&self, early: bool) {
        self.change(0, || {
            self.position.store(1, Ordering::Release);
            self.run.store(1, Ordering::Relaxed);
            self.in_flight.store(1, Ordering::Relaxed);
        });
        self.position.store(RUN, Ordering::Release);
        if early {
            self.run.store(0, Ordering::Relaxed);
        }
        self.change(1, || {
            self.run.store(0, Ordering::Relaxed);
            self.done.store(RUN, Ordering::Relaxed);
            self.in_flight.store(0, Ordering::Relaxed);
        });
    }

    /// One attempt at a reading: how many were taken, and how many are in a state.
    fn row(&self) -> Option<(u64, u64)> {
        let before = self.version.load(Ordering::Acquire);
        let done = self.done.load(Ordering::Relaxed);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let run = self.run.load(Ordering::Relaxed);
        let position = self.position.load(Ordering::Acquire);
        fence(Ordering::Acquire);
        let in_run = if run == 0 { 0 } else { position - run };
        (before % 2 == 0 && self.version.load(Ordering::Relaxed) == before)
            .then_some((position, done + in_run + in_flight))
    }
}

fn run(early: bool) {
    loom::model(move || {
        let place = Arc::new(Place {
            version: AtomicU64::new(0),
            position: AtomicU64::new(0),
            run: AtomicU64::new(0),
            done: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        });
        let reader = {
            let place = Arc::clone(&place);
            thread::spawn(move || place.read_both(early))
        };
        if let Some((taken, counted)) = place.row() {
            assert_eq!(taken, counted, "a gap");
        }
        reader.join().unwrap();
        assert_eq!(place.row(), Some((RUN, RUN)));
    });
}

#[test]
fn in_a_run_nothing_is_missing() {
    run(false);
}

#[test]
#[should_panic(expected = "a gap")]
fn a_run_that_ends_before_it_is_counted_is_caught() {
    run(true);
}
