//! What a service is made of, before it runs: recipe, subscriptions, policy, place.
//!
//! Users build it and hand it to a supervisor; the host opens it.
//!
//! Invariant: the types of its subscriptions are kept until the host has built its state
//! machine, so events are dispatched without a box.
//!
//! It starts nothing: a spec that is dropped has done nothing.

use std::any::{TypeId, type_name};
use std::fmt;

use crate::defaults;
use crate::event::{Event, Key};
use crate::mailbox::source::Source;
use crate::mailbox::{End, Then};
use crate::panic::Frail;
use crate::policy::Policy;
use crate::restart::Restart;
use crate::service::deliver::Deliver;
use crate::service::inbox::Home;
use crate::service::per_key::{Keyed, PerKey};
use crate::service::wish::Wish;
use crate::service::{Address, Handle, Inbox, On, Service};
use crate::shutdown::Shutdown;
use crate::sync::Arc;

/// Describes a service: `service("accounts", Accounts::default)`.
///
/// The name is part of its path and unique among its siblings; it must not be empty or contain
/// a `/`. The recipe is called for every life, on the thread where the service runs. It cannot fail
/// or wait: [`Service::started`] can.
pub fn service<S: Service>(
    name: impl Into<String>,
    recipe: impl FnMut() -> S + Send + 'static,
) -> ServiceSpec<S> {
    ServiceSpec {
        parts: ServiceParts {
            name: name.into(),
            recipe: Some(Box::new(recipe)),
            policy: Policy::new(),
            restart: Restart::default(),
            shutdown: Shutdown::default(),
            significant: false,
            letters: defaults::LETTER_CAPACITY,
            laters: defaults::LATERS,
            placement: Placement::default(),
            workers: None,
            per_key: None,
            inbox: Inbox::new(),
        },
        on: Nothing,
    }
}

/// Where a service or subtree runs. By default with its parent; the children of the root are
/// distributed over the arbiters in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// With its parent, so that services which talk to each other share a thread.
    #[default]
    Together,
    /// On the arbiter with this number, counted from 0.
    Arbiter(usize),
    /// On the next arbiter in turn.
    Spread,
    /// On a thread of its own, for code that blocks.
    Dedicated,
}

/// The subscriptions of a service without any.
#[derive(Debug)]
pub struct Nothing;

/// A subscription and those before it.
#[derive(Debug)]
pub struct And<A, B> {
    first: A,
    rest: B,
}

/// A service, described; see [`service()`].
#[must_use = "a service runs only as the child of a supervisor"]
pub struct ServiceSpec<S: Service, L = Nothing> {
    pub(crate) parts: ServiceParts<S>,
    pub(crate) on: L,
}

/// All of a spec but its subscriptions.
pub(crate) struct ServiceParts<S: Service> {
    pub(crate) name: String,
    /// There until somebody takes it.
    pub(crate) recipe: Option<Box<dyn FnMut() -> S + Send>>,
    pub(crate) policy: Policy,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) significant: bool,
    pub(crate) letters: usize,
    pub(crate) laters: usize,
    pub(crate) placement: Placement,
    pub(crate) workers: Option<usize>,
    pub(crate) per_key: Option<Keyed<S>>,
    pub(crate) inbox: Arc<Inbox<S>>,
}

impl<S: Service, L> ServiceSpec<S, L> {
    /// Subscribes to an event type, with default terms.
    pub fn on<E: Event>(self) -> ServiceSpec<S, And<On<E>, L>>
    where
        S: Handle<E>,
    {
        self.on_with(|on| on)
    }

    /// Subscribes to an event type, with terms.
    pub fn on_with<E: Event>(
        self,
        terms: impl FnOnce(On<E>) -> On<E>,
    ) -> ServiceSpec<S, And<On<E>, L>>
    where
        S: Handle<E>,
    {
        let on = And {
            first: terms(On::new()),
            rest: self.on,
        };
        ServiceSpec {
            parts: self.parts,
            on,
        }
    }

    /// The service's policy; parts not set here are taken from its supervisor's.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.parts.policy = policy;
        self
    }

    /// When it is started again after it has ended; [`Restart::Permanent`], so always, by default.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.parts.restart = restart;
        self
    }

    /// How it is stopped, and how long that may take before it is killed; gracefully within 5 s
    /// by default. A plain duration is [`Shutdown::Graceful`].
    pub fn shutdown(mut self, how: impl Into<Shutdown>) -> Self {
        self.parts.shutdown = how.into();
        self
    }

    /// When it ends of its own accord, its supervisor may end too: see
    /// [`AutoShutdown`](crate::AutoShutdown). Only for children that are not permanent.
    pub fn significant(mut self) -> Self {
        self.parts.significant = true;
        self
    }

    /// How many letters may be queued, at least 1; 1,024 by default. In a service with an instance
    /// per key, as many again may wait for their instances.
    pub fn letters(mut self, capacity: usize) -> Self {
        self.parts.letters = capacity;
        self
    }

    /// Runs this many instances of the service, at least 1 and at most
    /// [`WORKERS_MAX`](defaults::WORKERS_MAX), which share its events and letters.
    ///
    /// Events and letters with equal [keys](Event::key) go to one worker and keep their order;
    /// those without a key are distributed in turn. [`Board::scale`](crate::Board::scale) changes
    /// the number while the board runs, and keeps that order.
    ///
    /// ```
    /// use callboard::prelude::*;
    ///
    /// struct Paid { account: u64 }
    /// impl Event for Paid {
    ///     const NAME: &'static str = "paid";
    ///     fn key(&self) -> Key { self.account.into() }
    /// }
    /// # use callboard::Key;
    /// # #[derive(Default)] struct Bookkeeper;
    /// # impl Service for Bookkeeper {}
    /// # impl Handle<Paid> for Bookkeeper {
    /// #     async fn handle(&mut self, _: &Paid, _: &mut Context<Self>) -> Outcome { Ok(()) }
    /// # }
    ///
    /// let books = service("books", Bookkeeper::default).on::<Paid>().workers(4);
    /// ```
    ///
    /// In the tree they stand below the service, as `books/0` to `books/3`, by default each on the
    /// next arbiter in turn. They are restarted one by one, as often as the supervisor of the
    /// service allows: while one is being restarted, its own events wait, and the others go on.
    /// When they fail more often, the service fails as a whole. A worker that ends of its own
    /// accord is started again.
    ///
    /// The ledger has one row for the service, and dead letters carry its path. All other settings
    /// of this spec, such as policy and capacities, apply to each worker alone: how many events a
    /// worker may lag behind, those of the others included, and how many letters it may have
    /// waiting. The recipe is called for one worker at a time.
    ///
    /// Workers subscribe in the spec only, not at run time. Only [`Restart::Permanent`] is allowed,
    /// because a worker that stayed ended would leave its keys unserved.
    pub fn workers(mut self, number: usize) -> Self {
        self.parts.workers = Some(number);
        self
    }

    /// How many of its events may be open in [later work](crate::Context::later), at least 1; 256
    /// by default. At that limit it reads no more events until one is done.
    pub fn laters(mut self, most: usize) -> Self {
        self.parts.laters = most;
        self
    }

    /// Runs it on the arbiter with this number, counted from 0. The tree is refused if there are
    /// not so many: by default there is one for each core, so that depends on the machine. See
    /// [`BoardBuilder::arbiters`](crate::BoardBuilder::arbiters).
    pub fn arbiter(mut self, number: usize) -> Self {
        self.parts.placement = Placement::Arbiter(number);
        self
    }

    /// Runs it on the next arbiter in turn, apart from its siblings.
    pub fn spread(mut self) -> Self {
        self.parts.placement = Placement::Spread;
        self
    }

    /// Runs it on a thread of its own: for a service that blocks.
    pub fn dedicated(mut self) -> Self {
        self.parts.placement = Placement::Dedicated;
        self
    }

    /// Keeps one instance for each [key](Event::key) of its events and messages, made by this
    /// recipe for the first event or message of a key; the recipe given to [`service()`] is not
    /// used.
    ///
    /// Events of one key are handled one after the other, in order across event types, by the
    /// instance of that key; keys do not wait for each other. Letters go to the instance as they
    /// come, past events that wait. So state that belongs to an order, an account or a case needs
    /// no map. Events without a key share one instance. The limits are those of the default
    /// [`PerKey`].
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// # struct Scanned { parcel: u64 }
    /// # impl Event for Scanned {
    /// #     const NAME: &'static str = "scanned";
    /// #     fn key(&self) -> callboard::Key { self.parcel.into() }
    /// # }
    /// #[derive(Default)]
    /// struct Parcel { scans: u32 }
    /// impl Service for Parcel {
    ///     async fn stopping(&mut self, _: &Exit, cx: &mut Context<Self>) {
    ///         // Idle, or the board stops: store or publish here what is to be kept.
    ///     }
    /// }
    /// impl Handle<Scanned> for Parcel {
    ///     async fn handle(&mut self, _: &Scanned, _: &mut Context<Self>) -> Outcome {
    ///         self.scans += 1;
    ///         Ok(())
    ///     }
    /// }
    /// let parcels = service("parcels", Parcel::default)
    ///     .on::<Scanned>()
    ///     .per_key(|_| Parcel::default());
    /// ```
    ///
    /// All instances share the thread, the mailbox, the path and the ledger's rows of the service.
    /// An instance is started (its `started` hook) for its first event, and retired (`stopping`)
    /// when it has been idle for long; its state goes with it.
    ///
    /// An instance that panics is lost alone: the event comes back to a new one, with one attempt
    /// counted, and the service is not restarted. The same happens if the instance's recipe panics,
    /// or if it fails or stops before starting any work: the event that created it is charged one
    /// attempt; a message is lost. If it fails in a timer, it is lost and nothing is charged. A
    /// policy that says "restart the service" replaces the instance only; one that says to stop it,
    /// or to escalate, ends the whole service.
    ///
    /// Whatever the [retry](crate::Retry) setting, an event that waits to be tried again holds up
    /// its own key only. What waits to be tried again, or behind an event of its key, is deferred
    /// in the ledger. Together with what is at work that is at most the subscription's capacity;
    /// more is not read.
    pub fn per_key(self, recipe: impl FnMut(&Key) -> S + Send + 'static) -> Self {
        self.per_key_with(recipe, |terms| terms)
    }

    /// As [`per_key`](Self::per_key), with terms.
    pub fn per_key_with(
        mut self,
        recipe: impl FnMut(&Key) -> S + Send + 'static,
        terms: impl FnOnce(PerKey) -> PerKey,
    ) -> Self {
        let mut recipe = Frail::new(recipe);
        self.parts.per_key = Some(Keyed {
            make: Box::new(move |key: &Key| recipe(key)),
            terms: terms(PerKey::default()),
        });
        self
    }

    /// Its address, valid before the start and across restarts.
    pub fn address(&self) -> Address<S> {
        Address::new(Arc::clone(&self.parts.inbox))
    }
}

impl<S: Service, L> fmt::Debug for ServiceSpec<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceSpec")
            .field("name", &self.parts.name)
            .finish_non_exhaustive()
    }
}

/// A list of subscriptions of the service `S`.
pub(crate) trait Subscriptions<S: Service> {
    type Sources: Deliver<S> + Send + 'static;

    /// Shows each of them, under the policy above it; `path` is the service's.
    fn each(&self, path: &str, outer: &Policy, visit: &mut dyn FnMut(Wish));

    /// Takes the places on the board.
    fn open(&self, inbox: &Inbox<S>, home: &Home) -> Self::Sources;
}

impl<S: Service> Subscriptions<S> for Nothing {
    type Sources = End;

    fn each(&self, _: &str, _: &Policy, _: &mut dyn FnMut(Wish)) {}

    fn open(&self, _: &Inbox<S>, _: &Home) -> End {
        End
    }
}

impl<S: Handle<E>, E: Event, L: Subscriptions<S>> Subscriptions<S> for And<On<E>, L> {
    type Sources = Then<Source<E>, L::Sources>;

    fn each(&self, path: &str, outer: &Policy, visit: &mut dyn FnMut(Wish)) {
        // The first that was written first.
        self.rest.each(path, outer, visit);
        visit(Wish {
            event: E::NAME,
            event_type: TypeId::of::<E>(),
            type_name: type_name::<E>(),
            problems: self.first.problems_for::<S>(),
            policy: self.first.own(path).over(outer),
        });
    }

    fn open(&self, inbox: &Inbox<S>, home: &Home) -> Self::Sources {
        Then {
            first: self.first.open(inbox, home),
            rest: self.rest.open(inbox, home),
        }
    }
}
