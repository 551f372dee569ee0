//! Where actors are started: on an arbiter, or on the caller's own thread.
//!
//! The board hands homes out; supervisors start their children there.
//!
//! Invariant: an actor is started on the thread of its home, whichever thread asks.
//!
//! It does not own the arbiter.

use actix::{Actor, Addr, Context};
use actix_rt::ArbiterHandle;

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
        match self {
            Home::Here => make().start(),
            Home::Arbiter(arbiter, _) => A::start_in_arbiter(arbiter, move |_| make()),
        }
    }

    /// The number of its arbiter in the house.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Home::Here => None,
            Home::Arbiter(_, number) => Some(*number),
        }
    }
}
