//! Publishing one event and waiting until all have settled it, or until patience ends.
//!
//! `publish(..).settled()` makes it. It calls the settlement, which the readers report to.
//!
//! Invariant: whatever it returns names every subscriber that accepted the event, once.
//!
//! It does not hurry anybody: the event is processed whether or not somebody waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::futures::OwnedNotified;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::publish::{Publish, PublishError};
use super::settlement::{Fate, Settled, Settlement};
use crate::clock::deadline;
use crate::event::Event;
use crate::pulse::Pulse;
use crate::sync::Arc;
use crate::waits::Waiting;

/// Publishes one event and waits until every subscriber has settled it; see
/// [`Publish::settled`].
///
/// ```
/// # use callboard::{Fate, prelude::*};
/// # struct OrderPlaced { id: u64 }
/// # impl Event for OrderPlaced { const NAME: &'static str = "order.placed"; }
/// async fn place(board: &Board, id: u64) -> Outcome {
///     let all = board.publish(OrderPlaced { id }).settled().within(secs(2)).await?;
///     for one in all.iter().filter(|one| one.fate != Fate::Acknowledged) {
///         println!("{one}"); // shop/mail: dead-lettered after 3 attempts (attempts used up)
///     }
///     Ok(())
/// }
/// ```
#[must_use = "an event is published only when the future is awaited"]
pub struct PublishSettled<E: Event> {
    /// Until the event has been accepted.
    publish: Option<Publish<E>>,
    limit: Option<Duration>,
    /// Armed when it is first polled.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom to tell that nobody waits any more. It must not be kept: it also tells, by being
    /// dropped with the event, that nobody will settle it.
    watch: Weak<Settlement>,
    outcome: oneshot::Receiver<Vec<Settled>>,
    /// The board ends and leaves the event open. Once the event has been accepted.
    abandoning: Option<Pin<Box<OwnedNotified>>>,
    /// For whose outcomes the publishing service waits.
    waiting: Option<Arc<Waiting>>,
}

impl<E: Event> PublishSettled<E> {
    pub(super) fn new(
        publish: Option<Publish<E>>,
        watch: Weak<Settlement>,
        outcome: oneshot::Receiver<Vec<Settled>>,
    ) -> Self {
        PublishSettled {
            publish,
            limit: None,
            sleep: None,
            watch,
            outcome,
            abandoning: None,
            waiting: None,
        }
    }

    /// Limits the wait, counted from when the future is first polled, for room and outcomes
    /// together. No limit unless one is set; the last one set counts.
    ///
    /// Subscribers that have not settled the event by then are named as
    /// [`Fate::Open`](crate::Fate::Open), with the number of failed attempts so far. For them the
    /// event stays accepted, and its processing continues. If there was no room by then, the result
    /// is [`PublishError::Full`], and the event was not accepted.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Waits no more: what is known by now, or the event if it has not been accepted.
    pub(crate) fn stop(mut self) -> Result<Vec<Settled>, E> {
        if let Some(event) = self.publish.as_mut().and_then(Publish::take_back) {
            return Err(event);
        }
        self.finish(Fate::Open);
        Ok(self.outcome.try_recv().unwrap_or_default())
    }

    /// Arms the deadline, if there is one, when it is first polled.
    fn arm(&mut self) {
        let Some((limit, publish)) = self.limit.take().zip(self.publish.as_mut()) else {
            return;
        };
        publish.wait_at_most(limit);
        let clock = &publish.topic().pulse.clock;
        let until = deadline(clock.now(), limit);
        self.sleep = Some(Box::pin(clock.sleep_until(until)));
    }

    /// From now on hears of it if the board ends and leaves the event open.
    fn listen(&mut self, pulse: &Pulse) {
        self.abandoning = Some(Box::pin(pulse.abandoning()));
        // It may have been too late for the sign.
        if pulse.is_abandoned() {
            self.finish(Fate::Undelivered);
        }
    }

    /// Waits no more for those who have not settled the event, if it is still there.
    fn finish(&self, fate: Fate) {
        if let Some(watch) = self.watch.upgrade() {
            watch.finish(fate);
        }
    }

    /// Once nobody waits any more, or need wait, says so; the outcome is there then.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let abandoning = self.abandoning.as_mut();
        if abandoning.is_some_and(|it| it.as_mut().poll(cx).is_ready()) {
            self.abandoning = None;
            self.finish(Fate::Undelivered);
            return Poll::Ready(());
        }
        self.poll_deadline(cx)
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        self.finish(Fate::Open);
        Poll::Ready(())
    }
}

impl<E: Event> Future for PublishSettled<E> {
    type Output = Result<Vec<Settled>, PublishError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.arm();
        if let Some(publish) = &mut this.publish {
            let accepted = ready!(Pin::new(&mut *publish).poll(cx));
            let (waiting, pulse) = (publish.take_waiting(), Arc::clone(&publish.topic().pulse));
            this.publish = None;
            if let Err(refused) = accepted {
                return Poll::Ready(Err(refused));
            }
            this.waiting = waiting;
            this.listen(&pulse);
        }
        let outcome = match Pin::new(&mut this.outcome).poll(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                ready!(this.poll_end(cx));
                ready!(Pin::new(&mut this.outcome).poll(cx))
            }
        };
        this.waiting = None;
        // The watch always reports before it is dropped, so there is no error to pass on.
        Poll::Ready(Ok(outcome.unwrap_or_default()))
    }
}

impl<E: Event> fmt::Debug for PublishSettled<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishSettled")
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}
