//! The user's actor: what a service is and what it can take.
//!
//! Users implement these traits; the host calls them, one at a time for each service.
//!
//! Invariant: no two of a service's hooks and handlers run at the same time, and none runs
//! outside a guarded future.
//!
//! Nothing here needs `Send`: a service lives and dies on one thread.

mod address;
mod ask;
mod attempt;
mod blocking;
mod context;
pub(crate) mod control;
mod deliver;
pub(crate) mod errand;
mod follow_up;
pub(crate) mod inbox;
pub(crate) mod inside;
mod later;
pub(crate) mod letter;
pub(crate) mod mail;
mod pace;
pub(crate) mod per_key;
mod pile;
mod publisher;
mod recipient;
mod spec;
pub(crate) mod strand;
mod subscription;
pub(crate) mod team;
mod timers;
pub(crate) mod wish;

use std::future::Future;

use crate::event::Event;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::message::Message;

pub use address::{Address, TellError};
pub use ask::AskError;
pub use attempt::TimedOut;
pub use blocking::{Blocking, BlockingError};
pub use context::Context;
pub use per_key::PerKey;
pub use publisher::Publisher;
pub use recipient::Recipient;
pub use spec::{And, Nothing, Placement, ServiceSpec, service};
pub use subscription::{On, SubscribeError};
pub use timers::TimerId;

pub(crate) use attempt::Fault;
pub(crate) use deliver::{Deliver, Halt, Turn, Work, finish};
pub(crate) use inbox::{Change, Inbox};
pub(crate) use pace::Pace;
pub(crate) use pile::Pile;
pub(crate) use spec::Subscriptions;
pub(crate) use subscription::{AddedSource, misplaced};
pub(crate) use timers::run_job;

/// An actor: a struct that handles one thing at a time, and is made anew by its recipe when it
/// crashes.
///
/// State does not survive a restart: keep what must survive outside, in an `Arc` that the recipe
/// clones, or rebuild it in [`started`](Service::started).
///
/// ```
/// use callboard::prelude::*;
///
/// #[derive(Default)]
/// struct Greeter { greeted: u32 }
///
/// impl Service for Greeter {
///     async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
///         println!("{} is up", cx.path());
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    note = "write `impl Service for {Self} {{}}`: both hooks have defaults"
)]
pub trait Service: Sized + 'static {
    /// Called first in every life, before any event; the next sibling starts only after it. The
    /// place for setup that can fail or has to wait, which the recipe cannot.
    ///
    /// # Errors
    /// A failure ends this life. In the first start the board does not start, and returns the
    /// error; later it counts as a failure of the service. It may wait for at most 30 s
    /// ([`defaults::START_WAIT`](crate::defaults::START_WAIT)), then it is cancelled; if it blocks
    /// its thread, it cannot be.
    fn started(&mut self, cx: &mut Context<Self>) -> impl Future<Output = Outcome> {
        let _ = cx;
        async { Ok(()) }
    }

    /// Called last in a life that ends in order, within the child's shutdown time (5 s by default,
    /// and for [`Shutdown::Kill`](crate::Shutdown::Kill)); if it takes longer, it is dropped where
    /// it waits.
    ///
    /// Not called after a panic, a kill, or a timeout that ends the life, because the state cannot
    /// be trusted then.
    fn stopping(&mut self, exit: &Exit, cx: &mut Context<Self>) -> impl Future<Output = ()> {
        let _ = (exit, cx);
        async {}
    }
}

/// What a service does with an event it has subscribed to.
#[diagnostic::on_unimplemented(
    message = "the service `{Self}` has no handler for the event `{E}`",
    label = "`{Self}` subscribes to `{E}` here, but cannot handle it",
    note = "write `impl Handle<{E}> for {Self}` with `async fn handle(&mut self, event: &{E}, \
            cx: &mut Context<Self>) -> Outcome`"
)]
pub trait Handle<E: Event>: Service {
    /// Handles one event, read in place on the board.
    ///
    /// The next event waits until this is done, and the state is borrowed across `.await`.
    ///
    /// # Errors
    /// The policy acts on a [`Failure`](crate::Failure): by default the event is tried again, up to
    /// 3 attempts, and then becomes a dead letter. The service lives on.
    ///
    /// # Panics
    /// A panic ends this life; the event comes back first in the next one, with one attempt
    /// counted.
    ///
    /// # Cancel safety
    /// With a timeout or a deadline the future may be dropped at any `.await` while the state is
    /// kept: compute first, then change the state. A kill drops the state as well.
    fn handle(&mut self, event: &E, cx: &mut Context<Self>) -> impl Future<Output = Outcome>;
}

/// What a service answers to a message.
#[diagnostic::on_unimplemented(
    message = "the service `{Self}` does not answer the message `{M}`",
    note = "write `impl Answer<{M}> for {Self}` with `async fn answer(&mut self, message: {M}, \
            cx: &mut Context<Self>) -> Outcome<Reply>`"
)]
pub trait Answer<M: Message>: Service {
    /// Answers one message.
    ///
    /// # Errors
    /// A [`Failure`](crate::Failure) goes to the asker, as [`AskError::Failed`]. Letters are never
    /// tried again.
    ///
    /// # Panics
    /// A panic ends this life; the asker gets [`AskError::Crashed`] at once.
    fn answer(
        &mut self,
        message: M,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = Outcome<M::Reply>>;
}
