//! Who has still to settle one watched event, and how the others did.
//!
//! `publish(..).settled()` hangs one of these on its event; each reader reports to it when the
//! delivery reaches a final state.
//!
//! Invariant: every subscriber that accepted the event is named exactly once: as it was
//! reported, as open if the publisher's patience has ended before that, and as undelivered if it
//! has not been reported when the watch is dropped.
//!
//! It costs unwatched events nothing but a look at an empty field.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::policy::Reason;
use crate::sync::{Arc, Mutex, lock};
use crate::waits::Waiting;

/// What became of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fate {
    /// The handler succeeded.
    Acknowledged,
    /// All attempts failed; the event is on the shelf of dead letters.
    DeadLettered,
    /// The failure policy discarded it, or it was a copy of an earlier event.
    Discarded,
    /// It waited for longer than its time to live.
    Expired,
    /// `Overflow::DropOldest` dropped it.
    Shed,
    /// The service ended for good, or the board stopped, before handling it.
    Undelivered,
    /// Not settled when the publisher's [deadline](crate::PublishSettled::within) passed: queued,
    /// in flight, or to be tried again. Processing continues, but its outcome is not reported to
    /// this publisher; it is not a ledger state.
    Open,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::Acknowledged => "acknowledged",
            Fate::DeadLettered => "dead-lettered",
            Fate::Discarded => "discarded",
            Fate::Expired => "expired",
            Fate::Shed => "shed",
            Fate::Undelivered => "undelivered",
            Fate::Open => "open",
        })
    }
}

/// How one subscriber settled a watched event, or that it has not yet.
///
/// Shown as one line: `shop/mail: dead-lettered after 3 attempts (attempts used up)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settled {
    /// The path of the subscribed service.
    pub service: String,
    /// What became of the event there.
    pub fate: Fate,
    /// How many attempts were counted, the last one included: 0 if none was begun, or the only one
    /// was interrupted. If it is open: how many have failed so far.
    #[serde(default)]
    pub attempts: u32,
    /// Why it was given up, if it was.
    #[serde(default)]
    pub reason: Option<Reason>,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.service, self.fate)?;
        match self.attempts {
            0 => {}
            1 => f.write_str(" after 1 attempt")?,
            many => write!(f, " after {many} attempts")?,
        }
        let reason = self.reason.as_ref();
        reason.map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// How one delivery ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) fate: Fate,
    pub(crate) attempts: u32,
    pub(crate) reason: Option<Reason>,
}

impl Ending {
    /// It ended so, after so many attempts.
    pub(crate) fn after(attempts: u32, fate: Fate) -> Self {
        Ending {
            fate,
            attempts,
            reason: None,
        }
    }

    /// It was given up for this reason.
    pub(crate) fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    fn of(self, service: &str) -> Settled {
        Settled {
            service: service.to_owned(),
            fate: self.fate,
            attempts: self.attempts,
            reason: self.reason,
        }
    }
}

pub(crate) struct Settlement(Mutex<State>);

/// What a publisher is to hear. Outside every lock: that runs its executor's code.
#[must_use]
pub(crate) struct Word {
    done: oneshot::Sender<Vec<Settled>>,
    settled: Vec<Settled>,
}

impl Word {
    pub(crate) fn say(self) {
        let _ = self.done.send(self.settled);
    }
}

/// One who is to settle the event.
pub(crate) struct Reader {
    /// The path of its service.
    pub(crate) service: Arc<str>,
    /// Its own path, as one that is waited for: that of a worker, if the service has some.
    pub(crate) path: Arc<str>,
}

struct State {
    pending: BTreeMap<u64, Pending>,
    settled: Vec<Settled>,
    done: Option<oneshot::Sender<Vec<Settled>>>,
    /// The wait of the service that published, if one waits. Whoever has settled the event is
    /// not waited for any more, whether or not the publisher has been polled since.
    waiting: Weak<Waiting>,
    /// The version of the list of readers for whom that wait was noted.
    noted_at: Option<u64>,
}

/// A subscriber that has not settled the event.
struct Pending {
    reader: Reader,
    /// How many attempts have failed so far.
    failed: u32,
}

impl Settlement {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<Vec<Settled>>) {
        let (done, outcome) = oneshot::channel();
        let state = State {
            pending: BTreeMap::new(),
            settled: Vec::new(),
            done: Some(done),
            waiting: Weak::new(),
            noted_at: None,
        };
        (Arc::new(Settlement(Mutex::new(state))), outcome)
    }

    /// Says whose wait the reports end, each its part, and for which list of readers it was noted;
    /// nobody's, if no service waits.
    pub(crate) fn ends(&self, wait: Option<(&Arc<Waiting>, u64)>) {
        let mut state = lock(&self.0);
        state.waiting = wait.map_or_else(Weak::new, |(waiting, _)| Arc::downgrade(waiting));
        state.noted_at = wait.map(|(_, version)| version);
    }

    /// Whether a service that waits is noted to wait for these readers.
    pub(crate) fn is_noted_at(&self, version: u64) -> bool {
        lock(&self.0).noted_at.is_none_or(|noted| noted == version)
    }

    /// Names all who have accepted the event; called once, when it is published.
    pub(crate) fn expect(&self, readers: impl Iterator<Item = (u64, Reader)>) -> Option<Word> {
        let pending = |(id, reader)| (id, Pending { reader, failed: 0 });
        let mut state = lock(&self.0);
        state.pending = readers.map(pending).collect();
        let is_over = state.pending.is_empty();
        is_over.then(|| state.finish(Fate::Undelivered)).flatten()
    }

    /// Another attempt of the reader `id` has failed: so many by now.
    pub(crate) fn note_failed(&self, id: u64, attempts: u32) {
        if let Some(pending) = lock(&self.0).pending.get_mut(&id) {
            pending.failed = attempts;
        }
    }

    /// The reader `id` has settled the event.
    pub(crate) fn report(&self, id: u64, ending: Ending) -> Option<Word> {
        let mut state = lock(&self.0);
        let Pending { reader, .. } = state.pending.remove(&id)?;
        if let Some(waiting) = state.waiting.upgrade() {
            waiting.end_for(&reader.path);
        }
        state.settled.push(ending.of(&reader.service));
        let is_over = state.pending.is_empty();
        is_over.then(|| state.finish(Fate::Undelivered)).flatten()
    }

    /// Waits no more for those who have not settled the event: they have met this fate.
    pub(crate) fn finish(&self, fate: Fate) {
        let word = lock(&self.0).finish(fate);
        word.into_iter().for_each(Word::say);
    }
}

impl State {
    /// What the publisher is to hear, once; those who have not been reported have met this fate.
    fn finish(&mut self, fate: Fate) -> Option<Word> {
        let done = self.done.take()?;
        let left = std::mem::take(&mut self.pending);
        let left = left.into_values();
        self.settled
            .extend(left.map(|one| Ending::after(one.failed, fate).of(&one.reader.service)));
        self.settled.sort_by(|a, b| a.service.cmp(&b.service));
        let settled = std::mem::take(&mut self.settled);
        Some(Word { done, settled })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let word = self.finish(Fate::Undelivered);
        word.into_iter().for_each(Word::say);
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settlement")
    }
}
