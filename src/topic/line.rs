//! One publisher in the line for room: how long it waits, and for whom.
//!
//! The futures that publish own one each and ask it after every refusal.
//!
//! Invariant: a publisher that has left, or been dropped, stands in no line and waits for nobody.
//!
//! It holds no event and offers none.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::publish::PublishError;
use super::{Refusal, Topic};
use crate::clock::deadline;
use crate::defaults::PUBLISH_WAIT;
use crate::event::Event;
use crate::sync::Arc;
use crate::waits::{Cycle, Waiting, running};

pub(super) struct Line<E: Event> {
    pub(super) topic: Arc<Topic<E>>,
    /// How long to wait for room at most; zero: not at all.
    wait: Duration,
    /// Whether it waits for as long as any publisher would: only then does waiting in vain say
    /// something to the others.
    patient: bool,
    /// The board, to find the service that waits: it is the one that polls.
    pub(super) board: usize,
    insider: bool,
    spot: Option<Spot>,
    /// Who had no room when it was last tried.
    full: Option<Refusal>,
    /// For whose room that service is about to wait.
    for_room: Option<Waiting>,
}

/// A place among those who wait for room.
struct Spot {
    ticket: u64,
    sleep: Pin<Box<Sleep>>,
}

impl<E: Event> Line<E> {
    pub(super) fn new(topic: Arc<Topic<E>>, wait: Duration, board: usize, insider: bool) -> Self {
        Line {
            topic,
            wait,
            patient: true,
            board,
            insider,
            spot: None,
            full: None,
            for_room: None,
        }
    }

    /// Waits no longer than this, whatever others would.
    pub(super) fn wait_at_most(&mut self, limit: Duration) {
        self.patient &= limit >= self.wait;
        self.wait = self.wait.min(limit);
    }

    /// Leaves, and is ready to begin anew and wait as long as others.
    pub(super) fn begin_anew(&mut self) {
        self.leave();
        self.patient = true;
        self.wait = PUBLISH_WAIT;
    }

    /// Whether waiting may help after this refusal; then [`Line::poll`] does. With `noted`, the
    /// service that waits is known to wait already.
    ///
    /// # Errors
    /// What to tell the publisher, if it may not.
    pub(super) fn accept(&mut self, refusal: Refusal, noted: bool) -> Result<(), PublishError<()>> {
        let Refusal::Full {
            path,
            stalled: false,
            ..
        } = &refusal
        else {
            return Err(PublishError::refused((), &refusal));
        };
        if self.wait.is_zero() {
            return Err(PublishError::refused((), &refusal));
        }
        self.wait_for_room_of(path, noted)
            .map_err(|cycle| PublishError::cycle((), &cycle))?;
        self.full = Some(refusal);
        Ok(())
    }

    /// Gets in line for room and arms the deadline. Ready once it is worth another try.
    ///
    /// # Errors
    /// What to tell the publisher once the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PublishError<()>>> {
        let topic = &self.topic;
        let spot = self.spot.get_or_insert_with(|| {
            let clock = &topic.pulse.clock;
            let until = deadline(clock.now(), self.wait);
            Spot {
                ticket: topic.room_ticket(),
                sleep: Box::pin(clock.sleep_until(until)),
            }
        });
        let waiting = self.for_room.take();
        if !topic.wait_for_room(spot.ticket, cx.waker(), self.insider, waiting) {
            return Poll::Ready(Ok(()));
        }
        if spot.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.patient {
            topic.mark_stalled();
        }
        self.leave();
        let full = self.full.take().unwrap_or(Refusal::Closed);
        Poll::Ready(Err(PublishError::refused((), &full)))
    }

    /// Waits no more. The next wait has its full time.
    pub(super) fn leave(&mut self) {
        if let Some(spot) = self.spot.take() {
            self.topic.leave_room(spot.ticket);
        }
    }

    /// Notes that the service which polls, if one does, is about to wait for the room of this
    /// one, unless that is noted already. Whoever was let go in between has waited for nobody.
    fn wait_for_room_of(&mut self, service: &Arc<str>, noted: bool) -> Result<(), Cycle> {
        let spot = self.spot.as_ref();
        let noted = noted || spot.is_some_and(|spot| self.topic.is_waiting(spot.ticket));
        self.for_room = running(self.board)
            .filter(|_| !noted)
            .map(|waiter| waiter.wait(vec![Arc::clone(service)]))
            .transpose()?;
        Ok(())
    }
}

impl<E: Event> Drop for Line<E> {
    fn drop(&mut self) {
        self.leave();
    }
}
