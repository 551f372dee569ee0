//! A handle to one supervisor while it runs: its children, started and stopped on request.
//!
//! Users get it from the board; it asks the supervisor's actor, and reads the nodes.
//!
//! Invariant: reading never waits for an actor; changing is answered when it is done.
//!
//! It keeps nothing alive.

use std::fmt;
use std::future::Future;

use super::node::Node;
use super::recipe::Argument;
use super::request::{Ask, ChildError, ask};
use super::{Child, Strategy};
use crate::exit::Exit;
use crate::insider;
use crate::restart::Restart;
use crate::sync::Arc;
use crate::vitals::State;
use crate::wall::Wall;

/// One running supervisor: `board.supervisor("shop/payments")?`.
///
/// Children are named by the last part of their path. Requests are carried out in order, between
/// the supervisor's other work, and never wait behind events. Each verb waits until it is done, at
/// most [`CONTROL_WAIT`](crate::defaults::CONTROL_WAIT); the `_blocking` forms are for callers
/// outside any runtime.
///
/// ```
/// use callboard::prelude::*;
///
/// #[derive(Default)] struct Clerk;
/// impl Service for Clerk {}
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let board = Board::start(Supervisor::one_for_one("shop"))?;
/// let shop = board.supervisor("shop")?;
/// shop.start_child_blocking(service("clerk", Clerk::default))?;
/// assert_eq!(shop.count().active, 1);
///
/// shop.terminate_child_blocking("clerk")?; // its spec stays
/// shop.restart_child_blocking("clerk")?;
/// shop.terminate_child_blocking("clerk")?;
/// shop.delete_child_blocking("clerk")?;
/// assert!(shop.children().is_empty());
/// # board.shutdown_blocking(secs(5));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SupervisorHandle {
    wall: Arc<Wall>,
    node: Arc<Node>,
}

/// A child as its supervisor sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its name among its siblings.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
    /// When it is started again after it has ended.
    pub restart: Restart,
    /// Its state.
    pub state: State,
    /// The number of its current life; 1 for the first.
    pub life: u64,
    /// How its last life ended, if one has.
    pub last_exit: Option<Exit>,
}

/// How many children a supervisor has; OTP's `count_children`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// All children, dead or alive.
    pub specs: usize,
    /// Those with a life.
    pub active: usize,
    /// Those that are supervisors, dead or alive.
    pub supervisors: usize,
    /// Those that are services, dead or alive.
    pub services: usize,
}

impl SupervisorHandle {
    pub(crate) fn new(wall: Arc<Wall>, node: Arc<Node>) -> Self {
        SupervisorHandle { wall, node }
    }

    /// Its path.
    pub fn path(&self) -> &str {
        self.node.path()
    }

    /// Which children it restarts together.
    pub fn strategy(&self) -> Strategy {
        let branch = self.node.branch();
        branch.map(|branch| branch.strategy).unwrap_or_default()
    }

    /// Whether it makes its children from one recipe; see
    /// [`Supervisor::dynamic`](crate::Supervisor::dynamic).
    pub fn is_dynamic(&self) -> bool {
        self.node.branch().is_some_and(|branch| branch.dynamic)
    }

    /// Its children now, in the order in which they start. Never waits.
    pub fn children(&self) -> Vec<ChildInfo> {
        let children = self.nodes();
        children.iter().map(|child| ChildInfo::of(child)).collect()
    }

    /// How many children it has. Never waits.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for child in self.nodes() {
            let alive = [State::Starting, State::Running, State::Stopping];
            count.specs += 1;
            count.active += usize::from(alive.contains(&child.vitals.state()));
            count.supervisors += usize::from(child.is_supervisor());
        }
        count.services = count.specs - count.supervisors;
        count
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        let branch = self.node.branch();
        branch.map(|branch| branch.children()).unwrap_or_default()
    }

    /// Adds a child, last in order, and waits until it has started. Returns its path.
    ///
    /// It is kept like those of the spec, also when this supervisor is restarted. (OTP forgets
    /// added children then; here their mailboxes would be lost with them.)
    ///
    /// # Errors
    /// [`ChildError`]; a child that did not start is not kept.
    ///
    /// # Cancel safety
    /// Dropping the future does not remove the child.
    pub async fn start_child(&self, child: impl Into<Child>) -> Result<String, ChildError> {
        self.ask(Ask::Start(Box::new(child.into()))).await
    }

    /// Makes a child from this supervisor's recipe, and waits until it has started. Returns its
    /// path. Only for [dynamic](crate::Supervisor::dynamic) supervisors.
    ///
    /// # Errors
    /// [`ChildError`]; a child that did not start is not kept.
    ///
    /// # Cancel safety
    /// Dropping the future does not remove the child.
    pub async fn start_child_from<A: Send + 'static>(
        &self,
        argument: A,
    ) -> Result<String, ChildError> {
        self.ask(Ask::StartFrom(Argument::new(argument))).await
    }

    /// Stops a child in order and waits until it has ended; a child in backoff stays ended. Events
    /// that it had not read are undelivered.
    ///
    /// Its spec stays, for [`restart_child`](Self::restart_child), and it is started again when
    /// this supervisor is restarted as a whole. A temporary child, or one made from a recipe, is
    /// forgotten instead. Does nothing if the child has already ended and its spec is still there.
    ///
    /// # Errors
    /// [`ChildError`], if there is no such child. [`ChildError::Running`] at once when a later
    /// [`Board::restart`](crate::Board::restart) replaces this request.
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel the stop.
    pub async fn terminate_child(&self, name: &str) -> Result<(), ChildError> {
        self.ask(Ask::Terminate(name.to_owned())).await.map(drop)
    }

    /// Starts a child again that has ended for good, by itself or because it was stopped, and waits
    /// until it has started. It receives what is published from then on.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or it is gone; it has not ended for good
    /// ([`Running`](ChildError::Running)), also while it waits for its backoff; it did not start,
    /// and stays ended ([`Failed`](ChildError::Failed)).
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel the start.
    pub async fn restart_child(&self, name: &str) -> Result<(), ChildError> {
        self.ask(Ask::Restart(name.to_owned())).await.map(drop)
    }

    /// Forgets a child that has ended for good; its name is free again. In the ledger the counts of
    /// a child that was added while running go on in the row `.../*`; a child of the spec keeps its
    /// own row.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child; it has not ended for good
    /// ([`Running`](ChildError::Running)).
    ///
    /// # Cancel safety
    /// Dropping the future does not keep the child.
    pub async fn delete_child(&self, name: &str) -> Result<(), ChildError> {
        self.ask(Ask::Delete(name.to_owned())).await.map(drop)
    }

    /// As [`start_child`](Self::start_child); blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn start_child_blocking(&self, child: impl Into<Child>) -> Result<String, ChildError> {
        blocking(self.start_child(child))
    }

    /// As [`start_child_from`](Self::start_child_from); blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn start_child_from_blocking<A: Send + 'static>(
        &self,
        argument: A,
    ) -> Result<String, ChildError> {
        blocking(self.start_child_from(argument))
    }

    /// As [`terminate_child`](Self::terminate_child); blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn terminate_child_blocking(&self, name: &str) -> Result<(), ChildError> {
        blocking(self.terminate_child(name))
    }

    /// As [`restart_child`](Self::restart_child); blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn restart_child_blocking(&self, name: &str) -> Result<(), ChildError> {
        blocking(self.restart_child(name))
    }

    /// As [`delete_child`](Self::delete_child); blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn delete_child_blocking(&self, name: &str) -> Result<(), ChildError> {
        blocking(self.delete_child(name))
    }

    async fn ask(&self, what: Ask) -> Result<String, ChildError> {
        ask(&self.wall, &self.node, what).await
    }
}

/// Waits for a verb about a child on this thread, unless a board needs it.
pub(crate) fn blocking<T>(
    verb: impl Future<Output = Result<T, ChildError>>,
) -> Result<T, ChildError> {
    insider::blocking(ChildError::Blocking, verb)
}

impl ChildInfo {
    fn of(node: &Node) -> Self {
        ChildInfo {
            name: node.name().to_owned(),
            path: node.path().to_string(),
            is_supervisor: node.is_supervisor(),
            restart: node.restart,
            state: node.vitals.state(),
            life: node.vitals.life(),
            last_exit: node.vitals.last_exit(),
        }
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SupervisorHandle({})", self.path())
    }
}
