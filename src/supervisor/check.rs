//! What is impossible about a tree.
//!
//! The board asks before it opens anything.
//!
//! Invariant: all problems are found at once, each with the path of what it is about.
//!
//! It changes nothing.

use std::any::TypeId;
use std::collections::BTreeMap;

use super::{Kind, Supervisor};
use crate::host::Problem;
use crate::policy::Policy;
use crate::service::Placement;

/// Everything that is impossible about this tree, on a board with so many arbiters.
pub(crate) fn check(root: &Supervisor, arbiters: usize) -> Vec<Problem> {
    let mut checking = Checking {
        arbiters,
        names: BTreeMap::new(),
        problems: Vec::new(),
    };
    checking.name(&root.name, &root.name);
    checking.supervisor(root, &root.name, &Policy::new());
    checking.problems
}

struct Checking {
    arbiters: usize,
    /// Which type has which event name.
    names: BTreeMap<&'static str, TypeId>,
    problems: Vec<Problem>,
}

impl Checking {
    fn note(&mut self, path: &str, text: impl Into<String>) {
        self.problems.push(Problem {
            path: path.to_owned(),
            event: None,
            text: text.into(),
        });
    }

    fn name(&mut self, path: &str, name: &str) {
        if name.is_empty() {
            self.note(path, "the name is empty");
        }
        if name.contains('/') {
            self.note(
                path,
                "the name contains a `/`, which separates names in a path",
            );
        }
    }

    fn placement(&mut self, path: &str, placement: Placement) {
        if let Placement::Arbiter(number) = placement
            && number >= self.arbiters
        {
            let text = format!("arbiter {number} of {}, counted from 0", self.arbiters);
            self.note(path, text);
        }
    }

    fn supervisor(&mut self, supervisor: &Supervisor, path: &str, outer: &Policy) {
        for text in supervisor.policy.problems() {
            self.note(path, text);
        }
        if supervisor.window.is_zero() {
            self.note(
                path,
                "the window of max_restarts is zero, so it would limit nothing",
            );
        }
        let policy = supervisor.policy.over(outer);
        let mut names = BTreeMap::new();
        for child in &supervisor.children {
            let child_path = format!("{path}/{}", child.name());
            self.name(&child_path, child.name());
            self.placement(&child_path, child.placement());
            if names.insert(child.name(), ()).is_some() {
                self.note(&child_path, "two children have this name");
            }
            match &child.0 {
                Kind::Supervisor(below) => self.supervisor(below, &child_path, &policy),
                Kind::Service(seed) => {
                    let max = supervisor.max_restarts;
                    seed.check(&child_path, &policy, max, &mut self.problems);
                    seed.events(&mut |name, event| self.event(&child_path, name, event));
                }
            }
        }
    }

    fn event(&mut self, path: &str, name: &'static str, event: TypeId) {
        if *self.names.entry(name).or_insert(event) != event {
            self.problems.push(Problem {
                path: path.to_owned(),
                event: Some(name),
                text: "another event type has the same NAME".to_owned(),
            });
        }
    }
}
