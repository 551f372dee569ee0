//! One event in the custody of its subscription, beyond the one that is read for the first time.
//!
//! Sources keep them; a life tries them again.
//!
//! Invariant: it pins its event, and knows every attempt made at it.
//!
//! It counts nothing: whoever moves it does.

use std::time::Duration;

use tokio::time::Instant;

use crate::dead_letter::FailedAttempt;
use crate::event::Key;
use crate::failure::Failure;
use crate::mailbox::guards::Ticket;
use crate::policy::Verdict;
use crate::topic::block::Pinned;

/// An event that waits to be tried again, or is being tried again.
#[derive(Debug)]
pub(crate) struct Held<E> {
    pub(crate) event: Pinned<E>,
    pub(crate) attempts: Vec<FailedAttempt>,
    pub(crate) due: Instant,
    pub(crate) redriven: bool,
    /// When it was accepted, counted from the board's start, if that is known.
    pub(crate) accepted: Option<Duration>,
    /// When its first attempt began.
    pub(crate) first: Option<Instant>,
    /// How many attempts are not counted: those that were cut short, and those before it was
    /// redriven.
    pub(crate) lapsed: u32,
    /// A guard, or want of room, makes it wait, and not the delay after a failure.
    pub(crate) is_put_off: bool,
    /// It has stepped aside before.
    pub(crate) is_aside: bool,
    /// Its attempt goes on in later work.
    pub(crate) is_later: bool,
    /// The line that it heads: events with this key wait behind it.
    pub(crate) line: Option<Key>,
    /// It is given up, and what is to follow has not been done yet. A box, since it is rare.
    pub(crate) sentence: Option<Box<Sentence>>,
    /// While it is tried: what its breaker is to hear of that.
    pub(crate) ticket: Option<Ticket>,
}

/// Which attempt at an event is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    /// 1 for the first; those that lapsed are not counted.
    pub(crate) attempt: u32,
    /// How many lapsed before: they were cut short, or made before a redrive.
    pub(crate) lapsed: u32,
    pub(crate) redriven: bool,
}

impl Try {
    /// The first attempt at an event that was read just now.
    pub(crate) const FIRST: Try = Try {
        attempt: 1,
        lapsed: 0,
        redriven: false,
    };

    /// The attempt before this one, to which what follows an event belongs that is given up.
    pub(crate) fn before(self) -> Self {
        Try {
            attempt: self.attempt.saturating_sub(1).max(1),
            ..self
        }
    }
}

/// What is to be done about an event that is given up.
#[derive(Clone, Debug)]
pub(crate) struct Sentence {
    pub(crate) verdict: Verdict,
    pub(crate) failure: Failure,
}

impl<E> Held<E> {
    pub(crate) fn new(event: Pinned<E>, accepted: Option<Duration>, now: Instant) -> Self {
        Held {
            event,
            attempts: Vec::new(),
            due: now,
            redriven: false,
            accepted,
            first: None,
            lapsed: 0,
            is_put_off: false,
            is_aside: false,
            is_later: false,
            line: None,
            sentence: None,
            ticket: None,
        }
    }

    /// Whether no attempt at it has begun yet.
    pub(crate) fn is_new(&self) -> bool {
        self.first.is_none() && self.attempts.is_empty() && self.sentence.is_none()
    }

    /// Which attempt the next one is; 1 for the first.
    pub(crate) fn next_attempt(&self) -> u32 {
        self.counted().saturating_add(1)
    }

    /// As [`Held::next_attempt`], with all that is known of it.
    pub(crate) fn next_try(&self) -> Try {
        Try {
            attempt: self.next_attempt(),
            lapsed: self.lapsed,
            redriven: self.redriven,
        }
    }

    /// The attempt that was under way was cut short, and nobody is to blame.
    pub(crate) fn lapse(&mut self) {
        self.lapsed = self.lapsed.saturating_add(1);
    }

    /// How often it has been begun, counted or not.
    pub(crate) fn tries(&self) -> u32 {
        self.counted().saturating_add(self.lapsed)
    }

    /// How many attempts have failed.
    pub(crate) fn counted(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX)
    }

    /// The number of its event.
    pub(crate) fn number(&self) -> u64 {
        self.event.slot().map_or(0, |slot| slot.stamp.number)
    }
}
