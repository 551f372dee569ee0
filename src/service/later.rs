//! Work that goes on after the handler has returned, while its event stays open: `cx.later`.
//!
//! Handlers begin it; the life delivers its results between two deliveries.
//!
//! Invariant: it ends with the life that began it; its event does not: that comes back.
//!
//! It settles nothing: the delivery of its result does.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::clock::by;
use crate::defaults;
use crate::failure::{Failure, Outcome};
use crate::panic::{Fragile, bury};
use crate::service::attempt::{Allowance, failed, timed_out};
use crate::service::context::{Doing, FollowUp};
use crate::service::inside::{Inside, Task};
use crate::service::timers::{RunOnce, Running};
use crate::service::{Context, Fault, Service};
use crate::sync::Arc;

pub(crate) type Asked<S> = Pin<Box<dyn Future<Output = Box<dyn RunOnce<S>>>>>;

/// How one piece of work ended: what is to be run with its result, or what went wrong.
pub(crate) type Finished<S> = Result<Box<dyn RunOnce<S>>, Fault>;

/// The work of one event, or of a hook, timer or letter.
pub(crate) struct Opening {
    pub(crate) doing: Doing,
    pub(crate) follow_ups: Fragile<FollowUp>,
    /// What the attempt had, of which this is the rest.
    pub(crate) allowance: Option<Allowance>,
    /// The event's type, if it is about one.
    event: Option<TypeId>,
    left: usize,
    /// Stops the work when it is dropped.
    works: Vec<Task>,
}

pub(crate) struct Laters<S: Service> {
    /// Made when it is first needed: most services never go on later.
    works: Option<Box<Works<S>>>,
    /// How many events may be open before events are read no more.
    most: usize,
}

struct Works<S: Service> {
    next: u64,
    /// What the handler that runs now has begun.
    asked: Fragile<Asked<S>>,
    open: BTreeMap<u64, Opening>,
    finished: Ended<S>,
    /// How many events are open.
    events: usize,
}

type Ended<S> = Rc<RefCell<VecDeque<(u64, Finished<S>)>>>;

/// What is run with the result of later work.
struct Finish<T, D> {
    result: T,
    done: D,
}

impl<S: Service, T: 'static, D> RunOnce<S> for Finish<T, D>
where
    D: AsyncFnOnce(&mut S, T, &mut Context<S>) -> Outcome + 'static,
{
    fn run<'a>(self: Box<Self>, service: &'a mut S, cx: &'a mut Context<S>) -> Running<'a> {
        Box::pin(async move { (self.done)(service, self.result, cx).await })
    }
}

impl<S: Service> Default for Works<S> {
    fn default() -> Self {
        Works {
            next: 0,
            asked: Fragile::default(),
            open: BTreeMap::new(),
            finished: Rc::default(),
            events: 0,
        }
    }
}

impl<S: Service> Laters<S> {
    pub(crate) fn new() -> Self {
        Laters {
            works: None,
            most: defaults::LATERS,
        }
    }

    fn works(&mut self) -> &mut Works<S> {
        self.works.get_or_insert_default()
    }

    pub(crate) fn ask<T, F, D>(&mut self, future: F, done: D)
    where
        T: 'static,
        F: Future<Output = T> + 'static,
        D: AsyncFnOnce(&mut S, T, &mut Context<S>) -> Outcome + 'static,
    {
        self.works().asked.push(Box::pin(async move {
            let result = future.await;
            Box::new(Finish { result, done }) as Box<dyn RunOnce<S>>
        }));
    }

    /// Whether the handler that runs now has begun something.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        let works = self.works.as_ref();
        works.is_some_and(|works| !works.asked.is_empty())
    }

    /// What the handler that runs now has begun.
    pub(crate) fn take_asked(&mut self) -> Fragile<Asked<S>> {
        let works = self.works.as_mut();
        works
            .map(|works| std::mem::take(&mut works.asked))
            .unwrap_or_default()
    }

    /// Forgets what a handler has begun that did not succeed.
    pub(crate) fn forget_asked(&mut self) {
        drop(self.take_asked());
    }

    pub(crate) fn allow(&mut self, most: usize) {
        self.most = most;
    }

    fn events(&self) -> usize {
        self.works.as_ref().map_or(0, |works| works.events)
    }

    /// Whether as many events are open as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.events() >= self.most
    }

    /// Whether an event is open.
    pub(crate) fn has_events(&self) -> bool {
        self.events() > 0
    }

    pub(crate) fn has_finished(&self) -> bool {
        let works = self.works.as_ref();
        works.is_some_and(|works| !works.finished.borrow().is_empty())
    }

    /// The event type whose work has finished first; inside, `None` if it is about no event.
    pub(crate) fn first_finished(&self) -> Option<Option<TypeId>> {
        let works = self.works.as_ref()?;
        let finished = works.finished.borrow();
        let (work, _) = finished.front()?;
        // What has been forgotten meanwhile is about nothing.
        Some(works.open.get(work).and_then(|opening| opening.event))
    }

    pub(crate) fn take_finished(&mut self) -> Option<(u64, Finished<S>)> {
        let works = self.works.as_mut()?;
        let (work, end) = works.finished.borrow_mut().pop_front()?;
        if let Some(opening) = works.open.get_mut(&work) {
            opening.left -= 1;
        }
        Some((work, end))
    }

    pub(crate) fn opening(&mut self, work: u64) -> Option<&mut Opening> {
        self.works.as_mut()?.open.get_mut(&work)
    }

    /// Whether nothing of this is under way any more.
    pub(crate) fn is_over(&self, work: u64) -> bool {
        let works = self.works.as_ref();
        let opening = works.and_then(|works| works.open.get(&work));
        opening.is_none_or(|opening| opening.left == 0)
    }

    /// Keeps this open, and returns its number.
    fn open(&mut self, opening: Opening) -> u64 {
        let works = self.works();
        works.next += 1;
        works.events += usize::from(opening.event.is_some());
        works.open.insert(works.next, opening);
        works.next
    }

    /// Ends what is left of it. What has finished already is about nothing from now on.
    pub(crate) fn forget(&mut self, work: u64) -> Option<Opening> {
        let works = self.works.as_mut()?;
        let opening = works.open.remove(&work)?;
        works.events -= usize::from(opening.event.is_some());
        Some(opening)
    }

    /// The subscription to these events has ended, and with it what their work was for.
    pub(crate) fn abandon(&mut self, event: TypeId) {
        let Some(works) = &self.works else { return };
        let theirs = works
            .open
            .iter()
            .filter(|(_, one)| one.event == Some(event));
        let theirs: Vec<u64> = theirs.map(|(work, _)| *work).collect();
        for work in theirs {
            drop(self.forget(work));
        }
    }
}

/// What is left is the user's: results that nobody asked for, and what was to be done with them.
impl<S: Service> Drop for Works<S> {
    fn drop(&mut self) {
        bury(self.finished.take());
    }
}

impl<S: Service> Context<S> {
    /// Continues with this event later: the handler returns, and the service handles other events
    /// and letters. The event stays open (in flight in the ledger) until `future` is ready and
    /// `done` has run with its result.
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// # struct OrderPlaced { id: u64 }
    /// # impl Event for OrderPlaced { const NAME: &'static str = "order.placed"; }
    /// # async fn charge(id: u64) -> Result<u64, std::io::Error> { Ok(500) }
    /// # struct Accounts { cents: u64 }
    /// # impl Service for Accounts {}
    /// impl Handle<OrderPlaced> for Accounts {
    ///     async fn handle(&mut self, order: &OrderPlaced, cx: &mut Context<Self>) -> Outcome {
    ///         cx.later(charge(order.id), async |accounts: &mut Self, charged, _| {
    ///             accounts.cents += charged?;
    ///             Ok(())
    ///         });
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// The future runs on the service's own thread, need not be `Send`, and borrows nothing from
    /// the service. `done` runs between two deliveries, as a handler does, ahead of what is queued.
    /// A handler may begin several pieces of work; its event is acknowledged when all are done, and
    /// what it [publishes on success](Self::publish_on_success) is published then. `done` may call
    /// `later` itself.
    ///
    /// **Time and failure.** The time of the attempt, which is its
    /// [timeout](crate::Policy::timeout) or what is left of its
    /// [deadline](crate::Policy::deadline), includes all of its later work and `done`. If it runs
    /// out, or `done` fails, or the future panics, the attempt has failed: whatever else is under
    /// way for the event is dropped, and its policy acts. The next attempt runs the handler again,
    /// aside, because the service has gone on: [deferred](crate::Retry::deferred), or
    /// [parked](crate::Retry::parked) if the policy says so. A panic in `done` ends the life, as in
    /// a handler; one in the future of an event does not, since it holds nothing of the service.
    ///
    /// **Limits.** At most 256 events are open at a time (see
    /// [`ServiceSpec::laters`](crate::ServiceSpec::laters)); at that limit the service reads no
    /// more events until one is done. The work ends with the life: it is dropped at its next wait,
    /// and the event comes back in the next life, without a counted attempt.
    ///
    /// **Per key.** In a service with an instance [per key](crate::ServiceSpec::per_key), the
    /// instance waits for the work, and so does the next event of its key; other keys go on. There
    /// the pieces of work of one handler are done one after the other, and a panic in one ends the
    /// instance.
    ///
    /// **Without an event.** In a hook, a timer or an answer there is no event to keep open: the
    /// work begins when the hook, timer or answer has succeeded. A failure of `done`, or a panic of
    /// the future, ends the life (or the instance), as in a timer. In an answer of an instance, a
    /// failure only counts the message as failed: the asker already has the reply.
    pub fn later<T, F, D>(&mut self, future: F, done: D)
    where
        T: 'static,
        F: Future<Output = T> + 'static,
        D: AsyncFnOnce(&mut S, T, &mut Self) -> Outcome + 'static,
    {
        self.laters.ask(future, done);
        self.bell.stir_here();
    }

    /// Begins what the handler has asked for; returns its number. With `event`, the work of that
    /// is open from now on.
    pub(crate) fn begin_laters(
        &mut self,
        event: Option<TypeId>,
        allowance: Option<Allowance>,
    ) -> u64 {
        let opening = Opening {
            doing: self.doing().clone(),
            follow_ups: self.take_follow_ups(),
            allowance,
            event,
            left: 0,
            works: Vec::new(),
        };
        let work = self.laters.open(opening);
        self.begin_more(work);
        work
    }

    /// Begins what `done` has asked for, as more work for the same event.
    pub(crate) fn begin_more(&mut self, work: u64) {
        let mut follow_ups = self.take_follow_ups();
        let mut asked = self.laters.take_asked();
        let Some(allowance) = self.laters.opening(work).map(|opening| opening.allowance) else {
            return;
        };
        let tasks: Vec<_> = asked
            .drain(..)
            .map(|future| self.begin_work(work, allowance, future))
            .collect();
        if let Some(opening) = self.laters.opening(work) {
            opening.left += tasks.len();
            opening.works.extend(tasks);
            opening.follow_ups.append(&mut follow_ups);
        }
    }

    fn begin_work(&mut self, work: u64, allowance: Option<Allowance>, future: Asked<S>) -> Task {
        let clock = self.wall.pulse.clock.clone();
        let inbox = Arc::clone(self.inbox());
        let finished = Rc::clone(&self.laters.works().finished);
        let future = Inside::new(self.wall.id(), self.strand().clone(), future);
        Task::begin(async move {
            let end = match by(&clock, allowance.map(|it| it.until), future).await {
                Some(ended) => ended.map_err(|panic| failed(Failure::from(panic))),
                None => Err(timed_out(allowance)),
            };
            finished.borrow_mut().push_back((work, end));
            inbox.bell.ring();
        })
    }
}

impl<S: Service> fmt::Debug for Laters<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.works.as_ref().map_or(0, |works| works.open.len());
        f.debug_struct("Laters")
            .field("open", &open)
            .finish_non_exhaustive()
    }
}
