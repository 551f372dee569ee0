//! What a life, or an instance of a per-key service, is doing.
//!
//! It is written where the code runs; `inspect`, the watchdog and the report of a shutdown read it.
//!
//! Invariant: one thread writes, so nothing is exchanged; reading holds nobody up.
//!
//! Its numbers are read one by one, so they may be an instant apart.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doing {
    /// The number of the event or letter; 0 in hooks and timers.
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    /// The event's name as a [word](crate::event::word_of), which is 0 for a letter, a hook or a
    /// timer. None if it is later work: one of those in flight.
    pub(crate) event: Option<u64>,
    /// When it was taken up, counted from the board's start.
    pub(crate) since: Duration,
}

/// A time since the board's start, to the microsecond, or none.
#[derive(Debug, Default)]
pub(crate) struct Moment(AtomicU64);

impl Moment {
    pub(crate) fn set(&self, since_start: Option<Duration>) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX - 1);
        let one_more = since_start.map_or(0, |time| micros(time) + 1);
        self.0.store(one_more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        let micros = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(micros))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Odd while the thread runs its code: counted up when a poll begins and ends.
    polls: AtomicU64,
    /// When it last took up work; none while it rests.
    busy_since: Moment,
    number: AtomicU64,
    attempt: AtomicU64,
    event: AtomicU64,
}

/// While it lives, the code of this activity runs on its thread.
#[must_use]
pub(crate) struct Polling<'a>(&'a Activity);

impl Activity {
    fn note_poll(&self) {
        let polls = self.polls.load(Ordering::Relaxed);
        self.polls.store(polls.wrapping_add(1), Ordering::Release);
    }

    /// How often its code has been entered and left; odd while it runs.
    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Acquire)
    }

    /// Whether its code runs on its thread.
    pub(crate) fn is_on_thread(&self) -> bool {
        Activity::is_inside(self.polls())
    }

    /// Whether its code ran on its thread when it had been polled so often.
    pub(crate) fn is_inside(polls: u64) -> bool {
        polls % 2 == 1
    }

    pub(crate) fn note_busy(&self, since_start: Duration) {
        self.busy_since.set(Some(since_start));
    }

    pub(crate) fn note_rest(&self) {
        self.busy_since.set(None);
        self.number.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn note_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    pub(crate) fn note_doing(&self, number: u64, attempt: u32, event: u64) {
        self.note_number(number);
        self.attempt.store(u64::from(attempt), Ordering::Relaxed);
        self.event.store(event, Ordering::Relaxed);
    }

    /// What it is busy with, if anything.
    pub(crate) fn doing(&self) -> Option<Doing> {
        let since = self.busy_since.get()?;
        let attempt = self.attempt.load(Ordering::Relaxed);
        Some(Doing {
            number: self.number.load(Ordering::Relaxed),
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            event: Some(self.event.load(Ordering::Relaxed)),
            since,
        })
    }
}

impl<'a> Polling<'a> {
    pub(crate) fn begin(activity: &'a Activity) -> Self {
        activity.note_poll();
        Polling(activity)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.note_poll();
    }
}
