//! How a mailbox falls asleep against those who write to it: `bell.rs`, `Topic::sleep`
//! and `Topic::offer`, `Letterbox::enter` and `Letters::look_last`.
//!
//! Invariant: a reader that sleeps is woken by whatever was written after its last look. A lost
//! wake-up shows as a deadlock.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Mutex, Notify};
use loom::thread;

/// How a variant departs from the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// The reader arms its bell after it has looked for the last time.
    ArmLast,
    /// The publisher takes the sleepers, and writes under the lock again.
    WakeFirst,
    /// The reader lists itself without looking at the tail under the same lock.
    SleepBlindly,
    /// The sender rings, and puts its letter in.
    RingFirst,
    /// The reader looks for the last time as it always does: without the lock.
    LookWithoutLock,
}

struct Bell {
    armed: AtomicBool,
    waker: Notify,
}

impl Bell {
    fn new() -> Self {
        Bell {
            armed: AtomicBool::new(false),
            waker: Notify::new(),
        }
    }

    /// A swap, as in the bell: the checker does not see that a store which follows another in its
    /// thread also follows a swap that read that other, and reports a lost wake-up that the
    /// language rules out; a swap it does order.
    fn arm(&self) {
        self.armed.swap(true, Ordering::SeqCst);
    }

    fn disarm(&self) {
        self.armed.store(false, Ordering::SeqCst);
    }

    fn ring(&self) {
        if self.armed.load(Ordering::SeqCst) && self.armed.swap(false, Ordering::SeqCst) {
            self.waker.notify();
        }
    }
}

/// One topic and its only reader's place in it.
struct Topic {
    tail: AtomicU64,
    writer: Mutex<Writer>,
}

struct Writer {
    tail: u64,
    asleep: bool,
}

impl Topic {
    fn new() -> Self {
        Topic {
            tail: AtomicU64::new(0),
            writer: Mutex::new(Writer {
                tail: 0,
                asleep: false,
            }),
        }
    }

    fn publish(&self, bell: &Bell, flaw: Flaw) {
        let mut woken = false;
        if flaw == Flaw::WakeFirst {
            woken = std::mem::take(&mut self.writer.lock().unwrap().asleep);
        }
        let mut writer = self.writer.lock().unwrap();
        writer.tail += 1;
        self.tail.store(writer.tail, Ordering::Release);
        if flaw != Flaw::WakeFirst {
            woken = std::mem::take(&mut writer.asleep);
        }
        drop(writer);
        if woken {
            bell.ring();
        }
    }

    fn sleep(&self, position: u64, flaw: Flaw) -> bool {
        let mut writer = self.writer.lock().unwrap();
        if position < writer.tail && flaw != Flaw::SleepBlindly {
            return false;
        }
        writer.asleep = true;
        true
    }
}

/// One letter is on its way.
struct Letters {
    accepted: AtomicBool,
    list: Mutex<bool>,
}

impl Letters {
    fn new() -> Self {
        Letters {
            accepted: AtomicBool::new(false),
            list: Mutex::new(false),
        }
    }

    fn put(&self, bell: &Bell, flaw: Flaw) {
        if flaw == Flaw::RingFirst {
            bell.ring();
        }
        let mut list = self.list.lock().unwrap();
        self.accepted.store(true, Ordering::Release);
        *list = true;
        drop(list);
        if flaw != Flaw::RingFirst {
            bell.ring();
        }
    }

    fn look(&self) -> bool {
        self.accepted.load(Ordering::Acquire)
    }

    fn look_last(&self, flaw: Flaw) -> bool {
        if flaw == Flaw::LookWithoutLock {
            return self.look();
        }
        *self.list.lock().unwrap()
    }
}

/// Reads one event of each topic, and the letter if one is expected, sleeping in between.
fn read(topics: &[Topic], letters: Option<&Letters>, bell: &Bell, flaw: Flaw) {
    let mut positions = vec![0; topics.len()];
    let mut got_letter = letters.is_none();
    loop {
        for (position, topic) in positions.iter_mut().zip(topics) {
            *position = topic.tail.load(Ordering::Acquire);
        }
        got_letter = got_letter || letters.is_some_and(Letters::look);
        if got_letter && positions.iter().all(|position| *position == 1) {
            return;
        }
        if flaw != Flaw::ArmLast {
            bell.arm();
        }
        let mut asleep = positions
            .iter()
            .zip(topics)
            .all(|(position, topic)| topic.sleep(*position, flaw));
        let has_letter = || letters.is_some_and(|letters| letters.look_last(flaw));
        asleep = asleep && (got_letter || !has_letter());
        if flaw == Flaw::ArmLast {
            bell.arm();
        }
        if asleep {
            bell.waker.wait();
        }
        bell.disarm();
    }
}

fn model(topics: usize, letters: bool, flaw: Flaw) {
    let mut builder = loom::model::Builder::new();
    // Two writers take minutes without a bound.
    builder.preemption_bound = (topics + usize::from(letters) > 1).then_some(3);
    builder.check(move || {
        let bell = Arc::new(Bell::new());
        let topics: Arc<[Topic]> = (0..topics).map(|_| Topic::new()).collect();
        let letters = letters.then(|| Arc::new(Letters::new()));
        let mut writers = Vec::new();
        for index in 0..topics.len() {
            let (topics, bell) = (Arc::clone(&topics), Arc::clone(&bell));
            writers.push(thread::spawn(move || topics[index].publish(&bell, flaw)));
        }
        if let Some(letters) = letters.clone() {
            let bell = Arc::clone(&bell);
            writers.push(thread::spawn(move || letters.put(&bell, flaw)));
        }
        read(&topics, letters.as_deref(), &bell, flaw);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

#[test]
fn a_reader_of_one_topic_is_woken() {
    model(1, false, Flaw::None);
}

#[test]
fn a_reader_of_two_topics_is_woken() {
    model(2, false, Flaw::None);
}

#[test]
fn a_reader_of_letters_is_woken() {
    model(0, true, Flaw::None);
}

#[test]
fn a_reader_of_a_topic_and_letters_is_woken() {
    model(1, true, Flaw::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn arming_after_the_last_look_at_a_topic_is_caught() {
    model(1, false, Flaw::ArmLast);
}

#[test]
#[should_panic(expected = "deadlock")]
fn arming_after_the_last_look_at_letters_is_caught() {
    model(0, true, Flaw::ArmLast);
}

#[test]
#[should_panic(expected = "deadlock")]
fn taking_the_sleepers_before_writing_is_caught() {
    model(1, false, Flaw::WakeFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn falling_asleep_without_a_look_under_the_lock_is_caught() {
    model(1, false, Flaw::SleepBlindly);
}

#[test]
#[should_panic(expected = "deadlock")]
fn ringing_before_the_letter_is_there_is_caught() {
    model(0, true, Flaw::RingFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_last_look_at_letters_without_the_lock_is_caught() {
    model(0, true, Flaw::LookWithoutLock);
}
