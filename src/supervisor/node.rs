//! One service or supervisor as the rest of the board knows it.
//!
//! Opening a tree makes the nodes; `inspect`, `tree` and the control verbs read them.
//!
//! Invariant: the nodes form the tree that runs now, children in the order of their starting.
//!
//! It asks nobody: a service that blocks its thread is seen all the same.

use std::collections::BTreeMap;
use std::fmt;

use actix::Recipient;

use super::Strategy;
use super::family::ChildId;
use super::request::Request;
use crate::host::Entry;
use crate::policy::Standing;
use crate::restart::Restart;
use crate::sync::{Arc, Mutex, OnceLock, lock};
use crate::vitals::Vitals;

pub(crate) struct Node {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) restart: Restart,
    pub(crate) policy: Arc<Standing>,
    /// How many restarts its supervisor allows; of the root, its own.
    pub(crate) max_restarts: u32,
    pub(crate) kind: NodeKind,
}

pub(crate) enum NodeKind {
    Service(Arc<dyn Entry>),
    /// One of several workers of a service.
    Worker(Arc<dyn Entry>),
    /// A box: there are many more services.
    Supervisor(Box<Branch>),
}

/// What a supervisor has beyond a service.
pub(crate) struct Branch {
    pub(crate) strategy: Strategy,
    pub(crate) dynamic: bool,
    /// The service that it stands for, if its children are the workers of one.
    pub(crate) service: Option<Arc<dyn Entry>>,
    children: Mutex<BTreeMap<ChildId, Arc<Node>>>,
    /// Where its actor takes requests, once it runs.
    pub(crate) desk: OnceLock<Recipient<Request>>,
}

impl Branch {
    pub(crate) fn new(
        strategy: Strategy,
        dynamic: bool,
        service: Option<Arc<dyn Entry>>,
        children: BTreeMap<ChildId, Arc<Node>>,
    ) -> Self {
        Branch {
            strategy,
            dynamic,
            service,
            children: Mutex::new(children),
            desk: OnceLock::new(),
        }
    }

    pub(crate) fn add(&self, child: ChildId, node: Arc<Node>) {
        lock(&self.children).insert(child, node);
    }

    pub(crate) fn remove(&self, child: ChildId) {
        lock(&self.children).remove(&child);
    }

    /// Its children now, in the order of their starting.
    pub(crate) fn children(&self) -> Vec<Arc<Node>> {
        lock(&self.children).values().cloned().collect()
    }
}

impl Node {
    pub(crate) fn path(&self) -> &Arc<str> {
        &self.vitals.path
    }

    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        let path = self.path();
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// The service here, be it one life or several workers.
    pub(crate) fn service(&self) -> Option<&Arc<dyn Entry>> {
        match &self.kind {
            NodeKind::Service(entry) => Some(entry),
            NodeKind::Worker(_) => None,
            NodeKind::Supervisor(branch) => branch.service.as_ref(),
        }
    }

    /// The one that lives here, be it a service of its own or a worker.
    pub(crate) fn entry(&self) -> Option<&Arc<dyn Entry>> {
        match &self.kind {
            NodeKind::Service(entry) | NodeKind::Worker(entry) => Some(entry),
            NodeKind::Supervisor(_) => None,
        }
    }

    pub(crate) fn is_worker(&self) -> bool {
        matches!(self.kind, NodeKind::Worker(_))
    }

    /// Whether it supervises children that are not the workers of one service.
    pub(crate) fn is_supervisor(&self) -> bool {
        self.branch().is_some_and(|branch| branch.service.is_none())
    }

    pub(crate) fn branch(&self) -> Option<&Branch> {
        match &self.kind {
            NodeKind::Service(_) | NodeKind::Worker(_) => None,
            NodeKind::Supervisor(branch) => Some(branch),
        }
    }

    /// This node and all below it, each above its children.
    pub(crate) fn subtree(self: &Arc<Self>) -> Vec<Arc<Node>> {
        let mut found = vec![Arc::clone(self)];
        let mut next = 0;
        while let Some(node) = found.get(next) {
            let below = node.branch().map(Branch::children).unwrap_or_default();
            found.extend(below);
            next += 1;
        }
        found
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.vitals.fmt(f)
    }
}
