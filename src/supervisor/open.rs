//! Opening a tree: every place on the board is taken before anything starts.
//!
//! The board opens the root; a supervisor's actor opens what is added while it runs.
//!
//! Invariant: when the first `started` runs, all subscriptions of all specs exist, so nothing
//! published there is unheard. Threads are found first: what fails has opened nothing.
//!
//! It starts no actor.

use std::io;
use std::time::Duration;

use super::check::Checking;
use super::family::{ChildId, Member, Plan};
use super::node::{Branch, Node, NodeKind};
use super::recipe::Recipe;
use super::registry::Registry;
use super::{Child, Kind, Supervisor};
use crate::host::{Home, Problem, Stage, Troupe};
use crate::names::EventNames;
use crate::policy::{Backoff, Standing};
use crate::service::Placement;
use crate::shutdown::Shutdown;
use crate::sync::{Arc, lock};
use crate::vitals::Vitals;
use crate::waits::Waiting;
use crate::wall::Wall;

/// What opening needs from the board, at its start and later.
pub(crate) struct Grounds {
    pub(crate) wall: Arc<Wall>,
    pub(crate) registry: Registry,
    arbiters: usize,
    threads: Box<dyn Threads>,
}

/// Where threads come from.
pub(crate) trait Threads: Send + Sync {
    /// Finds the home of a child that asks for one of its own.
    fn place(&self, placement: Placement) -> io::Result<Home>;
    /// Ends a thread that was made for a child.
    fn release(&self, home: &Home);
}

/// A supervisor whose services have taken their places, ready to be started.
pub(crate) struct OpenedSupervisor {
    pub(crate) node: Arc<Node>,
    pub(crate) plan: Plan,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) recipe: Option<Recipe>,
    pub(crate) troupe: Option<Box<dyn Troupe>>,
    pub(crate) lot: Lot,
    pub(crate) children: Vec<OpenedChild>,
}

/// How often a supervisor restarts its children, and after which delays.
#[derive(Clone, Copy)]
struct Limits {
    max_restarts: u32,
    window: Duration,
    backoff: Option<(Backoff, Duration)>,
}

/// What a supervisor's children have from above.
#[derive(Clone)]
pub(crate) struct Lot {
    pub(crate) path: Arc<str>,
    pub(crate) policy: Arc<Standing>,
    pub(crate) home: Home,
    /// Where a child runs that does not say.
    usual: Placement,
    /// Whether the children are the workers of one service.
    is_troupe: bool,
    /// The restarts that the workers of a service below are allowed.
    limits: Limits,
}

pub(crate) struct OpenedChild {
    pub(crate) id: ChildId,
    pub(crate) member: Member,
    pub(crate) node: Arc<Node>,
    pub(crate) home: Home,
    /// Whether its thread was made for it, and ends with it.
    pub(crate) owns_home: bool,
    /// Until it starts, whoever waits for it waits for its supervisor.
    pub(crate) turn: Option<Waiting>,
    pub(crate) kind: OpenedKind,
}

pub(crate) enum OpenedKind {
    Service {
        shutdown: Shutdown,
        stage: Box<dyn FnOnce() -> Box<dyn Stage> + Send>,
    },
    Supervisor(Box<OpenedSupervisor>),
}

/// Where a child and those below it will run.
struct Housing {
    home: Home,
    below: Vec<Housing>,
}

impl Grounds {
    pub(crate) fn new(wall: Arc<Wall>, arbiters: usize, threads: Box<dyn Threads>) -> Self {
        Grounds {
            wall,
            registry: Registry::default(),
            arbiters,
            threads,
        }
    }

    /// Opens the root; the subtrees below it take turns on the arbiters.
    ///
    /// # Errors
    /// There is no thread for a child that asks for one; nothing was opened then.
    pub(crate) fn root(&self, root: Supervisor, home: Home) -> io::Result<OpenedSupervisor> {
        let path = root.name.as_str().into();
        let lot = Lot {
            policy: Standing::new(&path, root.policy.clone(), None),
            path,
            home,
            usual: Placement::Spread,
            is_troupe: false,
            limits: Limits::of(&root),
        };
        let below = self.find_homes(&root.children, &lot)?;
        Ok(self.supervisor(root, lot, below))
    }

    /// Opens a child of a supervisor that runs.
    ///
    /// # Errors
    /// There is no thread for it; nothing was opened then.
    pub(crate) fn child(&self, child: Child, id: ChildId, lot: &Lot) -> io::Result<OpenedChild> {
        let housing = self.find_home(&child, lot)?;
        Ok(self.open(child, id, lot, housing))
    }

    /// What is impossible about a child that is to be added; else its event names are taken.
    pub(crate) fn check(&self, child: &Child, path: &str, plan: &Plan, lot: &Lot) -> Vec<Problem> {
        loop {
            let known = lock(&self.wall.names).clone();
            let mut checking = Checking::new(self.arbiters, known.clone());
            let (max, auto) = (plan.max_restarts, plan.auto_shutdown);
            checking.child(child, path, &lot.policy.in_force(), max, auto);
            let (names, problems) = checking.done();
            // The check asks the user's types, so it is not made under the lock.
            if !problems.is_empty() || self.take_names(&known, names) {
                return problems;
            }
        }
    }

    /// Takes these names, unless others have been taken since `known`.
    fn take_names(&self, known: &EventNames, names: EventNames) -> bool {
        let mut taken = lock(&self.wall.names);
        let is_current = *taken == *known;
        if is_current {
            *taken = names;
        }
        is_current
    }

    /// Which event names are taken from now on.
    pub(crate) fn name_events(&self, names: EventNames) {
        *lock(&self.wall.names) = names;
    }

    /// A child will not come back: nothing of it is kept but its counts, in its own rows or in
    /// those of this name.
    pub(crate) fn forget(&self, child: &Arc<Node>, home: Option<&Home>, into: Option<&Arc<str>>) {
        for node in child.subtree() {
            self.registry.remove(&node);
            node.vitals.dismiss_monitors();
        }
        self.wall.forget(child.path());
        if let Some(into) = into {
            self.wall.fold(child.path(), into);
        }
        self.release(home);
    }

    /// Ends the thread that was made for a child, if one was.
    pub(crate) fn release(&self, home: Option<&Home>) {
        if let Some(home) = home {
            self.threads.release(home);
        }
    }

    fn find_homes(&self, children: &[Child], lot: &Lot) -> io::Result<Vec<Housing>> {
        let homes = children.iter().map(|child| self.find_home(child, lot));
        homes.collect()
    }

    fn find_home(&self, child: &Child, lot: &Lot) -> io::Result<Housing> {
        let home = match (child.placement(), lot.usual) {
            (Placement::Together, Placement::Together) => lot.home.clone(),
            (Placement::Together, usual) => self.threads.place(usual)?,
            (placement, _) => self.threads.place(placement)?,
        };
        let below = match &child.0 {
            Kind::Service(_) => Vec::new(),
            Kind::Supervisor(supervisor) => {
                let lot = lot.in_home(home.clone());
                self.find_homes(&supervisor.children, &lot)?
            }
        };
        Ok(Housing { home, below })
    }

    fn supervisor(
        &self,
        supervisor: Supervisor,
        lot: Lot,
        below: Vec<Housing>,
    ) -> OpenedSupervisor {
        let plan = supervisor.plan(Arc::clone(&lot.path));
        let vitals = Vitals::new(Arc::clone(&lot.path));
        let troupe = supervisor.troupe.as_ref();
        let service = troupe.map(|troupe| troupe.open(&self.wall, &vitals, &lot.policy));
        let homes = supervisor.children.into_iter().zip(below);
        let open = |(id, (child, housing))| self.open(child, id, &lot, housing);
        let children: Vec<OpenedChild> = (0..).zip(homes).map(open).collect();
        let nodes = children
            .iter()
            .map(|child| (child.id, Arc::clone(&child.node)));
        let is_dynamic = supervisor.recipe.is_some();
        let branch = Branch::new(plan.strategy, is_dynamic, service, nodes.collect());
        let node = Arc::new(Node {
            vitals,
            restart: supervisor.restart,
            policy: Arc::clone(&lot.policy),
            max_restarts: lot.limits.max_restarts,
            kind: NodeKind::Supervisor(Box::new(branch)),
        });
        self.registry.add(&node);
        OpenedSupervisor {
            node,
            plan,
            backoff: supervisor.backoff.map(|(backoff, _)| backoff),
            shutdown: supervisor.shutdown,
            recipe: supervisor.recipe,
            troupe: supervisor.troupe,
            lot,
            children,
        }
    }

    fn open(&self, child: Child, id: ChildId, lot: &Lot, housing: Housing) -> OpenedChild {
        let Housing { home, below } = housing;
        let owns_home = child.placement() == Placement::Dedicated;
        let member = Member {
            name: child.name().into(),
            restart: child.restart(),
            significant: child.is_significant(),
        };
        let path: Arc<str> = [&*lot.path, "/", &*member.name].concat().into();
        let turn = self.wall.waits.waiter(&path).note_turn();
        let (node, kind) = match child.0 {
            Kind::Supervisor(mut supervisor) => {
                if supervisor.troupe.is_some() {
                    lot.limits.give_to(&mut supervisor);
                }
                let lot = lot.below(path, &supervisor, home.clone());
                let opened = self.supervisor(*supervisor, lot, below);
                let node = Arc::clone(&opened.node);
                (node, OpenedKind::Supervisor(Box::new(opened)))
            }
            Kind::Service(seed) => {
                let (vitals, shutdown) = (Vitals::new(path), seed.shutdown());
                let opened = seed.open(&self.wall, &vitals, &lot.policy);
                let node = Arc::new(Node {
                    vitals,
                    restart: member.restart,
                    policy: opened.policy,
                    max_restarts: lot.limits.max_restarts,
                    kind: if lot.is_troupe {
                        NodeKind::Worker(opened.entry)
                    } else {
                        NodeKind::Service(opened.entry)
                    },
                });
                self.registry.add(&node);
                let stage = opened.stage;
                (node, OpenedKind::Service { shutdown, stage })
            }
        };
        OpenedChild {
            id,
            member,
            node,
            home,
            owns_home,
            turn,
            kind,
        }
    }
}

impl Limits {
    fn of(supervisor: &Supervisor) -> Self {
        Limits {
            max_restarts: supervisor.max_restarts,
            window: supervisor.window,
            backoff: supervisor.backoff,
        }
    }

    fn give_to(self, supervisor: &mut Supervisor) {
        supervisor.max_restarts = self.max_restarts;
        supervisor.window = self.window;
        supervisor.backoff = self.backoff;
    }
}

impl Lot {
    /// The lot of children below one that runs here, as far as their places go.
    fn in_home(&self, home: Home) -> Lot {
        Lot {
            home,
            usual: Placement::Together,
            ..self.clone()
        }
    }

    fn below(&self, path: Arc<str>, supervisor: &Supervisor, home: Home) -> Lot {
        Lot {
            policy: Standing::new(&path, supervisor.policy.clone(), Some(&self.policy)),
            path,
            is_troupe: supervisor.troupe.is_some(),
            limits: Limits::of(supervisor),
            home,
            usual: Placement::Together,
        }
    }
}
