//! Who has received how much, and when all have received all.
//!
//! Every receiver of every contender owns a [`Tally`]; whoever sends waits for their common
//! [`Done`].
//!
//! Invariant: a burst is over only when each receiver has had all of it. What is lost makes the
//! sample wait until the runner gives it up as failed.
//!
//! It costs every contender the same: a sum, a count, and one shared access per burst.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Release};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::Notify;

/// What one receiver has got of the current burst.
#[derive(Debug)]
pub struct Tally {
    sum: u64,
    burst: u64,
    missing: u64,
    done: Arc<Done>,
}

impl Tally {
    pub fn new(burst: u64, done: &Arc<Done>) -> Self {
        Tally {
            sum: 0,
            burst,
            missing: burst,
            done: Arc::clone(done),
        }
    }

    /// What a handler does with a message.
    pub fn take(&mut self, number: u64) -> u64 {
        self.sum = black_box(self.sum.wrapping_add(number));
        self.missing -= 1;
        if self.missing == 0 {
            self.missing = self.burst;
            self.done.arrive();
        }
        self.sum
    }
}

/// Tells whoever waits that all receivers have got the whole burst.
#[derive(Debug)]
pub struct Done {
    parties: u64,
    missing: AtomicU64,
    over: Mutex<bool>,
    thread: Condvar,
    task: Notify,
}

impl Done {
    pub fn of(parties: usize) -> Arc<Self> {
        Arc::new(Done {
            parties: parties as u64,
            missing: AtomicU64::new(parties as u64),
            over: Mutex::new(false),
            thread: Condvar::new(),
            task: Notify::new(),
        })
    }

    /// One of the parties has all it is to have.
    pub fn arrive(&self) {
        if self.missing.fetch_sub(1, AcqRel) == 1 {
            self.missing.store(self.parties, Release);
            *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.thread.notify_one();
            self.task.notify_one();
        }
    }

    /// For senders that are tasks.
    pub async fn wait(&self) {
        self.task.notified().await;
    }

    /// For senders that are threads.
    pub fn wait_blocking(&self) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let over = self.thread.wait_while(over, |over| !*over);
        *over.unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// For those who have received it themselves: it must be over.
    pub fn expect(&self) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(*over, "not everything was received");
        *over = false;
    }
}
