//! Between this board and actors of actix that exist already.
//!
//! `to_actix` makes a service of an actix recipient; the other way an actix actor publishes
//! through a [`Board`](crate::Board) handle, which works inside any actix handler.
//!
//! Invariant: what an actix actor refuses or loses is a failure here, with retry and dead
//! letter, and so stays in sight.
//!
//! It changes nothing about how the actix actor is run.

use std::fmt;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, MailboxError, Recipient};

use crate::event::Event;
use crate::failure::{Failure, Outcome};
use crate::service::{And, Context, Handle, Nothing, On, Service, ServiceSpec, service};

/// A service that hands every event of one type to an actix actor, and waits until it is done.
///
/// See [`to_actix`].
pub struct ToActix<E>
where
    E: Event + actix::Message + Clone,
    E::Result: Send,
{
    recipient: Recipient<E>,
}

/// Describes a service that sends each `E` to an actor of actix, one at a time, and waits until
/// the actor has handled it.
///
/// The event is cloned for the actor, which takes it by value. It is sent even if the actor's
/// mailbox is full, one event at a time. An attempt that is cancelled by a timeout leaves its clone
/// in that mailbox, where the actor may still handle it. If the actor is gone, that is a permanent
/// failure, and the event becomes a dead letter. The actor's result is ignored.
///
/// ```
/// # use callboard::prelude::*;
/// #[derive(Clone)]
/// struct Paid { order: u64 }
/// impl Event for Paid { const NAME: &'static str = "paid"; }
/// impl actix::Message for Paid { type Result = (); }
///
/// # struct Legacy;
/// # impl actix::Actor for Legacy { type Context = actix::Context<Self>; }
/// # impl actix::Handler<Paid> for Legacy {
/// #     type Result = ();
/// #     fn handle(&mut self, _: Paid, _: &mut Self::Context) {}
/// # }
/// fn tree(legacy: actix::Addr<Legacy>) -> Supervisor {
///     Supervisor::one_for_one("shop").child(callboard::to_actix::<Paid>("legacy", legacy))
/// }
/// ```
pub fn to_actix<E>(
    name: impl Into<String>,
    actor: impl Into<ActixRecipient<E>>,
) -> ServiceSpec<ToActix<E>, And<On<E>, Nothing>>
where
    E: Event + actix::Message + Clone,
    E::Result: Send,
{
    let ActixRecipient(recipient) = actor.into();
    service(name, move || ToActix {
        recipient: recipient.clone(),
    })
    .on::<E>()
}

/// An actix actor that takes `E`: made from an `actix::Addr` or an `actix::Recipient`.
pub struct ActixRecipient<E>(Recipient<E>)
where
    E: actix::Message + Send,
    E::Result: Send;

impl<E> From<Recipient<E>> for ActixRecipient<E>
where
    E: actix::Message + Send,
    E::Result: Send,
{
    fn from(recipient: Recipient<E>) -> Self {
        ActixRecipient(recipient)
    }
}

impl<A, E> From<Addr<A>> for ActixRecipient<E>
where
    A: Actor + Handler<E>,
    A::Context: ToEnvelope<A, E>,
    E: actix::Message + Send + 'static,
    E::Result: Send,
{
    fn from(address: Addr<A>) -> Self {
        ActixRecipient(address.recipient())
    }
}

impl<E> Service for ToActix<E>
where
    E: Event + actix::Message + Clone,
    E::Result: Send,
{
}

impl<E> Handle<E> for ToActix<E>
where
    E: Event + actix::Message + Clone,
    E::Result: Send,
{
    async fn handle(&mut self, event: &E, _: &mut Context<Self>) -> Outcome {
        match self.recipient.send(event.clone()).await {
            Ok(_) => Ok(()),
            // An actix actor that has gone never comes back at this address; one that its own
            // supervisor restarts has only dropped what it was doing.
            Err(gone @ MailboxError::Closed) if !self.recipient.connected() => {
                Err(Failure::permanent(gone))
            }
            Err(lost) => Err(Failure::from(lost)),
        }
    }
}

impl<E> fmt::Debug for ToActix<E>
where
    E: Event + actix::Message + Clone,
    E::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToActix({})", E::NAME)
    }
}

impl<E> fmt::Debug for ActixRecipient<E>
where
    E: actix::Message + Send,
    E::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActixRecipient")
    }
}
