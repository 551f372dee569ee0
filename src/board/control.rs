//! Control of any service or supervisor by its path, while its handlers run.
//!
//! Users call it on the board; it flips flags that lives look at, or asks the supervisor above.
//!
//! Invariant: control is never behind data: it does not pass through the mailbox it is about.
//!
//! It ends no board: that is shutdown's.

use super::Board;
use super::monitor::Monitor;
use crate::host::Entry;
use crate::lifecycle::Change;
use crate::service::{Address, Service, SubscribeError};
use crate::supervisor::{
    Ask, Branch, ChildError, LookupError, Node, SupervisorHandle, ask, blocking,
};
use crate::sync::Arc;

impl Board {
    /// The supervisor at `path`, such as `shop/payments`: its children, started and stopped on
    /// request.
    ///
    /// # Errors
    /// [`LookupError`] if there is none.
    pub fn supervisor(&self, path: &str) -> Result<SupervisorHandle, LookupError> {
        let node = self.inner.grounds.registry.supervisor(path)?;
        Ok(SupervisorHandle::new(Arc::clone(&self.inner.wall), node))
    }

    /// Lets the service at `path` begin nothing from its next delivery on: no event, letter or
    /// timer. What it has begun it finishes: the handler that runs,
    /// [later work](crate::Context::later) with its result, and what its instances
    /// [per key](crate::ServiceSpec::per_key) are doing. What comes in waits, within its capacity;
    /// so does what is to be tried again, and what is to follow an event that is given up.
    ///
    /// It stays suspended over restarts until [`Board::resume`]: a state, not a count. Returns at
    /// once, whatever the service does. Meanwhile [`Board::settle`] is an error if it holds work.
    ///
    /// # Errors
    /// [`LookupError`] if there is no such service.
    pub fn suspend(&self, path: &str) -> Result<(), LookupError> {
        self.set_suspended(path, true)
    }

    /// Lets a suspended service go on; timers that were due meanwhile run at once. Does nothing if
    /// it is not suspended.
    ///
    /// # Errors
    /// [`LookupError`] if there is no such service.
    pub fn resume(&self, path: &str) -> Result<(), LookupError> {
        self.set_suspended(path, false)
    }

    fn set_suspended(&self, path: &str, suspended: bool) -> Result<(), LookupError> {
        let (node, entry): (Arc<Node>, Arc<dyn Entry>) =
            self.inner.grounds.registry.service(path)?;
        let workers = || {
            let workers = node.branch().map(Branch::children).unwrap_or_default();
            let vitals = workers.iter().map(|worker| Arc::clone(&worker.vitals));
            vitals.collect()
        };
        if !self.inner.wall.suspend(&node.vitals, workers, suspended) {
            return Ok(());
        }
        let change = if suspended {
            Change::Suspended
        } else {
            Change::Resumed
        };
        self.inner.wall.announce(&node.vitals, change);
        entry.call();
        Ok(())
    }

    /// Changes how many [workers](crate::ServiceSpec::workers) the service at `path` has, at least
    /// 1 and at most [`WORKERS_MAX`](crate::defaults::WORKERS_MAX), and waits until the new number
    /// is in force: until what was published and sent before has been settled by whose it was,
    /// what waits to be tried again included.
    ///
    /// Nothing is lost, and what has equal keys keeps its order: what comes after the change waits
    /// until all before it is settled. Workers are added and taken away at the end of their row;
    /// one that is added has started before anything is its own.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such service, or it has no workers; the number is impossible;
    /// another change is under way; an added worker did not start. Nothing has changed then. On
    /// [`ChildError::TimedOut`], after [`CONTROL_WAIT`](crate::defaults::CONTROL_WAIT), the change
    /// goes on. [`ChildError::Cycle`] at once in a handler of one of the workers.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the change.
    pub async fn scale(&self, path: &str, workers: usize) -> Result<(), ChildError> {
        let (node, _) = self.inner.grounds.registry.service(path)?;
        if node.branch().is_none() {
            let path = path.to_owned();
            return Err(ChildError::NoWorkers { path });
        }
        ask(&self.inner.wall, &node, Ask::Scale(workers)).await?;
        Ok(())
    }

    /// As [`Board::scale`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn scale_blocking(&self, path: &str, workers: usize) -> Result<(), ChildError> {
        blocking(self.scale(path, workers))
    }

    /// Stops what is at `path` in order and starts it again: a service with a new life on the
    /// same mailbox, a supervisor with all below it. Not counted against the budget of restarts.
    /// Waits until it has started, at most [`CONTROL_WAIT`](crate::defaults::CONTROL_WAIT).
    ///
    /// One in backoff starts at once. One that has ended for good, by itself or after
    /// [`Board::stop`], is started, and hears what is published from then on.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or none any more, as of a temporary or dynamic one
    /// that has ended ([`Lookup`](ChildError::Lookup)); the supervisor above is stopping or has
    /// ended ([`Stopping`](ChildError::Stopping)); it is the root; it is a worker that is being let
    /// go ([`Scaling`](ChildError::Scaling)). If it did not start, or a stop overtook it
    /// ([`Failed`](ChildError::Failed)): one that had ended for good stays ended; any other is
    /// tried again as after any failed restart, which is counted, unless it was stopped or is
    /// temporary.
    /// [`ChildError::Cycle`] at once in a service that this waits for, itself above all.
    /// [`ChildError::TimedOut`]: the restarting goes on.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the restarting.
    pub async fn restart(&self, path: &str) -> Result<(), ChildError> {
        self.ask_above(path, Ask::Renew).await
    }

    /// Stops what is at `path` in order, and waits until it has ended; one in backoff stays ended.
    /// What has ended already is left as it is: that is no error. It stays ended until
    /// [`Board::restart`] starts it again, or its supervisor is restarted as a whole. See
    /// [`SupervisorHandle::terminate_child`].
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or none any more, as of a temporary or dynamic one
    /// that has ended ([`Lookup`](ChildError::Lookup)); the supervisor above is stopping or has
    /// ended ([`Stopping`](ChildError::Stopping)); it is the root. [`ChildError::Running`] at once
    /// when a later restart request replaces this one; the latest request wins.
    /// [`ChildError::Workers`] for one worker of a service. [`ChildError::Cycle`] at once in a
    /// service that this waits for, itself above all. [`ChildError::TimedOut`] after
    /// [`CONTROL_WAIT`](crate::defaults::CONTROL_WAIT): the stopping goes on.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the stopping.
    pub async fn stop(&self, path: &str) -> Result<(), ChildError> {
        self.ask_above(path, Ask::Terminate).await
    }

    /// Ends the life of what is at `path` now: its handler is dropped where it waits, `stopping`
    /// is not called, and its supervisor does what follows a crash.
    ///
    /// The event in flight gets its verdict, as after a panic: one attempt is counted, and out of
    /// attempts it is a dead letter. So a handler that waits for ever is ended with its event; one
    /// that blocks its thread cannot be. No attempt is counted of what is open in
    /// [later work](crate::Context::later); of a supervisor, or of a service with
    /// [workers](crate::ServiceSpec::workers) as a whole, where all below ends (kill the worker,
    /// `books/0`, instead); nor of a service with an instance
    /// [per key](crate::ServiceSpec::per_key), where nobody knows which of its instances is to
    /// blame. One without a life, as in backoff, is left as it is: that is no error. Returns when
    /// the kill has been ordered.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or none any more ([`Lookup`](ChildError::Lookup));
    /// it has ended for good ([`NotRunning`](ChildError::NotRunning)); the supervisor above is
    /// stopping or has ended ([`Stopping`](ChildError::Stopping)); it is the root.
    ///
    /// # Cancel safety
    /// Dropping the future may or may not leave it killed.
    pub async fn kill(&self, path: &str) -> Result<(), ChildError> {
        self.ask_above(path, Ask::Kill).await
    }

    /// As [`Board::restart`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn restart_blocking(&self, path: &str) -> Result<(), ChildError> {
        blocking(self.restart(path))
    }

    /// As [`Board::stop`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn stop_blocking(&self, path: &str) -> Result<(), ChildError> {
        blocking(self.stop(path))
    }

    /// As [`Board::kill`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`ChildError::Blocking`] on a thread of a board.
    pub fn kill_blocking(&self, path: &str) -> Result<(), ChildError> {
        blocking(self.kill(path))
    }

    /// Hears of every change in the life of one service from now on.
    ///
    /// # Errors
    /// [`SubscribeError::NotRunning`] if it does not belong to this board.
    pub fn monitor<S: Service>(&self, service: &Address<S>) -> Result<Monitor, SubscribeError> {
        self.owns(service)?;
        let home = service.inbox.home().ok_or(SubscribeError::NotRunning)?;
        Ok(Monitor::new(home.vitals.monitor()))
    }

    /// Asks the supervisor above what is at `path`.
    async fn ask_above(&self, path: &str, what: fn(String) -> Ask) -> Result<(), ChildError> {
        let registry = &self.inner.grounds.registry;
        registry
            .node(path)
            .ok_or_else(|| registry.not_found("service or supervisor", path))?;
        let Some((above, name)) = path.rsplit_once('/') else {
            let path = path.to_owned();
            return Err(ChildError::Root { path });
        };
        let above = registry.branch(above)?;
        ask(&self.inner.wall, &above, what(name.to_owned())).await?;
        Ok(())
    }
}
