//! Work that blocks, done off the arbiter for one handler: `cx.blocking`.
//!
//! Handlers await it; it runs on the blocking threads of the runtime that keeps the board's time,
//! and is noted on the wall while it does.
//!
//! Invariant: whatever the work does, and whoever stops waiting for it, nothing of it panics on
//! the arbiter, and what runs on though it was given up can be named.
//!
//! It ends no thread: work that is not wanted any more is told so, and left behind.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::sync::oneshot;

use crate::insider::WorkingFor;
use crate::panic::{Panic, guard};
use crate::service::{Context, Service};
use crate::sync::Arc;
use crate::works::{Stop, Work, Works};

/// Why blocking work has no result.
///
/// It is an error like any other: `?` makes it a [`Failure`](crate::Failure), so the event is
/// tried again as its policy says, and the service lives on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The work panicked, on its own thread; nothing else is affected.
    #[error("no result of the blocking work")]
    Panicked(#[source] Panic),
    /// No thread took up the work: the system provided none, or the board's runtime has ended.
    #[error("no thread took up the blocking work")]
    NotRun,
}

/// The result of blocking work, to be awaited. See [`Context::blocking`].
///
/// It borrows nothing, so several can be under way at a time.
///
/// # Cancel safety
/// Dropping it gives the work up: work that no thread has taken up is dropped; other work runs on
/// until it checks its [`Stop`] or ends, and its result is dropped.
#[must_use = "dropping it gives the work up"]
pub struct Blocking<R> {
    stop: Stop,
    /// None once the result has been taken, or if there will be none.
    result: Option<oneshot::Receiver<Result<R, Panic>>>,
}

impl<S: Service> Context<S> {
    /// Runs code that blocks on a separate thread, and waits for its result.
    ///
    /// The work begins at once. The service begins nothing else until the handler returns; its
    /// neighbours on the arbiter go on. If the handler is cancelled by its
    /// [timeout](crate::Policy::timeout), or its life ends, the work is given up, and the event
    /// gets its verdict as after any timeout or end. The thread cannot be interrupted; see
    /// [`Context::blocking_with`] for work that can check whether it is still wanted.
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// # struct Upload { bytes: Vec<u8> }
    /// # impl Event for Upload { const NAME: &'static str = "upload"; }
    /// # fn expensive(bytes: &[u8]) -> u64 { bytes.len() as u64 }
    /// # struct Hasher { last: u64 }
    /// # impl Service for Hasher {}
    /// impl Handle<Upload> for Hasher {
    ///     async fn handle(&mut self, upload: &Upload, cx: &mut Context<Self>) -> Outcome {
    ///         let bytes = upload.bytes.clone();
    ///         self.last = cx.blocking(move || expensive(&bytes)).await?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// The work may call the blocking verbs of the board, such as
    /// [`Board::publish_blocking`](crate::Board::publish_blocking), and counts as inside: while the
    /// board drains, what it publishes is still accepted. It must not ask its own service, which
    /// waits for it: such an ask ends by its time limit.
    ///
    /// **Threads.** A board has at most
    /// [`blocking_threads`](crate::BoardBuilder::blocking_threads) for such work, 512 by default;
    /// more work waits for one of them. They are started when needed and end when idle for 10 s. A
    /// board [on this thread](crate::BoardBuilder::on_this_thread) uses those of the caller's
    /// runtime, whose paused clock stands still while work is under way: in such a test, work that
    /// waits for a timeout waits for ever. Dropping that runtime waits for the work, as tokio's
    /// docs say; a board with threads of its own does not wait.
    ///
    /// **Shutdown.** Work that has not ended by the deadline is left behind, and named in the
    /// [report](crate::ShutdownReport::left_behind).
    ///
    /// # Errors
    /// [`BlockingError`], from the future: the work panicked, or no thread took it up.
    pub fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Blocking<R> {
        self.blocking_with(|_| work())
    }

    /// As [`Context::blocking`], for long work that checks from time to time whether it is still
    /// wanted: [`Stop::is_wanted`] is true once it should stop.
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// # struct Search { number: u64 }
    /// # impl Event for Search { const NAME: &'static str = "search"; }
    /// # struct Searcher { found: Option<u64> }
    /// # impl Service for Searcher {}
    /// # impl Handle<Search> for Searcher {
    /// # async fn handle(&mut self, search: &Search, cx: &mut Context<Self>) -> Outcome {
    /// let number = search.number;
    /// self.found = cx
    ///     .blocking_with(move |stop| {
    ///         (2..number).take_while(|_| !stop.is_wanted()).find(|least| number % least == 0)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Context::blocking`].
    pub fn blocking_with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> R + Send + 'static,
    ) -> Blocking<R> {
        let clock = &self.wall.pulse.clock;
        let stop = Stop::default();
        let row = Work {
            service: Arc::from(self.path()),
            event: self.event_id(),
            since: clock.since_start(),
            stop: stop.clone(),
        };
        let (works, board) = (Arc::clone(&self.wall.works), self.wall.id());
        let span = tracing::Span::current();
        let (send, result) = oneshot::channel();
        let run = move || {
            let stop = row.stop.clone();
            let _under_way = Works::begin(&works, row);
            if stop.is_wanted() {
                // Given up before it began; what it has captured is the user's.
                let _ = guard(|| drop(work));
                return;
            }
            let _working = WorkingFor::enter(board);
            let done = guard(|| span.in_scope(|| work(&stop)));
            if let Err(unwanted) = send.send(done) {
                let _ = guard(|| drop(unwanted));
            }
        };
        // tokio panics if the system gives it no thread at all.
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that hands work to blocking threads"
        )]
        let spawned = guard(|| drop(clock.handle().spawn_blocking(run)));
        let result = spawned.map_or_else(
            |_| {
                // It may be in a queue still.
                stop.want();
                None
            },
            |()| Some(result),
        );
        Blocking { stop, result }
    }
}

impl<R> Future for Blocking<R> {
    type Output = Result<R, BlockingError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let Some(result) = &mut self.result else {
            return Poll::Ready(Err(BlockingError::NotRun));
        };
        let done = ready!(Pin::new(result).poll(cx));
        self.result = None;
        Poll::Ready(match done {
            Ok(done) => done.map_err(BlockingError::Panicked),
            Err(_) => Err(BlockingError::NotRun),
        })
    }
}

impl<R> Drop for Blocking<R> {
    fn drop(&mut self) {
        let Some(mut result) = self.result.take() else {
            return;
        };
        self.stop.want();
        // From here on the result is dropped by the work's thread, unless it is here already. Its
        // drop is the user's, and a panic may be passing by.
        result.close();
        if let Ok(unread) = result.try_recv() {
            let _ = guard(|| drop(unread));
        }
    }
}

impl<R> fmt::Debug for Blocking<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking")
            .field("waiting", &self.result.is_some())
            .finish_non_exhaustive()
    }
}
