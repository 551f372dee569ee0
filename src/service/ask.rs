//! Asking one service, and waiting for its answer.
//!
//! Addresses and contexts ask; the wait covers room and answer together.
//!
//! Invariant: every ask ends, with an answer or with the reason why there is none.
//!
//! It never asks twice.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use crate::clock::deadline;
use crate::defaults::ASK_WAIT;
use crate::failure::Failure;
use crate::insider::is_needed;
use crate::mailbox::letters::Unsent;
use crate::message::Message;
use crate::park::block_on;
use crate::service::inbox::{Home, NoRoom};
use crate::service::letter::{Asked, Reply, Word};
use crate::service::team::Team;
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
    #[error("the service has not been started: is it in the tree of a board that runs?")]
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
    pub(super) fn give_back(letter: Option<Asked<M>>, why: NoRoom) -> Self
    where
        M: Message,
    {
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

    pub(super) fn cycle(message: M, cycle: &Cycle) -> Self {
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
        match self.post_question(message, self.origin(), ASK_WAIT) {
            Ok(question) => question.await,
            Err(unposted) => Box::pin(self.ask_otherwise(unposted, ASK_WAIT, ASK_WAIT)).await,
        }
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
        match self.post_question(message, self.origin(), limit) {
            Ok(question) => question.await,
            Err(unposted) => Box::pin(self.ask_otherwise(unposted, limit, limit)).await,
        }
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
        match self.post_question(message, self.origin(), ASK_WAIT) {
            Ok(question) => question.await,
            Err(unposted) => Box::pin(self.ask_otherwise(unposted, Duration::ZERO, ASK_WAIT)).await,
        }
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
        if is_needed() {
            return Err(AskError::Blocking(message));
        }
        block_on(self.ask_within(message, limit))
    }

    /// Sends a question if that takes nothing but room, and there is some; else it comes back, to
    /// be asked in another way. In one piece of code, as [`Inbox::post`] is.
    #[inline(always)]
    pub(crate) fn post_question<M: Message>(
        &self,
        message: M,
        origin: Origin,
        wait: Duration,
    ) -> Result<Question<'_, M>, Box<Unposted<'_, S, M>>>
    where
        S: Answer<M>,
    {
        let Some(home) = self.inbox.home() else {
            let error = AskError::NotStarted(message);
            return Err(Box::new(Unposted::Refused(error)));
        };
        if let Some(team) = self.inbox.team() {
            return Err(Box::new(Unposted::ForTeam(team, message, origin)));
        }
        let waiting = match home.wait() {
            Ok(waiting) => waiting,
            Err(cycle) => {
                let error = AskError::cycle(message, &cycle);
                return Err(Box::new(Unposted::Refused(error)));
            }
        };
        let until = deadline(home.wall.pulse.clock.now(), wait);
        let (question, reply) = Question::new(&home.wall, until, wait, waiting);
        let letter = Asked::new(message, origin, reply);
        match self.inbox.post(&home.wall.pulse, letter) {
            Ok(()) => Ok(question),
            Err(letter) => Err(Box::new(Unposted::Letter(home, letter, question))),
        }
    }

    /// Asks, and waits for the answer: no longer than this for room, and for room and answer
    /// together.
    pub(crate) async fn ask_otherwise<M: Message>(
        &self,
        unposted: Box<Unposted<'_, S, M>>,
        room_wait: Duration,
        wait: Duration,
    ) -> Result<M::Reply, AskError<M>>
    where
        S: Answer<M>,
    {
        let (home, letter, question) = match *unposted {
            Unposted::Refused(error) => return Err(error),
            Unposted::ForTeam(team, message, origin) => {
                let asking = team.ask(&self.inbox, message, origin, room_wait, wait);
                return asking.await;
            }
            Unposted::Letter(home, letter, question) => (home, letter, question),
        };
        let mut letter = Some(letter);
        let covered = question.waiting.as_ref();
        let sent = self.inbox.send(home, room_wait, covered, &mut letter);
        match sent.await {
            Ok(()) => question.await,
            Err(why) => Err(AskError::give_back(letter, why)),
        }
    }
}

/// A question that could not be posted at once, and why. Kept in a box: it is rare.
pub(crate) enum Unposted<'a, S: Service, M: Message> {
    Refused(AskError<M>),
    /// One of several workers is to get it.
    ForTeam(&'a Team<S>, M, Origin),
    /// There was no room, or never will be. The wait for its answer is noted.
    Letter(&'a Home, Asked<M>, Question<'a, M>),
}

/// What an asker keeps of a letter that was sent: it waits for the answer.
///
/// Written by hand: as futures in one another, each moved into the next, it took an ask a tenth
/// longer.
pub(crate) struct Question<'a, M: Message> {
    wall: &'a Wall,
    until: Instant,
    /// How long that is in all.
    wait: Duration,
    answer: oneshot::Receiver<Word<M::Reply>>,
    /// The wait that was noted; it ends with the answer, or with this.
    pub(super) waiting: Option<Waiting>,
    has_looked: bool,
    /// A box, since most answers are there before it is made.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<'a, M: Message> Question<'a, M> {
    /// With the way back for its letter.
    #[inline]
    pub(super) fn new(
        wall: &'a Wall,
        until: Instant,
        wait: Duration,
        waiting: Option<Waiting>,
    ) -> (Self, Reply<M::Reply>) {
        let (word, answer) = oneshot::channel();
        let reply = Reply::new(word, waiting.clone(), until);
        let question = Question {
            wall,
            until,
            wait,
            answer,
            waiting,
            has_looked: false,
            sleep: None,
        };
        (question, reply)
    }

    /// Whether the time is over. It looks for the answer twice before it makes the timer: whoever
    /// is to answer runs in between, if it is on the same thread and next in turn. That took an ask
    /// from 6,100 instructions to 5,400, and from 950 ns to 770.
    fn poll_end(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if !self.has_looked {
            self.has_looked = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let clock = &self.wall.pulse.clock;
        let sleep = || Box::pin(clock.sleep_until(self.until));
        self.sleep.get_or_insert_with(sleep).as_mut().poll(cx)
    }
}

impl<M: Message> Future for Question<'_, M> {
    type Output = Result<M::Reply, AskError<M>>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let heard = Pin::new(&mut this.answer).poll(cx);
        if heard.is_pending() {
            ready!(this.poll_end(cx));
        }
        this.waiting = None;
        Poll::Ready(match heard {
            Poll::Ready(Ok(Word::Reply(reply))) => Ok(reply),
            Poll::Ready(Ok(Word::Failed(failure))) => Err(AskError::Failed(failure)),
            Poll::Ready(Ok(Word::Restarted)) => Err(AskError::Restarted),
            Poll::Ready(Ok(Word::Undelivered)) => Err(AskError::Undelivered),
            Poll::Ready(Err(_)) => Err(AskError::Crashed),
            Poll::Pending => Err(AskError::TimedOut(this.wait)),
        })
    }
}
