//! Publishing many events of one type, in order, with one lock for many.
//!
//! The board, a service's context and a [`Publisher`](crate::Publisher) make these futures.
//!
//! Invariant: what was accepted is a prefix of the batch, in order, and the rest comes back in
//! the error; dropping the future before it is ready leaves accepted what has been accepted.
//!
//! It promises no numbers without gaps: others may publish in between.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec::IntoIter;

use super::line::Line;
use super::publish::PublishError;
use super::{Origin, Topic};
use crate::event::{Event, EventId};
use crate::sync::Arc;

/// 64: enough to pay for the lock, few enough that readers and other publishers hardly wait.
const AT_ONCE: usize = 64;
/// After so many events the future lets other tasks of its thread have a turn.
const IN_A_TURN: usize = 16 * AT_ONCE;

/// Why a batch was accepted only in part, or not at all; the rest of it comes back.
#[derive(thiserror::Error)]
#[error("{} events of the batch were accepted, {} were not", accepted.len(), rest.len())]
#[non_exhaustive]
pub struct PublishAllError<E> {
    /// The numbers of the events that were accepted, in order.
    pub accepted: Vec<EventId>,
    /// The events that were not accepted, in order.
    pub rest: Vec<E>,
    /// Why the first of the rest was refused.
    #[source]
    pub source: PublishError<()>,
}

impl<E> PublishAllError<E> {
    /// Whether the rest may be accepted later.
    pub fn is_retryable(&self) -> bool {
        self.source.is_retryable()
    }
}

impl<E> fmt::Debug for PublishAllError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishAllError")
            .field("accepted", &self.accepted.len())
            .field("rest", &self.rest.len())
            .field("source", &self.source)
            .finish()
    }
}

/// Publishes many events of one type, in order; waits for room where it must.
///
/// Resolves to the numbers of the events. They rise, but others may publish in between. Each wait
/// for room has the full time, as if the events were published one by one; they are accepted many
/// at a time, which is faster.
///
/// ```
/// # use callboard::prelude::*;
/// # struct Line { number: u64 }
/// # impl Event for Line { const NAME: &'static str = "line"; }
/// async fn import(board: &Board, lines: Vec<Line>) -> Outcome {
///     if let Err(stopped) = board.publish_all(lines).await {
///         println!("{} accepted, then: {}", stopped.accepted.len(), stopped.source);
///         board.publish_all(stopped.rest).await?; // once more
///     }
///     Ok(())
/// }
/// ```
///
/// # Errors
/// [`PublishAllError`]: which were accepted, the rest of the batch, and why the first of the rest
/// was refused, as by [`Publish`](crate::Publish).
///
/// # Cancel safety
/// Dropping the future before it is ready drops the events that have not been accepted. The others
/// are delivered; there is no way to learn which they are.
#[must_use = "events are published only when the future is awaited"]
pub struct PublishAll<E: Event> {
    line: Line<E>,
    events: IntoIter<E>,
    origin: Origin,
    accepted: Vec<EventId>,
}

// The events are moved, never pinned.
impl<E: Event> Unpin for PublishAll<E> {}

impl<E: Event> PublishAll<E> {
    pub(crate) fn new(
        topic: Arc<Topic<E>>,
        events: Vec<E>,
        origin: Origin,
        wait: Duration,
        board: usize,
    ) -> Self {
        PublishAll {
            line: Line::new(topic, wait, board),
            accepted: Vec::with_capacity(events.len()),
            events: events.into_iter(),
            origin,
        }
    }

    /// Gives back what has not been accepted, for this reason.
    pub(crate) fn refuse(&mut self, source: PublishError<()>) -> PublishAllError<E> {
        self.line.leave();
        PublishAllError {
            accepted: std::mem::take(&mut self.accepted),
            rest: std::mem::take(&mut self.events).collect(),
            source,
        }
    }

    /// Publishes as many as one lock is taken for. True: it has to wait for room.
    fn step(&mut self) -> Result<bool, PublishError<()>> {
        let (before, topic) = (self.accepted.len(), &self.line.topic);
        let refusal = topic.offer_some(&mut self.events, &self.origin, &mut self.accepted, AT_ONCE);
        // The next event has the full time to wait for room.
        if self.accepted.len() > before {
            self.line.leave();
        }
        let full =
            refusal.map(|refusal| self.line.accept(refusal, self.origin.is_insider(), false));
        full.transpose().map(|full| full.is_some())
    }
}

impl<E: Event> Future for PublishAll<E> {
    type Output = Result<Vec<EventId>, PublishAllError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let turn = this.accepted.len() + IN_A_TURN;
        while this.events.len() > 0 {
            if this.accepted.len() >= turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let stepped = match this.step() {
                Ok(true) => ready!(this.line.poll(cx)),
                stepped => stepped.map(drop),
            };
            if let Err(source) = stepped {
                return Poll::Ready(Err(this.refuse(source)));
            }
        }
        Poll::Ready(Ok(std::mem::take(&mut this.accepted)))
    }
}

impl<E: Event> fmt::Debug for PublishAll<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishAll")
            .field("topic", &self.line.topic)
            .field("accepted", &self.accepted.len())
            .field("left", &self.events.len())
            .finish()
    }
}
