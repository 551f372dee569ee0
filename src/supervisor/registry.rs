//! Services and supervisors by path, found without asking anyone.
//!
//! Opening a child fills it, forgetting one empties it; the board looks up.
//!
//! Invariant: a path names at most one node at a time.
//!
//! It holds addresses, not services.

use std::fmt;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::node::Node;
use crate::host::Entry;
use crate::service::{Address, Service};
use crate::sync::Arc;

/// How many paths an error names.
const KNOWN_SHOWN: usize = 20;

/// Why a service or supervisor was not found by its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// There is nothing at this path.
    #[error("there is no {wanted} at {path}; known paths: {known}")]
    #[non_exhaustive]
    NotFound {
        /// What was looked for: a service, a supervisor, a child.
        wanted: &'static str,
        /// The path that was asked for.
        path: String,
        /// The paths that exist, or some of them, as one text.
        known: String,
    },
    /// The service at this path is of another type.
    #[error("the service at {path} is a {found}, not a {expected}")]
    #[non_exhaustive]
    WrongType {
        /// The path that was asked for.
        path: String,
        /// The type that was asked for.
        expected: &'static str,
        /// The type of the service there.
        found: &'static str,
    },
}

#[derive(Default)]
pub(crate) struct Registry {
    nodes: DashMap<Arc<str>, Arc<Node>, RandomState>,
}

impl Registry {
    pub(crate) fn add(&self, node: &Arc<Node>) {
        self.nodes.insert(Arc::clone(node.path()), Arc::clone(node));
    }

    pub(crate) fn remove(&self, node: &Node) {
        self.nodes.remove(node.path());
    }

    /// Whatever is at this path.
    pub(crate) fn node(&self, path: &str) -> Option<Arc<Node>> {
        self.nodes.get(path).map(|node| Arc::clone(&node))
    }

    /// The service at this path.
    pub(crate) fn service(&self, path: &str) -> Result<(Arc<Node>, Arc<dyn Entry>), LookupError> {
        let node = self.node(path);
        let found = node.and_then(|node| {
            let entry = Arc::clone(node.service()?);
            Some((node, entry))
        });
        found.ok_or_else(|| self.not_found("service", path))
    }

    /// The supervisor at this path.
    pub(crate) fn supervisor(&self, path: &str) -> Result<Arc<Node>, LookupError> {
        let node = self.node(path).filter(|node| node.is_supervisor());
        node.ok_or_else(|| self.not_found("supervisor", path))
    }

    /// Whatever has children at this path: a supervisor, or a service with workers.
    pub(crate) fn branch(&self, path: &str) -> Result<Arc<Node>, LookupError> {
        let node = self.node(path).filter(|node| node.branch().is_some());
        node.ok_or_else(|| self.not_found("supervisor", path))
    }

    /// The address of the service at `path`, if it is an `S`.
    pub(crate) fn find<S: Service>(&self, path: &str) -> Result<Address<S>, LookupError> {
        let (_, entry) = self.service(path)?;
        let address = Arc::clone(&entry).address().downcast::<Address<S>>();
        address
            .map(|address| *address)
            .map_err(|_| LookupError::WrongType {
                path: path.to_owned(),
                expected: std::any::type_name::<S>(),
                found: entry.type_name(),
            })
    }

    pub(crate) fn not_found(&self, wanted: &'static str, path: &str) -> LookupError {
        let paths = self.paths(|node| match wanted {
            "service" => node.service().is_some(),
            "supervisor" => node.is_supervisor(),
            _ => true,
        });
        unknown(wanted, path.to_owned(), paths)
    }

    /// A child is looked for among its siblings only.
    pub(crate) fn no_child(&self, above: &str, name: &str) -> LookupError {
        let siblings = self.paths(|node| {
            let above_node = node.path().rsplit_once('/').map(|(above, _)| above);
            above_node == Some(above)
        });
        unknown("child", format!("{above}/{name}"), siblings)
    }

    /// Shows every node, in no order. Nothing may be looked up meanwhile.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Arc<Node>)) {
        for node in &self.nodes {
            visit(node.value());
        }
    }

    /// The paths of all services, sorted.
    pub(crate) fn services(&self) -> Vec<String> {
        self.paths(|node| node.service().is_some())
    }

    fn paths(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        let nodes = self.nodes.iter().filter(|node| wanted(node));
        let mut paths: Vec<String> = nodes.map(|node| node.key().to_string()).collect();
        paths.sort();
        paths
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths(|_| true)).finish()
    }
}

fn unknown(wanted: &'static str, path: String, mut paths: Vec<String>) -> LookupError {
    let more = paths.len().saturating_sub(KNOWN_SHOWN);
    paths.truncate(KNOWN_SHOWN);
    let mut known = paths.join(", ");
    if known.is_empty() {
        known.push_str("none");
    }
    if more > 0 {
        known.push_str(&format!(" and {more} more"));
    }
    LookupError::NotFound {
        wanted,
        path,
        known,
    }
}
