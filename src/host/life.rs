//! One life of a service: from its recipe to its exit.
//!
//! The host spawns it; it calls the user's hooks and handlers, and asks the verdict.
//!
//! Invariant: this is the one loop that chooses between orders, timers and the mailbox, in this
//! order, between any two deliveries.
//!
//! It catches no panic itself: it runs inside a guard.

use std::any::TypeId;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::within;
use crate::crew::Share;
use crate::defaults::START_WAIT;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::host::guard::Kept;
use crate::host::recipe::Loan;
use crate::host::ruling::{self, Consequence};
use crate::host::{Borrowed, ServiceMailbox};
use crate::mailbox::Next;
use crate::mailbox::doors::Doors;
use crate::mailbox::source::{Ruling, Setback};
use crate::panic::guarded;
use crate::policy::Trouble;
use crate::pulse::Pulse;
use crate::service::letter::{Sealed, Unanswered, answer};
use crate::service::{
    Change, Context, Deliver, Fault, Halt, Inbox, Pace, Pile, Service, TimedOut, Turn, Work,
    finish, run_job,
};
use crate::sync::Arc;
use crate::topic::tally::Count;
use crate::vitals::Vitals;
use crate::waits::Mark;

/// What a life needs besides its service.
pub(crate) struct Life<S: Service, L> {
    pub(crate) mailbox: Borrowed<Box<ServiceMailbox<S, L>>>,
    pub(crate) inbox: Arc<Inbox<S>>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) pace: Pace,
    pub(crate) dice: fastrand::Rng,
    /// What is its own, if it is one of several workers.
    pub(crate) share: Option<Arc<Share>>,
    /// Where it announces the room that it makes.
    pub(crate) mark: Rc<Mark<Doors>>,
}

impl<S: Service, L: Deliver<S>> Life<S, L> {
    /// Lives.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps room for its arguments twice"
    )]
    pub(crate) fn run(
        mut self,
        recipe: Loan<S>,
        mut cx: Kept<Context<S>>,
    ) -> impl Future<Output = Exit> {
        async move {
            // What is done once in a life is boxed: the life is kept while the service rests.
            let mut service = match Box::pin(self.rise(recipe, &mut cx)).await {
                Ok(service) => service,
                Err(exit) => return exit,
            };
            let exit = self.work(&mut service, &mut cx).await;
            let exit = Box::pin(self.fall(exit, service, &mut cx)).await;
            if let Exit::Panic(_) = exit {
                cx.bury();
            }
            exit
        }
    }

    async fn rise(&mut self, recipe: Loan<S>, cx: &mut Context<S>) -> Result<Kept<S>, Exit> {
        self.vitals.own.note_busy(self.pulse.clock.since_start());
        let service = recipe.make().await.ok_or(Exit::Killed)?;
        let mut service = Kept::new(service);
        self.start(&mut service, cx).await?;
        cx.control.rise();
        Ok(service)
    }

    async fn fall(&mut self, exit: Exit, mut service: Kept<S>, cx: &mut Context<S>) -> Exit {
        cx.control.seal(&exit);
        if ends_in_order(&exit) {
            self.begin_turn(cx);
            let limit = cx.control.farewell();
            let stopping = stopping(&exit, &mut *service, cx);
            if within(&self.pulse.clock, limit, stopping).await.is_none() {
                note_cut_off(cx.path(), limit.unwrap_or_default());
            }
        } else if let Exit::Panic(_) = exit {
            service.bury();
        }
        exit
    }

    async fn start(&mut self, service: &mut S, cx: &mut Context<S>) -> Result<(), Exit> {
        cx.begin_hook();
        let _job = self.pulse.begin_job();
        let starting = async {
            service.started(cx).await?;
            cx.publish_follow_ups().await
        };
        match within(&self.pulse.clock, Some(START_WAIT), starting).await {
            Some(Ok(())) => {
                begin_laters(cx);
                Ok(())
            }
            Some(Err(failure)) => Err(Exit::Failure(failure)),
            None => Err(Exit::Timeout(START_WAIT)),
        }
    }

    /// Works until an order or a failure ends the life.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps room for its arguments twice"
    )]
    fn work(&mut self, service: &mut S, cx: &mut Context<S>) -> impl Future<Output = Exit> {
        async move {
            loop {
                self.begin_turn(cx);
                while !self.pace.is_spent(&self.pulse.clock) {
                    if self.is_ending(cx) {
                        return self.ending(cx);
                    }
                    if self.inbox.has_changes() {
                        let ended = self.make_changes();
                        ended.into_iter().for_each(|event| cx.laters.abandon(event));
                    }
                    let is_suspended = self.vitals.is_suspended();
                    if is_suspended && !cx.laters.has_finished() {
                        self.pause(cx, || false).await;
                        continue;
                    }
                    if cx.timers.next_due().is_some() || cx.laters.has_finished() {
                        let done = Box::pin(self.do_beside(service, cx)).await;
                        if let Err(exit) = done {
                            return exit;
                        }
                        if is_suspended || cx.is_interrupted() {
                            continue;
                        }
                    }
                    let version = self.crew_version();
                    let below = self.below(cx);
                    let next = self.next(below, cx);
                    // What was seen may lie beyond a change of the crew that was not.
                    let is_dry = next == Next::Nothing;
                    if self.crew_version() != version || is_dry && self.has_finished() {
                        continue;
                    }
                    let is_dry = is_dry && !cx.laters.has_events();
                    if is_dry && cx.control.draining().is_some_and(|end| end <= below) {
                        return Exit::Shutdown;
                    }
                    let (source, work) = match next {
                        Next::Events { source, until } => (source, Work::Events { until }),
                        Next::Held { source } => (source, Work::Held),
                        Next::Aside { source } => (source, Work::Aside),
                        Next::Letters { until } => {
                            self.answer(until, service, cx).await;
                            continue;
                        }
                        Next::Later(_) | Next::Nothing => {
                            self.rest(next, cx, || false).await;
                            continue;
                        }
                    };
                    let delivered = self.deliver(source, work, service, cx).await;
                    if let Err(exit) = self.follow(delivered, cx) {
                        return exit;
                    }
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Does what stands outside the order of events: timers that are due, results of later work.
    async fn do_beside(&mut self, service: &mut S, cx: &mut Context<S>) -> Result<(), Exit> {
        // What has begun is finished, but nothing new begins.
        if !self.vitals.is_suspended() {
            self.run_timers(service, cx).await?;
        }
        self.finish_laters(service, cx).await
    }

    fn next(&mut self, below: u64, cx: &Context<S>) -> Next {
        let clock = &self.pulse.clock;
        self.mailbox.shut(cx.laters.is_full());
        self.mailbox.next_below(below, || clock.now())
    }

    /// Whether this life is to end now.
    pub(super) fn is_ending(&self, cx: &Context<S>) -> bool {
        cx.is_stopping() || self.is_told_to_end(cx)
    }

    /// How this life is to end now.
    pub(super) fn ending(&self, cx: &Context<S>) -> Exit {
        if self.is_told_to_end(cx) {
            Exit::Shutdown
        } else {
            Exit::Normal
        }
    }

    fn is_told_to_end(&self, cx: &Context<S>) -> bool {
        let control = &cx.control;
        // One that is suspended handles nothing, so it cannot drain.
        control.is_stopped() || control.draining().is_some() && self.vitals.is_suspended()
    }

    /// Waits while the service is suspended, and nothing that it has begun comes to its end.
    pub(super) async fn pause(&mut self, cx: &Context<S>, has_news: impl Fn() -> bool) {
        self.vitals.own.note_rest();
        poll_fn(|task| {
            self.inbox.bell.arm(task.waker());
            // Looked at after the bell was armed: whoever changes something rings it.
            let ordered = cx.control.is_stopped() || cx.control.draining().is_some();
            let has_news = has_news() || cx.laters.has_finished();
            if ordered || has_news || self.inbox.has_changes() || !self.vitals.is_suspended() {
                return Poll::Ready(());
            }
            self.pulse.ran_dry();
            Poll::Pending
        })
        .await;
        self.mailbox.wake();
        self.begin_turn(cx);
    }

    /// What has a number from this on is not read, or not yet.
    pub(super) fn below(&self, cx: &Context<S>) -> u64 {
        self.crew_limit().min(below(cx))
    }

    fn crew_limit(&self) -> u64 {
        self.share
            .as_ref()
            .map_or(u64::MAX, |share| share.crew.limit())
    }

    fn crew_version(&self) -> u64 {
        self.share.as_ref().map_or(0, |share| share.crew.version())
    }

    /// Where nothing is to be read: says that all below the limit of the crew is settled, if it is
    /// and somebody waits for that.
    fn has_finished(&mut self) -> bool {
        let Some(share) = self.share.as_ref() else {
            return false;
        };
        let limit = share.crew.limit();
        if limit == u64::MAX || !share.crew.awaits(share.index) || !self.mailbox.is_past(limit) {
            return false;
        }
        share.crew.finish(share.index, limit);
        true
    }

    /// Makes the changes of subscriptions that were asked for; which have ended.
    pub(super) fn make_changes(&mut self) -> Vec<TypeId> {
        let mut ended = Vec::new();
        // Before what they announce is looked at: what is announced meanwhile is announced anew.
        for change in self.inbox.take_changes() {
            match change {
                Change::Subscribe(source) => {
                    self.mailbox.add(source);
                    // Others may have been set since it was made.
                    self.inbox.renew_rules();
                }
                Change::Unsubscribe(event) => {
                    ended.push(event);
                    let unread = self.mailbox.unsubscribe(event);
                    self.note_undelivered(unread);
                }
            }
        }
        self.follow_new_rules();
        self.mark.others.set(self.mailbox.doors());
        ended
    }

    fn note_undelivered(&self, unread: Vec<(&'static str, Vec<u64>)>) {
        let Some(home) = self.inbox.home() else {
            return;
        };
        for (event, numbers) in unread.into_iter().filter(|(_, all)| !all.is_empty()) {
            home.wall.note_undelivered(home.service(), event, numbers);
        }
    }

    fn follow_new_rules(&mut self) {
        let rules = self.inbox.take_new_rules();
        self.mailbox.follow(rules, &|| self.inbox.watch());
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps room for its arguments twice"
    )]
    fn deliver(
        &mut self,
        source: usize,
        work: Work,
        service: &mut S,
        cx: &mut Context<S>,
    ) -> impl Future<Output = Result<(), Halt>> {
        async move {
            let mut turn = Turn {
                pace: &mut self.pace,
                clock: &self.pulse.clock,
                has_waited: !matches!(work, Work::Events { .. }),
            };
            let is_alone = self.share.is_none();
            let mailbox = &mut **self.mailbox;
            let delivering = deliver_on(mailbox, (source, work), is_alone, service, cx, &mut turn);
            // Caught here as well as around the life: the way there, back through all that a life
            // keeps, takes longer than everything else in a restart.
            let delivered = guarded(pin!(delivering)).await;
            let delivered = delivered.unwrap_or_else(|panic| Err(Halt::Crash(Box::new(panic))));
            let has_waited = turn.has_waited;
            if has_waited || delivered.is_err() {
                self.mailbox.note_waiting();
            }
            delivered
        }
    }

    /// What becomes of this life after a delivery.
    fn follow(&mut self, delivered: Result<(), Halt>, cx: &Context<S>) -> Result<(), Exit> {
        match delivered {
            Ok(()) => Ok(()),
            Err(Halt::Fault(fault)) => self.judge(*fault, cx),
            Err(Halt::Ruled(ruling)) => self.carry_out(*ruling, cx),
            Err(Halt::Crash(panic)) => Err(Exit::Panic(*panic)),
        }
    }

    /// What becomes of this life after a ruling that has been carried out on the event.
    pub(super) fn carry_out(&self, ruling: Ruling, cx: &Context<S>) -> Result<(), Exit> {
        let at = self.pulse.clock.since_start();
        let (trouble, failure) = (ruling.trouble, ruling.failure.clone());
        let consequence = ruling::carry_out(ruling, at, &cx.wall, &self.vitals);
        suffer(consequence, trouble, failure)
    }

    /// What becomes of the event in flight, and of this life, after a fault.
    pub(super) fn judge(&mut self, fault: Fault, cx: &Context<S>) -> Result<(), Exit> {
        let now = self.pulse.clock.now();
        let (trouble, failure) = (fault.trouble, fault.failure.clone());
        let setback = Setback {
            trouble: fault.trouble,
            failure: fault.failure,
            now,
            at: self.pulse.clock.since_start(),
            jitter: self.dice.f64(),
        };
        // A policy applies from the first failure after it was changed.
        self.follow_new_rules();
        let consequence = ruling::judge(&mut self.mailbox, setback, &cx.wall, &self.vitals);
        suffer(consequence, trouble, failure)
    }

    /// Answers the letters that are out, as far as their turn has come.
    async fn answer(&mut self, until: u64, service: &mut S, cx: &mut Context<S>) {
        cx.settle_down();
        let waits = cx.waits();
        while self.pile(until).is_next(cx) {
            // One of several workers answers no other with it.
            let is_alone = self.share.is_none();
            let mut pile = self.pile(if is_alone { until } else { 0 });
            if let Some(how) = pile.begin() {
                let then = async |_: &mut S, cx: &mut Context<S>| cx.publish_follow_ups().await;
                if let Some(answered) = answer((how, pile), service, cx, then).await {
                    self.settle_letter(answered.err(), cx);
                }
                begin_laters(cx);
            }
            // What is due beside letters comes first, once an answer has waited.
            cx.settle_down();
            let has_waited = cx.waits() != waits;
            // The number of workers may have changed meanwhile.
            if has_waited || self.pace.is_spent(&self.pulse.clock) || self.share.is_some() {
                break;
            }
        }
    }

    fn pile(&mut self, until: u64) -> Pile<'_, S> {
        Pile {
            letters: &mut self.mailbox.letters,
            until,
            pace: &mut self.pace,
            clock: &self.pulse.clock,
        }
    }

    /// Takes the next letter, unless nobody waits for its answer any more.
    pub(super) fn take_letter(&mut self) -> Option<Sealed<S>> {
        self.pile(u64::MAX).take_out()
    }

    /// A letter that was taken has come to this end.
    pub(super) fn count_letter(&self, end: Count) {
        self.mailbox.letters.settle(end);
    }

    pub(super) fn settle_letter(&self, unanswered: Option<Unanswered>, cx: &Context<S>) {
        match unanswered {
            None => self.count_letter(Count::Done),
            Some(unanswered) => {
                self.count_letter(Count::Failed);
                note_failed_letter(cx.path(), &unanswered);
            }
        }
    }

    /// Runs the timers that are due; those they set have their turn after the mailbox.
    async fn run_timers(&mut self, service: &mut S, cx: &mut Context<S>) -> Result<(), Exit> {
        let Some(pass) = cx.timers.begin_pass(&self.pulse.clock) else {
            return Ok(());
        };
        while let Some((timer, at, job)) = cx.timers.take_due(&pass) {
            cx.begin_hook();
            let _job = self.pulse.begin_job();
            let ran = run_job(timer, at, job, service, cx).await;
            let done: Outcome = match ran {
                Ok(()) => cx.publish_follow_ups().await,
                failed => failed,
            };
            done.map_err(Exit::Failure)?;
            begin_laters(cx);
            if cx.is_interrupted() {
                break;
            }
        }
        Ok(())
    }

    /// Delivers what has come of later work.
    async fn finish_laters(&mut self, service: &mut S, cx: &mut Context<S>) -> Result<(), Exit> {
        while let Some(event) = cx.laters.first_finished() {
            let source = event.and_then(|event| self.mailbox.source_of(event));
            match (event, source) {
                (_, Some(source)) => {
                    let delivered = self.deliver(source, Work::Finished, service, cx).await;
                    self.follow(delivered, cx)?;
                }
                (None, None) => self.finish_hook(service, cx).await?,
                // Its subscription has ended, and with it what the work was for.
                (Some(_), None) => forget_finished(cx),
            }
            if cx.is_interrupted() || !self.pace.step(&self.pulse.clock) {
                break;
            }
        }
        Ok(())
    }

    /// Delivers what has come of later work that is about no event.
    async fn finish_hook(&mut self, service: &mut S, cx: &mut Context<S>) -> Result<(), Exit> {
        let Some((work, end)) = cx.laters.take_finished() else {
            return Ok(());
        };
        if cx.laters.opening(work).is_none() {
            return Ok(());
        }
        cx.begin_again(work);
        let _job = self.pulse.begin_job();
        let done = finish(end, None, service, cx).await;
        done.map_err(|fault| Exit::Failure(fault.failure))?;
        let published = cx.publish_follow_ups().await;
        published.map_err(Exit::Failure)?;
        cx.begin_more(work);
        if cx.laters.is_over(work) {
            cx.laters.forget(work);
        }
        Ok(())
    }

    /// Sleeps until there is something to do: an order, a timer, a retry, or work.
    pub(super) async fn rest(&mut self, next: Next, cx: &Context<S>, has_news: impl Fn() -> bool) {
        cx.rest();
        let held = if let Next::Later(due) = next {
            Some(due)
        } else {
            None
        };
        let due = [held, cx.timers.next_due()].into_iter().flatten().min();
        // Most services at rest wait for no time.
        let mut sleep: Option<Pin<Box<Sleep>>> = None;
        let draining = cx.control.draining();
        let mut has_slept = false;
        self.vitals.own.note_rest();
        poll_fn(|task| {
            // Rung: the life looks for whatever it is. To look here first would arm the bell anew:
            // 180 instructions of an ask.
            if has_slept && !self.inbox.bell.is_armed() {
                return Poll::Ready(());
            }
            let ordered = cx.control.is_stopped() || cx.control.draining() != draining;
            let has_news = || has_news() || cx.laters.has_finished();
            let changed = ordered || self.inbox.has_changes() || has_news();
            let below = self.below(cx);
            if changed || !self.mailbox.sleep_below(below, task.waker()) {
                return Poll::Ready(());
            }
            // Looked at after the bell was armed: a change rings it, and so does later work.
            if self.inbox.has_changes() || has_news() {
                return Poll::Ready(());
            }
            self.pulse.ran_dry();
            let polled = due.map_or(Poll::Pending, |due| {
                let clock = &self.pulse.clock;
                let sleep = sleep.get_or_insert_with(|| Box::pin(clock.sleep_until(due)));
                sleep.as_mut().poll(task)
            });
            has_slept |= polled.is_pending();
            polled
        })
        .await;
        self.mailbox.wake();
        if has_slept {
            self.begin_turn(cx);
        } else {
            // Its turn goes on, and comes to an end: whoever finds nothing to do, and no rest,
            // would keep the thread for ever.
            self.pace.count(1);
            cx.begin_turn(self.pulse.clock.now());
        }
    }

    /// Waits until this is so; whoever makes it so rings the bell.
    pub(super) async fn hear_of(&mut self, is_so: impl Fn() -> bool) {
        poll_fn(|task| {
            self.inbox.bell.arm(task.waker());
            if is_so() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        self.mailbox.wake();
    }

    pub(super) fn begin_turn(&mut self, cx: &Context<S>) {
        let now = self.pulse.clock.now();
        self.pace.begin(now);
        cx.begin_turn(now);
    }
}

/// Delivers from one source, and from the others in turn as long as events are all that is next:
/// where two topics alternate, every event is a batch of its own.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function keeps room for its arguments twice"
)]
fn deliver_on<S: Service, L: Deliver<S>>(
    mailbox: &mut ServiceMailbox<S, L>,
    (mut source, mut work): (usize, Work),
    is_alone: bool,
    service: &mut S,
    cx: &mut Context<S>,
    turn: &mut Turn<'_>,
) -> impl Future<Output = Result<(), Halt>> {
    async move {
        loop {
            match source.checked_sub(L::LEN) {
                None => {
                    let sources = &mut mailbox.fixed;
                    sources.deliver(source, work, service, cx, turn).await?;
                }
                Some(added) => {
                    if let Some(added) = mailbox.added.get_mut(added) {
                        added.deliver(work, service, cx, turn).await?;
                    }
                }
            }
            let is_over = turn.has_waited || turn.pace.is_spent(turn.clock) || cx.is_interrupted();
            // A timer may be due, and comes first.
            let has_other = cx.timers.next_due().is_some() || cx.laters.has_finished();
            if is_over || has_other || !is_alone || cx.laters.is_full() {
                return Ok(());
            }
            let Some((next, until)) = mailbox.next_events(below(cx)) else {
                return Ok(());
            };
            (source, work) = (next, Work::Events { until });
        }
    }
}

/// Tells a service, or an instance, that its life ends.
pub(super) async fn stopping<S: Service>(exit: &Exit, service: &mut S, cx: &mut Context<S>) {
    cx.begin_hook();
    let _job = cx.wall.pulse.begin_job();
    service.stopping(exit, cx).await;
    // It ends anyway: what cannot be published is not.
    let _ = cx.publish_follow_ups().await;
}

/// Begins the later work that a hook, a timer or an answer has asked for.
fn begin_laters<S: Service>(cx: &mut Context<S>) {
    if cx.laters.is_asked() {
        cx.begin_laters(None, None);
    }
}

/// Forgets the event whose work has finished first.
fn forget_finished<S: Service>(cx: &mut Context<S>) {
    if let Some((work, _)) = cx.laters.take_finished() {
        cx.laters.forget(work);
    }
}

/// What a verdict means for the life.
fn suffer(consequence: Consequence, trouble: Trouble, failure: Failure) -> Result<(), Exit> {
    if matches!(consequence, Consequence::Live) {
        return Ok(());
    }
    Err(consequence.exit(failure, |failure| {
        match failure.downcast_ref::<TimedOut>() {
            Some(timed_out) if trouble == Trouble::TimedOut => Exit::Timeout(timed_out.limit),
            _ => Exit::Failure(failure),
        }
    }))
}

/// Whether the service is told that its life ends: not when it was cut short over an event.
pub(super) fn ends_in_order(exit: &Exit) -> bool {
    match exit {
        Exit::Timeout(_) | Exit::Panic(_) => false,
        Exit::Retired(failure) | Exit::Fatal(failure) => !failure.is::<TimedOut>(),
        _ => true,
    }
}

/// What has a number from this on is not read any more.
fn below<S: Service>(cx: &Context<S>) -> u64 {
    cx.control.draining().unwrap_or(u64::MAX)
}

pub(super) fn note_cut_off(service: &str, limit: Duration) {
    tracing::warn!(
        target: "callboard::supervision",
        service, ?limit,
        "`stopping` took too long and was cut off"
    );
}

fn note_failed_letter(service: &str, unanswered: &Unanswered) {
    tracing::warn!(
        target: "callboard::host",
        service,
        message_type = unanswered.message,
        failure = %unanswered.failure.describe(),
        "a message was answered with a failure"
    );
}
