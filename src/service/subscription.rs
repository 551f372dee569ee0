//! The terms on which a service hears one event type.
//!
//! Specs, contexts and the board subscribe; opening a subscription takes a place in its topic.
//!
//! Invariant: a service hears one event type through one subscription at a time.
//!
//! It reads nothing: that is the mailbox's and the host's.

use std::any::{TypeId, type_name};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use crate::dead_letter::DeadLetter;
use crate::defaults::{self, CONTROL_WAIT};
use crate::event::Event;
use crate::lifecycle::Lifecycle;
use crate::mailbox::AsSource;
use crate::mailbox::source::{AnySource, Ruling, Source};
use crate::policy::{Policy, Step};
use crate::service::deliver::{Halt, Turn, Work, deliver};
use crate::service::errand::{Tray, hand_out};
use crate::service::inbox::{Change, Home};
use crate::service::{Address, Context, Handle, Inbox, Service};
use crate::sync::Arc;
use crate::topic::place::{Overflow, Terms};

/// The terms of one subscription: capacity, overflow and policy.
#[must_use]
pub struct On<E: Event> {
    capacity: usize,
    overflow: Option<Overflow>,
    policy: Policy,
    event: PhantomData<fn(E)>,
}

/// Why a subscription was not made or ended while running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The service already subscribes to this event type.
    #[error("{service} already subscribes to {event}")]
    #[non_exhaustive]
    AlreadySubscribed {
        /// The service's path.
        service: String,
        /// The event's name.
        event: &'static str,
    },
    /// The service does not subscribe to this event type.
    #[error("{service} has not subscribed to {event}")]
    #[non_exhaustive]
    NotSubscribed {
        /// The service's path.
        service: String,
        /// The event's name.
        event: &'static str,
    },
    /// The terms are invalid, or another event type has the same name on this board.
    #[error("{service}, on {event}: {problem}")]
    #[non_exhaustive]
    Impossible {
        /// The service's path.
        service: String,
        /// The event's name.
        event: &'static str,
        /// What is wrong with them.
        problem: String,
    },
    /// No answer within 60 s: a service blocks the thread of the broker, the board's first
    /// arbiter. It may still be done.
    #[error("no answer within {CONTROL_WAIT:?}")]
    TimedOut,
    /// The service has not been started, has ended for good, or is of another board.
    #[error("the service does not run on this board")]
    NotRunning,
    /// A `_blocking` form was called on one of the board's own threads, which it would block.
    #[error("a blocking call on a thread of a board would stop its services: use the async form")]
    Blocking,
}

impl<E: Event> On<E> {
    pub(crate) fn new() -> Self {
        On {
            capacity: defaults::CAPACITY,
            overflow: None,
            policy: Policy::new(),
            event: PhantomData,
        }
    }

    /// How many events may be queued, at least 1; 1,024 by default. The one being handled does not
    /// count.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// What happens when the subscription is full; by default publishers wait.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// The policy for this event type; parts not set here are taken from the service's.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Its own policy, which says where it was set.
    pub(crate) fn own(&self, path: &str) -> Policy {
        let policy = self.policy.clone();
        policy.made_at(format_args!("{path} on {}", E::NAME))
    }

    /// What is impossible about these terms for this service.
    pub(crate) fn problems_for<S: Service>(&self) -> Vec<String> {
        let mut problems = self.problems();
        problems.extend(misplaced(
            &self.policy,
            TypeId::of::<E>(),
            TypeId::of::<S>(),
        ));
        problems
    }

    /// What is impossible about these terms.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.policy.problems();
        if E::NAME.is_empty() {
            problems.push(format!("the NAME of `{}` is empty", type_name::<E>()));
        }
        if self.capacity == 0 {
            problems.push("the capacity is 0, so no event could ever be queued".to_owned());
        }
        if never_waits::<E>() && self.overflow == Some(Overflow::Wait) {
            let text = format!("{} never waits for room: use Overflow::DropOldest", E::NAME);
            problems.push(text);
        }
        problems
    }

    /// Opens a subscription that the spec says.
    pub(crate) fn open<S: Handle<E>>(&self, inbox: &Inbox<S>, home: &Home) -> Source<E> {
        inbox.note_fixed::<E>(self.own(home.service()));
        self.take_place(inbox, home)
    }

    fn take_place<S: Handle<E>>(&self, inbox: &Inbox<S>, home: &Home) -> Source<E> {
        let usual = if never_waits::<E>() {
            Overflow::DropOldest
        } else {
            Overflow::default()
        };
        let terms = Terms {
            service: Arc::clone(home.service()),
            capacity: self.capacity as u64,
            overflow: self.overflow.unwrap_or(usual),
            share: home.share.clone(),
        };
        let own = self.own(home.service());
        let rules = own.over(&home.policy.in_force()).shared_rules();
        let topic = home.wall.topic::<E>();
        let mut source = Source::open(topic, terms, inbox.bell.clone(), rules);
        source.guard(&|| Some(home.watch()));
        source
    }
}

/// The steps of a subscription's own policy that would never be taken.
pub(crate) fn misplaced(policy: &Policy, event: TypeId, service: TypeId) -> Vec<String> {
    let steps = policy.steps().map(|(step, _)| step);
    let text = |step: &Step| {
        if step.event != event {
            return Some(format!(
                "its policy has a step for {}, which this subscription does not receive: {step}",
                step.event_name
            ));
        }
        let (_, name) = step.service.filter(|(of, _)| *of != service)?;
        Some(format!(
            "its policy has a step for services of the type {name}, which this one is not: {step}"
        ))
    };
    steps.filter_map(text).collect()
}

/// What the board itself publishes makes nobody wait.
fn never_waits<E: Event>() -> bool {
    [TypeId::of::<DeadLetter>(), TypeId::of::<Lifecycle>()].contains(&TypeId::of::<E>())
}

impl<E: Event> fmt::Debug for On<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("On")
            .field("event", &E::NAME)
            .field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

impl<S: Service> Address<S> {
    /// Opens a subscription on a running service; it hears what is published from now on.
    pub(crate) fn subscribe<E: Event>(&self, on: &On<E>) -> Result<(), SubscribeError>
    where
        S: Handle<E>,
    {
        let home = self.inbox.home().ok_or(SubscribeError::NotRunning)?;
        if self.inbox.team().is_some() {
            return Err(fixed::<E>(home));
        }
        let (service, event) = (|| home.path().to_string(), E::NAME);
        let impossible = |problem| SubscribeError::Impossible {
            service: service(),
            event,
            problem,
        };
        if let Some(problem) = on.problems_for::<S>().into_iter().next() {
            return Err(impossible(problem));
        }
        self.inbox.change(|| {
            // A service that has ended takes no change; one that ends after this takes it, and
            // closes the place, so that no publisher waits for a reader that never comes.
            let is_open = self.inbox.letters.has_room().is_some();
            if !is_open {
                return Err(SubscribeError::NotRunning);
            }
            home.wall.take_name::<E>().map_err(impossible)?;
            if !self.inbox.note_added::<E>(on.own(home.path())) {
                let service = service();
                return Err(SubscribeError::AlreadySubscribed { service, event });
            }
            let source = DynamicSource(on.take_place(&self.inbox, home));
            Ok(Change::Subscribe(Box::new(source)))
        })
    }

    /// Ends a subscription of a running service, before its next delivery.
    pub(crate) fn unsubscribe<E: Event>(&self) -> Result<(), SubscribeError> {
        let home = self.inbox.home().ok_or(SubscribeError::NotRunning)?;
        if self.inbox.team().is_some() {
            return Err(fixed::<E>(home));
        }
        // Dropped outside the locks, as it may be the last that holds a closure of the user's.
        let mut own = None;
        self.inbox.change(|| {
            // As for a new one; else it would be the next life's that ends.
            if self.inbox.letters.has_room().is_none() {
                return Err(SubscribeError::NotRunning);
            }
            own = self.inbox.note_unsubscribed(TypeId::of::<E>());
            if own.is_none() {
                let (service, event) = (home.path().to_string(), E::NAME);
                return Err(SubscribeError::NotSubscribed { service, event });
            }
            Ok(Change::Unsubscribe(TypeId::of::<E>()))
        })
    }
}

/// The workers of a service hear the same.
fn fixed<E: Event>(home: &Home) -> SubscribeError {
    SubscribeError::Impossible {
        service: home.service().to_string(),
        event: E::NAME,
        problem: "the workers of a service subscribe in its spec".to_owned(),
    }
}

/// A source that was added while running: its type is known to nobody but itself.
pub(crate) struct DynamicSource<E: Event>(Source<E>);

/// An added source, with what delivering from it takes: a box per batch.
pub(crate) trait AddedSource<S: Service>: AsSource {
    fn deliver<'a>(
        &'a mut self,
        work: Work,
        service: &'a mut S,
        cx: &'a mut Context<S>,
        turn: &'a mut Turn<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Halt>> + 'a>>;
    fn hand_out(&mut self, work: Work, tray: &mut Tray<'_, S>) -> Result<(), Box<Ruling>>;
}

impl<E: Event> AsSource for DynamicSource<E> {
    fn as_source(&mut self) -> &mut dyn AnySource {
        &mut self.0
    }
}

impl<S: Handle<E>, E: Event> AddedSource<S> for DynamicSource<E> {
    fn deliver<'a>(
        &'a mut self,
        work: Work,
        service: &'a mut S,
        cx: &'a mut Context<S>,
        turn: &'a mut Turn<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Halt>> + 'a>> {
        Box::pin(deliver(&mut self.0, work, service, cx, turn))
    }

    fn hand_out(&mut self, work: Work, tray: &mut Tray<'_, S>) -> Result<(), Box<Ruling>> {
        hand_out(&mut self.0, work, tray)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use super::*;
    use crate::clock::Clock;
    use crate::dice::Dice;
    use crate::failure::{Failure, Outcome};
    use crate::mailbox::letters::Letters;
    use crate::policy::{Retry, Standing};
    use crate::pulse::Pulse;
    use crate::sync::{AtomicU64, Ordering};
    use crate::vitals::Vitals;
    use crate::waits::Cycles;
    use crate::wall::Wall;

    struct Note;
    impl Event for Note {
        const NAME: &'static str = "note";
    }

    struct Memo;
    impl Event for Memo {
        const NAME: &'static str = "memo";
    }

    struct Clerk;
    impl Service for Clerk {}
    impl Handle<Note> for Clerk {
        async fn handle(&mut self, _: &Note, _: &mut Context<Self>) -> Outcome {
            Ok(())
        }
    }
    impl Handle<Memo> for Clerk {
        async fn handle(&mut self, _: &Memo, _: &mut Context<Self>) -> Outcome {
            Ok(())
        }
    }

    fn wall() -> Arc<Wall> {
        let clock = Clock::new(tokio::runtime::Handle::current());
        Wall::new(Pulse::new(clock, Dice::new(1)), 1, Cycles::default())
    }

    fn open(wall: &Arc<Wall>) -> Arc<Inbox<Clerk>> {
        let path = "shop/clerk".into();
        let inbox = Inbox::new();
        inbox.move_in(Home {
            wall: Arc::clone(wall),
            waiter: wall.waits.waiter(&path),
            policy: Standing::new(&path, Policy::new(), None),
            vitals: Vitals::new(path),
            share: None,
        });
        inbox.letters.open(1);
        inbox
    }

    /// Takes what there is, and closes it.
    fn take(inbox: &Inbox<Clerk>) -> usize {
        let changes = inbox.take_changes().into_iter();
        let close = |change| match change {
            Change::Subscribe(mut source) => drop(source.as_source().close()),
            Change::Unsubscribe(_) => {}
        };
        changes.map(close).count()
    }

    #[tokio::test]
    async fn what_is_noted_while_a_service_ends_and_starts_again_is_what_it_will_read() {
        let wall = wall();
        for round in 0..3_000 {
            let inbox = open(&wall);
            let address = Address::new(Arc::clone(&inbox));
            let ready = AtomicU64::new(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    ready.fetch_add(1, Ordering::SeqCst);
                    address.subscribe::<Note>(&On::new())
                });
                scope.spawn(|| {
                    ready.fetch_add(1, Ordering::SeqCst);
                    address.subscribe::<Memo>(&On::new())
                });
                while ready.load(Ordering::SeqCst) < 1 + round % 2 {
                    thread::yield_now();
                }
                // As its host does.
                Letters::new(Arc::clone(&inbox.letters)).close();
                take(&inbox);
                inbox.forget_subscriptions();
                inbox.letters.open(1);
            });
            let noted = inbox.wishes(&Policy::new()).len();
            assert_eq!(noted, take(&inbox), "in round {round}");
        }
    }

    #[tokio::test]
    async fn nothing_is_unsubscribed_from_that_only_the_next_life_reads() {
        let wall = wall();
        let inbox = open(&wall);
        let address = Address::new(Arc::clone(&inbox));
        address.subscribe::<Note>(&On::new()).unwrap();
        // As its host does, at its end.
        Letters::new(Arc::clone(&inbox.letters)).close();
        assert_eq!(take(&inbox), 1);
        let late = address.unsubscribe::<Note>();
        assert!(matches!(late, Err(SubscribeError::NotRunning)));
        assert_eq!(take(&inbox), 0);
    }

    /// Looks at the subscriptions when it is dropped.
    struct Curious(Arc<Inbox<Clerk>>);
    impl Drop for Curious {
        fn drop(&mut self) {
            self.0.wishes(&Policy::new());
        }
    }

    #[tokio::test]
    async fn a_policy_that_is_replaced_may_look_at_the_subscriptions_when_it_is_dropped() {
        let wall = wall();
        let inbox = open(&wall);
        let address = Address::new(Arc::clone(&inbox));
        address.subscribe::<Note>(&On::new()).unwrap();
        let policy = |curious: Curious| {
            let when = move |_: &Failure| {
                let _ = &curious;
                true
            };
            Policy::new().retry(Retry::default().when(when))
        };
        let event = TypeId::of::<Note>();
        let set = |event| inbox.set_policy(event, &mut policy(Curious(Arc::clone(&inbox))));
        assert!(set(event) && set(event));
        // Nothing is replaced here.
        assert!(!set(TypeId::of::<Memo>()));
        address.unsubscribe::<Note>().unwrap();
        take(&inbox);
    }
}
