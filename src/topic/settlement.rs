//! Who has still to settle one watched event, and how the others did.
//!
//! `publish(..).settled()` hangs one of these on its event; each reader reports to it when the
//! delivery reaches a final state.
//!
//! Invariant: every subscriber that accepted the event is reported exactly once; what has not
//! been when the watch is dropped counts as undelivered.
//!
//! It costs unwatched events nothing but a look at an empty field.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::sync::{Arc, Mutex, lock};
use crate::waits::Waiting;

/// The final state of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fate {
    /// The handler succeeded.
    Acknowledged,
    /// All attempts failed; the event is on the shelf of dead letters.
    DeadLettered,
    /// The policy, or a guard, let go of it.
    Discarded,
    /// It waited for longer than its time to live.
    Expired,
    /// `Overflow::DropOldest` passed over it.
    Shed,
    /// The service ended, or the board stopped, before handling it.
    Undelivered,
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
        })
    }
}

/// How one subscriber settled a watched event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settled {
    /// The path of the subscribed service.
    pub service: String,
    /// What became of the event there.
    pub fate: Fate,
}

pub(crate) struct Settlement(Mutex<State>);

/// One who is to settle the event.
pub(crate) struct Reader {
    /// The path of its service.
    pub(crate) service: Arc<str>,
    /// Its own path, as one that is waited for: that of a worker, if the service has some.
    pub(crate) path: Arc<str>,
}

struct State {
    pending: BTreeMap<u64, Reader>,
    settled: Vec<Settled>,
    done: Option<oneshot::Sender<Vec<Settled>>>,
    /// The wait of the service that published, if one waits. Whoever has settled the event is
    /// not waited for any more, whether or not the publisher has been polled since.
    waiting: Weak<Waiting>,
}

impl Settlement {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<Vec<Settled>>) {
        let (done, outcome) = oneshot::channel();
        let state = State {
            pending: BTreeMap::new(),
            settled: Vec::new(),
            done: Some(done),
            waiting: Weak::new(),
        };
        (Arc::new(Settlement(Mutex::new(state))), outcome)
    }

    /// Says whose wait the reports end, each its part.
    pub(crate) fn ends(&self, waiting: &Arc<Waiting>) {
        lock(&self.0).waiting = Arc::downgrade(waiting);
    }

    /// Names all who have accepted the event; called once, when it is published.
    pub(crate) fn expect(&self, readers: impl Iterator<Item = (u64, Reader)>) {
        let mut state = lock(&self.0);
        state.pending = readers.collect();
        if state.pending.is_empty() {
            state.finish();
        }
    }

    /// The reader `id` has settled the event.
    pub(crate) fn report(&self, id: u64, fate: Fate) {
        let mut state = lock(&self.0);
        let Some(reader) = state.pending.remove(&id) else {
            return;
        };
        if let Some(waiting) = state.waiting.upgrade() {
            waiting.end_for(&reader.path);
        }
        state.settled.push(Settled {
            service: reader.service.to_string(),
            fate,
        });
        if state.pending.is_empty() {
            state.finish();
        }
    }
}

impl State {
    fn finish(&mut self) {
        let left = std::mem::take(&mut self.pending);
        self.settled
            .extend(left.into_values().map(|reader| Settled {
                service: reader.service.to_string(),
                fate: Fate::Undelivered,
            }));
        self.settled.sort_by(|a, b| a.service.cmp(&b.service));
        if let Some(done) = self.done.take() {
            let _ = done.send(std::mem::take(&mut self.settled));
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settlement")
    }
}
