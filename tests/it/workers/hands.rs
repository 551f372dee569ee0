//! A service whose workers write down what they see, and do what a script says.
//!
//! Invariant: an attempt is written down before its step, its success after.
//!
//! It asserts the order of what was handled, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use callboard::prelude::*;
use callboard::{Key, ServiceSpec};
use tokio::sync::Notify;

use crate::support_events::{Note, ON_PURPOSE, Step, be_quiet};

/// Something about one key.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) key: u64,
    pub(crate) number: u64,
}

impl Order {
    /// A key that cannot be told.
    pub(crate) const PANICS: u64 = u64::MAX;

    pub(crate) fn new(key: u64, number: u64) -> Self {
        Order { key, number }
    }
}

/// Publishes orders with these numbers, about so many keys.
pub(crate) async fn publish(board: &Board, numbers: std::ops::Range<u64>, keys: u64) {
    for number in numbers {
        let order = Order::new(number % keys, number);
        board.publish(order).await.unwrap();
    }
}

impl Event for Order {
    const NAME: &'static str = "order";

    fn key(&self) -> Key {
        assert!(self.key != Order::PANICS, "{ON_PURPOSE}");
        self.key.into()
    }
}

/// Something else about one key.
pub(crate) struct Change(pub(crate) u64, pub(crate) u64);

impl Event for Change {
    const NAME: &'static str = "change";

    fn key(&self) -> Key {
        self.0.into()
    }
}

/// A letter about one key; the answer is the worker's index.
#[derive(Clone)]
pub(crate) struct Slip {
    pub(crate) key: Key,
    pub(crate) number: u64,
}

impl Message for Slip {
    type Reply = usize;

    fn key(&self) -> Key {
        self.key.clone()
    }
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: Key,
    pub(crate) number: u64,
    pub(crate) worker: usize,
    pub(crate) path: String,
    pub(crate) attempt: u32,
    pub(crate) redriven: bool,
    thread: ThreadId,
}

/// What all workers have written down.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Inner>);

#[derive(Default)]
struct Inner {
    seen: Mutex<Vec<Seen>>,
    handled: Mutex<Vec<Seen>>,
    bell: Notify,
}

impl Book {
    /// Every attempt.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    /// Every success.
    pub(crate) fn handled(&self) -> Vec<Seen> {
        self.0.handled.lock().unwrap().clone()
    }

    /// How much each worker has handled.
    pub(crate) fn workers(&self) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for one in self.handled() {
            *counts.entry(one.worker).or_default() += 1;
        }
        counts
    }

    pub(crate) fn threads(&self) -> usize {
        let threads: BTreeSet<String> = self
            .seen()
            .iter()
            .map(|one| format!("{:?}", one.thread))
            .collect();
        threads.len()
    }

    /// Waits until so many attempts are written down.
    pub(crate) async fn until(&self, count: usize) {
        loop {
            let rung = self.0.bell.notified();
            if self.0.seen.lock().unwrap().len() >= count {
                return;
            }
            rung.await;
        }
    }

    /// What has one key was handled in the order in which it was published, each once.
    pub(crate) fn check_order(&self) {
        let mut last: HashMap<Key, u64> = HashMap::new();
        for one in self.handled().into_iter().filter(|one| !one.redriven) {
            if let Some(before) = last.insert(one.key.clone(), one.number) {
                assert!(before < one.number, "{before} before {one:?}");
            }
        }
    }
}

type Script = Arc<dyn Fn(&Seen) -> Step + Send + Sync>;

pub(crate) struct Hand {
    book: Book,
    script: Script,
}

/// A service called "hands" that does with everything what the script says.
pub(crate) fn hands(
    script: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (ServiceSpec<Hand>, Book) {
    be_quiet();
    let book = Book::default();
    let (kept, script): (Book, Script) = (book.clone(), Arc::new(script));
    let spec = service("hands", move || Hand {
        book: kept.clone(),
        script: Arc::clone(&script),
    });
    (spec, book)
}

/// Whose an order is among so many workers, as the library's docs do not promise but its tests
/// may know: equal keys have one owner.
pub(crate) fn worker_of(order: &Order, workers: u64) -> usize {
    let hash = order.key;
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((hash ^ (hash >> 31)) % workers).unwrap()
}

impl Hand {
    async fn see(&self, key: Key, number: u64, cx: &Context<Self>) -> Outcome {
        let seen = Seen {
            key,
            number,
            worker: cx.worker().unwrap_or(usize::MAX),
            path: cx.path().to_owned(),
            attempt: cx.attempt(),
            redriven: cx.is_redriven(),
            thread: thread::current().id(),
        };
        let step = (self.script)(&seen);
        self.book.0.seen.lock().unwrap().push(seen.clone());
        self.book.0.bell.notify_waiters();
        match step {
            Step::Done => {}
            Step::Fail(failure) => return Err(failure),
            Step::Panic => panic!("{ON_PURPOSE}"),
            Step::Sleep(time) => tokio::time::sleep(time).await,
            Step::Spin(_) => {}
            Step::Wait(gate) => gate.acquire().await?.forget(),
        }
        self.book.0.handled.lock().unwrap().push(seen);
        Ok(())
    }
}

impl Service for Hand {}

impl Handle<Order> for Hand {
    async fn handle(&mut self, order: &Order, cx: &mut Context<Self>) -> Outcome {
        self.see(order.key.into(), order.number, cx).await
    }
}

impl Handle<Change> for Hand {
    async fn handle(&mut self, change: &Change, cx: &mut Context<Self>) -> Outcome {
        self.see(change.0.into(), change.1, cx).await
    }
}

impl Handle<Note> for Hand {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        self.see(Key::None, note.0, cx).await
    }
}

impl Answer<Slip> for Hand {
    async fn answer(&mut self, slip: Slip, cx: &mut Context<Self>) -> Outcome<usize> {
        self.see(slip.key, slip.number, cx).await?;
        Ok(cx.worker().unwrap_or(usize::MAX))
    }
}
