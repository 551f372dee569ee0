//! An address of which only one message is known.
//!
//! Made from an [`Address`]; for code that needs somebody who takes `M`, whoever that is.
//!
//! Invariant: it behaves as the address it was made from.
//!
//! It subscribes to nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::defaults::ASK_WAIT;
use crate::insider::is_needed;
use crate::message::Message;
use crate::park::block_on;
use crate::service::{Address, Answer, AskError, TellError};

type Answering<M> =
    Pin<Box<dyn Future<Output = Result<<M as Message>::Reply, AskError<M>>> + Send>>;

/// The address of some service that answers the message `M`; made from an [`Address`].
pub struct Recipient<M: Message>(Arc<dyn Takes<M>>);

trait Takes<M: Message>: Send + Sync {
    fn path(&self) -> &str;
    fn try_tell(&self, message: M) -> Result<(), TellError<M>>;
    fn tell(&self, message: M) -> Pin<Box<dyn Future<Output = Result<(), TellError<M>>> + Send>>;
    fn ask(&self, message: M, limit: Duration) -> Answering<M>;
    fn try_ask(&self, message: M) -> Answering<M>;
}

impl<S: Answer<M>, M: Message> Takes<M> for Address<S> {
    fn path(&self) -> &str {
        Address::path(self)
    }

    fn try_tell(&self, message: M) -> Result<(), TellError<M>> {
        Address::try_tell(self, message)
    }

    fn tell(&self, message: M) -> Pin<Box<dyn Future<Output = Result<(), TellError<M>>> + Send>> {
        let address = self.clone();
        Box::pin(async move { Address::tell(&address, message).await })
    }

    fn ask(&self, message: M, limit: Duration) -> Answering<M> {
        let address = self.clone();
        Box::pin(async move { address.ask_within(message, limit).await })
    }

    fn try_ask(&self, message: M) -> Answering<M> {
        let address = self.clone();
        Box::pin(async move { Address::try_ask(&address, message).await })
    }
}

impl<S: Answer<M>, M: Message> From<Address<S>> for Recipient<M> {
    fn from(address: Address<S>) -> Self {
        Recipient(Arc::new(address))
    }
}

impl<M: Message> Recipient<M> {
    /// The path of the service behind it.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// As [`Address::tell`].
    ///
    /// # Errors
    /// [`TellError`], with the message.
    pub async fn tell(&self, message: M) -> Result<(), TellError<M>> {
        self.0.tell(message).await
    }

    /// As [`Address::tell_blocking`].
    ///
    /// # Errors
    /// As [`Address::tell_blocking`].
    pub fn tell_blocking(&self, message: M) -> Result<(), TellError<M>> {
        if is_needed() {
            return Err(TellError::Blocking(message));
        }
        block_on(self.0.tell(message))
    }

    /// As [`Address::try_tell`].
    ///
    /// # Errors
    /// [`TellError`], with the message.
    pub fn try_tell(&self, message: M) -> Result<(), TellError<M>> {
        self.0.try_tell(message)
    }

    /// As [`Address::ask`].
    ///
    /// # Errors
    /// As [`Address::ask`].
    ///
    /// # Cancel safety
    /// As [`Address::ask`].
    pub async fn ask(&self, message: M) -> Result<M::Reply, AskError<M>> {
        self.ask_within(message, ASK_WAIT).await
    }

    /// As [`Address::ask_within`].
    ///
    /// # Errors
    /// As [`Address::ask`].
    ///
    /// # Cancel safety
    /// As [`Address::ask`].
    pub async fn ask_within(&self, message: M, limit: Duration) -> Result<M::Reply, AskError<M>> {
        self.0.ask(message, limit).await
    }

    /// As [`Address::try_ask`].
    ///
    /// # Errors
    /// As [`Address::ask`].
    ///
    /// # Cancel safety
    /// As [`Address::ask`].
    pub async fn try_ask(&self, message: M) -> Result<M::Reply, AskError<M>> {
        self.0.try_ask(message).await
    }

    /// As [`Address::ask_blocking`].
    ///
    /// # Errors
    /// As [`Address::ask_blocking`].
    pub fn ask_blocking(&self, message: M) -> Result<M::Reply, AskError<M>> {
        self.ask_within_blocking(message, ASK_WAIT)
    }

    /// As [`Address::ask_within_blocking`].
    ///
    /// # Errors
    /// As [`Address::ask_blocking`].
    pub fn ask_within_blocking(
        &self,
        message: M,
        limit: Duration,
    ) -> Result<M::Reply, AskError<M>> {
        if is_needed() {
            return Err(AskError::Blocking(message));
        }
        block_on(self.0.ask(message, limit))
    }
}

impl<M: Message> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Recipient(Arc::clone(&self.0))
    }
}

impl<M: Message> fmt::Debug for Recipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({:?})", self.path())
    }
}
