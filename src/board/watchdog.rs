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
use crate::activity::{Activity, Doing};
use crate::clock::deadline;
use crate::defaults;
use crate::supervisor::Node;
use crate::sync::{Arc, Weak};

/// The least time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// When a handler counts as stuck. `Board::builder().watchdog(..)`.
///
/// A handler that *blocks* does not yield its thread: nothing else on that arbiter moves, and it
/// cannot be ended, so the neighbours are named. A handler that *waits* holds up its own service
/// only, and can be ended by a timeout or by [`Board::kill`](crate::Board::kill). Each is logged
/// once, as a warning with the target `callboard::watchdog`, and is visible in
/// [`Board::inspect`](crate::Board::inspect) and in the report of a shutdown.
///
/// It is noticed at most half a limit late. A board on the caller's thread has no watchdog unless
/// one is set: it could not look while a handler blocks, and would make a paused clock move.
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

/// What was seen when it was last looked at: by path, and by the number of the activity there.
type Sight = BTreeMap<(Arc<str>, u64), Seen>;

/// What was seen of one activity that is busy, or on its thread.
struct Seen {
    polls: u64,
    /// When it was first seen in this very poll.
    polled: Instant,
    /// What it was busy with, so that a new handler is told of anew; nothing if it is later work
    /// that runs while its service rests.
    doing: Option<Doing>,
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
    let mut seen = Sight::new();
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

fn look(inner: &Inner, watchdog: Watchdog, seen: &mut Sight) {
    let clock = &inner.wall.pulse.clock;
    let look = Look {
        watchdog,
        now: clock.now(),
        since_start: clock.since_start(),
    };
    let mut found = Vec::new();
    inner.grounds.registry.each(|node| {
        let mut blocked = None;
        node.vitals.each_activity(|number, activity| {
            if activity.doing().is_none() && !activity.is_on_thread() {
                return;
            }
            let key = (Arc::clone(node.path()), number);
            let now_seen = look.see(activity, seen.remove(&key));
            let verdict = look.judge(&now_seen);
            if verdict == Told::Blocks {
                blocked = Some(look.since(&now_seen));
            }
            found.push((key, Arc::clone(node), now_seen, verdict));
        });
        node.vitals.note_blocked(blocked);
    });
    // In the order of their paths, which the registry does not keep.
    found.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    seen.clear();
    for (key, node, mut now_seen, verdict) in found {
        if verdict != Told::Nothing && verdict != now_seen.told {
            now_seen.told = verdict;
            look.tell(inner, &node, &now_seen);
        }
        seen.insert(key, now_seen);
    }
}

/// One look at all services.
struct Look {
    watchdog: Watchdog,
    now: Instant,
    since_start: Duration,
}

impl Look {
    fn see(&self, activity: &Activity, before: Option<Seen>) -> Seen {
        let (doing, polls) = (activity.doing(), activity.polls());
        let before = before.filter(|seen| seen.doing == doing);
        let polled = before.as_ref().filter(|seen| seen.polls == polls);
        Seen {
            polls,
            polled: polled.map_or(self.now, |seen| seen.polled),
            doing,
            told: before.map(|seen| seen.told).unwrap_or_default(),
        }
    }

    fn judge(&self, seen: &Seen) -> Told {
        let over = |limit: Option<Duration>, age| limit.is_some_and(|limit| age >= limit);
        if Activity::is_inside(seen.polls) {
            // One that waited for long may be on its thread for a moment: only the same poll
            // counts.
            return if over(self.watchdog.blocked_after, self.in_poll(seen)) {
                Told::Blocks
            } else {
                seen.told
            };
        }
        if seen.doing.is_some() && over(self.watchdog.waiting_after, self.age(seen)) {
            Told::Waits
        } else {
            Told::Nothing
        }
    }

    /// For how long it has been seen in the same poll.
    fn in_poll(&self, seen: &Seen) -> Duration {
        self.now.saturating_duration_since(seen.polled)
    }

    /// When it began, or was first seen, counted from the board's start.
    fn since(&self, seen: &Seen) -> Duration {
        let first_seen = || self.since_start.saturating_sub(self.in_poll(seen));
        seen.doing.map_or_else(first_seen, |doing| doing.since)
    }

    fn age(&self, seen: &Seen) -> Duration {
        self.since_start.saturating_sub(self.since(seen))
    }

    fn tell(&self, inner: &Inner, node: &Node, seen: &Seen) {
        let service = &**node.path();
        let age = self.age(seen);
        let doing = seen.doing;
        let (event_id, attempt) = doing.map_or((0, 0), |it| (it.number, it.attempt));
        let ledger = inner.wall.detailed_ledger();
        let event = ledger.event_of(service, doing.and_then(|it| it.event));
        let event = event.unwrap_or_default();
        if seen.told == Told::Blocks {
            let neighbours = inner.neighbours(node).join(", ");
            tracing::warn!(
                target: "callboard::watchdog",
                service, event, event_id, attempt, ?age, neighbours,
                "a handler is blocking its thread and every service on it"
            );
        } else if event.is_empty() {
            // No policy bounds those.
            tracing::warn!(
                target: "callboard::watchdog",
                service, event_id, ?age,
                "an answer, hook or timer has been waiting for long: limit what it waits for, or \
                 end it with Board::kill"
            );
        } else {
            tracing::warn!(
                target: "callboard::watchdog",
                service, event, event_id, attempt, ?age,
                "a handler has been waiting for long: set a timeout, or end it with Board::kill"
            );
        }
    }
}
