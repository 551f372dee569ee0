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
use crate::service::inbox::NoRoom;
use crate::service::letter::{Asked, Letter, Reply, Slip, Word};
use crate::service::{Address, Answer, Service};
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

    /// What is said of a letter that was not sent.
    pub(super) fn give_back<W>(letter: Slip<M, W>, why: NoRoom) -> Self {
        let Some(letter) = letter else {
            // It leaves only when it was sent.
            return AskError::Undelivered;
        };
        let message = letter.message;
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
        let letter = Letter::new(message, self.origin(), None);
        self.send_and_hear(letter, ASK_WAIT, ASK_WAIT).await
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
        let letter = Letter::new(message, self.origin(), None);
        self.send_and_hear(letter, limit, limit).await
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
        let letter = Letter::new(message, self.origin(), None);
        self.send_and_hear(letter, Duration::ZERO, ASK_WAIT).await
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

    /// Sends a letter and waits for the answer: no longer than this for room, and for room and
    /// answer together.
    pub(crate) async fn send_and_hear<M: Message>(
        &self,
        mut letter: Box<Asked<M>>,
        room_wait: Duration,
        wait: Duration,
    ) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        let Some(home) = self.inbox.home() else {
            return Err(AskError::NotStarted(letter.message));
        };
        if let Some(team) = self.inbox.team() {
            return Box::pin(team.ask(&self.inbox, letter, room_wait, wait)).await;
        }
        let waiting = match home.wait() {
            Ok(waiting) => waiting,
            Err(cycle) => return Err(AskError::cycle(letter.message, &cycle)),
        };
        let (word, answer) = oneshot::channel();
        let end = deadline(home.wall.pulse.clock.now(), wait);
        letter.way = Some(Reply::new(word, waiting.clone(), end));
        let mut letter = Some(letter);
        let sent = self
            .inbox
            .send(home, room_wait, waiting.as_ref(), &mut letter);
        match sent.await {
            Ok(()) => hear(&home.wall, wait, end, answer, waiting).await,
            Err(why) => Err(AskError::give_back(letter, why)),
        }
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
