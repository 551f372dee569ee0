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
    /// A handle to the supervisor at `path`, such as `shop/payments`, to list, add, stop and
    /// restart its children.
    ///
    /// # Errors
    /// [`LookupError`] if there is none.
    pub fn supervisor(&self, path: &str) -> Result<SupervisorHandle, LookupError> {
        let node = self.inner.grounds.registry.supervisor(path)?;
        Ok(SupervisorHandle::new(Arc::clone(&self.inner.wall), node))
    }

    /// Suspends the service at `path`: after its current delivery it begins no event, letter or
    /// timer. It finishes what it has begun: the running handler,
    /// [later work](crate::Context::later) with its result, and what its instances
    /// [per key](crate::ServiceSpec::per_key) are doing. What comes in waits, within its capacity;
    /// so do retries, and the follow-up events of events that are given up.
    ///
    /// It stays suspended across restarts until [`Board::resume`]: this is a state, not a count.
    /// Returns at once, whatever the service is doing. While it holds work, [`Board::settle`]
    /// returns an error.
    ///
    /// # Errors
    /// [`LookupError`] if there is no such service.
    pub fn suspend(&self, path: &str) -> Result<(), LookupError> {
        self.set_suspended(path, true)
    }

    /// Resumes a suspended service; timers that have become due run at once. Does nothing if it is
    /// not suspended.
    ///
    /// # Errors
    /// [`LookupError`] if there is no such service.
    pub fn resume(&self, path: &str) -> Result<(), LookupError> {
        self.set_suspended(path, false)
    }

    fn set_suspended(&self, path: &str, suspended: bool) -> Result<(), LookupError> {
        let (node, entry): (Arc<Node>, Arc<dyn Entry>) =
            self.inner.grounds.registry.service(path)?;
        let registry = &self.inner.grounds.registry;
        let workers = || {
            // Another may have taken its name, which is not to be found suspended.
            registry.node(path).filter(|now| Arc::ptr_eq(now, &node))?;
            let workers = node.branch().map(Branch::children).unwrap_or_default();
            let vitals = workers.iter().map(|worker| Arc::clone(&worker.vitals));
            Some(vitals.collect())
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
    /// is in force: until the workers so far have settled all that was published and sent before,
    /// retries included.
    ///
    /// Nothing is lost, and events with equal keys keep their order: what comes after the change
    /// waits until everything before it is settled. Workers are added and removed at the end of the
    /// row; a new one has started before it is assigned anything. Until it is in force, a worker
    /// that asks another one is refused with [`AskError::Cycle`](crate::AskError::Cycle): the other
    /// one would wait for it to settle what it is doing.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such service, or it has no workers; the number is out of range;
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
    /// A child in backoff starts at once. One that has ended for good, by itself or after
    /// [`Board::stop`], is started, and receives what is published from then on.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or a temporary or dynamic one has ended
    /// ([`Lookup`](ChildError::Lookup)); the supervisor above is stopping or has ended
    /// ([`Stopping`](ChildError::Stopping)); it is the root; it is a worker that is being removed
    /// ([`Scaling`](ChildError::Scaling)). If it did not start, or a stop overtook the restart
    /// ([`Failed`](ChildError::Failed)): a child that had ended for good stays ended; any other is
    /// tried again as after any failed restart, which is counted, unless it was stopped or is
    /// temporary.
    /// [`ChildError::Cycle`] at once in a service that this would wait for, such as the one to be
    /// restarted. [`ChildError::TimedOut`]: the restart goes on.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the restart.
    pub async fn restart(&self, path: &str) -> Result<(), ChildError> {
        self.ask_above(path, Ask::Renew).await
    }

    /// Stops what is at `path` in order, and waits until it has ended, at most
    /// [`CONTROL_WAIT`](crate::defaults::CONTROL_WAIT); a child in backoff stays ended. Stopping
    /// what has already ended is no error. It stays ended until [`Board::restart`] starts it again,
    /// or its supervisor is restarted as a whole. See [`SupervisorHandle::terminate_child`].
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or a temporary or dynamic one has ended
    /// ([`Lookup`](ChildError::Lookup)); the supervisor above is stopping or has ended
    /// ([`Stopping`](ChildError::Stopping)); it is the root. [`ChildError::Running`] at once
    /// when a later restart request replaces this one; the latest request wins.
    /// [`ChildError::Workers`] for one worker of a service. [`ChildError::Cycle`] at once in a
    /// service that this would wait for, such as the one to be stopped. [`ChildError::TimedOut`]:
    /// the stop goes on.
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel the stop.
    pub async fn stop(&self, path: &str) -> Result<(), ChildError> {
        self.ask_above(path, Ask::Terminate).await
    }

    /// Kills what is at `path`: its life ends now, its handler is dropped where it waits,
    /// `stopping` is not called, and its supervisor acts as after a crash.
    ///
    /// The event in flight gets its verdict, as after a panic: one attempt is counted, and out of
    /// attempts it becomes a dead letter. So a handler that waits for ever is ended together with
    /// its event; one that blocks its thread cannot be ended.
    ///
    /// No attempt is counted for events that are open in [later work](crate::Context::later); nor
    /// if a supervisor, or a service with [workers](crate::ServiceSpec::workers), is killed as a
    /// whole (kill the worker instead, such as `books/0`); nor in a service with an instance
    /// [per key](crate::ServiceSpec::per_key), where it is unknown which instance is to blame.
    ///
    /// Killing a child that has no life, as in backoff, is no error and changes nothing. Returns
    /// when the kill has been ordered.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or it is gone ([`Lookup`](ChildError::Lookup));
    /// it has ended for good ([`NotRunning`](ChildError::NotRunning)); the supervisor above is
    /// stopping or has ended ([`Stopping`](ChildError::Stopping)); it is the root.
    ///
    /// # Cancel safety
    /// If the future is dropped, the kill may or may not have been ordered.
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

    /// Reports every change in the life of one service from now on.
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
