//! Services by path, found without asking anyone.
//!
//! Opening a tree fills it; the board looks up.
//!
//! Invariant: a path names one service for as long as the board lives.
//!
//! It holds addresses, not services.

use std::fmt;
use std::time::Duration;

use dashmap::DashMap;

use crate::host::Entry;
use crate::service::{Address, Service};
use crate::sync::Arc;

/// Why a service was not found by its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// There is no service at this path.
    #[error("there is no service at {path}; there are {known}")]
    #[non_exhaustive]
    NotFound {
        /// The path that was asked for.
        path: String,
        /// The paths that exist, as one text.
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
    services: DashMap<Arc<str>, Arc<dyn Entry>>,
}

impl Registry {
    pub(crate) fn add(&self, path: Arc<str>, entry: Arc<dyn Entry>) {
        self.services.insert(path, entry);
    }

    /// The address of the service at `path`, if it is an `S`.
    pub(crate) fn find<S: Service>(&self, path: &str) -> Result<Address<S>, LookupError> {
        let entry = self.services.get(path).map(|entry| Arc::clone(&entry));
        let Some(entry) = entry else {
            let known = self.paths().join(", ");
            return Err(LookupError::NotFound {
                path: path.to_owned(),
                known,
            });
        };
        let address = entry.address().downcast::<Address<S>>();
        address
            .map(|address| *address)
            .map_err(|_| LookupError::WrongType {
                path: path.to_owned(),
                expected: std::any::type_name::<S>(),
                found: entry.type_name(),
            })
    }

    /// All paths, sorted.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self
            .services
            .iter()
            .map(|entry| entry.key().to_string())
            .collect();
        paths.sort();
        paths
    }

    /// Who is busy, and since when (counted from the board's start), sorted by path.
    pub(crate) fn busy(&self) -> Vec<(String, Duration)> {
        let since = |path: String| {
            let entry = self.services.get(&*path).map(|entry| Arc::clone(&entry))?;
            entry.busy_since().map(|since| (path, since))
        };
        self.paths().into_iter().filter_map(since).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths()).finish()
    }
}
