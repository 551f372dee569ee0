//! Noticing handlers that are stuck: those that block their thread, and those that wait too long.
//!
//! The board starts it beside its clock, on a thread where no service runs; it reads the vitals
//! and speaks through `tracing`.
//!
//! Invariant: it asks nobody and stops nobody, and speaks once of each handler it finds stuck.
//!
//! It ends nothing by itself: `Board::kill` does, for a handler that waits.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Inner;
use crate::clock::deadline;
use crate::defaults;
use crate::supervisor::Node;
use crate::sync::{Arc, Weak};
use crate::vitals::{Doing, Vitals};

/// The least time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// When a handler counts as stuck. `Board::builder().watchdog(..)`.
///
/// A handler that *blocks* does not return to its thread: nothing else on that arbiter moves, and
/// nobody can end it, so the neighbours are named. One that *waits* holds up its own service only
/// and can be ended by a timeout or by [`Board::kill`](crate::Board::kill). Each is told once, as
/// a warning of the target `callboard::watchdog`, and is seen in
/// [`Board::inspect`](crate::Board::inspect) and in the report of a shutdown.
///
/// It is noticed at most half a limit late. On a board of the caller's own thread there is no
/// watchdog unless one is asked for: it could not look while a handler blocks, and would let a
/// paused clock move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Watchdog {
    blocked_after: Option<Duration>,
    waiting_after: Option<Duration>,
}

impl Watchdog {
    /// Notices a handler that blocks for 1 s, or waits for 30 s.
    pub const fn new() -> Self {
        Watchdog {
            blocked_after: Some(defaults::BLOCKED_AFTER),
            waiting_after: Some(defaults::WAITING_AFTER),
        }
    }

    /// Notices nothing.
    pub const fn off() -> Self {
        Watchdog {
            blocked_after: None,
            waiting_after: None,
        }
    }

    /// How long a handler may block its thread; 1 s by default.
    pub const fn blocked_after(mut self, limit: Duration) -> Self {
        self.blocked_after = Some(limit);
        self
    }

    /// How long a handler may wait; 30 s by default.
    pub const fn waiting_after(mut self, limit: Duration) -> Self {
        self.waiting_after = Some(limit);
        self
    }

    /// What is impossible about it.
    pub(super) fn problem(self) -> Option<&'static str> {
        let limits = [self.blocked_after, self.waiting_after];
        let zero = limits.into_iter().flatten().any(|limit| limit.is_zero());
        zero.then_some("a limit of the watchdog is zero, so every handler would be stuck")
    }

    /// How often to look; `None` if there is nothing to look for.
    fn interval(self) -> Option<Duration> {
        let limits = [self.blocked_after, self.waiting_after];
        let shortest = limits.into_iter().flatten().min()?;
        Some((shortest / 2).max(LOOK_MIN))
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Watchdog::new()
    }
}

/// What was seen of one busy service when it was last looked at.
struct Seen {
    polls: u64,
    /// When it was first seen in this very poll.
    polled: Instant,
    /// What it was busy with, so that a new handler is told of anew.
    doing: Doing,
    told: Told,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Waits,
    Blocks,
}

impl Inner {
    /// Lets a watchdog look after this board, on its own runtime.
    pub(super) fn watch(self: &Arc<Self>, watchdog: Watchdog) {
        self.time.spawn(watch(Arc::downgrade(self), watchdog));
    }
}

/// Looks after the services of a board until it has ended.
pub(super) async fn watch(board: Weak<Inner>, watchdog: Watchdog) {
    let mut seen = BTreeMap::new();
    // Between two looks nothing of the board is held: it may go meanwhile.
    while let Some(sleep) = until_next_look(&board, watchdog) {
        sleep.await;
        let Some(inner) = board.upgrade() else { return };
        look(&inner, watchdog, &mut seen);
    }
}

fn until_next_look(board: &Weak<Inner>, watchdog: Watchdog) -> Option<Sleep> {
    let inner = board.upgrade()?;
    let interval = watchdog.interval()?;
    let clock = &inner.wall.pulse.clock;
    (!inner.has_closed()).then(|| clock.sleep_until(deadline(clock.now(), interval)))
}

fn look(inner: &Inner, watchdog: Watchdog, seen: &mut BTreeMap<Arc<str>, Seen>) {
    let clock = &inner.wall.pulse.clock;
    let (now, since_start) = (clock.now(), clock.since_start());
    let mut found = BTreeMap::new();
    inner.grounds.registry.each(|node| {
        let Some(doing) = node.vitals.doing() else {
            node.vitals.note_blocked(false);
            return;
        };
        let path = node.path();
        let polls = node.vitals.polls();
        let before = seen.remove(path).filter(|seen| seen.doing == doing);
        let polled = before.as_ref().filter(|seen| seen.polls == polls);
        let seen = Seen {
            polls,
            polled: polled.map_or(now, |seen| seen.polled),
            doing,
            told: before.as_ref().map(|seen| seen.told).unwrap_or_default(),
        };
        found.insert(Arc::clone(path), (Arc::clone(node), seen));
    });
    seen.clear();
    for (path, (node, mut now_seen)) in found {
        let verdict = judge(&now_seen, watchdog, now, since_start);
        node.vitals.note_blocked(verdict == Told::Blocks);
        if verdict != Told::Nothing && verdict != now_seen.told {
            now_seen.told = verdict;
            tell(inner, &node, &now_seen, since_start);
        }
        seen.insert(path, now_seen);
    }
}

fn judge(seen: &Seen, watchdog: Watchdog, now: Instant, since_start: Duration) -> Told {
    let over = |limit: Option<Duration>, age| limit.is_some_and(|limit| age >= limit);
    let polled = now.saturating_duration_since(seen.polled);
    let age = since_start.saturating_sub(seen.doing.since);
    if Vitals::is_on_thread(seen.polls) {
        // One that waited for long may be on its thread for a moment: only the same poll counts.
        return if over(watchdog.blocked_after, polled) {
            Told::Blocks
        } else {
            seen.told
        };
    }
    if over(watchdog.waiting_after, age) {
        Told::Waits
    } else {
        Told::Nothing
    }
}

fn tell(inner: &Inner, node: &Node, seen: &Seen, since_start: Duration) {
    let service = &**node.path();
    let age = since_start.saturating_sub(seen.doing.since);
    let (event_id, attempt) = (seen.doing.number, seen.doing.attempt);
    let event = inner.event_of(service).unwrap_or_default();
    if seen.told == Told::Blocks {
        let neighbours = inner.neighbours(node).join(", ");
        tracing::warn!(
            target: "callboard::watchdog",
            service, event, event_id, attempt, ?age, neighbours,
            "a handler blocks its thread, and with it its neighbours there"
        );
    } else {
        tracing::warn!(
            target: "callboard::watchdog",
            service, event, event_id, attempt, ?age,
            "a handler has been waiting for long"
        );
    }
}
