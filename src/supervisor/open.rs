//! Opening a tree: every place on the board is taken before anything starts.
//!
//! The board calls it once, with a tree that has been checked.
//!
//! Invariant: when the first `started` runs, all subscriptions of all specs exist, so nothing
//! published there is unheard.
//!
//! It starts no actor.

use std::time::Duration;

use super::family::Member;
use super::{AutoShutdown, Child, Kind, Strategy, Supervisor};
use crate::host::{Home, Stage};
use crate::policy::Policy;
use crate::registry::Registry;
use crate::service::Placement;
use crate::sync::Arc;
use crate::wall::Wall;

/// A supervisor whose services have taken their places, ready to be started.
pub(crate) struct OpenedSupervisor {
    pub(crate) path: Arc<str>,
    pub(crate) strategy: Strategy,
    pub(crate) max_restarts: u32,
    pub(crate) window: Duration,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<OpenedChild>,
}

pub(crate) struct OpenedChild {
    pub(crate) member: Member,
    pub(crate) home: Home,
    pub(crate) kind: OpenedKind,
}

pub(crate) enum OpenedKind {
    Service {
        path: Arc<str>,
        grace: Duration,
        stage: Box<dyn FnOnce() -> Box<dyn Stage> + Send>,
    },
    Supervisor(OpenedSupervisor),
}

/// What opening needs from the board.
pub(crate) struct Opener<'a> {
    pub(crate) wall: &'a Arc<Wall>,
    pub(crate) registry: &'a Registry,
    /// Finds the home of a child that asks for one of its own.
    pub(crate) place: &'a mut dyn FnMut(Placement) -> Home,
}

impl Opener<'_> {
    /// Opens the root; the subtrees below it take turns on the arbiters.
    pub(crate) fn root(&mut self, root: Supervisor, home: &Home) -> OpenedSupervisor {
        let path = root.name.clone();
        self.supervisor(root, path, home, &Policy::new(), Placement::Spread)
    }

    fn supervisor(
        &mut self,
        supervisor: Supervisor,
        path: String,
        home: &Home,
        outer: &Policy,
        usual: Placement,
    ) -> OpenedSupervisor {
        let policy = supervisor.policy.over(outer);
        let open = |child| self.child(child, &path, home, &policy, usual);
        let children = supervisor.children.into_iter().map(open).collect();
        OpenedSupervisor {
            path: path.into(),
            strategy: supervisor.strategy,
            max_restarts: supervisor.max_restarts,
            window: supervisor.window,
            auto_shutdown: supervisor.auto_shutdown,
            children,
        }
    }

    fn child(
        &mut self,
        child: Child,
        above: &str,
        home: &Home,
        policy: &Policy,
        usual: Placement,
    ) -> OpenedChild {
        let member = Member {
            name: child.name().into(),
            restart: child.restart(),
            significant: false,
        };
        let path = format!("{above}/{}", member.name);
        let home = match (child.placement(), usual) {
            (Placement::Together, Placement::Together) => home.clone(),
            (Placement::Together, usual) => (self.place)(usual),
            (placement, _) => (self.place)(placement),
        };
        let kind = match child.0 {
            Kind::Supervisor(below) => {
                let usual = Placement::Together;
                OpenedKind::Supervisor(self.supervisor(*below, path, &home, policy, usual))
            }
            Kind::Service(seed) => {
                let (path, grace): (Arc<str>, _) = (path.into(), seed.shutdown());
                let opened = seed.open(self.wall, Arc::clone(&path), policy);
                self.registry.add(Arc::clone(&path), opened.entry);
                OpenedKind::Service {
                    path,
                    grace,
                    stage: opened.stage,
                }
            }
        };
        OpenedChild { member, home, kind }
    }
}
