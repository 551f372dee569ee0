//! What contenders run on: tokio's runtimes, threads that begin together, and silent panics.
//!
//! Invariant: each kind of ground is the same for all who use it.
//!
//! It measures nothing.

use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};

use crate::sample::Sample;
use crate::workload::QUEUED;

/// Everything on the caller's thread.
pub fn here() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// So many worker threads, none of which is the caller's.
pub fn workers(count: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(count)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Threads that do the same job whenever they are told to.
pub struct Crowd {
    barrier: Arc<Barrier>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub fn new<J: FnMut() + Send + 'static>(count: usize, mut job: impl FnMut() -> J) -> Self {
        let barrier = Arc::new(Barrier::new(count + 1));
        let over = Arc::new(AtomicBool::new(false));
        let member = |_| {
            let (barrier, over, mut job) = (Arc::clone(&barrier), Arc::clone(&over), job());
            std::thread::spawn(move || {
                barrier.wait();
                while !over.load(Relaxed) {
                    job();
                    barrier.wait();
                }
            })
        };
        let threads = (0..count).map(member).collect();
        Crowd {
            barrier,
            over,
            threads,
        }
    }

    /// Lets each do its job once more.
    pub fn go(&self) {
        self.barrier.wait();
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        self.barrier.wait();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What survives a panic: counted by the worker's lives, which share it.
#[derive(Debug, Default)]
pub struct Remains {
    pub handled: AtomicU64,
    pub returned: AtomicBool,
    pub lives: AtomicU64,
}

impl Remains {
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    pub fn handle(&self) {
        self.handled.fetch_add(1, Relaxed);
    }

    /// A life begins.
    pub fn begin(&self) {
        self.lives.fetch_add(1, Relaxed);
    }

    /// As many lives as restarts, and the first.
    pub fn expect_restarts(&self, restarts: u64) {
        let lives = self.lives.load(Relaxed);
        assert_eq!(lives, restarts + 1, "lives after {restarts} panics");
    }

    pub fn sample(&self) -> Sample {
        let kept = self.handled.load(Relaxed);
        let flight = match self.returned.load(Relaxed) {
            true => "comes back",
            false => "is lost",
        };
        Sample::words(format!("{kept} of {QUEUED}; the one in flight {flight}"))
    }
}

/// What a worker says when it panics as it was told to.
const ON_PURPOSE: &str = "on purpose";

/// Panics, as a handler with a fault does.
pub fn fail() -> ! {
    panic::panic_any(ON_PURPOSE)
}

/// Keeps panics on purpose from being printed, which would take longer than the panics.
pub fn hush() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
            print(info);
        }
    }));
}
