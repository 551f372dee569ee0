//! The blocking work of one board that is on its threads now.
//!
//! `cx.blocking` notes it here; reports read off what has been left behind.
//!
//! Invariant: work is noted from the moment its thread takes it up until that thread has let go
//! of all of it, its result included.
//!
//! It runs nothing, and can end nothing: a thread cannot be interrupted, only told.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::EventId;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};

/// Tells blocking work whether it should stop, because nobody waits for its result any more.
///
/// See [`Context::blocking_with`](crate::Context::blocking_with). Cheap to clone; usable from
/// any thread.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    wanted: Arc<AtomicBool>,
}

impl Stop {
    /// Whether a stop is wanted, because the work has been given up: its handler was cancelled by a
    /// timeout, its life has ended, or the future was dropped. Once true it stays true, and the
    /// result will be dropped.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Gives the work up.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Release);
    }
}

/// One piece of work.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) service: Arc<str>,
    /// What was being handled; none in hooks and timers.
    pub(crate) event: Option<EventId>,
    /// When it was handed over, counted from the board's start.
    pub(crate) since: Duration,
    pub(crate) stop: Stop,
}

/// All work that is on a thread.
#[derive(Debug, Default)]
pub(crate) struct Works {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    works: BTreeMap<u64, Work>,
}

/// Work is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    works: Arc<Works>,
    number: u64,
}

impl Works {
    /// Notes work on the thread that takes it up.
    pub(crate) fn begin(works: &Arc<Works>, work: Work) -> UnderWay {
        let mut open = lock(&works.open);
        let number = open.next;
        open.next += 1;
        open.works.insert(number, work);
        drop(open);
        UnderWay {
            works: Arc::clone(works),
            number,
        }
    }

    /// What still runs though it has been given up, by service, the oldest first.
    pub(crate) fn left_behind(&self) -> Vec<Work> {
        let open = lock(&self.open);
        let given_up = open.works.values().filter(|work| work.stop.is_wanted());
        let mut left: Vec<Work> = given_up.cloned().collect();
        drop(open);
        left.sort_by(|a, b| (&a.service, a.since).cmp(&(&b.service, b.since)));
        left
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.works.open).works.remove(&self.number);
    }
}
