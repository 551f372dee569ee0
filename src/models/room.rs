//! How a publisher waits for room against the reader that makes it: `topic/room.rs`,
//! `Topic::wait_for_room`, `Topic::announce_room` and `Topic::sleep`; the letters do the same.
//!
//! Invariant: no publisher waits for ever while there is room. A lost wake-up shows as a
//! deadlock.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use loom::sync::{Mutex, Notify};
use loom::thread;

/// How a variant departs from the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// The publisher looks for room, and enters the queue.
    LookFirst,
    NoFenceOfPublisher,
    NoFenceOfReader,
    /// The reader looks who waits, and moves on.
    AnnounceFirst,
    /// The reader falls asleep in the middle of a batch and tells nobody.
    SleepSilently,
}

const CAPACITY: u64 = 1;

/// A topic with one reader that lags by its whole capacity.
struct Topic {
    tail: Mutex<u64>,
    position: AtomicU64,
    waiting: AtomicUsize,
    wakers: Mutex<Vec<Arc<Notify>>>,
    listed: AtomicBool,
}

impl Topic {
    fn full() -> Self {
        Topic {
            tail: Mutex::new(CAPACITY),
            position: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            wakers: Mutex::new(Vec::new()),
            listed: AtomicBool::new(false),
        }
    }

    fn has_room(&self) -> bool {
        let tail = self.tail.lock().unwrap();
        *tail < self.position.load(Ordering::Acquire) + CAPACITY
    }

    fn offer(&self) -> bool {
        let mut tail = self.tail.lock().unwrap();
        let room = *tail < self.position.load(Ordering::Acquire) + CAPACITY;
        *tail += u64::from(room);
        room
    }

    fn enter(&self, waker: &Arc<Notify>) {
        let mut wakers = self.wakers.lock().unwrap();
        wakers.push(Arc::clone(waker));
        self.waiting.store(wakers.len(), Ordering::SeqCst);
    }

    /// Registers for room; false if there is some.
    fn wait(&self, waker: &Arc<Notify>, flaw: Flaw) -> bool {
        if flaw == Flaw::LookFirst {
            let full = !self.has_room();
            self.enter(waker);
            return full;
        }
        self.enter(waker);
        if flaw != Flaw::NoFenceOfPublisher {
            fence(Ordering::SeqCst);
        }
        !self.has_room()
    }

    fn publish(&self, flaw: Flaw) {
        let waker = Arc::new(Notify::new());
        while !self.offer() {
            if self.wait(&waker, flaw) {
                waker.wait();
            }
        }
    }

    fn take(&self) {
        let position = self.position.load(Ordering::Acquire);
        self.position.store(position + 1, Ordering::Release);
    }

    fn announce(&self, flaw: Flaw) {
        if flaw != Flaw::NoFenceOfReader {
            fence(Ordering::SeqCst);
        }
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let wakers = {
            let mut wakers = self.wakers.lock().unwrap();
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut *wakers)
        };
        for waker in wakers {
            waker.notify();
        }
    }

    /// The reader's last look; what it sees besides is the business of the wake-up.
    fn sleep(&self, flaw: Flaw) {
        {
            let tail = self.tail.lock().unwrap();
            if self.position.load(Ordering::Acquire) < *tail {
                return;
            }
            self.listed.store(true, Ordering::Relaxed);
        }
        if flaw != Flaw::SleepSilently {
            self.announce(flaw);
        }
    }
}

/// Publishers meet a reader that takes `taken` events, each announced, or all at its sleep.
fn model(publishers: usize, announced: bool, flaw: Flaw) {
    let mut builder = loom::model::Builder::new();
    // Two publishers take minutes without a bound.
    builder.preemption_bound = (publishers > 1).then_some(3);
    builder.check(move || {
        let topic = Arc::new(Topic::full());
        let publishers: Vec<_> = (0..publishers)
            .map(|_| {
                let topic = Arc::clone(&topic);
                thread::spawn(move || topic.publish(flaw))
            })
            .collect();
        for taken in 0..publishers.len() {
            // Waits for the event to be there without the reader's bell, which is modelled apart.
            while *topic.tail.lock().unwrap() <= taken as u64 {
                thread::yield_now();
            }
            if flaw == Flaw::AnnounceFirst {
                topic.announce(flaw);
                topic.take();
                continue;
            }
            topic.take();
            if announced {
                topic.announce(flaw);
            } else {
                topic.sleep(flaw);
            }
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
    });
}

#[test]
fn a_publisher_hears_of_room() {
    model(1, true, Flaw::None);
}

#[test]
fn a_publisher_hears_of_room_from_a_reader_that_falls_asleep() {
    model(1, false, Flaw::None);
}

#[test]
fn two_publishers_hear_of_room() {
    model(2, true, Flaw::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn looking_for_room_before_entering_the_queue_is_caught() {
    model(1, true, Flaw::LookFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_publisher_without_its_fence_is_caught() {
    model(1, true, Flaw::NoFenceOfPublisher);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_reader_without_its_fence_is_caught() {
    model(1, true, Flaw::NoFenceOfReader);
}

#[test]
#[should_panic(expected = "deadlock")]
fn announcing_room_before_there_is_some_is_caught() {
    model(1, true, Flaw::AnnounceFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn falling_asleep_silently_is_caught() {
    model(1, false, Flaw::SleepSilently);
}
