//! A typed way to publish one kind of event, for hot paths.
//!
//! `board.publisher::<E>()` makes it once; publishing through it looks nothing up.
//!
//! Invariant: it behaves as the board it was made from.
//!
//! It keeps no board alive: that ends by shutdown only.

use std::fmt;

use crate::defaults::PUBLISH_WAIT;
use crate::event::{Event, EventId};
use crate::park::block_on;
use crate::service::address::current_span;
use crate::service::origin::{current_board, serves};
use crate::sync::Arc;
use crate::topic::publish::{Publish, PublishError};
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
        if current_board().is_some() {
            return Err(PublishError::Blocking { event });
        }
        block_on(self.publish(event))
    }

    fn origin(&self) -> Origin {
        let insider = serves(self.board);
        Origin {
            cause: None,
            span: current_span(),
            insider,
        }
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
