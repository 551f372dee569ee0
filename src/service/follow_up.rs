//! What follows an event that is over: events published, and hooks run, as its policy says.
//!
//! Users add steps to failure and success policies here; deliveries carry them out.
//!
//! Invariant: what follows carries the event as its cause, and is done while that is still in
//! flight, so that it is never skipped unseen: it may be done twice if the service dies meanwhile.
//!
//! It does not settle the event.

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::event::Event;
use crate::failure::{Failure, Outcome};
use crate::panic::{Frail, guard};
use crate::policy::{OnFailure, OnSuccess, Step};
use crate::service::{Context, Service};
use crate::sync::Arc;
use crate::topic::Origin;
use crate::topic::publish::Publish;
use crate::wall::Wall;

type Publishing = Pin<Box<dyn Future<Output = Outcome>>>;
type Make<E> = dyn Fn(&E, &Failure, &Press) -> Publishing + Send + Sync;
type MakeWith<S, E> = dyn Fn(&S, &E, &Press) -> Publishing + Send + Sync;
type Hook<S, E> = dyn Fn(&mut S, &E, &mut Context<S>) -> Outcome + Send + Sync;

/// Publishes what follows one event.
pub(crate) struct Press {
    pub(crate) wall: Arc<Wall>,
    pub(crate) origin: Origin,
    /// How long to wait for room.
    pub(crate) wait: Duration,
    /// Whether to wait until all have settled it.
    pub(crate) waited: bool,
}

impl Press {
    pub(crate) fn publish<F: Event>(&self, event: F) -> Publishing {
        let (topic, origin) = (self.wall.topic::<F>(), self.origin.clone());
        let publish = Publish::new(topic, event, origin, self.wait, self.wall.id());
        let waited = self.waited;
        Box::pin(async move {
            if waited {
                publish.settled().await?;
            } else {
                publish.await?;
            }
            Ok(())
        })
    }
}

/// A step of a failure policy for the event `E`.
struct AfterFailure<E>(Box<Make<E>>);

/// A step of a success policy for the event `E`, handled by the service `S`.
enum AfterSuccess<S: Service, E> {
    Publish(Box<MakeWith<S, E>>),
    Hook(Box<Hook<S, E>>),
}

impl OnFailure {
    /// Also publishes another event, such as a compensation, made from the event that is given up
    /// and its last failure. Its [cause](crate::Cause) is the event given up. Only for events of
    /// the type `E`, so one policy may have several.
    ///
    /// The event given up is settled after that. If the function panics, or the new event cannot be
    /// published within 5 s, the event becomes a dead letter, whatever else is set, with
    /// [`Reason::NotFollowedUp`](crate::Reason::NotFollowedUp). If the service crashes or is
    /// restarted before the event is settled, the new event is published again.
    pub fn publish<E: Event, F: Event>(
        self,
        make: impl Fn(&E, &Failure) -> F + Send + Sync + 'static,
    ) -> Self {
        let make = Frail::new(make);
        let act =
            move |event: &E, failure: &Failure, press: &Press| press.publish(make(event, failure));
        self.step(Step {
            event: TypeId::of::<E>(),
            event_name: E::NAME,
            service: None,
            makes: Some((TypeId::of::<F>(), F::NAME)),
            what: StdArc::new(AfterFailure::<E>(Box::new(act))),
        })
    }
}

impl OnSuccess {
    /// Publishes another event, made from the service as it is after handling and the event that
    /// was handled. Only for services of the type `S` and events of the type `E`, so one policy may
    /// have several.
    ///
    /// If it cannot be published (within 5 s or what is left of the handler's own time), the
    /// attempt has failed.
    pub fn publish<S: Service, E: Event, F: Event>(
        self,
        make: impl Fn(&S, &E) -> F + Send + Sync + 'static,
    ) -> Self {
        let make = Frail::new(make);
        let act = move |service: &S, event: &E, press: &Press| press.publish(make(service, event));
        let makes = Some((TypeId::of::<F>(), F::NAME));
        self.success_step::<S, E>(AfterSuccess::Publish(Box::new(act)), makes)
    }

    /// Calls a function with the service, the event that was handled, and the context. Only for
    /// services of the type `S` and events of the type `E`.
    ///
    /// If it fails or panics, the attempt has failed.
    pub fn hook<S: Service, E: Event>(
        self,
        hook: impl Fn(&mut S, &E, &mut Context<S>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let hook = Frail::new(hook);
        let act = move |service: &mut S, event: &E, cx: &mut Context<S>| hook(service, event, cx);
        self.success_step::<S, E>(AfterSuccess::Hook(Box::new(act)), None)
    }

    fn success_step<S: Service, E: Event>(
        self,
        act: AfterSuccess<S, E>,
        makes: Option<(TypeId, &'static str)>,
    ) -> Self {
        self.step(Step {
            event: TypeId::of::<E>(),
            event_name: E::NAME,
            service: Some((TypeId::of::<S>(), std::any::type_name::<S>())),
            makes,
            what: StdArc::new(act),
        })
    }
}

/// Does what is to follow a success of this service with this event.
pub(crate) async fn succeed<S: Service, E: Event>(
    then: &OnSuccess,
    service: &mut S,
    event: &E,
    cx: &mut Context<S>,
) -> Outcome {
    for step in &then.steps {
        match step.what.downcast_ref::<AfterSuccess<S, E>>() {
            Some(AfterSuccess::Publish(make)) => {
                make(service, event, &cx.press(then.waited)).await?;
            }
            Some(AfterSuccess::Hook(hook)) => hook(service, event, cx)?,
            None => {}
        }
    }
    Ok(())
}

/// Does what is to follow a failure with this event.
pub(crate) async fn give_up<S: Service, E: Event>(
    then: &OnFailure,
    event: &E,
    failure: &Failure,
    cx: &Context<S>,
) -> Outcome {
    let press = cx.press(then.waited);
    for step in &then.steps {
        if let Some(AfterFailure(make)) = step.what.downcast_ref::<AfterFailure<E>>() {
            guard(|| make(event, failure, &press))?.await?;
        }
    }
    Ok(())
}
