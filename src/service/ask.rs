//! Asking one service, and waiting for its answer.
//!
//! Addresses and contexts ask; the wait covers room and answer together.
//!
//! Invariant: every ask ends, with an answer or with the reason why there is none.
//!
//! It never asks twice.

use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock::{deadline, until};
use crate::defaults::ASK_WAIT;
use crate::failure::Failure;
use crate::insider::current_board;
use crate::mailbox::letters::Unsent;
use crate::message::Message;
use crate::park::block_on;
use crate::pulse::Pulse;
use crate::service::inbox::NoRoom;
use crate::service::letter::{Asked, Letter, Reply, Word};
use crate::service::{Address, Answer, Service};
use crate::topic::Origin;
use crate::waits::{Cycle, Waiting};
use crate::wall::Wall;

/// Why there is no answer. The message comes back if it was never accepted.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AskError<M> {
    /// The mailbox was full for as long as the asker could wait. Not accepted.
    #[error("the mailbox is full")]
    Full(M),
    /// The service has ended for good, or the board is shutting down or has ended. Not accepted.
    #[error("the service has stopped")]
    Stopped(M),
    /// The board that the service belongs to has not been started. Not accepted.
    #[error("the service has not been started")]
    NotStarted(M),
    /// A `_blocking` form was called on one of the board's own threads. Not accepted.
    #[error("a blocking call on a thread of a board would stop its services: use the async form")]
    Blocking(M),
    /// The services on this path would wait for each other for ever: the one that is asked waits
    /// for the asker, or is the asker. Not accepted. See
    /// [the tour](crate#waiting-in-a-circle).
    #[error("a cycle of waits: {path}")]
    #[non_exhaustive]
    Cycle {
        /// The paths of the services, the asker first and last.
        path: String,
        /// The message that was not sent.
        message: M,
    },
    /// The service panicked, was killed or failed while it answered.
    #[error("the service crashed while it answered")]
    Crashed,
    /// The service was stopped while it answered, because its group was being restarted or a
    /// restart was requested. What it had already done stays done.
    #[error("the service was restarted while it answered")]
    Restarted,
    /// The service ended before it handled the message.
    #[error("the service ended before it handled the message")]
    Undelivered,
    /// No answer came in time. A message that is being handled is handled to its end; one that is
    /// still queued is dropped when its turn comes.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The service answered with a failure.
    #[error("the answer failed: {0:#}")]
    Failed(Failure),
}

impl<M> AskError<M> {
    /// The message, if it was not accepted.
    pub fn into_message(self) -> Option<M> {
        match self {
            AskError::Full(message)
            | AskError::Stopped(message)
            | AskError::NotStarted(message)
            | AskError::Blocking(message)
            | AskError::Cycle { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Whether the message was certainly not handled, so that it is safe to ask again.
    pub fn is_unheard(&self) -> bool {
        !matches!(
            self,
            AskError::Crashed | AskError::Restarted | AskError::TimedOut(_) | AskError::Failed(_)
        )
    }

    fn unsent(message: M, unsent: Unsent) -> Self {
        match unsent {
            Unsent::Full => AskError::Full(message),
            Unsent::Closed => AskError::Stopped(message),
        }
    }

    pub(super) fn no_room(message: M, why: NoRoom) -> Self {
        match why {
            NoRoom::Unsent(unsent) => Self::unsent(message, unsent),
            NoRoom::Cycle(cycle) => Self::cycle(message, &cycle),
        }
    }

    fn cycle(message: M, cycle: &Cycle) -> Self {
        AskError::Cycle {
            path: cycle.to_string(),
            message,
        }
    }
}

impl<M> fmt::Debug for AskError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Full(_) => f.write_str("Full"),
            AskError::Stopped(_) => f.write_str("Stopped"),
            AskError::NotStarted(_) => f.write_str("NotStarted"),
            AskError::Blocking(_) => f.write_str("Blocking"),
            AskError::Cycle { path, .. } => f
                .debug_struct("Cycle")
                .field("path", path)
                .finish_non_exhaustive(),
            AskError::Crashed => f.write_str("Crashed"),
            AskError::Restarted => f.write_str("Restarted"),
            AskError::Undelivered => f.write_str("Undelivered"),
            AskError::TimedOut(limit) => f.debug_tuple("TimedOut").field(limit).finish(),
            AskError::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
        }
    }
}

impl<S: Service> Address<S> {
    /// Sends a message and waits for the answer, 5 s at most; see [`Address::ask_within`].
    ///
    /// # Errors
    /// [`AskError`]: the message if it was never accepted, else why there is no answer.
    /// [`AskError::Cycle`] at once if a handler asks its own service, or a service that is already
    /// waiting for the calling one.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the answer. A message that is still queued is then dropped
    /// unhandled; one that is being handled is handled to its end.
    pub async fn ask<M: Message>(&self, message: M) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        self.ask_from(message, self.origin(), ASK_WAIT).await
    }

    /// As [`Address::ask`], but waits for `limit` at most, for room and answer together.
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// # struct Report;
    /// # impl Message for Report { type Reply = String; }
    /// # async fn print<S: Answer<Report>>(books: Address<S>) -> Outcome {
    /// let report = books.ask_within(Report, secs(60)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Address::ask`].
    ///
    /// # Cancel safety
    /// As [`Address::ask`].
    pub async fn ask_within<M: Message>(
        &self,
        message: M,
        limit: Duration,
    ) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        self.ask_from(message, self.origin(), limit).await
    }

    /// As [`Address::ask`], but refused at once if there is no room now.
    ///
    /// # Errors
    /// As [`Address::ask`].
    ///
    /// # Cancel safety
    /// As [`Address::ask`].
    pub async fn try_ask<M: Message>(&self, message: M) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        let no_wait = Duration::ZERO;
        self.ask_and_wait(message, self.origin(), no_wait, ASK_WAIT)
            .await
    }

    /// As [`Address::ask`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As [`Address::ask`]; [`AskError::Blocking`] on a thread of a board.
    pub fn ask_blocking<M: Message>(&self, message: M) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        self.ask_within_blocking(message, ASK_WAIT)
    }

    /// As [`Address::ask_within`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As [`Address::ask`]; [`AskError::Blocking`] on a thread of a board.
    pub fn ask_within_blocking<M: Message>(
        &self,
        message: M,
        limit: Duration,
    ) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        if current_board().is_some() {
            return Err(AskError::Blocking(message));
        }
        block_on(self.ask_within(message, limit))
    }

    pub(crate) async fn ask_from<M: Message>(
        &self,
        message: M,
        origin: Origin,
        wait: Duration,
    ) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        self.ask_and_wait(message, origin, wait, wait).await
    }

    /// Asks, and waits no longer than this for room, and for room and answer together.
    async fn ask_and_wait<M: Message>(
        &self,
        message: M,
        origin: Origin,
        room_wait: Duration,
        wait: Duration,
    ) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        let Some(home) = self.inbox.home() else {
            return Err(AskError::NotStarted(message));
        };
        if let Some(team) = self.inbox.team() {
            return Box::pin(team.ask(&self.inbox, message, &origin, room_wait, wait)).await;
        }
        // In its box from here on: each move to another future waits for the one before.
        let letter = Letter::new(message, origin, None);
        let waiting = match home.wait() {
            Ok(waiting) => waiting,
            Err(cycle) => return Err(AskError::cycle(letter.message, &cycle)),
        };
        let pulse = &home.wall.pulse;
        let mut left = wait;
        if let Err(unsent) = self.inbox.letters.reserve(pulse, &letter.origin) {
            if unsent == Unsent::Closed {
                return Err(AskError::Stopped(letter.message));
            }
            let began = pulse.clock.now();
            let covered = waiting.as_ref();
            let waited =
                Box::pin(self.inbox.reserve(home, &letter.origin, room_wait, covered)).await;
            if let Err(why) = waited {
                return Err(AskError::no_room(letter.message, why));
            }
            left = wait.saturating_sub(pulse.clock.now().saturating_duration_since(began));
        }
        let (end, answer) = self.send(pulse, letter, left, waiting.as_ref());
        hear(&home.wall, left, end, answer, waiting).await
    }

    /// Sends a letter for which room was reserved. Returns where its answer is heard, and until
    /// when.
    fn send<M: Message>(
        &self,
        pulse: &Pulse,
        mut letter: Box<Asked<M>>,
        wait: Duration,
        waiting: Option<&Waiting>,
    ) -> (Instant, oneshot::Receiver<Word<M::Reply>>)
    where
        S: Answer<M>,
    {
        let (word, answer) = oneshot::channel();
        let end = deadline(pulse.clock.now(), wait);
        letter.way = Some(Reply::new(word, waiting.cloned(), end));
        self.inbox.letters.push(pulse, letter.seal());
        (end, answer)
    }
}

/// Waits for the answer to a letter that was sent. The wait that was noted ends with it, or with
/// this future.
pub(super) async fn hear<M, R>(
    wall: &Wall,
    wait: Duration,
    end: Instant,
    answer: oneshot::Receiver<Word<R>>,
    waiting: Option<Waiting>,
) -> Result<R, AskError<M>> {
    let heard = until(&wall.pulse.clock, end, answer).await;
    drop(waiting);
    match heard {
        Some(Ok(Word::Reply(reply))) => Ok(reply),
        Some(Ok(Word::Failed(failure))) => Err(AskError::Failed(failure)),
        Some(Ok(Word::Restarted)) => Err(AskError::Restarted),
        Some(Ok(Word::Undelivered)) => Err(AskError::Undelivered),
        Some(Err(_)) => Err(AskError::Crashed),
        None => Err(AskError::TimedOut(wait)),
    }
}
