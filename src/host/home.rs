//! Where actors are started: on an arbiter, or on the caller's own thread.
//!
//! The board hands homes out; supervisors start their children there.
//!
//! Invariant: an actor is started on the thread of its home, whichever thread asks.
//!
//! It does not own the arbiter.

use actix::dev::channel::channel;
use actix::{Actor, Addr, Context};
use actix_rt::ArbiterHandle;

/// What an actor's mailbox holds. Orders are few, and none may be lost: they are sent in a way
/// that knows no bound.
const ORDERS: usize = 1_024;

/// A place to run actors.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// The thread that the caller is on, within its `LocalSet`.
    Here,
    /// An arbiter's thread, and its number in the house.
    Arbiter(ArbiterHandle, u64),
}

impl Home {
    pub(crate) fn start<A: Actor<Context = Context<A>>>(
        &self,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A> {
        // As `Actor::start` does, but with one address, where that makes two.
        let (sender, receiver) = channel(ORDERS);
        let run = move || {
            let context = Context::with_receiver(receiver);
            actix_rt::spawn(context.into_future(make()));
        };
        match self {
            Home::Here => run(),
            // An arbiter that has ended takes nothing: nobody hears what is sent to this address.
            Home::Arbiter(arbiter, _) => {
                let _ = arbiter.spawn_fn(run);
            }
        }
        Addr::new(sender)
    }

    /// The number of its arbiter in the house.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Home::Here => None,
            Home::Arbiter(_, number) => Some(*number),
        }
    }
}
