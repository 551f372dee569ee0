//! Where to send messages to one service, across all its lives.
//!
//! Users clone it and hand it around; it writes the letter, puts it in once there is room, and
//! rings.
//!
//! Invariant: it stays valid from before the start until after the end; a message that is not
//! accepted comes back.
//!
//! Dropping all addresses ends nothing.

use std::fmt;
use std::time::Duration;

use crate::defaults::PUBLISH_WAIT;
use crate::insider::{is_needed, serves};
use crate::mailbox::letters::Unsent;
use crate::message::Message;
use crate::park::block_on;
use crate::service::inbox::{Home, NoRoom};
use crate::service::letter::{NoWay, Told};
use crate::service::{Answer, Inbox, Service};
use crate::sync::Arc;
use crate::topic::Origin;

/// The address of one service: typed, cheap to clone, `Send` and `Sync` even if the service is not.
/// It stays valid across restarts; dropping it stops nothing.
pub struct Address<S: Service> {
    pub(crate) inbox: Arc<Inbox<S>>,
}

/// Why a message was not accepted; the message comes back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TellError<M> {
    /// The mailbox was full for as long as the sender could wait.
    #[error("the mailbox is full")]
    Full(M),
    /// The service has ended for good, or the board is shutting down or has ended.
    #[error("the service has stopped")]
    Stopped(M),
    /// The board that the service belongs to has not been started.
    #[error("the service has not been started: is it in the tree of a board that runs?")]
    NotStarted(M),
    /// A `_blocking` form was called on one of the board's own threads, which it would block.
    #[error("a blocking call on a thread of a board would stop its services: use the async form")]
    Blocking(M),
    /// The services on this path would wait for each other for ever: the one whose mailbox is full
    /// waits for the sender. See [the tour](crate#waiting-in-a-circle).
    #[error("a cycle of waits: {path}")]
    #[non_exhaustive]
    Cycle {
        /// The paths of the services, the sender first and last.
        path: String,
        /// The message that was not sent.
        message: M,
    },
}

impl<M> TellError<M> {
    /// The message that was not accepted.
    pub fn into_message(self) -> M {
        match self {
            TellError::Full(message)
            | TellError::Stopped(message)
            | TellError::NotStarted(message)
            | TellError::Blocking(message)
            | TellError::Cycle { message, .. } => message,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, TellError::Full(_) | TellError::NotStarted(_))
    }

    fn unsent(message: M, unsent: Unsent) -> Self {
        match unsent {
            Unsent::Full => TellError::Full(message),
            Unsent::Closed => TellError::Stopped(message),
        }
    }

    /// What is said of a letter that was not sent.
    pub(super) fn give_back(letter: Option<Told<M>>, why: NoRoom) -> Result<(), Self> {
        let Some(letter) = letter else {
            // It leaves only when it was sent.
            return Ok(());
        };
        Err(Self::no_room(letter.message, why))
    }

    pub(super) fn no_room(message: M, why: NoRoom) -> Self {
        match why {
            NoRoom::Unsent(unsent) => Self::unsent(message, unsent),
            NoRoom::Cycle(cycle) => {
                let path = cycle.to_string();
                TellError::Cycle { path, message }
            }
        }
    }
}

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TellError::Cycle { path, .. } => {
                return f
                    .debug_struct("Cycle")
                    .field("path", path)
                    .finish_non_exhaustive();
            }
            TellError::Full(_) => "Full",
            TellError::Stopped(_) => "Stopped",
            TellError::NotStarted(_) => "NotStarted",
            TellError::Blocking(_) => "Blocking",
        })
    }
}

impl<S: Service> Address<S> {
    pub(crate) fn new(inbox: Arc<Inbox<S>>) -> Self {
        Address { inbox }
    }

    /// The service's path, such as `shop/payments`; empty before its board is started.
    pub fn path(&self) -> &str {
        self.inbox.home().map_or("", |home| home.path())
    }

    /// Sends a message; waits for room, at most 5 s. There is no answer, and it is not known
    /// whether the message was handled.
    ///
    /// # Errors
    /// [`TellError`], with the message; in a handler [`TellError::Cycle`] at once if the mailbox is
    /// full and its service is already waiting for the calling one.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready sends nothing; the message is dropped with it.
    pub async fn tell<M: Message>(&self, message: M) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        match self.post(Told::new(message, self.origin(), NoWay)) {
            Ok(()) => Ok(()),
            Err(letter) => Box::pin(self.send(letter, PUBLISH_WAIT)).await,
        }
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// [`TellError`], with the message.
    pub fn try_tell<M: Message>(&self, message: M) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        self.post(Told::new(message, self.origin(), NoWay))
            .or_else(|letter| self.try_send(letter))
    }

    /// As [`Address::tell`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// [`TellError`], with the message; [`TellError::Blocking`] on a thread of a board.
    pub fn tell_blocking<M: Message>(&self, message: M) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        if is_needed() {
            return Err(TellError::Blocking(message));
        }
        block_on(self.tell(message))
    }

    /// Sends a copy of a message to every [worker](crate::ServiceSpec::workers) of the service, or
    /// to none: waits at most 5 s until all have room. As [`Address::tell`] for a service without
    /// workers.
    ///
    /// # Errors
    /// As [`Address::tell`]; one worker without room is enough.
    ///
    /// # Panics
    /// If cloning the message panics; then no worker has a copy.
    ///
    /// # Cancel safety
    /// As [`Address::tell`].
    pub async fn tell_all<M: Message + Clone>(&self, message: M) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        match self.inbox.team() {
            Some(team) => team.tell_all(message, self.origin(), PUBLISH_WAIT).await,
            None => self.tell(message).await,
        }
    }

    /// As [`Address::tell_all`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`TellError::Blocking`] on a thread of a board.
    ///
    /// # Panics
    /// As there.
    pub fn tell_all_blocking<M: Message + Clone>(&self, message: M) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        if is_needed() {
            return Err(TellError::Blocking(message));
        }
        block_on(self.tell_all(message))
    }

    /// Sends a letter if that takes nothing but room, and there is some; else it comes back, to be
    /// sent in another way.
    #[inline(always)]
    pub(crate) fn post<M: Message>(&self, letter: Told<M>) -> Result<(), Told<M>>
    where
        S: Answer<M>,
    {
        match self.inbox.home() {
            Some(home) if self.inbox.team().is_none() => self.inbox.post(&home.wall.pulse, letter),
            _ => Err(letter),
        }
    }

    pub(crate) async fn send<M: Message>(
        &self,
        letter: Told<M>,
        wait: Duration,
    ) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        let Some(home) = self.inbox.home() else {
            return Err(TellError::NotStarted(letter.message));
        };
        if let Some(team) = self.inbox.team() {
            return team.tell(&self.inbox, letter, wait).await;
        }
        let mut letter = Some(letter);
        match self.inbox.send(home, wait, None, &mut letter).await {
            Ok(()) => Ok(()),
            Err(why) => TellError::give_back(letter, why),
        }
    }

    pub(crate) fn try_send<M: Message>(&self, letter: Told<M>) -> Result<(), TellError<M>>
    where
        S: Answer<M>,
    {
        let Some(Home { wall, .. }) = self.inbox.home() else {
            return Err(TellError::NotStarted(letter.message));
        };
        if let Some(team) = self.inbox.team() {
            return team.try_tell(&self.inbox, letter);
        }
        let mut letter = Some(letter);
        match self.inbox.try_send(&wall.pulse, &mut letter) {
            Ok(()) => Ok(()),
            Err(unsent) => TellError::give_back(letter, NoRoom::Unsent(unsent)),
        }
    }

    /// Where something comes from that is sent through a plain address.
    pub(crate) fn origin(&self) -> Origin {
        let home = self.inbox.home();
        let is_insider = home.is_some_and(|home| serves(home.wall.id()));
        Origin::new(is_insider, None, current_span())
    }
}

/// The span that the caller is in, if anybody listens to spans.
#[inline]
pub(crate) fn current_span() -> Option<tracing::Id> {
    #[cold]
    fn entered() -> Option<tracing::Id> {
        tracing::Span::current().id()
    }
    tracing::dispatcher::has_been_set().then(entered).flatten()
}

impl<S: Service> Clone for Address<S> {
    fn clone(&self) -> Self {
        Address {
            inbox: Arc::clone(&self.inbox),
        }
    }
}

impl<S: Service> PartialEq for Address<S> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inbox, &other.inbox)
    }
}

impl<S: Service> Eq for Address<S> {}

impl<S: Service> fmt::Debug for Address<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", self.path())
    }
}
