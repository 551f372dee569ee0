//! The act of publishing: at once, with patience, or until all have settled.
//!
//! The board, a service's context and a [`Publisher`](crate::Publisher) make these futures.
//!
//! Invariant: an event is accepted exactly once or comes back in the error, however often the
//! future is polled, and dropping it before that accepts nothing.
//!
//! It does not look up topics.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::settlement::{Settled, Settlement};
use super::{Origin, Refusal, Topic};
use crate::clock::deadline;
use crate::event::{Event, EventId};
use crate::sync::Arc;

/// Why an event was not accepted; the event comes back. Nobody has seen it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PublishError<E> {
    /// This subscriber had no room, for as long as the publisher could wait.
    #[error("the subscription of {service} is full")]
    #[non_exhaustive]
    Full {
        /// The path of the subscriber that has no room.
        service: String,
        /// The event that nobody accepted.
        event: E,
    },
    /// The board is shutting down, or has ended.
    #[error("the board takes in nothing more")]
    #[non_exhaustive]
    Closed {
        /// The event that nobody accepted.
        event: E,
    },
    /// A `_blocking` form was called on one of the board's own threads, which it would block.
    #[error("a blocking call on a thread of the board would stop its services")]
    #[non_exhaustive]
    Blocking {
        /// The event that nobody accepted.
        event: E,
    },
}

impl<E> PublishError<E> {
    /// The event that nobody accepted.
    pub fn into_event(self) -> E {
        match self {
            PublishError::Full { event, .. }
            | PublishError::Closed { event }
            | PublishError::Blocking { event } => event,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, PublishError::Full { .. })
    }

    pub(crate) fn refused(event: E, refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Full { service, .. } => PublishError::Full {
                service: service.to_string(),
                event,
            },
            Refusal::Closed => PublishError::Closed { event },
        }
    }
}

impl<E> fmt::Debug for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Full { service, .. } => f
                .debug_struct("Full")
                .field("service", service)
                .finish_non_exhaustive(),
            PublishError::Closed { .. } => f.write_str("Closed"),
            PublishError::Blocking { .. } => f.write_str("Blocking"),
        }
    }
}

/// Publishes one event; waits for room in every subscription.
///
/// Resolves to the event's number once all subscribers have accepted it.
///
/// # Errors
/// [`PublishError::Full`] if a subscriber had no room within the wait (5 s, or what is left of
/// the handler's own timeout), or at once if an earlier publisher has waited for it in vain;
/// [`PublishError::Closed`] once the board shuts down.
///
/// # Cancel safety
/// Dropping the future before it is ready publishes nothing; the event is dropped with it.
#[must_use = "an event is published only when the future is awaited"]
pub struct Publish<E: Event> {
    topic: Arc<Topic<E>>,
    event: Option<E>,
    origin: Origin,
    wait: Duration,
    watch: Option<Arc<Settlement>>,
    waiting: Option<Waiting>,
}

struct Waiting {
    ticket: u64,
    sleep: Pin<Box<Sleep>>,
}

// The event is moved, never pinned.
impl<E: Event> Unpin for Publish<E> {}

impl<E: Event> Publish<E> {
    pub(crate) fn new(topic: Arc<Topic<E>>, event: E, origin: Origin, wait: Duration) -> Self {
        Publish {
            topic,
            event: Some(event),
            origin,
            wait,
            watch: None,
            waiting: None,
        }
    }

    /// Waits further, until every subscriber has settled the event, and tells how.
    ///
    /// Ordered by the subscribers' paths; empty if nobody had subscribed. There is no deadline:
    /// a subscriber that never finishes is waited for until the board ends.
    ///
    /// # Cancel safety
    /// Once accepted the event goes its way whether or not somebody still waits.
    pub fn settled(mut self) -> PublishSettled<E> {
        let (watch, outcome) = Settlement::new();
        self.watch = Some(watch);
        PublishSettled {
            publish: Some(self),
            outcome,
        }
    }

    fn stop_waiting(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.topic.leave_room(waiting.ticket);
        }
    }

    /// Registers for room and arms the deadline. Ready when the deadline has passed.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let topic = &self.topic;
        let waiting = self.waiting.get_or_insert_with(|| {
            let clock = &topic.pulse.clock;
            let deadline = deadline(clock.now(), self.wait);
            Waiting {
                ticket: topic.room_ticket(),
                sleep: Box::pin(clock.sleep_until(deadline)),
            }
        });
        if !topic.wait_for_room(waiting.ticket, cx.waker(), self.origin.insider) {
            return Poll::Ready(true);
        }
        ready!(waiting.sleep.as_mut().poll(cx));
        Poll::Ready(false)
    }
}

impl<E: Event> Future for Publish<E> {
    type Output = Result<EventId, PublishError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            // A future polled again after it was ready waits for ever, as futures may.
            let Some(event) = this.event.take() else {
                return Poll::Pending;
            };
            let refused = this.topic.offer(event, &this.origin, this.watch.as_ref());
            let (event, refusal) = match refused {
                Ok(id) => {
                    this.stop_waiting();
                    return Poll::Ready(Ok(id));
                }
                Err(refused) => refused,
            };
            let patient = matches!(refusal, Refusal::Full { stalled: false, .. });
            if !patient || this.wait.is_zero() {
                this.stop_waiting();
                return Poll::Ready(Err(PublishError::refused(event, &refusal)));
            }
            this.event = Some(event);
            if !ready!(this.poll_wait(cx)) {
                this.topic.mark_stalled();
                this.stop_waiting();
                let Some(event) = this.event.take() else {
                    return Poll::Pending;
                };
                return Poll::Ready(Err(PublishError::refused(event, &refusal)));
            }
        }
    }
}

impl<E: Event> Drop for Publish<E> {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

impl<E: Event> fmt::Debug for Publish<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// Publishes one event and waits until every subscriber has settled it; see
/// [`Publish::settled`].
#[must_use = "an event is published only when the future is awaited"]
#[derive(Debug)]
pub struct PublishSettled<E: Event> {
    publish: Option<Publish<E>>,
    outcome: oneshot::Receiver<Vec<Settled>>,
}

impl<E: Event> Future for PublishSettled<E> {
    type Output = Result<Vec<Settled>, PublishError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(publish) = &mut this.publish {
            let accepted = ready!(Pin::new(publish).poll(cx));
            this.publish = None;
            if let Err(refused) = accepted {
                return Poll::Ready(Err(refused));
            }
        }
        // The watch always reports before it is dropped, so there is no error to pass on.
        Pin::new(&mut this.outcome)
            .poll(cx)
            .map(|outcome| Ok(outcome.unwrap_or_default()))
    }
}
