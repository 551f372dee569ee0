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
use crate::waits::{Waiting, running};

pub(super) struct Line<E: Event> {
    pub(super) topic: Arc<Topic<E>>,
    patience: Patience,
    /// The board, to find the service that waits: it is the one that polls.
    pub(super) board: usize,
    /// A box, since most need not wait: a publisher is moved into its future, and every word of it
    /// that is moved costs.
    spot: Option<Box<Spot>>,
}

/// How long to wait for room at most. Whole words, as in [`Origin`](super::Origin).
#[derive(Clone, Copy)]
struct Patience {
    /// Zero: not at all.
    nanos: u64,
    /// 1 if that is less than others would wait: then waiting in vain says nothing to them.
    is_short: u64,
}

impl Patience {
    #[inline]
    fn of(wait: Duration) -> Self {
        Patience {
            nanos: u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX),
            is_short: (wait < PUBLISH_WAIT).into(),
        }
    }

    fn time(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// A place among those who wait for room.
struct Spot {
    ticket: u64,
    insider: bool,
    sleep: Pin<Box<Sleep>>,
    /// Who had no room when it was last tried.
    full: Refusal,
    /// For whose room the service that polls is about to wait.
    for_room: Option<Waiting>,
}

impl<E: Event> Line<E> {
    #[inline]
    pub(super) fn new(topic: Arc<Topic<E>>, wait: Duration, board: usize) -> Self {
        Line {
            topic,
            patience: Patience::of(wait),
            board,
            spot: None,
        }
    }

    /// Waits no longer than this, whatever others would.
    pub(super) fn wait_at_most(&mut self, limit: Duration) {
        if limit < self.patience.time() {
            self.patience = Patience::of(limit);
        }
    }

    /// Leaves, and is ready to begin anew and wait as long as others.
    pub(super) fn begin_anew(&mut self) {
        self.leave();
        self.patience = Patience::of(PUBLISH_WAIT);
    }

    /// Whether waiting may help after this refusal of what an `insider` publishes, or not; then
    /// [`Line::poll`] does. With `noted`, the service that waits is known to wait already.
    ///
    /// # Errors
    /// What to tell the publisher, if it may not.
    pub(super) fn accept(
        &mut self,
        refusal: Refusal,
        insider: bool,
        noted: bool,
    ) -> Result<(), PublishError<()>> {
        let Refusal::Full {
            path,
            stalled: false,
            ..
        } = &refusal
        else {
            return Err(PublishError::refused((), &refusal));
        };
        if self.patience.nanos == 0 {
            return Err(PublishError::refused((), &refusal));
        }
        let path = Arc::clone(path);
        let topic = &self.topic;
        let spot = self.spot.get_or_insert_with(|| {
            let clock = &topic.pulse.clock;
            let until = deadline(clock.now(), self.patience.time());
            Box::new(Spot {
                ticket: topic.room_ticket(),
                insider,
                sleep: Box::pin(clock.sleep_until(until)),
                full: Refusal::Closed,
                for_room: None,
            })
        });
        spot.full = refusal;
        // Whoever was let go in between has waited for nobody.
        let noted = noted || topic.is_waiting(spot.ticket);
        // The service that polls, if one does, is about to wait.
        spot.for_room = running(self.board)
            .filter(|_| !noted)
            .map(|waiter| waiter.wait(vec![path]))
            .transpose()
            .map_err(|cycle| PublishError::cycle((), &cycle))?;
        Ok(())
    }

    /// Waits in line for room, at most until the deadline. Ready once it is worth another try.
    ///
    /// # Errors
    /// What to tell the publisher once the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PublishError<()>>> {
        let Some(spot) = &mut self.spot else {
            return Poll::Ready(Ok(()));
        };
        let waiting = spot.for_room.take();
        let topic = &self.topic;
        if !topic.wait_for_room(spot.ticket, cx.waker(), spot.insider, waiting) {
            return Poll::Ready(Ok(()));
        }
        if spot.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.patience.is_short == 0 {
            topic.mark_stalled();
        }
        let full = PublishError::refused((), &spot.full);
        self.leave();
        Poll::Ready(Err(full))
    }

    /// Waits no more. The next wait has its full time.
    #[inline]
    pub(super) fn leave(&mut self) {
        if self.spot.is_some() {
            self.leave_spot();
        }
    }

    #[cold]
    fn leave_spot(&mut self) {
        if let Some(spot) = self.spot.take() {
            self.topic.leave_room(spot.ticket);
        }
    }
}

impl<E: Event> Drop for Line<E> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}
