//! The running whole, and the handle to it.
//!
//! Users hold it; it looks topics and services up, and speaks to the root and the broker.
//!
//! Invariant: the handle is `Send`, `Sync` and cheap to clone, and works from any thread and any
//! runtime. Dropping the last one ends nothing: shutdown does.
//!
//! No event passes through an actor on its way: verbs write to the topics themselves.

mod builder;
mod control;
mod findings;
mod house;
mod inspect;
mod monitor;
mod policies;
mod report;
mod shutdown;
mod signals;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod tree;
mod watchdog;

use std::fmt;
use std::time::Duration;

use actix::{Addr, Recipient};
use tokio::runtime::Handle as TimeHandle;
use tokio::sync::watch;

use crate::broker::{Alter, Broker, Redrive, RedriveError};
use crate::clock::within;
use crate::dead_letter::DeadLetter;
use crate::defaults::CONTROL_WAIT;
use crate::event::{Event, EventId};
use crate::host::Order;
use crate::insider::{blocking, serves};
use crate::ledger::Ledger;
use crate::park::block_on;
use crate::service::{Address, Context, Handle, On, Publisher, Service, SubscribeError};
use crate::supervisor::{Grounds, LookupError, Node, Supervisor};
use crate::sync::{Arc, AtomicBool, Mutex, OnceLock};
use crate::topic::batch::{PublishAll, PublishAllError};
use crate::topic::publish::{Publish, PublishError};
use crate::topic::series::Series;
use crate::wall::{SettleError, Wall};
use house::House;

pub use builder::{BoardBuilder, LocalBoardBuilder, StartError};
pub use inspect::{Current, Inspection, MailboxLoad};
pub use monitor::Monitor;
pub use policies::{Policies, PolicyError, PolicyRow};
pub use report::{LeftBehind, ShutdownReport, Stuck, Undelivered};
pub use shutdown::BoardError;
use shutdown::Root;
pub use tree::Tree;
pub use watchdog::Watchdog;

/// A running board. Cheap to clone; usable from any thread and any runtime. Dropping it stops
/// nothing: see [`Board::shutdown`].
#[derive(Clone)]
pub struct Board {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    wall: Arc<Wall>,
    grounds: Arc<Grounds>,
    /// The root of the tree.
    node: Arc<Node>,
    time: TimeHandle,
    root: OnceLock<Recipient<Order>>,
    broker: OnceLock<Addr<Broker>>,
    root_state: watch::Sender<Root>,
    /// The board's own threads; none when it runs on the caller's.
    house: OnceLock<Arc<Mutex<House>>>,
    report: tokio::sync::Mutex<Option<ShutdownReport>>,
    /// Whether the end has been begun from inside.
    ending: AtomicBool,
}

impl Inner {
    fn new(grounds: Arc<Grounds>, node: Arc<Node>, time: TimeHandle) -> Self {
        Inner {
            wall: Arc::clone(&grounds.wall),
            grounds,
            node,
            time,
            root: OnceLock::new(),
            broker: OnceLock::new(),
            root_state: watch::Sender::new(Root::default()),
            house: OnceLock::new(),
            report: tokio::sync::Mutex::new(None),
            ending: AtomicBool::new(false),
        }
    }

    /// The path of the root.
    fn path(&self) -> &str {
        self.node.path()
    }

    /// Whether the board has ended and closed all it had.
    fn has_closed(&self) -> bool {
        self.root_state.borrow().closed
    }
}

impl Board {
    /// Starts a board with default settings; short for `Board::builder().start(root)`. It blocks
    /// the thread until all services are up: see [`BoardBuilder::start`].
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(root: Supervisor) -> Result<Board, StartError> {
        Board::builder().start(root)
    }

    /// The board that a service runs on, for its handlers and hooks; `None` if the board has ended
    /// and left the handler behind.
    ///
    /// ```
    /// # use callboard::prelude::*;
    /// struct Hire(u64);
    /// impl Message for Hire { type Reply = String; }
    /// # struct Porter;
    /// # impl Service for Porter {}
    /// # struct Foreman;
    /// # impl Service for Foreman {}
    /// impl Answer<Hire> for Foreman {
    ///     async fn answer(&mut self, hire: Hire, cx: &mut Context<Self>) -> Outcome<String> {
    ///         let board = Board::of(cx).ok_or(Failure::permanent("the board has ended"))?;
    ///         let porters = board.supervisor("shop/porters")?;
    ///         Ok(porters.start_child_from(hire.0).await?) // its path
    ///     }
    /// }
    /// ```
    pub fn of<S: Service>(cx: &Context<S>) -> Option<Board> {
        let owner = cx.wall.owner()?;
        let inner = owner.downcast::<Inner>().ok()?;
        Some(Board { inner })
    }

    /// Begins to set up a board.
    pub fn builder() -> BoardBuilder {
        BoardBuilder::new()
    }

    /// Publishes one event to all who subscribe; waits for room, at most 5 s. See [`Publish`].
    pub fn publish<E: Event>(&self, event: E) -> Publish<E> {
        self.publisher().publish(event)
    }

    /// Publishes one event if every subscriber has room now.
    ///
    /// # Errors
    /// [`PublishError`], with the event.
    pub fn try_publish<E: Event>(&self, event: E) -> Result<EventId, PublishError<E>> {
        self.publisher().try_publish(event)
    }

    /// As [`Board::publish`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// [`PublishError`], with the event; [`PublishError::Blocking`] on a thread of a board.
    pub fn publish_blocking<E: Event>(&self, event: E) -> Result<EventId, PublishError<E>> {
        self.publisher().publish_blocking(event)
    }

    /// Publishes many events of one type in order, faster than one by one; waits for room where it
    /// must, at most 5 s each time. See [`PublishAll`]. The iterator is read to its end first.
    pub fn publish_all<E: Event>(&self, batch: impl IntoIterator<Item = E>) -> PublishAll<E> {
        self.publisher().publish_all(batch)
    }

    /// As [`Board::publish_all`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// [`PublishAllError`], with the rest of the batch: all of it on a thread of a board.
    pub fn publish_all_blocking<E: Event>(
        &self,
        batch: impl IntoIterator<Item = E>,
    ) -> Result<Vec<EventId>, PublishAllError<E>> {
        self.publisher().publish_all_blocking(batch)
    }

    /// Publishes an event every `interval` (at least 1 ms), the first one after one interval, until
    /// the series is cancelled or the board begins to shut down. Returns at once.
    ///
    /// `make` is given how many events it has made before: 0, 1, 2 and so on. It runs on the
    /// board's own thread and must not block: all deadlines of the board would wait for it. If it
    /// panics, the series ends, and an error is logged with the target `callboard::series`.
    ///
    /// If a subscriber is full, the event waits for room, at most 5 s; then it is dropped with a
    /// warning, and the series goes on. [`Series::missed`] decides what happens to ticks that pass
    /// in the meantime; they are skipped by default. Nothing waits for a series: [`Board::settle`]
    /// ignores it, as it does timers.
    ///
    /// A service has its own ticks by [`Context::every`], which end with its life.
    ///
    /// ```
    /// # use callboard::{MissedTicks, prelude::*};
    /// # struct Minute { number: u64 }
    /// # impl Event for Minute { const NAME: &'static str = "minute"; }
    /// # fn keep_time(board: &Board) {
    /// let minutes = board
    ///     .every(secs(60), |number| Minute { number })
    ///     .missed(MissedTicks::Burst);
    /// // and later:
    /// minutes.cancel();
    /// # }
    /// ```
    pub fn every<E: Event>(
        &self,
        interval: Duration,
        make: impl FnMut(u64) -> E + Send + 'static,
    ) -> Series {
        self.publisher().every(interval, make)
    }

    /// A typed handle for hot paths: publishing through it needs no look-up.
    pub fn publisher<E: Event>(&self) -> Publisher<E> {
        Publisher::new(&self.inner.wall)
    }

    /// The address of the service at `path`, such as `shop/payments`.
    ///
    /// # Errors
    /// [`LookupError`] if there is none, or it is of another type.
    pub fn service<S: Service>(&self, path: &str) -> Result<Address<S>, LookupError> {
        self.inner.grounds.registry.find(path)
    }

    /// The paths of all services, sorted.
    pub fn services(&self) -> Vec<String> {
        self.inner.grounds.registry.services()
    }

    /// Subscribes a running service to an event type, with default terms: it receives what is
    /// published from now on, until it ends for good.
    ///
    /// # Errors
    /// [`SubscribeError`], if it has subscribed already or does not run here.
    ///
    /// # Cancel safety
    /// If the future is dropped, the subscription may or may not have been made.
    pub async fn subscribe<E: Event>(
        &self,
        service: &Address<impl Handle<E>>,
    ) -> Result<(), SubscribeError> {
        self.subscribe_with(service, |on: On<E>| on).await
    }

    /// As [`Board::subscribe`], with terms.
    ///
    /// # Errors
    /// [`SubscribeError`], if it has subscribed already, does not run here, or the terms are
    /// invalid.
    ///
    /// # Cancel safety
    /// As [`Board::subscribe`].
    pub async fn subscribe_with<E: Event>(
        &self,
        service: &Address<impl Handle<E>>,
        terms: impl FnOnce(On<E>) -> On<E>,
    ) -> Result<(), SubscribeError> {
        self.owns(service)?;
        let (service, on) = (service.clone(), terms(On::new()));
        self.alter(Alter(Box::new(move || service.subscribe(&on))))
            .await
    }

    /// Ends a subscription of a running service, before its next delivery; events that it had not
    /// read are counted as undelivered.
    ///
    /// # Errors
    /// [`SubscribeError`], if it has not subscribed or does not run here.
    ///
    /// # Cancel safety
    /// As [`Board::subscribe`].
    pub async fn unsubscribe<E: Event>(
        &self,
        service: &Address<impl Handle<E>>,
    ) -> Result<(), SubscribeError> {
        self.owns(service)?;
        let service = service.clone();
        self.alter(Alter(Box::new(move || service.unsubscribe::<E>())))
            .await
    }

    /// As [`Board::subscribe`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`SubscribeError::Blocking`] on a thread of a board.
    pub fn subscribe_blocking<E: Event>(
        &self,
        service: &Address<impl Handle<E>>,
    ) -> Result<(), SubscribeError> {
        blocking(SubscribeError::Blocking, self.subscribe(service))
    }

    /// As [`Board::subscribe_with`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`SubscribeError::Blocking`] on a thread of a board.
    pub fn subscribe_with_blocking<E: Event>(
        &self,
        service: &Address<impl Handle<E>>,
        terms: impl FnOnce(On<E>) -> On<E>,
    ) -> Result<(), SubscribeError> {
        let subscribing = self.subscribe_with(service, terms);
        blocking(SubscribeError::Blocking, subscribing)
    }

    /// As [`Board::unsubscribe`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`SubscribeError::Blocking`] on a thread of a board.
    pub fn unsubscribe_blocking<E: Event>(
        &self,
        service: &Address<impl Handle<E>>,
    ) -> Result<(), SubscribeError> {
        blocking(SubscribeError::Blocking, self.unsubscribe(service))
    }

    fn owns<S: Service>(&self, service: &Address<S>) -> Result<(), SubscribeError> {
        let home = service
            .inbox
            .home()
            .filter(|home| home.wall.id() == self.inner.wall.id());
        home.map(|_| ()).ok_or(SubscribeError::NotRunning)
    }

    async fn alter(&self, alter: Alter) -> Result<(), SubscribeError> {
        let (gone, late) = (SubscribeError::NotRunning, SubscribeError::TimedOut);
        self.ask_broker(alter, gone, late).await
    }

    /// Has the broker do this, or says that it has gone, or does not answer in time.
    async fn ask_broker<M, T, E>(&self, message: M, gone: E, late: E) -> Result<T, E>
    where
        M: actix::Message<Result = Result<T, E>> + Send + 'static,
        Result<T, E>: Send,
        Broker: actix::Handler<M>,
    {
        let Some(broker) = self.inner.broker.get() else {
            return Err(gone);
        };
        let clock = &self.inner.wall.pulse.clock;
        match within(clock, Some(CONTROL_WAIT), broker.send(message)).await {
            Some(answer) => answer.unwrap_or(Err(gone)),
            None => Err(late),
        }
    }

    /// The accounting of everything that was accepted; its gap is 0 at every moment.
    ///
    /// Each row is consistent in itself, even under load. It asks no service, so it works while one
    /// is stuck.
    pub fn ledger(&self) -> Ledger {
        self.inner.wall.ledger()
    }

    /// Waits until nothing is queued, in flight or deferred. It does not wait for timers, and has
    /// no time limit of its own.
    ///
    /// # Errors
    /// [`SettleError`], returned as soon as only suspended services or open breakers hold work,
    /// since waiting could take for ever; also after the board has ended with stuck work, and at
    /// once when called inside one of its services.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the waiting.
    pub async fn settle(&self) -> Result<(), SettleError> {
        if serves(self.inner.wall.id()) {
            return Err(SettleError::Inside);
        }
        self.inner.wall.settle().await
    }

    /// As [`Board::settle`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As [`Board::settle`]; also [`SettleError::Inside`] on a thread of any board.
    pub fn settle_blocking(&self) -> Result<(), SettleError> {
        if self.would_wait_for_itself() {
            return Err(SettleError::Inside);
        }
        block_on(self.settle())
    }

    /// The dead letters on the shelf, the oldest first: the last 1,024, unless
    /// [`BoardBuilder::shelf`] says otherwise.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.wall.shelf.letters()
    }

    /// Gives a dead letter back to the subscriber that failed it, and to no other: a new accepted
    /// delivery, attempt 1, marked as redriven. It leaves the shelf.
    ///
    /// # Errors
    /// [`RedriveError`] if it is no longer on the shelf, or its subscription has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped, the letter may or may not have been given back.
    pub async fn redrive(&self, letter: &DeadLetter) -> Result<EventId, RedriveError> {
        let (gone, late) = (RedriveError::Ended, RedriveError::TimedOut);
        self.ask_broker(Redrive(letter.clone()), gone, late).await
    }

    /// As [`Board::redrive`], for callers outside any runtime: blocks the thread.
    ///
    /// # Errors
    /// As there; [`RedriveError::Blocking`] on a thread of a board.
    pub fn redrive_blocking(&self, letter: &DeadLetter) -> Result<EventId, RedriveError> {
        blocking(RedriveError::Blocking, self.redrive(letter))
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("root", &self.inner.path())
            .finish_non_exhaustive()
    }
}
