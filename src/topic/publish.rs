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
use crate::waits::{Cycle, Waiting, running};

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
    /// The services on this path would wait for each other for ever: a subscriber that has no
    /// room, or that is to settle the event, waits for the service that publishes. See
    /// [the tour](crate#waiting-in-a-circle).
    #[error("a cycle of waits: {path}")]
    #[non_exhaustive]
    Cycle {
        /// The paths of the services, the publisher first and last.
        path: String,
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
            | PublishError::Blocking { event }
            | PublishError::Cycle { event, .. } => event,
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
            PublishError::Cycle { path, .. } => f
                .debug_struct("Cycle")
                .field("path", path)
                .finish_non_exhaustive(),
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
/// [`PublishError::Closed`] once the board shuts down; [`PublishError::Cycle`] at once if the
/// subscriber without room waits for the service that publishes.
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
    in_line: Option<InLine>,
    /// Who had no room when it was last tried.
    full: Option<Refusal>,
    /// The board, to find the service that waits: it is the one that polls.
    board: usize,
    /// For whose room that service is about to wait.
    for_room: Option<Waiting>,
    /// For whose outcomes it waits.
    for_readers: Option<Arc<Waiting>>,
}

/// A place among those who wait for room.
struct InLine {
    ticket: u64,
    sleep: Pin<Box<Sleep>>,
}

// The event is moved, never pinned.
impl<E: Event> Unpin for Publish<E> {}

impl<E: Event> Publish<E> {
    pub(crate) fn new(
        topic: Arc<Topic<E>>,
        event: E,
        origin: Origin,
        wait: Duration,
        board: usize,
    ) -> Self {
        Publish {
            topic,
            event: Some(event),
            origin,
            wait,
            watch: None,
            in_line: None,
            full: None,
            board,
            for_room: None,
            for_readers: None,
        }
    }

    /// Waits further, until every subscriber has settled the event, and tells how.
    ///
    /// Ordered by the subscribers' paths; empty if nobody had subscribed. There is no deadline:
    /// a subscriber that never finishes is waited for until the board ends.
    ///
    /// In a handler it is [`PublishError::Cycle`] at once, with nothing accepted, if a subscriber
    /// waits for the service that publishes, or is that service.
    ///
    /// # Cancel safety
    /// Once accepted the event goes its way whether or not somebody still waits.
    pub fn settled(mut self) -> PublishSettled<E> {
        let (watch, outcome) = Settlement::new();
        self.watch = Some(watch);
        PublishSettled {
            publish: Some(self),
            outcome,
            waiting: None,
        }
    }

    fn stop_waiting(&mut self) {
        if let Some(waiting) = self.in_line.take() {
            self.topic.leave_room(waiting.ticket);
        }
    }

    /// Gets in line for room and arms the deadline. True if it is worth another try, false if
    /// the deadline has passed.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let topic = &self.topic;
        let in_line = self.in_line.get_or_insert_with(|| {
            let clock = &topic.pulse.clock;
            let until = deadline(clock.now(), self.wait);
            InLine {
                ticket: topic.room_ticket(),
                sleep: Box::pin(clock.sleep_until(until)),
            }
        });
        let (insider, waiting) = (self.origin.insider, self.for_room.take());
        if !topic.wait_for_room(in_line.ticket, cx.waker(), insider, waiting) {
            return Poll::Ready(true);
        }
        in_line.sleep.as_mut().poll(cx).map(|()| false)
    }

    /// Notes that the service which polls, if one does, is about to wait for the room of this
    /// one, unless that is noted already. Whoever was let go in between has waited for nobody.
    fn wait_for_room_of(&mut self, path: &Arc<str>) -> Result<(), Cycle> {
        let in_line = self.in_line.as_ref();
        let is_noted = self.for_readers.is_some()
            || in_line.is_some_and(|in_line| self.topic.is_waiting(in_line.ticket));
        self.for_room = running(self.board)
            .filter(|_| !is_noted)
            .map(|waiter| waiter.wait(vec![Arc::clone(path)]))
            .transpose()?;
        Ok(())
    }

    /// Notes, before anything is accepted, that it will wait for everybody who hears the event;
    /// each of them ends its part when it reports.
    fn wait_for_readers(&mut self) -> Result<(), Cycle> {
        let Some(watch) = self.watch.as_ref().filter(|_| self.for_readers.is_none()) else {
            return Ok(());
        };
        if let Some(waiter) = running(self.board) {
            let waiting = Arc::new(waiter.wait(self.topic.readers())?);
            watch.ends(&waiting);
            self.for_readers = Some(waiting);
        }
        Ok(())
    }

    /// Tries once. `Ok(None)`: there is no room, and waiting for it may help.
    fn attempt(&mut self, event: E) -> Result<Option<EventId>, PublishError<E>> {
        if let Err(cycle) = self.wait_for_readers() {
            return Err(PublishError::Cycle {
                path: cycle.to_string(),
                event,
            });
        }
        let offered = self.topic.offer(event, &self.origin, self.watch.as_ref());
        let (event, refusal) = match offered {
            Ok(id) => return Ok(Some(id)),
            Err(refused) => refused,
        };
        let Refusal::Full {
            path,
            stalled: false,
            ..
        } = &refusal
        else {
            return Err(PublishError::refused(event, &refusal));
        };
        if self.wait.is_zero() {
            return Err(PublishError::refused(event, &refusal));
        }
        if let Err(cycle) = self.wait_for_room_of(path) {
            return Err(PublishError::Cycle {
                path: cycle.to_string(),
                event,
            });
        }
        self.event = Some(event);
        self.full = Some(refusal);
        Ok(None)
    }
}

impl<E: Event> Future for Publish<E> {
    type Output = Result<EventId, PublishError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // A future that is polled again after it was ready waits for ever, as futures may.
        while let Some(event) = this.event.take() {
            match this.attempt(event) {
                Ok(None) => {}
                Ok(Some(id)) => {
                    this.stop_waiting();
                    return Poll::Ready(Ok(id));
                }
                Err(refused) => {
                    this.stop_waiting();
                    return Poll::Ready(Err(refused));
                }
            }
            if ready!(this.poll_room(cx)) {
                continue;
            }
            this.topic.mark_stalled();
            this.stop_waiting();
            if let Some((event, refusal)) = this.event.take().zip(this.full.take()) {
                return Poll::Ready(Err(PublishError::refused(event, &refusal)));
            }
        }
        Poll::Pending
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
    /// For whose outcomes the publishing service waits.
    waiting: Option<Arc<Waiting>>,
}

impl<E: Event> Future for PublishSettled<E> {
    type Output = Result<Vec<Settled>, PublishError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(publish) = &mut this.publish {
            let accepted = ready!(Pin::new(&mut *publish).poll(cx));
            let waiting = publish.for_readers.take();
            this.publish = None;
            if let Err(refused) = accepted {
                return Poll::Ready(Err(refused));
            }
            this.waiting = waiting;
        }
        let outcome = ready!(Pin::new(&mut this.outcome).poll(cx));
        this.waiting = None;
        // The watch always reports before it is dropped, so there is no error to pass on.
        Poll::Ready(Ok(outcome.unwrap_or_default()))
    }
}
