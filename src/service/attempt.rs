//! One attempt at one event: the handler, run once, within its time and its span.
//!
//! Deliveries and errands make them; it calls the user's handler.
//!
//! Invariant: an attempt is cancelled only where its handler waits; one that never does is noted
//! if it took too long.
//!
//! It settles nothing: whoever makes it hears how it ended.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use crate::clock::{Look, by, deadline};
use crate::event::Event;
use crate::failure::{Failure, Outcome};
use crate::policy::{Rules, Trouble};
use crate::service::{Context, Handle, Service};
use crate::topic::block::Slot;

/// The failure of an attempt that was cancelled: by its timeout, or by the deadline of its event.
///
/// A policy finds it by `failure.is::<TimedOut>()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no result within {limit:?}")]
#[non_exhaustive]
pub struct TimedOut {
    /// How long the attempt was allowed to take: its timeout, or what was left to the deadline.
    pub limit: Duration,
}

/// An attempt that did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) trouble: Trouble,
    pub(crate) failure: Failure,
}

/// How an attempt that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    InTime,
    /// It finished too late to be cancelled.
    Late,
    /// It goes on in later work.
    Later,
}

/// The time that an attempt has, with the later work it goes on in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    limit: Duration,
    pub(crate) until: Instant,
}

impl Fault {
    pub(crate) fn new(trouble: Trouble, failure: Failure) -> Self {
        Fault { trouble, failure }
    }

    /// What is wrong with a part of an attempt; `None` is one that ran out of its time.
    pub(crate) fn of(done: Option<Outcome>, allowance: Option<Allowance>) -> Result<(), Self> {
        done.map_or_else(|| Err(timed_out(allowance)), |done| done.map_err(failed))
    }
}

impl Allowance {
    /// That of an attempt which begins now at an event accepted then; `None` is as long as it
    /// likes.
    pub(crate) fn of(
        rules: &Rules,
        accepted: Option<Duration>,
        time: &mut Look<'_>,
    ) -> Option<Self> {
        let limit = rules.limit(accepted, || time.since_start())?;
        let until = deadline(time.now(), limit);
        Some(Allowance { limit, until })
    }

    pub(crate) fn is_over(self, now: Instant) -> bool {
        now > self.until
    }
}

/// Runs the handler once, within its time and its span.
pub(crate) async fn attempt<S: Handle<E>, E: Event>(
    slot: &Slot<E>,
    allowance: Option<Allowance>,
    service: &mut S,
    cx: &mut Context<S>,
    time: &mut Look<'_>,
) -> Result<End, Fault> {
    let span = Context::<S>::is_traced().then(|| cx.span(E::NAME, &slot.stamp));
    // Counted from the beginning of the attempt, however late it first waits.
    let end = allowance.map(|allowance| allowance.until);
    let handling = handle(slot, service, cx);
    // Pinned here: to move it into what follows would take longer than all else.
    let done = match span {
        None => by(time.clock, end, pin!(handling)).await,
        Some(span) => by(time.clock, end, pin!(handling.instrument(span))).await,
    };
    time.forget();
    conclude(done, allowance, time)
}

/// Runs the handler once, and what it has left to be done.
async fn handle<S: Handle<E>, E: Event>(
    slot: &Slot<E>,
    service: &mut S,
    cx: &mut Context<S>,
) -> Result<End, Failure> {
    service.handle(&slot.event, cx).await?;
    if cx.has_more() {
        return Box::pin(more(cx)).await;
    }
    Ok(End::InTime)
}

/// What the handler has left to be done: later work, or else what it publishes on success.
pub(crate) async fn more<S: Service>(cx: &mut Context<S>) -> Result<End, Failure> {
    if cx.laters.is_asked() {
        return Ok(End::Later);
    }
    cx.publish_follow_ups().await?;
    Ok(End::InTime)
}

/// What is to be said of an attempt that has just ended; `None` is one that ran out of time.
fn conclude(
    done: Option<Result<End, Failure>>,
    allowance: Option<Allowance>,
    time: &mut Look<'_>,
) -> Result<End, Fault> {
    match done {
        Some(Ok(End::InTime)) if allowance.is_some_and(|it| it.is_over(time.now())) => {
            Ok(End::Late)
        }
        Some(end) => end.map_err(failed),
        None => Err(timed_out(allowance)),
    }
}

pub(crate) fn failed(failure: Failure) -> Fault {
    Fault::new(Trouble::Failed, failure)
}

/// An attempt has run out of its time.
pub(crate) fn timed_out(allowance: Option<Allowance>) -> Fault {
    let limit = allowance.map(|it| it.limit).unwrap_or_default();
    Fault::new(Trouble::TimedOut, Failure::from(TimedOut { limit }))
}
