//! A log and nothing else: each event is written once and read in place, by tasks that have a
//! position each.
//!
//! It is the limit that publishing to many is measured beside. The gate runs it.
//!
//! Invariant: a reader handles every event that was published after it came, in order, by an
//! `async fn`, as our readers do.
//!
//! It has no bound, catches no panic, keeps no account and knows no policy.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};

use super::count::Count;
use super::readers::Tick;

const SLOTS: u64 = 64;

struct Block {
    slots: Vec<OnceLock<Tick>>,
    next: OnceLock<Arc<Block>>,
}

impl Block {
    fn new() -> Arc<Self> {
        Arc::new(Block {
            slots: (0..SLOTS).map(|_| OnceLock::new()).collect(),
            next: OnceLock::new(),
        })
    }
}

#[derive(Default)]
struct Adder {
    sum: u64,
}

impl Adder {
    async fn handle(&mut self, tick: &Tick) {
        self.sum = black_box(self.sum.wrapping_add(tick.0));
    }
}

struct Writer {
    last: Arc<Block>,
    asleep: Vec<Waker>,
}

/// The log; blocks that all readers have passed are freed.
pub(crate) struct Log {
    writer: Mutex<Writer>,
    tail: AtomicU64,
}

impl Log {
    pub(crate) fn new() -> Arc<Self> {
        let last = Block::new();
        let asleep = Vec::new();
        Arc::new(Log {
            writer: Mutex::new(Writer { last, asleep }),
            tail: AtomicU64::new(0),
        })
    }

    pub(crate) fn publish(&self, tick: Tick) {
        let mut writer = self.writer.lock().unwrap();
        let tail = self.tail.load(Ordering::Relaxed);
        if tail > 0 && tail.is_multiple_of(SLOTS) {
            let next = Block::new();
            writer.last.next.set(Arc::clone(&next)).ok().unwrap();
            writer.last = next;
        }
        let slot = &writer.last.slots[(tail % SLOTS) as usize];
        slot.set(tick).ok().unwrap();
        self.tail.store(tail + 1, Ordering::Release);
        let woken = mem::take(&mut writer.asleep);
        drop(writer);
        woken.into_iter().for_each(Waker::wake);
    }

    /// How far the log is written, once that is beyond this position.
    async fn beyond(&self, position: u64) -> u64 {
        poll_fn(|task| {
            if self.tail.load(Ordering::Acquire) == position {
                let mut writer = self.writer.lock().unwrap();
                if self.tail.load(Ordering::Acquire) == position {
                    writer.asleep.push(task.waker().clone());
                    return Poll::Pending;
                }
            }
            Poll::Ready(self.tail.load(Ordering::Acquire))
        })
        .await
    }

    /// Reads all that is published into a log to which nothing has been yet.
    pub(crate) fn read(self: &Arc<Self>, count: &Rc<Count>) -> impl Future<Output = ()> + 'static {
        let (log, count) = (Arc::clone(self), Rc::clone(count));
        let mut block = Arc::clone(&self.writer.lock().unwrap().last);
        async move {
            let (mut adder, mut position) = (Adder::default(), 0);
            loop {
                let tail = log.beyond(position).await;
                while position < tail {
                    let at = position % SLOTS;
                    if at == 0 && position > 0 {
                        block = Arc::clone(block.next.get().unwrap());
                    }
                    let events = (tail - position).min(SLOTS - at);
                    for slot in &block.slots[at as usize..(at + events) as usize] {
                        adder.handle(slot.get().unwrap()).await;
                    }
                    position += events;
                    count.add(events);
                }
            }
        }
    }
}
