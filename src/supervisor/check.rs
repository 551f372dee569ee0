//! What is impossible about a tree.
//!
//! The board asks before it opens anything, a supervisor before it adds a child.
//!
//! Invariant: all problems are found at once, each with the path of what it is about.
//!
//! It changes nothing.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::{AutoShutdown, Child, Kind, Supervisor};
use crate::host::Problem;
use crate::names::EventNames;
use crate::policy::Policy;
use crate::restart::Restart;
use crate::service::Placement;
use crate::service::wish::Wish;

/// Everything that is impossible about this tree, on a board with so many arbiters; else the
/// event names in it.
pub(crate) fn check(root: &Supervisor, arbiters: usize) -> (EventNames, Vec<Problem>) {
    let mut checking = Checking::new(arbiters, EventNames::default());
    checking.name(&root.name, &root.name);
    checking.supervisor(root, &root.name, &Policy::new());
    checking.done()
}

pub(crate) struct Checking {
    arbiters: usize,
    names: EventNames,
    problems: Vec<Problem>,
}

impl Checking {
    pub(crate) fn new(arbiters: usize, names: EventNames) -> Self {
        Checking {
            arbiters,
            names,
            problems: Vec::new(),
        }
    }

    pub(crate) fn done(self) -> (EventNames, Vec<Problem>) {
        (self.names, self.problems)
    }

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
            let text = "the name contains a `/`, which separates names in a path";
            self.note(path, text);
        }
        if name == "*" {
            self.note(path, "the name `*` stands for children that are gone");
        }
    }

    fn placement(&mut self, path: &str, placement: Placement) {
        if let Placement::Arbiter(number) = placement
            && number >= self.arbiters
        {
            let text = format!(
                "arbiter {number} does not exist: this board has {}, numbered from 0",
                self.arbiters
            );
            self.note(path, text);
        }
    }

    /// OTP refuses the same combinations.
    fn significance(&mut self, path: &str, child: &Child, above: AutoShutdown) {
        if !child.is_significant() {
            return;
        }
        if child.restart() == Restart::Permanent {
            let text = "it is significant and permanent: it is always restarted, so it would never \
                        end its supervisor";
            self.note(path, text);
        }
        if above == AutoShutdown::Never {
            let text = "it is significant, but its supervisor has no auto_shutdown";
            self.note(path, text);
        }
    }

    fn supervisor(&mut self, supervisor: &Supervisor, path: &str, outer: &Policy) {
        for text in supervisor.policy.problems() {
            self.note(path, text);
        }
        if supervisor.window.is_zero() {
            let text = "the window of max_restarts is zero, so it would limit nothing";
            self.note(path, text);
        }
        if supervisor
            .backoff
            .is_some_and(|(_, stable)| stable.is_zero())
        {
            let text = "a life is stable after no time, so the backoff would never grow";
            self.note(path, text);
        }
        let delays = supervisor.backoff.iter();
        for text in delays.flat_map(|(delays, _)| delays.problems()) {
            self.note(path, format!("backoff: {text}"));
        }
        if let Some(text) = supervisor.shutdown.and_then(|how| how.problem()) {
            self.note(path, text);
        }
        if supervisor.recipe.is_some() && !supervisor.children.is_empty() {
            let text = "it makes its children from a recipe, so it takes no others";
            self.note(path, text);
        }
        let policy = supervisor.policy.clone().made_at(path);
        self.children(supervisor, path, &policy.over(outer));
    }

    fn children(&mut self, supervisor: &Supervisor, path: &str, policy: &Policy) {
        // Asked, and never walked through.
        let mut names =
            HashSet::with_capacity_and_hasher(supervisor.children.len(), RandomState::default());
        for child in &supervisor.children {
            let child_path = [path, "/", child.name()].concat();
            if !names.insert(child.name()) {
                self.note(&child_path, "two children have this name");
            }
            let (max, auto) = (supervisor.max_restarts, supervisor.auto_shutdown);
            self.child(child, &child_path, policy, max, auto);
        }
    }

    /// Looks at one child and all below it; `max_restarts` and `auto_shutdown` are its
    /// supervisor's.
    pub(crate) fn child(
        &mut self,
        child: &Child,
        path: &str,
        policy: &Policy,
        max_restarts: u32,
        auto_shutdown: AutoShutdown,
    ) {
        self.name(path, child.name());
        self.placement(path, child.placement());
        self.significance(path, child, auto_shutdown);
        match &child.0 {
            Kind::Supervisor(below) => match &below.troupe {
                Some(troupe) => {
                    let wishes = troupe.check(path, policy, max_restarts, &mut self.problems);
                    self.events(path, &wishes);
                    self.children_placements(below, path);
                }
                None => self.supervisor(below, path, policy),
            },
            Kind::Service(seed) => {
                let wishes = seed.check(path, policy, max_restarts, &mut self.problems);
                self.events(path, &wishes);
            }
        }
    }

    /// All workers are to run in the same way, so one problem is enough.
    fn children_placements(&mut self, workers: &Supervisor, path: &str) {
        if let Some(worker) = workers.children.first() {
            self.placement(path, worker.placement());
        }
    }

    fn events(&mut self, path: &str, wishes: &[Wish]) {
        for wish in wishes {
            let taken = self.names.take(wish.event, wish.event_type, wish.type_name);
            if let Err(text) = taken {
                self.problems.push(Problem {
                    path: path.to_owned(),
                    event: Some(wish.event),
                    text,
                });
            }
        }
    }
}
