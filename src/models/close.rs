//! How reading ends against those who write: `Topic::unsubscribe`, `Place::shed_before` and
//! `Place::take`. Letters have one lock for all of it.
//!
//! Invariant: what was accepted is counted exactly once, as handled or not, and after the end
//! nothing is accepted.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// How a variant departs from the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// The reader looks at the tail, and takes the lock.
    TailBeforeLock,
    /// The reader moves on without a look whether the topic has moved it.
    StoreStep,
}

/// A topic with one place.
struct Topic {
    writer: Mutex<Writer>,
    position: AtomicU64,
    /// How far the log is written, as the reader sees it.
    tail: AtomicU64,
}

struct Writer {
    tail: u64,
    shed: u64,
    /// How far the place was written when it ended.
    end: Option<u64>,
}

impl Topic {
    /// Appends an event; the oldest goes if the place lags by its capacity, 1.
    fn offer(&self, drops: bool, accepted: &mut u64) {
        let mut writer = self.writer.lock().unwrap();
        if writer.end.is_some() {
            return;
        }
        let floor = writer.tail;
        let mut from = self.position.load(Ordering::Acquire);
        while drops && from < floor {
            match self
                .position
                .compare_exchange(from, floor, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    writer.shed += floor - from;
                    break;
                }
                Err(seen) => from = seen,
            }
        }
        writer.tail += 1;
        self.tail.store(writer.tail, Ordering::Release);
        *accepted += 1;
    }

    /// Takes one event if there is one that the topic has not shed.
    fn take(&self, flaw: Flaw) -> bool {
        let at = self.position.load(Ordering::Acquire);
        if at >= self.tail.load(Ordering::Acquire) {
            return false;
        }
        if flaw == Flaw::StoreStep {
            self.position.store(at + 1, Ordering::Release);
            return true;
        }
        self.position
            .compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Returns how many events nobody will handle.
    fn close(&self, flaw: Flaw) -> u64 {
        let seen = self.tail.load(Ordering::Acquire);
        let mut writer = self.writer.lock().unwrap();
        let tail = if flaw == Flaw::TailBeforeLock {
            seen
        } else {
            writer.tail
        };
        writer.end = Some(tail);
        tail - self.position.swap(tail, Ordering::AcqRel)
    }
}

/// A publisher of two events meets a reader that takes some, and ends its subscription.
fn topic(drops: bool, flaw: Flaw) {
    loom::model(move || {
        let topic = Arc::new(Topic {
            writer: Mutex::new(Writer {
                tail: 0,
                shed: 0,
                end: None,
            }),
            position: AtomicU64::new(0),
            tail: AtomicU64::new(0),
        });
        let publisher = {
            let topic = Arc::clone(&topic);
            thread::spawn(move || {
                let mut accepted = 0;
                for _ in 0..2 {
                    topic.offer(drops, &mut accepted);
                }
                accepted
            })
        };
        let handled = u64::from(topic.take(flaw)) + u64::from(topic.take(flaw));
        let undelivered = topic.close(flaw);
        let accepted = publisher.join().unwrap();
        let shed = topic.writer.lock().unwrap().shed;
        assert_eq!(accepted, handled + shed + undelivered, "each exactly once");
    });
}

#[test]
fn every_accepted_event_is_counted_once_at_the_end_of_a_subscription() {
    topic(false, Flaw::None);
}

#[test]
fn every_accepted_event_is_counted_once_where_the_oldest_goes() {
    topic(true, Flaw::None);
}

#[test]
#[should_panic(expected = "each exactly once")]
fn an_end_that_looks_at_the_tail_before_the_lock_is_caught() {
    topic(false, Flaw::TailBeforeLock);
}

#[test]
#[should_panic]
fn a_step_that_does_not_look_whether_the_event_was_shed_is_caught() {
    topic(true, Flaw::StoreStep);
}
