//! Who waits for whom: a small set of edges between services.
//!
//! A context adds an edge before one of its verbs waits for another service, and removes it
//! after; the edge that would close a cycle is refused.
//!
//! Invariant: the edges never form a cycle, so no set of services waits for itself.
//!
//! It knows of waits made through a context only: a board handle does not say who waits.

use std::collections::BTreeMap;

use crate::sync::{Arc, Mutex, lock};

type Edges = BTreeMap<Arc<str>, Vec<Arc<str>>>;

#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Edges>);

/// Some waits of one service, until dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiter: Waiter,
    to: Vec<Arc<str>>,
}

/// A service that may wait.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) waits: Arc<Waits>,
    pub(crate) path: Arc<str>,
}

/// The paths of the services that would wait for each other, the first one repeated at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle(Vec<Arc<str>>);

impl std::fmt::Display for Cycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" -> "))
    }
}

impl Waiter {
    /// Notes that this service waits for all of `to`, or says which cycle that would close.
    /// Nothing is noted then.
    pub(crate) fn wait(&self, to: Vec<Arc<str>>) -> Result<Waiting, Cycle> {
        let mut edges = lock(&self.waits.0);
        for next in &to {
            let mut path = vec![Arc::clone(&self.path)];
            if reaches(&edges, next, &self.path, &mut path) {
                return Err(Cycle(path));
            }
        }
        edges
            .entry(Arc::clone(&self.path))
            .or_default()
            .extend(to.iter().cloned());
        drop(edges);
        Ok(Waiting {
            waiter: self.clone(),
            to,
        })
    }
}

/// Whether `from` waits for `goal`, through whomever; `path` then holds the way.
///
/// The edges hold no cycle, so this ends; its depth is the length of the longest chain of waits.
fn reaches(edges: &Edges, from: &Arc<str>, goal: &Arc<str>, path: &mut Vec<Arc<str>>) -> bool {
    path.push(Arc::clone(from));
    let next = edges.get(from).map_or(&[][..], Vec::as_slice);
    if from == goal || next.iter().any(|next| reaches(edges, next, goal, path)) {
        return true;
    }
    path.pop();
    false
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Waiter { waits, path } = &self.waiter;
        let mut edges = lock(&waits.0);
        let Some(of_this) = edges.get_mut(path) else {
            return;
        };
        for to in &self.to {
            if let Some(index) = of_this.iter().position(|one| one == to) {
                of_this.swap_remove(index);
            }
        }
        if of_this.is_empty() {
            edges.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Services(Arc<Waits>);

    impl Services {
        fn wait<const N: usize>(&self, path: &str, to: [&str; N]) -> Result<Waiting, Cycle> {
            let waiter = Waiter {
                waits: Arc::clone(&self.0),
                path: path.into(),
            };
            waiter.wait(to.map(Arc::from).to_vec())
        }
    }

    fn services() -> Services {
        Services(Arc::default())
    }

    #[test]
    fn the_wait_that_closes_a_cycle_is_refused_with_its_path() {
        let services = services();
        let _ab = services.wait("a", ["b"]).unwrap();
        let _bc = services.wait("b", ["c"]).unwrap();
        let cycle = services.wait("c", ["a"]).unwrap_err();
        assert_eq!(cycle.to_string(), "c -> a -> b -> c");
    }

    #[test]
    fn waiting_for_oneself_is_a_cycle() {
        assert_eq!(
            services().wait("a", ["a"]).unwrap_err().to_string(),
            "a -> a"
        );
    }

    #[test]
    fn a_wait_that_is_over_closes_no_cycle() {
        let services = services();
        drop(services.wait("a", ["b", "b"]).unwrap());
        let _ba = services.wait("b", ["a"]).unwrap();
        assert!(services.wait("a", ["b"]).is_err());
        assert_eq!(lock(&services.0.0).len(), 1);
    }

    #[test]
    fn several_waits_at_once_are_all_looked_at() {
        let services = services();
        let _ca = services.wait("c", ["a"]).unwrap();
        assert!(services.wait("a", ["b", "c"]).is_err());
        let _ab = services.wait("a", ["b"]).unwrap();
        let _ab_again = services.wait("a", ["b"]).unwrap();
    }
}
