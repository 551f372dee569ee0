//! The tree: who restarts whom, how often, and in which order.
//!
//! Users describe it; the board checks, opens and starts it. One actix actor per supervisor
//! carries out what the pure family decides.
//!
//! Invariant: an invalid tree is refused as a whole, with every reason, before anything
//! has been opened.
//!
//! It knows nothing of events: those are the hosts'.

mod actor;
mod charge;
mod check;
mod desk;
mod family;
mod handle;
mod intensity;
mod node;
mod open;
mod recipe;
mod registry;
mod request;
mod scale;
mod seat;
mod strategy;
mod term;

use std::fmt;
use std::time::Duration;

use crate::defaults;
use crate::host::{Seed, Troupe, troupe};
use crate::policy::{Backoff, Policy};
use crate::restart::Restart;
use crate::service::{Placement, Service, ServiceSpec, Subscriptions};
use crate::shutdown::Shutdown;
use crate::sync::Arc;
use family::Plan;
use recipe::Recipe;

pub use handle::{ChildInfo, Count, SupervisorHandle};
pub use registry::LookupError;
pub use request::ChildError;
pub use strategy::{AutoShutdown, Strategy};

pub(crate) use actor::{Parent, SupervisorActor};
pub(crate) use check::check;
pub(crate) use handle::blocking;
pub(crate) use node::{Branch, Node};
pub(crate) use open::{Grounds, Threads};
pub(crate) use request::{Ask, ask};

/// Describes a supervisor and its children, services and supervisors alike.
///
/// ```
/// use callboard::prelude::*;
///
/// # #[derive(Default)] struct Accounts;
/// # impl Service for Accounts {}
/// let tree = Supervisor::one_for_one("shop")
///     .max_restarts(5, secs(10))
///     .policy(Policy::new().retry(Retry::fixed(millis(20)).attempts(3)))
///     .child(service("accounts", Accounts::default))
///     .child(Supervisor::one_for_one("mail"));
/// ```
///
#[doc = include_str!("semantics.md")]
#[must_use = "a supervisor runs only as the root of a board or the child of another"]
pub struct Supervisor {
    name: String,
    strategy: Strategy,
    max_restarts: u32,
    window: Duration,
    restart: Restart,
    policy: Policy,
    placement: Placement,
    shutdown: Option<Shutdown>,
    /// The delays between restarts, and after how long a life is stable.
    backoff: Option<(Backoff, Duration)>,
    auto_shutdown: AutoShutdown,
    significant: bool,
    recipe: Option<Recipe>,
    /// It stands for one service with several workers: its children.
    troupe: Option<Box<dyn Troupe>>,
    children: Vec<Child>,
}

/// A child of a supervisor: made from a [`ServiceSpec`] or a [`Supervisor`].
#[derive(Debug)]
pub struct Child(Kind);

enum Kind {
    Service(Box<dyn Seed>),
    Supervisor(Box<Supervisor>),
}

impl<S: Service, L> From<ServiceSpec<S, L>> for Child
where
    L: Subscriptions<S> + Send + 'static,
{
    fn from(spec: ServiceSpec<S, L>) -> Self {
        if let Some(workers) = spec.parts.workers {
            let name = spec.parts.name.clone();
            return Supervisor::of_workers(name, troupe(spec, workers)).into();
        }
        Child(Kind::Service(Box::new(spec)))
    }
}

impl From<Supervisor> for Child {
    fn from(supervisor: Supervisor) -> Self {
        Child(Kind::Supervisor(Box::new(supervisor)))
    }
}

impl Supervisor {
    /// A supervisor that restarts the child that failed, and no other.
    ///
    /// The name is part of the paths of all below it and unique among its siblings; it must not
    /// be empty or contain a `/`.
    pub fn one_for_one(name: impl Into<String>) -> Self {
        Self::new(name.into(), Strategy::OneForOne)
    }

    /// A supervisor that restarts all its children when one fails: they stop in reverse order and
    /// start in order. For children that cannot work without one another.
    ///
    /// The mailboxes survive. A child that did not fail itself gets its event in flight back,
    /// without a counted attempt.
    pub fn one_for_all(name: impl Into<String>) -> Self {
        Self::new(name.into(), Strategy::OneForAll)
    }

    /// A supervisor that restarts the child that failed and those added after it. For children
    /// that each depend on those before.
    pub fn rest_for_one(name: impl Into<String>) -> Self {
        Self::new(name.into(), Strategy::RestForOne)
    }

    /// A supervisor whose children are made on demand, all from one recipe, by
    /// [`SupervisorHandle::start_child_from`]; OTP's `simple_one_for_one`.
    ///
    /// It starts without children. They are restarted one by one and stop all at once. A child that
    /// has ended for good is forgotten: its name is free again, and its counts are added to the row
    /// `.../*` of the ledger.
    ///
    /// ```
    /// use callboard::prelude::*;
    ///
    /// struct Session { user: u64 }
    /// impl Service for Session {}
    ///
    /// let sessions = Supervisor::dynamic("sessions", |user: u64| {
    ///     service(format!("user-{user}"), move || Session { user }).restart(Restart::Transient)
    /// });
    /// # use callboard::Restart;
    /// # fn run(board: Board) -> Result<(), Box<dyn std::error::Error>> {
    /// // Later, on a running board:
    /// board.supervisor("shop/sessions")?.start_child_from_blocking(7_u64)?;
    /// # Ok(()) }
    /// ```
    pub fn dynamic<A: Send + 'static, C: Into<Child>>(
        name: impl Into<String>,
        recipe: impl FnMut(A) -> C + Send + 'static,
    ) -> Self {
        let mut supervisor = Self::new(name.into(), Strategy::OneForOne);
        supervisor.recipe = Some(Recipe::new(recipe));
        supervisor
    }

    /// One that stands for a service with workers, and goes by what its own supervisor goes by.
    fn of_workers(name: String, troupe: Box<dyn Troupe>) -> Self {
        // A number beyond the bound is refused, but not before it is looked at.
        let workers = troupe.len().min(defaults::WORKERS_MAX);
        let mut supervisor = Self::new(name, Strategy::OneForOne);
        supervisor.restart = troupe.restart();
        supervisor.policy = troupe.policy();
        supervisor.significant = troupe.is_significant();
        let seeds = (0..workers).map(|index| troupe.worker(index));
        supervisor.children = seeds.map(|seed| Child(Kind::Service(seed))).collect();
        supervisor.troupe = Some(troupe);
        supervisor
    }

    fn new(name: String, strategy: Strategy) -> Self {
        Supervisor {
            name,
            strategy,
            max_restarts: defaults::MAX_RESTARTS,
            window: defaults::RESTART_WINDOW,
            restart: Restart::default(),
            policy: Policy::new(),
            placement: Placement::default(),
            shutdown: None,
            backoff: None,
            auto_shutdown: AutoShutdown::default(),
            significant: false,
            recipe: None,
            troupe: None,
            children: Vec::new(),
        }
    }

    /// How many restarts it allows in any `window` (OTP's intensity); one more and it stops its
    /// children and fails itself. By default 5 in 10 s.
    ///
    /// A restart at time t is allowed if fewer than `max` were in the `window` before t.
    ///
    /// One event whose handler always panics does not use them up: it is given up after its
    /// [`attempts`](crate::Retry::attempts), and a tree that allows more of these than `max` is
    /// refused. Several such events within one window can, and so can one that panics in several
    /// children.
    pub fn max_restarts(mut self, max: u32, window: Duration) -> Self {
        self.max_restarts = max;
        self.window = window;
        self
    }

    /// When its own supervisor starts it again after it has ended; [`Restart::Permanent`], so
    /// always, by default.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Waits before it restarts a child: `delays` by the number of restarts in a row, which starts
    /// again at 1 after a life that has lasted for `stable`. By default it does not wait.
    ///
    /// A restart is counted against `max_restarts` when it is made, not when the child failed. In
    /// a group the siblings are stopped at once, and all wait. OTP has no such delay.
    ///
    /// ```
    /// use callboard::{Backoff, prelude::*};
    ///
    /// let tree = Supervisor::one_for_one("shop")
    ///     .backoff(Backoff::exponential(millis(100)).at_most(secs(30)), secs(60));
    /// ```
    pub fn backoff(mut self, delays: Backoff, stable: Duration) -> Self {
        self.backoff = Some((delays, stable));
        self
    }

    /// How it is stopped. By default its children are stopped one after the other, each within its
    /// own time; a limit set here applies to all of them together.
    pub fn shutdown(mut self, how: impl Into<Shutdown>) -> Self {
        self.shutdown = Some(how.into());
        self
    }

    /// Whether it ends when its significant children have ended; by default never.
    pub fn auto_shutdown(mut self, when: AutoShutdown) -> Self {
        self.auto_shutdown = when;
        self
    }

    /// When it ends of its own accord, its supervisor may end too: see [`AutoShutdown`]. Only for
    /// children that are not permanent.
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// The policy of all services below; parts set further down take precedence.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Runs the subtree on the arbiter with this number, counted from 0. The tree is refused if
    /// there are not so many: by default there is one for each core, so that depends on the
    /// machine. See [`BoardBuilder::arbiters`](crate::BoardBuilder::arbiters).
    pub fn arbiter(mut self, number: usize) -> Self {
        self.placement = Placement::Arbiter(number);
        self
    }

    /// Runs the subtree on the next arbiter in turn.
    pub fn spread(mut self) -> Self {
        self.placement = Placement::Spread;
        self
    }

    /// Runs the subtree on a thread of its own.
    pub fn dedicated(mut self) -> Self {
        self.placement = Placement::Dedicated;
        self
    }

    /// Adds a child. Children start in the order in which they were added, each before the
    /// next, and stop in the reverse order.
    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.push(child.into());
        self
    }
}

impl Supervisor {
    /// What its family goes by.
    fn plan(&self, path: Arc<str>) -> Plan {
        Plan {
            path,
            strategy: self.strategy,
            max_restarts: self.max_restarts,
            window: self.window,
            stable_after: self.backoff.map(|(_, stable)| stable),
            auto_shutdown: self.auto_shutdown,
            // Workers do not build on each other either: they start and stop all at once.
            dynamic: self.recipe.is_some() || self.troupe.is_some(),
            workers: self.troupe.is_some(),
        }
    }
}

impl Child {
    fn is_significant(&self) -> bool {
        match &self.0 {
            Kind::Service(service) => service.is_significant(),
            Kind::Supervisor(supervisor) => supervisor.significant,
        }
    }

    fn name(&self) -> &str {
        match &self.0 {
            Kind::Service(service) => service.name(),
            Kind::Supervisor(supervisor) => &supervisor.name,
        }
    }

    fn restart(&self) -> Restart {
        match &self.0 {
            Kind::Service(service) => service.restart(),
            Kind::Supervisor(supervisor) => supervisor.restart,
        }
    }

    fn placement(&self) -> Placement {
        match &self.0 {
            Kind::Service(service) => service.placement(),
            Kind::Supervisor(supervisor) => supervisor.placement,
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("name", &self.name)
            .field("strategy", &self.strategy)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Service(service) => write!(f, "Service({})", service.name()),
            Kind::Supervisor(supervisor) => supervisor.fmt(f),
        }
    }
}
