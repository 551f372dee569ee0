//! A typed way to publish one kind of event, for hot paths.
//!
//! `board.publisher::<E>()` makes it once; publishing through it looks nothing up.
//!
//! Invariant: it behaves as the board it was made from.
//!
//! It keeps no board alive: that ends by shutdown only.

use std::fmt;
use std::time::Duration;

use crate::defaults::PUBLISH_WAIT;
use crate::event::{Event, EventId};
use crate::insider::{InsideOf, is_needed, serves};
use crate::park::block_on;
use crate::service::address::current_span;
use crate::sync::Arc;
use crate::topic::batch::{PublishAll, PublishAllError};
use crate::topic::publish::{Publish, PublishError};
use crate::topic::series::Series;
use crate::topic::settled::PublishSettled;
use crate::topic::settlement::Settled;
use crate::topic::{Origin, Topic};
use crate::wall::Wall;

/// Publishes events of one type on one board. Cheap to clone, usable from any thread.
pub struct Publisher<E: Event> {
    topic: Arc<Topic<E>>,
    board: usize,
}

impl<E: Event> Publisher<E> {
    pub(crate) fn new(wall: &Wall) -> Self {
        Publisher {
            topic: wall.topic(),
            board: wall.id(),
        }
    }

    /// Publishes one event; waits for room at most 5 s. See [`Publish`].
    #[inline]
    pub fn publish(&self, event: E) -> Publish<E> {
        let topic = Arc::clone(&self.topic);
        Publish::new(topic, event, self.origin(), PUBLISH_WAIT, self.board)
    }

    /// Publishes one event if every subscriber has room now.
    ///
    /// # Errors
    /// [`PublishError`], with the event.
    pub fn try_publish(&self, event: E) -> Result<EventId, PublishError<E>> {
        let offered = self.topic.offer(event, &self.origin(), None);
        offered.map_err(|(event, refusal)| PublishError::refused(event, &refusal))
    }

    /// As [`Publisher::publish`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// [`PublishError`], with the event; [`PublishError::Blocking`] on a thread of a board.
    pub fn publish_blocking(&self, event: E) -> Result<EventId, PublishError<E>> {
        if is_needed() {
            return Err(PublishError::Blocking { event });
        }
        block_on(self.publish(event))
    }

    /// Publishes many events in order, faster than one by one; waits for room wherever it has to,
    /// at most 5 s each time. See [`PublishAll`]. The iterator is read to its end first.
    pub fn publish_all(&self, batch: impl IntoIterator<Item = E>) -> PublishAll<E> {
        let (topic, events) = (Arc::clone(&self.topic), batch.into_iter().collect());
        PublishAll::new(topic, events, self.origin(), PUBLISH_WAIT, self.board)
    }

    /// As [`Publisher::publish_all`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// [`PublishAllError`], with the rest of the batch: all of it on a thread of a board.
    pub fn publish_all_blocking(
        &self,
        batch: impl IntoIterator<Item = E>,
    ) -> Result<Vec<EventId>, PublishAllError<E>> {
        let mut all = self.publish_all(batch);
        if is_needed() {
            return Err(all.refuse(PublishError::Blocking { event: () }));
        }
        block_on(all)
    }

    /// Publishes an event every `interval`; see [`Board::every`](crate::Board::every).
    pub fn every(
        &self,
        interval: Duration,
        mut make: impl FnMut(u64) -> E + Send + 'static,
    ) -> Series {
        let board = self.board;
        let make = move |number| {
            // It runs on the thread that keeps the board's time: a verb that would block that
            // is refused.
            let _inside = InsideOf::enter(board);
            make(number)
        };
        Series::start(Arc::clone(&self.topic), board, interval, make)
    }

    #[inline]
    fn origin(&self) -> Origin {
        Origin::new(serves(self.board), None, current_span())
    }
}

impl<E: Event> PublishSettled<E> {
    /// As awaiting it, for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// [`PublishError`], with the event; [`PublishError::Blocking`] on a thread of a board, where
    /// nothing is published.
    pub fn wait_blocking(self) -> Result<Vec<Settled>, PublishError<E>> {
        if !is_needed() {
            return block_on(self);
        }
        self.stop()
            .map_err(|event| PublishError::Blocking { event })
    }
}

impl<E: Event> Clone for Publisher<E> {
    fn clone(&self) -> Self {
        Publisher {
            topic: Arc::clone(&self.topic),
            board: self.board,
        }
    }
}

impl<E: Event> fmt::Debug for Publisher<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({})", E::NAME)
    }
}
