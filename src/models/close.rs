//! How reading ends against those who write: `Letters::close` and `Letterbox::reserve`;
//! `Topic::unsubscribe`, `Place::shed_before` and `Place::take`.
//!
//! Invariant: what was accepted is counted exactly once, as handled or not, and after the end
//! nothing is accepted.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

const CLOSED: u64 = 1 << 63;
const CAPACITY: u64 = 2;

/// How a variant departs from the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// The closing bit is stored, not set in one step with the reading of the count.
    StoreBit,
    /// Closing takes what is queued, and does not wait for who has counted but not pushed.
    TakeWhatIsThere,
    /// The sender pushes what it has not counted in one step.
    CountApart,
    /// Who finds room for one counts it for the next one, too.
    CountRoomTwice,
    /// The reader looks at the tail, and takes the lock.
    TailBeforeLock,
    /// The reader moves on without a look whether the topic has moved it.
    StoreStep,
}

struct Letterbox {
    accepted: AtomicU64,
    full_at: AtomicU64,
    taken: AtomicU64,
    list: Mutex<VecDeque<()>>,
}

impl Letterbox {
    fn new() -> Self {
        Letterbox {
            accepted: AtomicU64::new(0),
            full_at: AtomicU64::new(CAPACITY),
            taken: AtomicU64::new(0),
            list: Mutex::new(VecDeque::new()),
        }
    }

    fn has_room_after(&self, accepted: u64, flaw: Flaw) -> bool {
        let full_at = self.taken.load(Ordering::Relaxed) + CAPACITY;
        let known = if flaw == Flaw::CountRoomTwice {
            full_at + 1
        } else {
            full_at
        };
        self.full_at.fetch_max(known, Ordering::Relaxed);
        accepted < full_at
    }

    fn send(&self, flaw: Flaw) -> bool {
        let mut accepted = self.accepted.load(Ordering::Acquire);
        loop {
            if accepted & CLOSED != 0 {
                return false;
            }
            let is_free = accepted < self.full_at.load(Ordering::Relaxed);
            if !is_free && !self.has_room_after(accepted, flaw) {
                return false;
            }
            if flaw == Flaw::CountApart {
                self.accepted.store(accepted + 1, Ordering::SeqCst);
                break;
            }
            match self.accepted.compare_exchange(
                accepted,
                accepted + 1,
                Ordering::SeqCst,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(seen) => accepted = seen,
            }
        }
        self.list.lock().unwrap().push_back(());
        true
    }

    fn take(&self) -> bool {
        let took = self.list.lock().unwrap().pop_front().is_some();
        if took {
            let taken = self.taken.load(Ordering::Relaxed);
            self.taken.store(taken + 1, Ordering::Relaxed);
        }
        took
    }

    /// Returns how many letters it took out.
    fn close(&self, flaw: Flaw) -> u64 {
        let accepted = if flaw == Flaw::StoreBit {
            let accepted = self.accepted.load(Ordering::SeqCst);
            self.accepted.store(accepted | CLOSED, Ordering::SeqCst);
            accepted
        } else {
            self.accepted.fetch_or(CLOSED, Ordering::SeqCst)
        };
        let mut left = 0;
        while self.taken.load(Ordering::Relaxed) < accepted {
            if self.take() {
                left += 1;
            } else if flaw == Flaw::TakeWhatIsThere {
                break;
            } else {
                thread::yield_now();
            }
        }
        left
    }
}

/// Senders meet a reader that takes one letter if there is one: no more are accepted than there is
/// room for, and no fewer.
fn bounded(flaw: Flaw) {
    loom::model(move || {
        let letterbox = Arc::new(Letterbox::new());
        let senders = [(); 2].map(|()| {
            let letterbox = Arc::clone(&letterbox);
            thread::spawn(move || [(); 2].map(|()| letterbox.send(flaw)))
        });
        let taken = u64::from(letterbox.take());
        let sent = senders.map(|sender| sender.join().unwrap());
        let sent = sent.iter().flatten().filter(|sent| **sent).count() as u64;
        assert!(sent >= CAPACITY, "refused although there is room");
        assert!(
            sent <= CAPACITY + taken,
            "accepted although there is no room"
        );
    });
}

/// Senders of one letter each meet a reader that takes one if there is one, and closes.
fn letters(senders: usize, flaw: Flaw) {
    loom::model(move || {
        let letterbox = Arc::new(Letterbox::new());
        let senders: Vec<_> = (0..senders)
            .map(|_| {
                let letterbox = Arc::clone(&letterbox);
                thread::spawn(move || letterbox.send(flaw))
            })
            .collect();
        let handled = u64::from(letterbox.take());
        let returned = letterbox.close(flaw);
        let sent: Vec<bool> = senders.into_iter().map(|it| it.join().unwrap()).collect();
        let sent = sent.into_iter().filter(|sent| *sent).count() as u64;
        assert_eq!(sent, handled + returned, "each exactly once");
        assert!(
            letterbox.list.lock().unwrap().is_empty(),
            "each exactly once"
        );
        assert!(!letterbox.send(Flaw::None), "accepted after the end");
    });
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
fn every_accepted_letter_is_taken_or_returned_by_the_close() {
    letters(1, Flaw::None);
    letters(2, Flaw::None);
}

#[test]
#[should_panic]
fn a_closing_bit_that_is_only_stored_is_caught() {
    letters(1, Flaw::StoreBit);
}

#[test]
#[should_panic(expected = "each exactly once")]
fn a_close_that_does_not_wait_for_who_has_counted_is_caught() {
    letters(1, Flaw::TakeWhatIsThere);
}

#[test]
#[should_panic]
fn a_letter_that_is_not_counted_in_one_step_is_caught() {
    letters(1, Flaw::CountApart);
}

#[test]
fn as_many_letters_are_accepted_as_there_is_room_for() {
    bounded(Flaw::None);
}

#[test]
#[should_panic(expected = "accepted although there is no room")]
fn room_that_is_counted_twice_is_caught() {
    bounded(Flaw::CountRoomTwice);
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
