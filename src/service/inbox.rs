//! The shared half of one service's mailbox: what its addresses hold.
//!
//! Addresses send through it; the host reads the other half.
//!
//! Invariant: it outlives every life, and is bound to one board and one path, once.
//!
//! It holds no event: those stay on the board.

use std::any::{TypeId, type_name};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::bell::Bell;
use crate::clock::deadline;
use crate::crew::Share;
use crate::defaults;
use crate::event::Event;
use crate::ledger::LetterRow;
use crate::lifecycle;
use crate::mailbox::gauge::{Gauge, Watch};
use crate::mailbox::letters::{Letterbox, Unsent};
use crate::policy::{BreakerState, Policy, Rules, Standing};
use crate::pulse::Pulse;
use crate::service::letter::Enclosed;
use crate::service::mail::Mail;
use crate::service::team::Team;
use crate::service::wish::Wish;
use crate::service::{AddedSource, Service};
use crate::sync::{Arc, AtomicBool, Mutex, OnceLock, Ordering, fence, lock};
use crate::vitals::Vitals;
use crate::waits::{Cycle, Waiter, Waiting, running};
use crate::wall::{AnyLetters, Wall};

/// A change of subscriptions, made while the service runs.
pub(crate) enum Change<S: Service> {
    Subscribe(Box<dyn AddedSource<S> + Send>),
    Unsubscribe(TypeId),
}

/// Why there was no room for a letter.
#[derive(Debug)]
pub(crate) enum NoRoom {
    Unsent(Unsent),
    /// Its sender would wait for somebody who waits for it.
    Cycle(Cycle),
}

/// Where an inbox belongs, once its tree is being started.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) wall: Arc<Wall>,
    /// The service as one that waits and is waited for.
    pub(crate) waiter: Waiter,
    /// The service's policy, over those above it.
    pub(crate) policy: Arc<Standing>,
    pub(crate) vitals: Arc<Vitals>,
    /// What of it all is its own, if it is one of several workers.
    pub(crate) share: Option<Arc<Share>>,
}

pub(crate) struct Inbox<S: Service> {
    pub(crate) letters: Arc<Letterbox<dyn Mail<S>>>,
    pub(crate) bell: Arc<Bell>,
    home: OnceLock<Home>,
    /// The workers of the service, for itself and for each of them.
    team: OnceLock<Arc<Team<S>>>,
    changes: Mutex<Vec<Change<S>>>,
    /// Whether there are changes, or anything else has called the service.
    changed: AtomicBool,
    /// What the service subscribes to, and what its spec says even if it does not now: few, so a
    /// list.
    subscribed: Mutex<Vec<Subscribed>>,
    /// Whether a policy has changed since the rules were last made from them.
    has_new_policy: AtomicBool,
}

/// What is known of a subscription outside its life.
struct Subscribed {
    event_type: TypeId,
    type_name: &'static str,
    event: &'static str,
    policy: Policy,
    /// The spec says so: it ends as any other, and comes back with the service.
    is_fixed: bool,
    /// It has ended, and is kept for its policy.
    is_former: bool,
}

impl Home {
    pub(crate) fn path(&self) -> &Arc<str> {
        &self.vitals.path
    }

    /// The path that the ledger counts under: that of the service, also for one of its workers.
    pub(crate) fn service(&self) -> &Arc<str> {
        let share = self.share.as_ref();
        share.map_or(self.path(), |share| &share.service)
    }

    /// The number of the service among those on its board: one for all of its workers.
    pub(crate) fn number(&self) -> u32 {
        let above = self.share.as_ref().and_then(|_| self.waiter.above());
        above.unwrap_or(&self.waiter).number()
    }

    /// Who tells of the guards of the service's subscriptions.
    pub(crate) fn watch(&self) -> Arc<dyn Watch> {
        Arc::new(self.clone())
    }

    /// Notes that the service which runs on this thread waits for this one, if it is of the same
    /// board.
    pub(crate) fn wait(&self) -> Result<Option<Waiting>, Cycle> {
        self.wait_with(None)
    }

    /// As [`Home::wait`], for an answer: a worker takes what is sent now only when a change of
    /// their number that is under way is over, and so waits for those who have not finished.
    pub(crate) fn wait_for_answer(&self) -> Result<Option<Waiting>, Cycle> {
        let share = self.share.as_ref();
        self.wait_with(share.and_then(|share| share.crew.gate()))
    }

    fn wait_with(&self, gate: Option<Waiter>) -> Result<Option<Waiting>, Cycle> {
        let Some(waiter) = running(self.wall.id()) else {
            return Ok(None);
        };
        let waiting = match gate {
            None => waiter.wait_for(&self.waiter),
            Some(gate) => waiter.wait_for_both(&self.waiter, &gate),
        };
        waiting.map(Some)
    }
}

impl Watch for Home {
    fn enlist(&self, gauge: &Arc<Gauge>) {
        self.wall.gauges.enlist(self.path(), self.service(), gauge);
    }

    fn delist(&self, gauge: &Arc<Gauge>) {
        self.wall.gauges.delist(self.path(), gauge);
    }

    fn turned(&self, event: &'static str, state: BreakerState) {
        let service = &**self.path();
        match state {
            BreakerState::Open => tracing::warn!(
                target: "callboard::policy",
                service, event, "the breaker opens: too many attempts have failed"
            ),
            _ => {
                tracing::info!(
                    target: "callboard::policy",
                    service, event,
                    "the breaker is {state}"
                )
            }
        }
        let change = match state {
            BreakerState::Open => lifecycle::Change::BreakerOpened { event },
            BreakerState::HalfOpen => lifecycle::Change::BreakerHalfOpen { event },
            BreakerState::Closed => lifecycle::Change::BreakerClosed { event },
        };
        self.wall.announce(&self.vitals, change);
    }
}

impl<S: Service> Inbox<S> {
    pub(crate) fn new() -> Arc<Self> {
        let bell = Arc::new(Bell::new());
        Arc::new(Inbox {
            letters: Arc::new(Letterbox::new(
                Arc::clone(&bell),
                defaults::LETTER_CAPACITY as u64,
            )),
            bell,
            home: OnceLock::new(),
            team: OnceLock::new(),
            changes: Mutex::new(Vec::new()),
            changed: AtomicBool::new(false),
            subscribed: Mutex::new(Vec::new()),
            has_new_policy: AtomicBool::new(false),
        })
    }

    pub(crate) fn home(&self) -> Option<&Home> {
        self.home.get()
    }

    /// Moves in. A spec is started at most once, so this happens once.
    pub(crate) fn move_in(&self, home: Home) {
        let _ = self.home.set(home);
    }

    /// The workers of the service, if it has several.
    pub(crate) fn team(&self) -> Option<&Arc<Team<S>>> {
        self.team.get()
    }

    /// Joins the workers of the service. Happens once, as moving in does.
    pub(crate) fn join(&self, team: Arc<Team<S>>) {
        let _ = self.team.set(team);
    }

    /// Says where it is called when the number of workers changes, if it is one.
    pub(crate) fn join_crew(self: &Arc<Self>) {
        if let Some(share) = self.home().and_then(|home| home.share.as_ref()) {
            let inbox = Arc::downgrade(self);
            share.crew.join(share.index, move || {
                if let Some(inbox) = inbox.upgrade() {
                    inbox.call();
                }
            });
        }
    }

    /// Notes a subscription that the spec says.
    pub(crate) fn note_fixed<E: Event>(&self, policy: Policy) {
        self.note(Subscribed {
            is_fixed: true,
            ..Subscribed::added::<E>(policy)
        });
    }

    /// Notes a subscription that is made while running; false if there is one to that type already.
    pub(crate) fn note_added<E: Event>(&self, policy: Policy) -> bool {
        self.note(Subscribed::added::<E>(policy))
    }

    fn note(&self, new: Subscribed) -> bool {
        let mut subscribed = lock(&self.subscribed);
        if find(&mut subscribed, new.event_type).is_some() {
            return false;
        }
        subscribed.reserve_exact(1);
        subscribed.push(new);
        true
    }

    /// Notes that what the spec says is subscribed to again, after an end: each subscription with
    /// the policy that it had, whatever took its place meanwhile.
    pub(crate) fn resubscribe(&self) {
        let mut subscribed = lock(&self.subscribed);
        subscribed.iter_mut().for_each(|one| one.is_former = false);
    }

    /// Notes the end of a subscription, and returns its own policy; nothing if there was none.
    pub(crate) fn note_unsubscribed(&self, event: TypeId) -> Option<Policy> {
        let mut subscribed = lock(&self.subscribed);
        let found = subscribed
            .iter()
            .position(|one| one.is(event) && !one.is_former)?;
        let one = subscribed.get_mut(found)?;
        if one.is_fixed {
            one.is_former = true;
            return Some(one.policy.clone());
        }
        Some(subscribed.remove(found).policy)
    }

    /// The subscriptions, ordered by event, with what would be in force for each under this policy
    /// of the service.
    pub(crate) fn wishes(&self, outer: &Policy) -> Vec<Wish> {
        let subscribed = lock(&self.subscribed);
        let mut wishes: Vec<_> = subscribed
            .iter()
            .filter(|one| !one.is_former)
            .map(|one| Wish {
                event: one.event,
                event_type: one.event_type,
                type_name: one.type_name,
                problems: Vec::new(),
                policy: one.policy.over(outer),
            })
            .collect();
        wishes.sort_by_key(|wish| wish.event);
        wishes
    }

    /// Exchanges the own policy of one subscription for this one. False if there is none to that
    /// type. What is left is to be dropped outside all locks: it may hold closures of the user's.
    pub(crate) fn set_policy(&self, event: TypeId, policy: &mut Policy) -> bool {
        let mut subscribed = lock(&self.subscribed);
        let found = find(&mut subscribed, event);
        found
            .map(|one| std::mem::swap(&mut one.policy, policy))
            .is_some()
    }

    /// Sets the own policies of the subscriptions to what another worker of the service has.
    pub(crate) fn set_policies_of(&self, other: &Self) {
        let others = lock(&other.subscribed);
        let policies = others
            .iter()
            .filter(|one| !one.is_former)
            .map(|one| (one.event_type, one.policy.clone()));
        let policies: Vec<_> = policies.collect();
        drop(others);
        for (event, mut policy) in policies {
            self.set_policy(event, &mut policy);
        }
        self.note_new_policy();
    }

    /// Has the service make its rules anew.
    pub(crate) fn note_new_policy(&self) {
        self.renew_rules();
        // What waits because of the old one is no reason any more not to settle.
        if let Some(home) = self.home() {
            home.wall.gauges.let_go(home.path());
        }
        self.call();
    }

    /// All rules are new to somebody.
    pub(crate) fn renew_rules(&self) {
        self.has_new_policy.store(true, Ordering::SeqCst);
    }

    /// The rules of each subscription, if a policy has changed since this was last asked.
    pub(crate) fn take_new_rules(&self) -> Vec<(TypeId, Arc<Rules>)> {
        if !self.has_new_policy.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        let Some(home) = self.home() else {
            return Vec::new();
        };
        let wishes = self.wishes(&home.policy.in_force());
        let rules = |wish: Wish| (wish.event_type, wish.policy.shared_rules());
        wishes.into_iter().map(rules).collect()
    }

    /// Whom the guards of new rules tell.
    pub(crate) fn watch(&self) -> Option<Arc<dyn Watch>> {
        self.home().map(Home::watch)
    }

    /// Notes the end of all subscriptions.
    pub(crate) fn forget_subscriptions(&self) {
        let mut subscribed = lock(&self.subscribed);
        let added = subscribed.extract_if(.., |one| !one.is_fixed);
        let added: Vec<_> = added.collect();
        subscribed.iter_mut().for_each(|one| one.is_former = true);
        drop(subscribed);
        // Outside the lock: these may be the last that hold closures of the user's.
        drop(added);
    }

    /// Asks the mailbox for the change that `make` notes; it is made before the next delivery.
    ///
    /// One change is noted after the other, and each before those that the service takes when it
    /// ends, or after it has: what is noted is what the mailbox will have.
    pub(crate) fn change<R>(&self, make: impl FnOnce() -> Result<Change<S>, R>) -> Result<(), R> {
        let mut changes = lock(&self.changes);
        changes.push(make()?);
        // Before the bell is looked at; the mailbox arms it before it looks here.
        self.changed.store(true, Ordering::SeqCst);
        drop(changes);
        self.bell.stir();
        self.bell.ring();
        Ok(())
    }

    pub(crate) fn take_changes(&self) -> Vec<Change<S>> {
        let mut changes = lock(&self.changes);
        self.changed.store(false, Ordering::SeqCst);
        std::mem::take(&mut *changes)
    }

    pub(crate) fn has_changes(&self) -> bool {
        self.changed.load(Ordering::SeqCst)
    }

    /// Makes the service look up before its next delivery, and wakes it if it rests.
    pub(crate) fn call(&self) {
        self.changed.store(true, Ordering::SeqCst);
        self.bell.stir();
        self.bell.ring();
    }

    /// Sends a letter if there is room now, or gives it back.
    ///
    /// All in one piece of code, so that it is written out of registers where it stays: with a copy
    /// on the way, which waits for what was stored just before, a message takes half as long again.
    #[inline(always)]
    pub(crate) fn post<L: Enclosed<S>>(&self, pulse: &Pulse, letter: L) -> Result<(), L> {
        let is_insider = letter.origin().is_insider();
        let Ok(room) = self.letters.enter(pulse, is_insider) else {
            return Err(letter);
        };
        room.put(pulse, letter);
        self.letters.ring();
        Ok(())
    }

    /// Puts a letter in, if there is room; [`Letterbox::ring`] follows.
    pub(crate) fn put<L: Enclosed<S>>(
        &self,
        pulse: &Pulse,
        letter: &mut Option<L>,
    ) -> Result<(), Unsent> {
        let room = self.letters.enter(pulse, is_insider(letter))?;
        if let Some(letter) = letter.take() {
            room.put(pulse, letter);
        }
        Ok(())
    }

    /// Sends a letter, if there is room.
    pub(crate) fn try_send<L: Enclosed<S>>(
        &self,
        pulse: &Pulse,
        letter: &mut Option<L>,
    ) -> Result<(), Unsent> {
        self.put(pulse, letter)?;
        self.letters.ring();
        Ok(())
    }

    /// Sends a letter, waiting for room at most so long. The service that waits is noted as such,
    /// unless a wait of its own covers that already.
    pub(crate) async fn send<L: Enclosed<S>>(
        &self,
        home: &Home,
        wait: Duration,
        covered: Option<&Waiting>,
        letter: &mut Option<L>,
    ) -> Result<(), NoRoom> {
        let is_insider = is_insider(letter);
        let send = || self.try_send(&home.wall.pulse, letter);
        self.when_room(home, is_insider, wait, covered, send).await
    }

    /// Tries as long as this inbox is full, at most so long. Who waits is noted as for `send`.
    pub(crate) async fn when_room<T>(
        &self,
        home: &Home,
        is_insider: bool,
        wait: Duration,
        covered: Option<&Waiting>,
        mut attempt: impl FnMut() -> Result<T, Unsent>,
    ) -> Result<T, NoRoom> {
        let pulse = &*home.wall.pulse;
        let mut ticket = Ticket {
            inbox: self,
            number: None,
        };
        let mut until: Option<Instant> = None;
        let mut sleep = pin!(None::<Sleep>);
        poll_fn(|cx| {
            loop {
                match attempt() {
                    Err(Unsent::Full) if !wait.is_zero() => {}
                    other => return Poll::Ready(other.map_err(NoRoom::Unsent)),
                }
                let is_noted = covered.is_some() || ticket.is_waiting();
                let waiting = if is_noted { Ok(None) } else { home.wait() };
                let waiting = match waiting {
                    Ok(waiting) => waiting,
                    Err(cycle) => return Poll::Ready(Err(NoRoom::Cycle(cycle))),
                };
                if !ticket.wait(pulse, is_insider, cx.waker(), waiting) {
                    continue;
                }
                let until = *until.get_or_insert_with(|| deadline(pulse.clock.now(), wait));
                if sleep.is_none() {
                    sleep.set(Some(pulse.clock.sleep_until(until)));
                }
                let slept = sleep
                    .as_mut()
                    .as_pin_mut()
                    .is_some_and(|sleep| sleep.poll(cx).is_ready());
                return if slept {
                    Poll::Ready(Err(NoRoom::Unsent(Unsent::Full)))
                } else {
                    Poll::Pending
                };
            }
        })
        .await
    }
}

fn is_insider<S: Service, L: Enclosed<S>>(letter: &Option<L>) -> bool {
    let letter = letter.as_ref();
    letter.is_some_and(|letter| letter.origin().is_insider())
}

impl Subscribed {
    /// One that is made while running.
    fn added<E: Event>(policy: Policy) -> Self {
        Subscribed {
            event_type: TypeId::of::<E>(),
            type_name: type_name::<E>(),
            event: E::NAME,
            policy,
            is_fixed: false,
            is_former: false,
        }
    }

    fn is(&self, event: TypeId) -> bool {
        self.event_type == event
    }
}

fn find(subscribed: &mut [Subscribed], event: TypeId) -> Option<&mut Subscribed> {
    let mut present = subscribed.iter_mut().filter(|one| !one.is_former);
    present.find(|one| one.is(event))
}

/// A place among those who wait for room; leaving gives it up.
struct Ticket<'a, S: Service> {
    inbox: &'a Inbox<S>,
    number: Option<u64>,
}

impl<S: Service> Ticket<'_, S> {
    /// Whether its holder is noted as waiting. Whoever was let go in between has waited for
    /// nobody.
    fn is_waiting(&self) -> bool {
        let room = &self.inbox.letters.room;
        self.number.is_some_and(|number| room.is_waiting(number))
    }

    /// Waits for room. False if there is some, or never will be.
    fn wait(
        &mut self,
        pulse: &Pulse,
        is_insider: bool,
        waker: &Waker,
        waiting: Option<Waiting>,
    ) -> bool {
        let room = &self.inbox.letters.room;
        let number = *self.number.get_or_insert_with(|| room.ticket());
        room.enter(number, waker, waiting);
        // Orders entering before the look at the room; a reader orders room before its look
        // at those who have entered.
        fence(Ordering::SeqCst);
        pulse.accepts(is_insider) && self.inbox.letters.has_room() == Some(false)
    }
}

impl<S: Service> Drop for Ticket<'_, S> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.inbox.letters.room.leave(number);
        }
    }
}

// The wall keeps the letters alone: an inbox knows its wall, and the two would keep each other.
impl<S: Service> AnyLetters for Letterbox<dyn Mail<S>> {
    fn counts(&self) -> LetterRow {
        self.counts()
    }

    fn phase_changed(&self) {
        self.room.let_go();
    }
}

impl<S: Service> fmt::Debug for Inbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("home", &self.home())
            .finish_non_exhaustive()
    }
}
