//! What a service can do while one of its handlers or hooks runs.
//!
//! The host makes one for each life and lends it to every call; its verbs go to the board.
//!
//! Invariant: what is published through it carries the cause, and is accepted even while the
//! board drains; so is what is sent to services of the same board. For another it is an outsider.
//!
//! It is bound to one life: timers and buffered events end with it.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::activity::Activity;
use crate::bell::Bell;
use crate::clock::deadline;
use crate::dead_letter::DeadLetter;
use crate::defaults::{ASK_WAIT, PUBLISH_WAIT};
use crate::event::{Byline, Cause, Event, EventId, word_of};
use crate::failure::{Failure, Outcome};
use crate::mailbox::held::Try;
use crate::message::Message;
use crate::panic::Fragile;
use crate::service::address::current_span;
use crate::service::attempt::Allowance;
use crate::service::control::Control;
use crate::service::follow_up::Press;
use crate::service::inbox::Home;
use crate::service::later::Laters;
use crate::service::letter::{NoWay, Told};
use crate::service::strand::Strand;
use crate::service::timers::{Job, Timers};
use crate::service::{
    Address, Answer, AskError, Handle, Inbox, On, Service, SubscribeError, TellError, TimerId,
};
use crate::sync::Arc;
use crate::topic::Origin;
use crate::topic::batch::PublishAll;
use crate::topic::block::Stamp;
use crate::topic::publish::{Publish, PublishError};
use crate::topic::settlement::Ending;
use crate::vitals::Vitals;
use crate::waits::Waiter;
use crate::wall::Wall;

pub(crate) type FollowUp = Pin<Box<dyn Future<Output = Outcome>>>;

/// What the service is doing right now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doing {
    /// 0 in hooks and timers.
    number: u64,
    attempt: u32,
    /// Attempts that are not counted: they were cut short, or made before a redrive.
    lapsed: u32,
    /// The event's name as a word; 0 for a letter, a hook or a timer.
    event: u64,
    cause: Option<Cause>,
    redriven: bool,
    /// When a handler with a timeout or a deadline will be cancelled, or an asker stops waiting.
    until: Option<Instant>,
}

impl Doing {
    fn id(&self) -> Option<EventId> {
        (self.number > 0).then(|| EventId::new(self.number))
    }
}

/// What a handler or hook can do: publish, tell, ask, set timers, subscribe, stop.
pub struct Context<S: Service> {
    pub(crate) wall: Arc<Wall>,
    pub(crate) timers: Timers<S>,
    pub(crate) laters: Laters<S>,
    pub(crate) control: Rc<Control>,
    waiter: Option<Waiter>,
    /// The number of the service.
    number: u32,
    pub(crate) bell: Arc<Bell>,
    strand: Strand,
    address: Address<S>,
    doing: Doing,
    follow_ups: Fragile<FollowUp>,
    stopping: bool,
    /// What its activity said of polls when the clock was last looked at.
    polls: Cell<u64>,
}

impl<S: Service> Context<S> {
    pub(crate) fn new(
        wall: Arc<Wall>,
        address: Address<S>,
        control: Rc<Control>,
        strand: Strand,
    ) -> Self {
        Context {
            wall,
            timers: Timers::new(),
            laters: Laters::new(),
            control,
            waiter: address.inbox.home().map(|home| home.waiter.clone()),
            number: address.inbox.home().map_or(0, Home::number),
            bell: Arc::clone(&address.inbox.bell),
            strand,
            address,
            doing: Doing::default(),
            follow_ups: Fragile::default(),
            stopping: false,
            polls: Cell::new(0),
        }
    }

    /// Publishes an event, caused by the one being handled; waits for room, at most 5 s or what
    /// is left of the handler's own time, as [`Context::ask`] does. See [`Publish`].
    ///
    /// Publishing is immediate: a handler that publishes and then fails publishes again in its
    /// next attempt, with the same [cause](Cause) and a higher attempt. To publish only after a
    /// success, use [`Context::publish_on_success`].
    pub fn publish<E: Event>(&self, event: E) -> Publish<E> {
        let wait = self.patience(PUBLISH_WAIT);
        let (topic, board) = (self.wall.topic(), self.wall.id());
        Publish::new(topic, event, self.origin(), wait, board)
    }

    /// Publishes an event if every subscriber has room now.
    ///
    /// # Errors
    /// [`PublishError`], with the event.
    pub fn try_publish<E: Event>(&self, event: E) -> Result<EventId, PublishError<E>> {
        let offered = self.wall.topic().offer(event, &self.origin(), None);
        offered.map_err(|(event, refusal)| PublishError::refused(event, &refusal))
    }

    /// Publishes many events of one type in order, faster than one by one, each caused by the one
    /// being handled; waits for room as [`Context::publish`] does. See [`PublishAll`]. The iterator
    /// is read to its end first.
    pub fn publish_all<E: Event>(&self, batch: impl IntoIterator<Item = E>) -> PublishAll<E> {
        let (wait, events) = (self.patience(PUBLISH_WAIT), batch.into_iter().collect());
        let (topic, board) = (self.wall.topic(), self.wall.id());
        PublishAll::new(topic, events, self.origin(), wait, board)
    }

    /// Publishes an event once the handler has succeeded, before the handled event is acknowledged.
    ///
    /// If it cannot be published, the attempt has failed. In `started` and in timers it is
    /// published when they end.
    pub fn publish_on_success<E: Event>(&mut self, event: E) {
        let publish = self.publish(event);
        self.follow_ups.push(Box::pin(async move {
            publish.await?;
            Ok(())
        }));
        self.bell.stir_here();
    }

    /// Sends a message to another service; waits for room as [`Context::publish`] does. For a
    /// service of another board it comes from outside, without a cause.
    ///
    /// # Errors
    /// [`TellError`], with the message; [`TellError::Cycle`] at once if the mailbox of `to` is full
    /// and `to` is already waiting for this service, or is this service.
    ///
    /// # Cancel safety
    /// As [`Address::tell`].
    pub async fn tell<T: Answer<M>, M: Message>(
        &self,
        to: &Address<T>,
        message: M,
    ) -> Result<(), TellError<M>> {
        match to.post(Told::new(message, self.origin_for(to), NoWay)) {
            Ok(()) => Ok(()),
            Err(letter) => Box::pin(to.send(letter, self.patience(PUBLISH_WAIT))).await,
        }
    }

    /// Sends a message to another service if there is room now.
    ///
    /// # Errors
    /// [`TellError`], with the message.
    pub fn try_tell<T: Answer<M>, M: Message>(
        &self,
        to: &Address<T>,
        message: M,
    ) -> Result<(), TellError<M>> {
        to.post(Told::new(message, self.origin_for(to), NoWay))
            .or_else(|letter| to.try_send(letter))
    }

    /// Asks another service; waits at most 5 s or what is left of the handler's own time: its
    /// timeout, its event's deadline, or the ask that it answers. So a chain of asks ends when the
    /// first of them does. Use [`Context::ask_within`] for more than 5 s.
    ///
    /// # Errors
    /// [`AskError`]; [`AskError::Cycle`] at once if `to` is already waiting for this service,
    /// directly or through others, or is this service. See
    /// [the tour](crate#waiting-in-a-circle).
    ///
    /// # Cancel safety
    /// As [`Address::ask`].
    pub async fn ask<T: Answer<M>, M: Message>(
        &self,
        to: &Address<T>,
        message: M,
    ) -> Result<M::Reply, AskError<M>> {
        self.ask_within(to, message, ASK_WAIT).await
    }

    /// As [`Context::ask`], but waits for `limit` at most, or for what is left of the handler's own
    /// time.
    ///
    /// # Errors
    /// As [`Context::ask`].
    ///
    /// # Cancel safety
    /// As [`Address::ask`].
    pub async fn ask_within<T: Answer<M>, M: Message>(
        &self,
        to: &Address<T>,
        message: M,
        limit: Duration,
    ) -> Result<M::Reply, AskError<M>> {
        let limit = self.patience(limit);
        match to.post_question(message, self.origin_for(to), limit) {
            Ok(question) => question.await,
            Err(unposted) => Box::pin(to.ask_otherwise(unposted, limit, limit)).await,
        }
    }

    /// Runs `job` once, after `delay`, between two deliveries of this service.
    ///
    /// Timers are not part of the order of events: one that is due runs before what is queued. They
    /// end with this life. If the job fails or panics, the life ends.
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// # struct Clerk { open: u32 }
    /// # impl Service for Clerk {
    /// async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
    ///     cx.after(secs(60), async |clerk: &mut Clerk, _| {
    ///         clerk.open = 0;
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn after<F>(&mut self, delay: Duration, job: F) -> TimerId
    where
        F: AsyncFnOnce(&mut S, &mut Context<S>) -> Outcome + 'static,
    {
        let due = deadline(self.now(), delay);
        self.set_timer(due, Job::Once(Box::new(job)))
    }

    /// Runs `job` every `interval` (at least 1 ms), the first time after one interval, as
    /// [`Context::after`] does. Ticks that were missed are skipped.
    pub fn every<F>(&mut self, interval: Duration, job: F) -> TimerId
    where
        F: AsyncFnMut(&mut S, &mut Context<S>) -> Outcome + 'static,
    {
        let interval = interval.max(Duration::from_millis(1));
        let due = deadline(self.now(), interval);
        self.set_timer(due, Job::Every(interval, Box::new(job)))
    }

    fn set_timer(&mut self, due: Instant, job: Job<S>) -> TimerId {
        self.timers.add(self.wall.pulse.next_timer(), due, job)
    }

    /// Cancels a timer of this life (or of this instance [per key](crate::ServiceSpec::per_key)).
    /// Does nothing if it has run, or belongs to another life or instance.
    pub fn cancel(&mut self, timer: TimerId) {
        self.timers.cancel(timer);
    }

    /// Subscribes this service to an event type, with default terms: it receives what is published
    /// from now on, also in later lives, until it ends for good or unsubscribes.
    ///
    /// # Errors
    /// [`SubscribeError`], if it has subscribed already.
    pub fn subscribe<E: Event>(&self) -> Result<(), SubscribeError>
    where
        S: Handle<E>,
    {
        self.subscribe_with(|on: On<E>| on)
    }

    /// As [`Context::subscribe`], with terms.
    ///
    /// # Errors
    /// [`SubscribeError`], if it has subscribed already or the terms are invalid.
    pub fn subscribe_with<E: Event>(
        &self,
        terms: impl FnOnce(On<E>) -> On<E>,
    ) -> Result<(), SubscribeError>
    where
        S: Handle<E>,
    {
        self.address.subscribe(&terms(On::new()))
    }

    /// Ends a subscription of this service once the current handler has returned; events that it
    /// had not read are counted as undelivered.
    ///
    /// # Errors
    /// [`SubscribeError`], if it has not subscribed.
    pub fn unsubscribe<E: Event>(&self) -> Result<(), SubscribeError> {
        self.address.unsubscribe::<E>()
    }

    /// Ends this life normally once the current handler has returned. Its restart type then
    /// decides whether it is started again.
    ///
    /// In an instance [per key](crate::ServiceSpec::per_key) this ends that instance alone; the
    /// next event or message for its key makes another.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.address.inbox.call();
    }

    /// Begins the shutdown of the whole board, and returns at once, so that the service does not
    /// wait for itself.
    ///
    /// From now on callers outside the board are refused; the rest happens as in
    /// [`Board::shutdown`](crate::Board::shutdown), within the board's
    /// [`shutdown_limit`](crate::BoardBuilder::shutdown_limit): work under way is finished, this
    /// handler included, then children stop in reverse order. If it is called during the first
    /// start, the rest of the tree is started before it is stopped.
    /// [`Board::wait`](crate::Board::wait) returns once the board has ended, and
    /// [`Board::shutdown`](crate::Board::shutdown) then returns the report. A second call changes
    /// nothing.
    pub fn stop_board(&self) {
        tracing::info!(
            target: "callboard::supervision",
            service = self.path(),
            "a service ends the board"
        );
        self.wall.begin_end();
    }

    /// The number of the event or letter being handled; `None` in hooks and timers.
    pub fn event_id(&self) -> Option<EventId> {
        self.doing.id()
    }

    /// Which attempt at the event this is: 1 the first time, more after failures and crashes;
    /// 0 in hooks and timers.
    pub fn attempt(&self) -> u32 {
        self.doing.attempt
    }

    /// The event or letter whose handler published this event; `None` if it came from outside.
    /// Copies published by several attempts carry the same id and rising attempts.
    pub fn cause(&self) -> Option<Cause> {
        self.doing.cause
    }

    /// Whether the event is a redriven dead letter.
    pub fn is_redriven(&self) -> bool {
        self.doing.redriven
    }

    /// The path of this service, such as `shop/payments`.
    pub fn path(&self) -> &str {
        self.address.path()
    }

    /// Which of the [workers](crate::ServiceSpec::workers) of its service this is, counted from
    /// 0; `None` if the service has none.
    pub fn worker(&self) -> Option<usize> {
        let share = self.address.inbox.home()?.share.as_ref();
        share.map(|share| share.index)
    }

    /// The address of this service, to pass on to others. In a worker it leads to this worker,
    /// whatever the key of a message.
    pub fn address(&self) -> Address<S> {
        self.address.clone()
    }

    /// The board's time.
    pub fn now(&self) -> Instant {
        self.wall.pulse.clock.now()
    }

    /// A context for an instance of the same service: it shares all but what is being done.
    pub(crate) fn for_instance(&self, activity: Arc<Activity>) -> Self {
        let (wall, vitals) = (Arc::clone(&self.wall), Arc::clone(self.vitals()));
        let strand = Strand::of_instance(vitals, activity);
        Context::new(wall, self.address.clone(), Rc::clone(&self.control), strand)
    }

    /// A delivery begins, which will be cancelled then.
    pub(crate) fn begin<E: Event>(&mut self, stamp: &Stamp, what: Try, until: Option<Instant>) {
        self.rest();
        self.doing = Doing {
            number: stamp.number,
            attempt: what.attempt,
            lapsed: what.lapsed,
            event: const { word_of(E::NAME) },
            cause: stamp.cause(),
            redriven: what.redriven,
            until,
        };
        self.note_doing();
        self.forget_more();
    }

    /// A batch of first attempts begins, with nothing to watch over them: what is the same for all
    /// of them is noted once. False if something else comes first.
    pub(crate) fn begin_batch<E: Event>(&mut self) -> bool {
        self.settle_down();
        self.doing = Doing {
            attempt: 1,
            event: const { word_of(E::NAME) },
            ..Doing::default()
        };
        self.strand.note_doing(0, 1, self.doing.event);
        !self.is_interrupted()
    }

    /// Whether what runs now, or somebody else, has left something to be looked at before the next
    /// delivery of a batch: [`Context::has_more`], or what [`Context::look_up`] says.
    #[inline]
    pub(crate) fn is_stirred(&self) -> bool {
        self.bell.is_stirred()
    }

    /// As [`Context::look_up`], if there is anything to look at.
    #[inline]
    pub(crate) fn settle_down(&mut self) {
        if self.is_stirred() {
            self.look_up();
        }
    }

    /// Ends what a delivery has left behind; whether something else comes before the next one:
    /// an order or a change, or whatever has become due while it waited.
    #[cold]
    pub(crate) fn look_up(&mut self) -> bool {
        self.bell.calm();
        self.rest();
        self.forget_more();
        self.note_wait() || self.is_interrupted()
    }

    /// The next delivery of a batch begins, or the next message of one that is told: nothing was
    /// stirred.
    #[inline]
    pub(crate) fn begin_next(&mut self, number: u64, cause: Option<Cause>) {
        self.doing.number = number;
        self.doing.cause = cause;
        self.strand.note_number(number);
    }

    /// What is to follow an event that is given up begins: it belongs to the last attempt, the one
    /// before this.
    pub(crate) fn begin_follow_up<E: Event>(&mut self, stamp: &Stamp, next: Try) {
        self.begin::<E>(stamp, next.before(), None);
    }

    /// What is to be done with the result of later work begins; returns how long it may take.
    pub(crate) fn begin_again(&mut self, work: u64) -> Option<Allowance> {
        self.rest();
        self.forget_more();
        let opening = self.laters.opening(work)?;
        let (doing, allowance) = (opening.doing.clone(), opening.allowance);
        self.doing = doing;
        self.note_doing();
        allowance
    }

    /// All later work of an event is done: what its handler wanted to publish on success goes
    /// first.
    pub(crate) fn end_later(&mut self, work: u64) {
        if let Some(mut opening) = self.laters.forget(work) {
            opening.follow_ups.append(&mut self.follow_ups);
            self.follow_ups = std::mem::take(&mut opening.follow_ups);
            self.bell.stir_here();
        }
    }

    /// Forgets what a failed attempt had wanted to be done on success.
    #[inline]
    pub(crate) fn forget_more(&mut self) {
        if self.has_more() {
            drop(self.take_follow_ups());
            self.laters.forget_asked();
        }
    }

    /// The answer to a letter begins.
    pub(crate) fn begin_letter(
        &mut self,
        number: u64,
        cause: Option<Cause>,
        until: Option<Instant>,
    ) {
        self.rest();
        self.doing = Doing {
            number,
            attempt: 1,
            lapsed: 0,
            event: 0,
            cause,
            redriven: false,
            until,
        };
        self.note_doing();
        self.forget_more();
    }

    /// Nothing of the user's runs: whatever futures the service has kept, it waits for nobody.
    #[inline]
    pub(crate) fn rest(&self) {
        if let Some(waiter) = &self.waiter {
            waiter.rest();
        }
    }

    /// A hook or a timer begins.
    pub(crate) fn begin_hook(&mut self) {
        self.rest();
        self.doing = Doing::default();
        self.note_busy();
        self.strand.note_doing(0, 0, 0);
        self.forget_more();
    }

    fn note_doing(&mut self) {
        self.note_wait();
        let doing = &self.doing;
        self.strand
            .note_doing(doing.number, doing.attempt, doing.event);
    }

    /// What came before has waited if the thread has been left meanwhile: then the turn's
    /// beginning says nothing of when the next one begins, and a timer may be due before it.
    #[inline]
    pub(crate) fn note_wait(&self) -> bool {
        let polls = self.strand.polls();
        let has_waited = self.polls.replace(polls) != polls;
        if has_waited {
            self.note_busy();
        }
        has_waited
    }

    /// Another one after each wait that was noted.
    pub(crate) fn waits(&self) -> u64 {
        self.polls.get()
    }

    /// A turn begins: what comes next began then, unless it waits.
    pub(crate) fn begin_turn(&self, now: Instant) {
        self.polls.set(self.strand.polls());
        let since = self.wall.pulse.clock.since_start_at(now);
        self.strand.note_busy(since);
    }

    #[cold]
    fn note_busy(&self) {
        self.strand.note_busy(self.wall.pulse.clock.since_start());
    }

    /// Publishes what was to be published on success.
    pub(crate) async fn publish_follow_ups(&mut self) -> Outcome {
        while !self.follow_ups.is_empty() {
            self.follow_ups.remove(0).await?;
        }
        Ok(())
    }

    /// Whether anybody may listen to the spans of handlers: one load while nobody does.
    pub(crate) fn is_traced() -> bool {
        tracing::level_filters::LevelFilter::current() >= tracing::Level::DEBUG
    }

    /// Whether there is something to be done now that the handler has succeeded.
    #[inline]
    pub(crate) fn has_more(&self) -> bool {
        !self.follow_ups.is_empty() || self.laters.is_asked()
    }

    pub(crate) fn take_follow_ups(&mut self) -> Fragile<FollowUp> {
        std::mem::take(&mut self.follow_ups)
    }

    pub(crate) fn doing(&self) -> &Doing {
        &self.doing
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox<S>> {
        &self.address.inbox
    }

    /// What publishes the follow-ups of what is being handled.
    pub(crate) fn press(&self, waited: bool) -> Press {
        Press {
            wall: Arc::clone(&self.wall),
            origin: self.origin(),
            wait: self.patience(PUBLISH_WAIT),
            waited,
        }
    }

    /// Puts a dead letter on the shelf, settles it, and waits until all who listen have settled
    /// theirs.
    pub(crate) async fn mourn_waited(&self, letter: DeadLetter, ending: Ending) {
        self.wall.keep(letter.clone());
        letter.settle(ending);
        if let Err(failure) = self.press(true).publish(letter.clone()).await {
            // Refused, since one who listens waits for this service: they hear of it all the same.
            self.wall.announce_death(&letter);
            self.note_not_followed_up(DeadLetter::NAME, &failure);
        }
    }

    pub(crate) fn note_not_followed_up(&self, event: &'static str, failure: &Failure) {
        tracing::error!(
            target: "callboard::policy",
            service = self.path(),
            event,
            event_id = self.doing.number,
            failure = failure.describe(),
            "the follow-up event of a failure policy could not be published"
        );
    }

    /// The span of one attempt: a root that follows from its publisher's span.
    pub(crate) fn span(&self, event: &'static str, stamp: &Stamp) -> tracing::Span {
        let span = tracing::debug_span!(
            target: "callboard::host",
            parent: None,
            "handle",
            service = self.path(),
            event,
            event_id = stamp.number,
            attempt = self.doing.attempt,
        );
        if let Some(publisher) = &stamp.span {
            span.follows_from(publisher);
        }
        span
    }

    /// The span of one answer.
    pub(crate) fn letter_span(
        &self,
        message: &'static str,
        number: u64,
        sender: Option<&tracing::Id>,
    ) -> tracing::Span {
        let span = tracing::debug_span!(
            target: "callboard::host",
            parent: None,
            "answer",
            service = self.path(),
            message_type = message,
            event_id = number,
        );
        if let Some(sender) = sender {
            span.follows_from(sender);
        }
        span
    }

    /// Whether the next delivery has to wait for an order or a change of subscriptions.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.address.inbox.has_changes()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub(crate) fn strand(&self) -> &Strand {
        &self.strand
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        self.strand.vitals()
    }

    fn origin(&self) -> Origin {
        // A copy that is published again differs also where the attempt was not counted.
        let attempt = self.doing.attempt.saturating_add(self.doing.lapsed);
        let byline = |id| Byline::new(Cause::new(id, attempt), self.number);
        Origin::new(true, self.doing.id().map(byline), current_span())
    }

    /// Where a message to this service comes from: for another board from outside, and from nothing
    /// that it knows of.
    #[inline]
    fn origin_for<T: Service>(&self, to: &Address<T>) -> Origin {
        let home = to.inbox.home();
        if home.is_some_and(|home| !Arc::ptr_eq(&home.wall, &self.wall)) {
            return to.origin();
        }
        self.origin()
    }

    /// How long a verb may wait: `usual`, or what is left of the time of what is being handled.
    fn patience(&self, usual: Duration) -> Duration {
        let left = self
            .doing
            .until
            .map(|until| until.saturating_duration_since(self.now()));
        left.map_or(usual, |left| left.min(usual))
    }
}

impl<S: Service> fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("path", &self.path())
            .field("doing", &self.doing)
            .finish_non_exhaustive()
    }
}
