//! What a service or supervisor is doing, read while it does it.
//!
//! Users ask the board; it reads the nodes and the ledger.
//!
//! Invariant: no service and no actor is asked, so it works while a handler blocks its thread.
//!
//! Its numbers are read one after the other: each is right, together they may be an instant apart.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Board, Inner};
use crate::exit::Exit;
use crate::ledger::Ledger;
use crate::mailbox::gauge::Guarded;
use crate::restart::Restart;
use crate::supervisor::{Branch, LookupError, Node, Strategy};
use crate::sync::Arc;
use crate::vitals::{LastFailure, State};

/// What a service or supervisor is doing: `board.inspect("shop/payments")?`.
///
/// It can be serialized, as for a page that shows what runs; failures and exits become text.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Its path.
    pub path: String,
    /// Its type, for a service.
    pub type_name: Option<&'static str>,
    /// Which children it restarts together, for a supervisor.
    pub strategy: Option<Strategy>,
    /// How many workers it has, for a service with workers: its children.
    pub workers: Option<usize>,
    /// How many instances a [per-key](crate::ServiceSpec::per_key) service has now, idle ones
    /// included; 0 for any other.
    pub instances: u64,
    /// Whether it makes its children from one recipe.
    pub dynamic: bool,
    /// When it is started again after it has ended.
    pub restart: Restart,
    /// Its state.
    pub state: State,
    /// Whether it is suspended: it begins nothing for now, but finishes what it had begun.
    pub suspended: bool,
    /// The number of its current life; 1 for the first.
    pub life: u64,
    /// How its last life ended, if one has.
    pub last_exit: Option<Exit>,
    /// The last attempt at an event that did not succeed.
    pub last_failure: Option<LastFailure>,
    /// What it is busy with, if anything.
    pub current: Option<Current>,
    /// What its mailbox holds.
    pub mailbox: MailboxLoad,
    /// The state of breakers, rate limits and retry budgets, by event, where its policy has any.
    pub guards: Vec<Guarded>,
    /// Its children, for a supervisor, in the order in which they start.
    pub children: Vec<Inspection>,
}

/// What a service is busy with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Current {
    /// The event's name; `None` for a letter, a hook or a timer.
    pub event: Option<String>,
    /// The number of the event or letter; `None` for a hook or a timer.
    pub event_id: Option<u64>,
    /// Which attempt at it.
    pub attempt: u32,
    /// For how long, to within a millisecond or one fast batch.
    pub age: Duration,
    /// Whether its code runs on its thread at this moment, rather than waiting.
    pub on_thread: bool,
    /// Whether the watchdog has found that it blocks its thread.
    pub blocked: bool,
    /// The services that cannot move as long as it blocks: its neighbours on that thread, sorted.
    /// Empty unless it is `blocked`.
    pub neighbours: Vec<String>,
}

/// What a mailbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MailboxLoad {
    /// Queued events, of all its subscriptions.
    pub queued: u64,
    /// Events being handled.
    pub in_flight: u64,
    /// Events that wait to be tried again, or behind an older event of their key.
    pub deferred: u64,
    /// Queued letters.
    pub letters: u64,
    /// Letters being answered.
    pub letters_in_flight: u64,
}

impl Inspection {
    /// How often it has been restarted.
    pub fn restarts(&self) -> u64 {
        self.life.saturating_sub(1)
    }

    /// This and all below it, each before its children.
    pub fn walk(&self) -> impl Iterator<Item = &Inspection> {
        let mut open = vec![self];
        std::iter::from_fn(move || {
            let next = open.pop()?;
            open.extend(next.children.iter().rev());
            Some(next)
        })
    }
}

impl Board {
    /// What the service or supervisor at `path`, and all below it, is doing. Never waits, whatever
    /// its handlers do.
    ///
    /// # Errors
    /// [`LookupError`] if there is nothing at this path.
    pub fn inspect(&self, path: &str) -> Result<Inspection, LookupError> {
        let registry = &self.inner.grounds.registry;
        let node = registry.node(path);
        let node = node.ok_or_else(|| registry.not_found("service or supervisor", path))?;
        Ok(self.inner.inspect(&node))
    }
}

/// One reading of the ledger, and what it says of each service.
struct Books<'a> {
    ledger: &'a Ledger,
    loads: BTreeMap<&'a str, MailboxLoad>,
    now: Duration,
}

impl Inner {
    /// Inspects a node and all below it, by one reading of the ledger.
    pub(super) fn inspect(&self, node: &Arc<Node>) -> Inspection {
        let ledger = self.wall.detailed_ledger();
        let books = Books {
            ledger: &ledger,
            loads: loads(&ledger),
            now: self.wall.pulse.clock.since_start(),
        };
        self.inspect_node(node, &books)
    }

    /// The other services on the thread of this one, sorted.
    pub(super) fn neighbours(&self, node: &Node) -> Vec<String> {
        let Some(thread) = node.vitals.thread() else {
            return Vec::new();
        };
        let mut paths = Vec::new();
        self.grounds.registry.each(|other| {
            let same = other.vitals.thread() == Some(thread);
            if same && other.branch().is_none() && other.path() != node.path() {
                paths.push(other.path().to_string());
            }
        });
        paths.sort();
        paths
    }

    // The tree is as deep as its supervisors are nested by hand, so recursion is safe.
    fn inspect_node(&self, node: &Arc<Node>, books: &Books<'_>) -> Inspection {
        let vitals = &node.vitals;
        let load = books.loads.get(&**node.path()).copied().unwrap_or_default();
        let current = self.current(node, books);
        let children = node.branch().map(Branch::children).unwrap_or_default();
        let service = node.service().or(node.entry());
        let branch = node.branch();
        let is_supervisor = node.is_supervisor();
        let below = children.iter().map(|child| self.inspect_node(child, books));
        Inspection {
            path: node.path().to_string(),
            type_name: service.map(|entry| entry.type_name()),
            strategy: branch.filter(|_| is_supervisor).map(|one| one.strategy),
            workers: branch.filter(|_| !is_supervisor).map(|_| children.len()),
            instances: vitals.instances(),
            dynamic: branch.is_some_and(|branch| branch.dynamic),
            restart: node.restart,
            state: vitals.state(),
            suspended: vitals.is_suspended(),
            life: vitals.life(),
            last_exit: vitals.last_exit(),
            last_failure: vitals.last_failure(),
            current,
            mailbox: load,
            guards: self.wall.gauges.read(node.path(), books.now),
            children: below.collect(),
        }
    }

    fn current(&self, node: &Node, books: &Books<'_>) -> Option<Current> {
        let vitals = &node.vitals;
        let blocked = vitals.blocked_since().is_some();
        let (doing, on_thread) = vitals.doing(blocked)?;
        let neighbours = if blocked {
            self.neighbours(node)
        } else {
            Vec::new()
        };
        let event = books.ledger.event_of(node.path(), doing.event);
        Some(Current {
            event: event.map(ToOwned::to_owned),
            event_id: (doing.number > 0).then_some(doing.number),
            attempt: doing.attempt,
            age: books.now.saturating_sub(doing.since),
            on_thread,
            blocked,
            neighbours,
        })
    }
}

fn loads(ledger: &Ledger) -> BTreeMap<&str, MailboxLoad> {
    let mut loads: BTreeMap<&str, MailboxLoad> = BTreeMap::new();
    for row in &ledger.deliveries {
        let load = loads.entry(&row.service).or_default();
        load.queued += row.queued;
        load.in_flight += row.in_flight;
        load.deferred += row.deferred;
    }
    for row in &ledger.letters {
        let load = loads.entry(&row.service).or_default();
        load.letters = row.queued;
        load.letters_in_flight = row.in_flight;
    }
    loads
}
