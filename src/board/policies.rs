//! The policies of a running board: what is in force where, and how to change it.
//!
//! Users call it on the board; services follow what is in force from their next failure on.
//!
//! Invariant: a change that is refused has changed nothing.
//!
//! It asks no service: one that is stuck is seen, and told, all the same.

use std::any::TypeId;
use std::fmt;

use super::Board;
use crate::event::Event;
use crate::host::{Entry, Problem};
use crate::policy::{Explanation, Policy};
use crate::service::wish::against;
use crate::supervisor::{LookupError, Node};
use crate::sync::Arc;

/// Why a policy was not changed; the old one stays in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// There is no service or supervisor at this path.
    #[error(transparent)]
    NotFound(#[from] LookupError),
    /// The service at this path does not subscribe to this event.
    #[error("{service} has not subscribed to {event}")]
    #[non_exhaustive]
    NotSubscribed {
        /// The service's path.
        service: String,
        /// The event's name.
        event: &'static str,
    },
    /// The policy is invalid, here or for a service below.
    #[error("{}", in_words(problems))]
    #[non_exhaustive]
    Impossible {
        /// What is wrong, and where.
        problems: Vec<Problem>,
    },
}

fn in_words(problems: &[Problem]) -> String {
    let texts: Vec<_> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

/// What is in force for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyRow {
    /// The path of the service.
    pub service: String,
    /// The event's name.
    pub event: &'static str,
    /// Each part of the policy, and where it was set.
    pub policy: Explanation,
}

/// What is in force for each subscription of a board: [`Board::policies`]. It prints as an indented
/// list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policies {
    /// Ordered by service and event.
    pub rows: Vec<PolicyRow>,
}

impl Policies {
    /// Finds the row of the service at this path for the event of this name.
    pub fn row(&self, service: &str, event: &str) -> Option<&PolicyRow> {
        let is_it = |row: &&PolicyRow| row.service == service && row.event == event;
        self.rows.iter().find(is_it)
    }
}

/// Each subscription, and below it the parts that have been set.
impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{} on {}", row.service, row.event)?;
            let set = row.policy.parts.iter().filter(|part| !part.is_default);
            let mut is_default = true;
            for part in set {
                is_default = false;
                write!(f, "\n  {part}")?;
            }
            if is_default {
                write!(f, "\n  all defaults")?;
            }
        }
        Ok(())
    }
}

impl Board {
    /// What is in force for each subscription, and where each part of it was set.
    ///
    /// A service that has ended for good has no subscriptions any more.
    #[must_use]
    pub fn policies(&self) -> Policies {
        let mut rows = Vec::new();
        for (node, entry) in self.entries() {
            rows.extend(entry.wishes().into_iter().map(|wish| PolicyRow {
                service: node.path().to_string(),
                event: wish.event,
                policy: wish.policy.explain(),
            }));
        }
        rows.sort_by(|a, b| (&a.service, a.event).cmp(&(&b.service, b.event)));
        Policies { rows }
    }

    /// Replaces the policy of the service or supervisor at `path`. It applies to it and all below
    /// it, except for parts that are set further down. Returns at once.
    ///
    /// It is in force from the next attempt and the next failure of each service; delays that have
    /// begun stay, and an attempt under way keeps its timeout. It survives restarts. Parts that a
    /// subscription sets itself stay: see [`Board::set_policy_on`].
    ///
    /// # Errors
    /// [`PolicyError`]; then nothing has changed.
    pub fn set_policy(&self, path: &str, policy: Policy) -> Result<(), PolicyError> {
        let registry = &self.inner.grounds.registry;
        let node = registry.node(path).filter(|node| !node.is_worker());
        let node = node.ok_or_else(|| registry.not_found("service or supervisor", path))?;
        let mut problems: Vec<_> = policy
            .problems()
            .into_iter()
            .map(|text| problem(path, None, text))
            .collect();
        let below = node.subtree();
        for (node, entry) in below.iter().filter_map(service) {
            let wishes = entry.wishes_supposing(path, &policy);
            let found = against(&wishes, node.restart, node.max_restarts);
            let found = found.into_iter();
            problems.extend(found.map(|(event, text)| problem(node.path(), Some(event), text)));
        }
        refuse(problems)?;
        node.policy.set(policy);
        for (_, entry) in below.iter().filter_map(service) {
            entry.note_new_policy();
        }
        Ok(())
    }

    /// Replaces the policy that a service sets for its subscription to `E`, as
    /// [`Board::set_policy`] does for a whole service.
    ///
    /// # Errors
    /// [`PolicyError`]; then nothing has changed.
    pub fn set_policy_on<E: Event>(&self, path: &str, policy: Policy) -> Result<(), PolicyError> {
        let (node, entry) = self.inner.grounds.registry.service(path)?;
        let event = TypeId::of::<E>();
        let mut problems: Vec<_> = policy
            .problems()
            .into_iter()
            .chain(entry.misplaced(&policy, event))
            .map(|text| problem(path, Some(E::NAME), text))
            .collect();
        let policy = policy.made_at(format_args!("{path} on {}", E::NAME));
        let mut wishes = entry.wishes();
        let mine = wishes.iter_mut().find(|wish| wish.event_type == event);
        let Some(mine) = mine else {
            return Err(not_subscribed::<E>(path));
        };
        mine.policy = policy.over(&node.policy.in_force());
        let found = against(&wishes, node.restart, node.max_restarts);
        let found = found.into_iter().filter(|(event, _)| *event == E::NAME);
        problems.extend(found.map(|(event, text)| problem(path, Some(event), text)));
        refuse(problems)?;
        if !entry.set_policy_on(event, policy) {
            return Err(not_subscribed::<E>(path));
        }
        entry.note_new_policy();
        Ok(())
    }

    fn entries(&self) -> Vec<(Arc<Node>, Arc<dyn Entry>)> {
        let mut found = Vec::new();
        let registry = &self.inner.grounds.registry;
        registry
            .each(|node| found.extend(service(node).map(|(a, b)| (Arc::clone(a), Arc::clone(b)))));
        found
    }
}

fn service(node: &Arc<Node>) -> Option<(&Arc<Node>, &Arc<dyn Entry>)> {
    Some((node, node.service()?))
}

fn problem(path: &str, event: Option<&'static str>, text: String) -> Problem {
    Problem {
        path: path.to_owned(),
        event,
        text,
    }
}

fn refuse(problems: Vec<Problem>) -> Result<(), PolicyError> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(PolicyError::Impossible { problems })
}

fn not_subscribed<E: Event>(path: &str) -> PolicyError {
    PolicyError::NotSubscribed {
        service: path.to_owned(),
        event: E::NAME,
    }
}
