//! The act of publishing one event: with patience, or until all have settled, or later.
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

use tokio::time::Instant;

use super::line::Line;
use super::schedule::Scheduled;
use super::settled::PublishSettled;
use super::settlement::Settlement;
use super::{Origin, Refusal, Topic};
use crate::clock::deadline;
use crate::event::{Event, EventId};
use crate::sync::Arc;
use crate::waits::{Cycle, Waiting, running};

/// Why an event was not accepted; the event comes back. No subscriber has seen it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PublishError<E> {
    /// This subscriber had no room for as long as the publisher could wait.
    #[error("the subscription of {service} is full")]
    #[non_exhaustive]
    Full {
        /// The path of the subscriber that has no room.
        service: String,
        /// The event, which was not accepted.
        event: E,
    },
    /// The board is shutting down, or has ended.
    #[error("the board is shutting down or has ended")]
    #[non_exhaustive]
    Closed {
        /// The event, which was not accepted.
        event: E,
    },
    /// A `_blocking` form was called on one of the board's own threads, which it would block.
    #[error("a blocking call on a thread of a board would stop its services: use the async form")]
    #[non_exhaustive]
    Blocking {
        /// The event, which was not accepted.
        event: E,
    },
    /// The services on this path would wait for each other for ever: a subscriber that has no room,
    /// or that would have to settle the event, waits for the publishing service. See
    /// [the tour](crate#waiting-in-a-circle).
    #[error("a cycle of waits: {path}")]
    #[non_exhaustive]
    Cycle {
        /// The paths of the services, the publisher first and last.
        path: String,
        /// The event, which was not accepted.
        event: E,
    },
}

impl<E> PublishError<E> {
    /// The event, which was not accepted.
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
            // Of other readers nobody is told: the publisher notes them and tries again.
            Refusal::Closed | Refusal::OtherReaders => PublishError::Closed { event },
        }
    }

    pub(super) fn cycle(event: E, cycle: &Cycle) -> Self {
        let path = cycle.to_string();
        PublishError::Cycle { path, event }
    }

    /// The same refusal, of this event.
    pub(super) fn of<T>(self, event: T) -> PublishError<T> {
        match self {
            PublishError::Full { service, .. } => PublishError::Full { service, event },
            PublishError::Closed { .. } => PublishError::Closed { event },
            PublishError::Blocking { .. } => PublishError::Blocking { event },
            PublishError::Cycle { path, .. } => PublishError::Cycle { path, event },
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
/// the handler's own time: its timeout, the deadline of its event, or the ask that it answers), or
/// at once if an earlier publisher has waited for it without success and it has not caught up
/// since;
/// [`PublishError::Closed`] once the board shuts down; [`PublishError::Cycle`] at once if the
/// subscriber without room is waiting for the publishing service.
///
/// # Cancel safety
/// Dropping the future before it is ready publishes nothing; the event is dropped with it.
#[must_use = "an event is published only when the future is awaited"]
pub struct Publish<E: Event> {
    line: Line<E>,
    event: Option<E>,
    origin: Origin,
    watch: Option<Arc<Settlement>>,
    /// For whose outcomes the service that polls will wait.
    for_readers: Option<Arc<Waiting>>,
}

// The event is moved, never pinned.
impl<E: Event> Unpin for Publish<E> {}

impl<E: Event> Publish<E> {
    #[inline]
    pub(crate) fn new(
        topic: Arc<Topic<E>>,
        event: E,
        origin: Origin,
        wait: Duration,
        board: usize,
    ) -> Self {
        Publish {
            line: Line::new(topic, wait, board),
            event: Some(event),
            origin,
            watch: None,
            for_readers: None,
        }
    }

    /// Also waits until every subscriber has settled the event, and returns how each of them did.
    ///
    /// Ordered by the subscribers' paths; empty if nobody had subscribed. There is no time limit
    /// unless [`within`](PublishSettled::within) sets one: it waits for a subscriber that never
    /// finishes until the board ends.
    ///
    /// In a handler it is [`PublishError::Cycle`] at once, with nothing accepted, if a subscriber
    /// is waiting for the publishing service, or is that service.
    ///
    /// # Cancel safety
    /// Once accepted, the event is delivered whether or not anybody still waits.
    pub fn settled(mut self) -> PublishSettled<E> {
        let (watch, outcome) = Settlement::new();
        let patience = Arc::downgrade(&watch);
        self.watch = Some(watch);
        // One that is over has nothing left to wait for.
        let publish = self.is_open().then_some(self);
        PublishSettled::new(publish, patience, outcome)
    }

    /// Publishes the event later: after `delay`, counted from this call. See [`Publish::at`].
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// # struct Reminder { order: u64 }
    /// # impl Event for Reminder { const NAME: &'static str = "reminder"; }
    /// # async fn remind(board: Board) {
    /// board.publish(Reminder { order: 7 }).after(secs(3_600)); // will be published
    /// let last = board.publish(Reminder { order: 8 }).after(secs(7_200));
    /// assert!(last.cancel().is_some()); // this one will not
    /// # }
    /// ```
    pub fn after(self, delay: Duration) -> Scheduled<E> {
        let now = self.topic().pulse.clock.now();
        self.at(deadline(now, delay))
    }

    /// Publishes the event later: at this time of the board's clock, not before, and at once if the
    /// time is past. Returns at once; nothing has to be awaited.
    ///
    /// The event is accepted, numbered and delivered at that time. Until then it is not in the
    /// ledger, and [`Board::settle`](crate::Board::settle) does not wait for it. Events that are
    /// due at the same time are published in the order in which they were scheduled. If a
    /// subscriber is full, the event waits for room, at most 5 s, and holds up no other; if it is
    /// then refused and its handle has been dropped, that is logged as a warning with the target
    /// `callboard::schedule`. An event scheduled by a handler keeps its [cause](crate::Cause), and
    /// outlives the life that scheduled it.
    ///
    /// Once the board begins to shut down, nothing more becomes due: scheduled events come back to
    /// their handles as [`PublishError::Closed`], and
    /// [`ShutdownReport::not_due`](crate::ShutdownReport::not_due) counts them. There is no limit
    /// on how much is scheduled: each event takes memory until it is due.
    ///
    /// The time is that of `tokio::time`, which tests can pause.
    pub fn at(mut self, due: Instant) -> Scheduled<E> {
        self.line.begin_anew();
        self.origin.forget_span();
        Scheduled::new(self, due)
    }

    /// For how long it waits for room, at most.
    pub(super) fn wait_at_most(&mut self, limit: Duration) {
        self.line.wait_at_most(limit);
    }

    pub(super) fn board(&self) -> usize {
        self.line.board
    }

    pub(super) fn topic(&self) -> &Arc<Topic<E>> {
        &self.line.topic
    }

    /// For whose outcomes the service that has polled this waits.
    pub(super) fn take_waiting(&mut self) -> Option<Arc<Waiting>> {
        self.for_readers.take()
    }

    /// Whether it has not been accepted or refused yet.
    pub(super) fn is_open(&self) -> bool {
        self.event.is_some()
    }

    /// The event, unless it has been accepted or refused.
    pub(super) fn take_back(&mut self) -> Option<E> {
        self.line.leave();
        self.event.take()
    }

    /// Notes, before anything is accepted, that it will wait for everybody who hears the event;
    /// each of them ends its part when it reports. What was noted before is noted until then.
    fn wait_for_readers(&mut self) -> Result<(), Cycle> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let Some(waiter) = running(self.line.board) else {
            watch.ends(None);
            self.for_readers = None;
            return Ok(());
        };
        let (readers, version) = self.line.topic.readers();
        let waiting = Arc::new(waiter.wait(readers)?);
        watch.ends(Some((&waiting, version)));
        self.for_readers = Some(waiting);
        Ok(())
    }

    /// Tries once. `Ok(None)`: there is no room, and waiting for it may help.
    fn attempt(&mut self, mut event: E) -> Result<Option<EventId>, PublishError<E>> {
        let mut is_noted = self.for_readers.is_some();
        let (event, refusal) = loop {
            if !is_noted && let Err(cycle) = self.wait_for_readers() {
                return Err(PublishError::cycle(event, &cycle));
            }
            let (topic, watch) = (&self.line.topic, self.watch.as_ref());
            match topic.offer(event, &self.origin, watch) {
                Ok(id) => return Ok(Some(id)),
                // Somebody has subscribed, or left, since they were noted.
                Err((back, Refusal::OtherReaders)) => (event, is_noted) = (back, false),
                Err(refused) => break refused,
            }
        };
        match self.line.accept(
            refusal,
            self.origin.is_insider(),
            self.for_readers.is_some(),
        ) {
            Ok(()) => {
                self.event = Some(event);
                Ok(None)
            }
            Err(refused) => Err(refused.of(event)),
        }
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
                    this.line.leave();
                    return Poll::Ready(Ok(id));
                }
                Err(refused) => {
                    this.line.leave();
                    return Poll::Ready(Err(refused));
                }
            }
            if let Err(refused) = ready!(this.line.poll(cx))
                && let Some(event) = this.event.take()
            {
                return Poll::Ready(Err(refused.of(event)));
            }
        }
        Poll::Pending
    }
}

impl<E: Event> fmt::Debug for Publish<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", self.topic())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::place::{Overflow, Terms};
    use super::*;
    use crate::bell::Bell;
    use crate::clock::Clock;
    use crate::dice::Dice;
    use crate::pulse::Pulse;
    use crate::waits::Waits;

    struct Tick;
    impl Event for Tick {
        const NAME: &'static str = "tick";
    }

    #[tokio::test]
    async fn whoever_comes_after_the_wait_was_noted_makes_it_be_noted_anew() {
        let clock = Clock::new(tokio::runtime::Handle::current());
        let topic = Topic::<Tick>::new(Arc::new(Pulse::new(clock, Dice::new(1))));
        let terms = |service: &str| Terms {
            service: service.into(),
            capacity: 1,
            overflow: Overflow::Wait,
            share: None,
        };
        let subscribe = |service| topic.subscribe(terms(service), Arc::new(Bell::new()));
        let waiter = Arc::<Waits>::default().waiter(&"shop/publisher".into());
        let (watch, _outcome) = Settlement::new();
        let note = || {
            let (readers, version) = topic.readers();
            let waiting = Arc::new(waiter.wait(readers).unwrap());
            watch.ends(Some((&waiting, version)));
            waiting
        };
        let offer = || match topic.offer(Tick, &Origin::default(), Some(&watch)) {
            Ok(_) => "accepted",
            Err((_, Refusal::OtherReaders)) => "other readers",
            Err(_) => "refused",
        };
        let early = subscribe("shop/early");
        let first = note();
        let _late = subscribe("shop/late");
        assert_eq!(offer(), "other readers");
        let second = note();
        topic.unsubscribe(&early);
        assert_eq!(offer(), "other readers");
        let third = note();
        assert_eq!(offer(), "accepted");
        drop((first, second, third));
    }
}
