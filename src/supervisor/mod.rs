//! The tree: who restarts whom, how often, and in which order.
//!
//! Users describe it; the board checks, opens and starts it. One actix actor per supervisor
//! carries out what the pure family decides.
//!
//! Invariant: a tree that cannot be meant is refused whole, with every reason, before anything
//! has been opened.
//!
//! It knows nothing of events: those are the hosts'.

mod actor;
mod check;
// Until the actor uses all of it.
#[allow(dead_code, unused_imports)]
mod family;
mod intensity;
mod open;
mod strategy;

use std::fmt;
use std::time::Duration;

use crate::defaults;
use crate::host::Seed;
use crate::policy::Policy;
use crate::restart::Restart;
use crate::service::{Placement, Service, ServiceSpec, Subscriptions};

#[allow(unreachable_pub)]
pub use strategy::{AutoShutdown, Strategy};

pub(crate) use actor::{Parent, SupervisorActor};
pub(crate) use check::check;
pub(crate) use open::Opener;

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
#[must_use = "a supervisor runs only as the root of a board or the child of another"]
pub struct Supervisor {
    name: String,
    strategy: Strategy,
    max_restarts: u32,
    window: Duration,
    auto_shutdown: AutoShutdown,
    restart: Restart,
    policy: Policy,
    placement: Placement,
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

    fn new(name: String, strategy: Strategy) -> Self {
        Supervisor {
            name,
            strategy,
            max_restarts: defaults::MAX_RESTARTS,
            window: defaults::RESTART_WINDOW,
            auto_shutdown: AutoShutdown::default(),
            restart: Restart::default(),
            policy: Policy::new(),
            placement: Placement::default(),
            children: Vec::new(),
        }
    }

    /// How many restarts it allows in any `window` (OTP's intensity); one more and it stops its
    /// children and fails itself. By default 5 in 10 s.
    ///
    /// A restart at time t is allowed if fewer than `max` were in the `window` before t.
    pub fn max_restarts(mut self, max: u32, window: Duration) -> Self {
        self.max_restarts = max;
        self.window = window;
        self
    }

    /// Whether it ends when significant children have; by default never.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// When its own supervisor starts it again after it has ended; by default always.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// The policy of all services below; parts set further down win.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Runs the subtree on the arbiter with this number, counted from 0.
    pub fn arbiter(mut self, number: usize) -> Self {
        self.placement = Placement::Arbiter(number);
        self
    }

    /// Runs the subtree on the arbiter whose turn it is.
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

impl Child {
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
