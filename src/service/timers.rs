//! What a service will do later: `cx.after` and `cx.every`.
//!
//! The context keeps them; the host runs those that are due, between two deliveries.
//!
//! Invariant: timers end with the life that made them.
//!
//! They stand outside the causal order of events.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, next_tick};
use crate::failure::Outcome;
use crate::panic::bury;
use crate::service::{Context, Service};

/// Names one timer on its board, to cancel it: [`Context::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(u64);

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

pub(crate) enum Job<S: Service> {
    Once(Box<dyn RunOnce<S>>),
    Every(Duration, Box<dyn RunEvery<S>>),
}

pub(crate) trait RunOnce<S: Service> {
    fn run<'a>(self: Box<Self>, service: &'a mut S, cx: &'a mut Context<S>) -> Running<'a>;
}

pub(crate) trait RunEvery<S: Service> {
    fn run<'a>(&'a mut self, service: &'a mut S, cx: &'a mut Context<S>) -> Running<'a>;
}

impl<S: Service, F> RunOnce<S> for F
where
    F: AsyncFnOnce(&mut S, &mut Context<S>) -> Outcome + 'static,
{
    fn run<'a>(self: Box<Self>, service: &'a mut S, cx: &'a mut Context<S>) -> Running<'a> {
        Box::pin(async move { (*self)(service, cx).await })
    }
}

impl<S: Service, F> RunEvery<S> for F
where
    F: AsyncFnMut(&mut S, &mut Context<S>) -> Outcome + 'static,
{
    fn run<'a>(&'a mut self, service: &'a mut S, cx: &'a mut Context<S>) -> Running<'a> {
        Box::pin(async move { self(service, cx).await })
    }
}

pub(crate) struct Timers<S: Service> {
    /// Made when it is first needed: most services have none.
    set: Option<Box<Set<S>>>,
}

/// The timers that run one after the other: those that there were, and that were due, when it
/// began. Those they set are for the next pass: one that sets itself anew, to be due at once, would
/// keep the thread for ever.
pub(crate) struct Pass {
    now: Instant,
    last: u64,
}

struct Set<S: Service> {
    /// The last one set: numbers only rise.
    last: u64,
    due: BTreeMap<(Instant, u64), Job<S>>,
    /// The one that is running now, unless it has been cancelled meanwhile.
    running: Option<u64>,
}

impl<S: Service> Default for Set<S> {
    fn default() -> Self {
        Set {
            last: 0,
            due: BTreeMap::new(),
            running: None,
        }
    }
}

impl<S: Service> Drop for Set<S> {
    fn drop(&mut self) {
        bury(std::mem::take(&mut self.due).into_values());
    }
}

impl<S: Service> Timers<S> {
    pub(crate) fn new() -> Self {
        Timers { set: None }
    }

    pub(crate) fn add(&mut self, number: u64, at: Instant, job: Job<S>) -> TimerId {
        let set = self.set.get_or_insert_default();
        set.last = number;
        set.due.insert((at, number), job);
        TimerId(number)
    }

    pub(crate) fn cancel(&mut self, timer: TimerId) {
        if let Some(set) = &mut self.set {
            set.running = set.running.filter(|id| *id != timer.0);
            set.due.retain(|(_, id), _| *id != timer.0);
        }
    }

    #[inline]
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let (at, _) = self.set.as_ref()?.due.keys().next()?;
        Some(*at)
    }

    /// Begins a pass over what is due. `None`, and no look at the clock, if no timer is set.
    pub(crate) fn begin_pass(&self, clock: &Clock) -> Option<Pass> {
        let set = self.set.as_ref().filter(|set| !set.due.is_empty())?;
        let (now, last) = (clock.now(), set.last);
        Some(Pass { now, last })
    }

    /// Takes out the first timer that this pass runs.
    pub(crate) fn take_due(&mut self, pass: &Pass) -> Option<(TimerId, Instant, Job<S>)> {
        let set = self.set.as_mut()?;
        let mut due = set.due.range(..=(pass.now, pass.last)).map(|(key, _)| *key);
        let (at, id) = due.find(|(_, id)| *id <= pass.last)?;
        let job = set.due.remove(&(at, id))?;
        set.running = Some(id);
        Some((TimerId(id), at, job))
    }

    /// Puts a repeated timer back, unless it was cancelled while it ran. Ticks that were missed are
    /// skipped: the next one is the first multiple of the interval that is still to come.
    pub(crate) fn put_back(&mut self, timer: TimerId, at: Instant, now: Instant, job: Job<S>) {
        let (Job::Every(interval, _), Some(set)) = (&job, &mut self.set) else {
            return;
        };
        if set.running.take() != Some(timer.0) {
            return;
        }
        let next = next_tick(at, now, *interval);
        set.due.insert((next, timer.0), job);
    }
}

/// Runs a timer that is due, and puts it back if it is repeated.
pub(crate) async fn run_job<S: Service>(
    timer: TimerId,
    at: Instant,
    job: Job<S>,
    service: &mut S,
    cx: &mut Context<S>,
) -> Outcome {
    match job {
        Job::Once(job) => job.run(service, cx).await,
        Job::Every(interval, mut job) => {
            let ran = job.run(service, cx).await;
            let (now, job) = (cx.now(), Job::Every(interval, job));
            cx.timers.put_back(timer, at, now, job);
            ran
        }
    }
}

impl<S: Service> fmt::Debug for Timers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.set.as_ref().map_or(0, |set| set.due.len());
        f.debug_struct("Timers")
            .field("pending", &pending)
            .finish_non_exhaustive()
    }
}
