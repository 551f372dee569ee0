//! The broker: an ordinary actix actor that changes subscriptions and gives dead letters back.
//!
//! Board handles send it their changes, so that those from outside happen one after the other.
//!
//! Invariant: a dead letter is given back at most once.
//!
//! Publishing does not pass through it: that is the topics'.

use actix::{Actor, Context, Handler, MessageResult};

use crate::dead_letter::DeadLetter;
use crate::defaults::CONTROL_WAIT;
use crate::event::EventId;
use crate::insider::InsideOf;
use crate::service::SubscribeError;
use crate::sync::Arc;
use crate::wall::Wall;

/// Why a dead letter was not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedriveError {
    /// It has already been redriven, or newer letters have pushed it off the shelf.
    #[error("the dead letter is not on the shelf: it was redriven, or newer ones took its place")]
    NotOnTheShelf,
    /// The subscription that failed has ended, or the board is shutting down or has ended. The
    /// letter stays on the shelf.
    #[error("the subscription that failed this event has ended")]
    Ended,
    /// No answer within 60 s: a service blocks the thread of the broker, the board's first
    /// arbiter. It may still be given back.
    #[error("no answer within {CONTROL_WAIT:?}")]
    TimedOut,
    /// A `_blocking` form was called on one of the board's own threads, which it would block.
    #[error("a blocking call on a thread of a board would stop its services: use the async form")]
    Blocking,
}

/// A change of subscriptions, its types no longer known.
pub(crate) struct Alter(pub(crate) Box<dyn FnOnce() -> Result<(), SubscribeError> + Send>);

/// Gives a dead letter back.
pub(crate) struct Redrive(pub(crate) DeadLetter);

impl actix::Message for Alter {
    type Result = Result<(), SubscribeError>;
}

impl actix::Message for Redrive {
    type Result = Result<EventId, RedriveError>;
}

#[derive(Debug)]
pub(crate) struct Broker {
    wall: Arc<Wall>,
}

impl Broker {
    pub(crate) fn new(wall: Arc<Wall>) -> Self {
        Broker { wall }
    }

    fn redrive(&self, letter: &DeadLetter) -> Result<EventId, RedriveError> {
        if !self.wall.shelf.has(letter) {
            return Err(RedriveError::NotOnTheShelf);
        }
        // It keeps its place there until it is certain to go.
        let id = letter.give_back().ok_or(RedriveError::Ended)?;
        self.wall.shelf.take(letter);
        tracing::info!(
            target: "callboard::broker",
            service = letter.service(),
            event = letter.event_name(),
            event_id = letter.event_id().number(),
            "a dead letter was given back"
        );
        Ok(id)
    }
}

impl Actor for Broker {
    type Context = Context<Self>;
}

impl Handler<Alter> for Broker {
    type Result = MessageResult<Alter>;

    fn handle(&mut self, Alter(alter): Alter, _: &mut Self::Context) -> Self::Result {
        // Terms that are refused are dropped there, which is the user's code: it must not block
        // this thread.
        let _inside = InsideOf::enter(self.wall.id());
        MessageResult(alter())
    }
}

impl Handler<Redrive> for Broker {
    type Result = MessageResult<Redrive>;

    fn handle(&mut self, Redrive(letter): Redrive, _: &mut Self::Context) -> Self::Result {
        // As above, for the event of a letter that is not given back.
        let _inside = InsideOf::enter(self.wall.id());
        let answer = self.redrive(&letter);
        drop(letter);
        MessageResult(answer)
    }
}
