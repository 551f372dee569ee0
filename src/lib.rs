//! Event-driven services inside one binary.
//!
//! Each service is an actor with a mailbox. A supervisor tree restarts the ones that fail and
//! applies retry and timeout policies. Services subscribe to event types, which are published on
//! one shared board. Every event that was accepted ends in exactly one visible state for every
//! subscriber, whatever crashes in between, and [`Board::ledger`] shows it: its gap is 0.
//!
//! # A whole small service
//!
//! ```
//! use callboard::prelude::*;
//!
//! struct OrderPlaced { id: u64, cents: u64 }
//! impl Event for OrderPlaced { const NAME: &'static str = "order.placed"; }
//!
//! struct OrderPaid { id: u64 }
//! impl Event for OrderPaid { const NAME: &'static str = "order.paid"; }
//!
//! struct Revenue;
//! impl Message for Revenue { type Reply = u64; }
//!
//! #[derive(Default)]
//! struct Accounts { cents: u64 }
//! impl Service for Accounts {}
//!
//! impl Handle<OrderPlaced> for Accounts {
//!     async fn handle(&mut self, order: &OrderPlaced, cx: &mut Context<Self>) -> Outcome {
//!         if order.cents == 0 {
//!             return Err(Failure::permanent("an order for nothing")); // a dead letter
//!         }
//!         self.cents += order.cents;
//!         cx.publish(OrderPaid { id: order.id }).await?; // any error is a failure: tried again
//!         Ok(())
//!     }
//! }
//! impl Answer<Revenue> for Accounts {
//!     async fn answer(&mut self, _: Revenue, _: &mut Context<Self>) -> Outcome<u64> {
//!         Ok(self.cents)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let accounts = service("accounts", Accounts::default)
//!     .on::<OrderPlaced>()
//!     .policy(Policy::new().retry(Retry::fixed(millis(50)).attempts(4)).timeout(secs(2)));
//! let books = accounts.address(); // valid before the start and across restarts
//!
//! let board = Board::start(
//!     Supervisor::one_for_one("shop").max_restarts(5, secs(10)).child(accounts),
//! )?;
//! board.publish_blocking(OrderPlaced { id: 7, cents: 500 })?;
//! board.publish_blocking(OrderPlaced { id: 8, cents: 0 })?;
//! assert_eq!(books.ask_blocking(Revenue)?, 500);
//!
//! board.settle_blocking()?;
//! assert_eq!(board.dead_letters().len(), 1);
//! assert_eq!(board.ledger().gap(), 0);
//! println!("{}", board.shutdown_blocking(secs(5)));
//! # Ok(()) }
//! ```
//!
//! # What happens when something goes wrong
//!
//! | what | the service | the event |
//! |---|---|---|
//! | `Err(Failure)` | lives on | tried again as its [`Policy`] says, then a [`DeadLetter`] |
//! | a panic | a new life, by its [`Supervisor`] | comes back first, one attempt counted |
//! | a timeout, if set | lives on, the handler is cancelled at its `.await` | as after a failure |
//! | a restart of its group | a new life | comes back first, no attempt counted |
//! | [`Board::kill`] while it hangs | a new life | as after a panic |
//! | too many restarts | its supervisor gives up, the next one up decides | stays in the mailbox |
//! | shutdown | stops in order | *undelivered* if not handled in time, and named in the report |
//!
//! A new life is made by the recipe, so its state starts afresh: keep what must survive outside, in
//! an [`Arc`](std::sync::Arc) that the recipe clones, or rebuild it in [`Service::started`], which
//! is also the place for setup that can fail or has to wait. A message is never tried again: if its
//! service panics, the asker gets [`AskError::Crashed`] at once.
//!
#![doc = include_str!("both_ways.md")]
//! Retries, time limits, failure and success policies are set by a [`Policy`], inherited down the
//! tree; workers and instances per key are set on the service. [`Board::policies`] shows what is in
//! force where, and [`Board::set_policy`] changes it while the board runs.
//!
//! ```
//! use callboard::prelude::*;
//!
//! # struct OrderPlaced { id: u64 }
//! # impl Event for OrderPlaced {
//! #     const NAME: &'static str = "order.placed";
//! #     fn key(&self) -> callboard::Key { self.id.into() }
//! # }
//! # struct OrderRejected { id: u64 }
//! # impl Event for OrderRejected { const NAME: &'static str = "order.rejected"; }
//! # #[derive(Default)] struct Accounts;
//! # impl Service for Accounts {}
//! # impl Handle<OrderPlaced> for Accounts {
//! #     async fn handle(&mut self, _: &OrderPlaced, _: &mut Context<Self>) -> Outcome {
//! #         Err(std::io::Error::other("the bank does not answer").into())
//! #     }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::new()
//!     .retry(Retry::exponential(millis(1)).attempts(3).within(secs(30)).parked())
//!     .timeout(secs(2))
//!     .deadline(secs(60))
//!     .failure_of::<std::io::Error>(OnFailure::discard().publish(
//!         |order: &OrderPlaced, _: &Failure| OrderRejected { id: order.id },
//!     ));
//! let accounts = service("accounts", Accounts::default).on::<OrderPlaced>().policy(policy);
//! let board = Board::start(Supervisor::one_for_one("shop").child(accounts))?;
//! println!("{}", board.policies());
//! board.publish_blocking(OrderPlaced { id: 7 })?;
//! board.settle_blocking()?;
//! assert_eq!(board.ledger().topic("order.rejected").map(|row| row.published), Some(1));
//! # board.shutdown_blocking(secs(5));
//! # Ok(()) }
//! ```
//!
//! # Supervision
//!
//! A [`Supervisor`] restarts the child that failed ([`one_for_one`](Supervisor::one_for_one)), all
//! of them ([`one_for_all`](Supervisor::one_for_all)), or it and those after it
//! ([`rest_for_one`](Supervisor::rest_for_one)), within its budget of restarts and after its
//! [backoff](Supervisor::backoff); a [`dynamic`](Supervisor::dynamic) one makes children on
//! demand. A child's spec says when it is started again ([`Restart`]) and how it is stopped
//! ([`Shutdown`]). Mailboxes survive every restart.
//!
//! [`Board::tree`] and [`Board::inspect`] show a running tree; [`Lifecycle`] and
//! [`Board::monitor`] report its changes; [`Board::suspend`], [`Board::restart`], [`Board::stop`],
//! [`Board::kill`] and [`Board::supervisor`] change it by path. Code that blocks its thread belongs
//! in [`Context::blocking`]. [`Context::stop_board`] ends the board from inside,
//! [`Board::run_until_ctrl_c`] and [`Board::shutdown`] from outside; dropping a [`Board`] or an
//! [`Address`] stops nothing.
//!
//! ```
//! use callboard::{Backoff, Restart, Shutdown, prelude::*};
//!
//! # #[derive(Default)] struct Clerk;
//! # impl Service for Clerk {}
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mail = Supervisor::rest_for_one("mail")
//!     .max_restarts(5, secs(10))
//!     .backoff(Backoff::exponential(millis(100)).at_most(secs(5)), secs(60))
//!     .child(service("line", Clerk::default).shutdown(Shutdown::Drain(secs(2))))
//!     .child(service("sorter", Clerk::default).restart(Restart::Transient));
//! let board = Board::start(Supervisor::one_for_one("shop").child(mail))?;
//! board.restart_blocking("shop/mail/line")?;
//! assert_eq!(board.inspect("shop/mail/line")?.life, 2);
//! println!("{}", board.tree());
//! # board.shutdown_blocking(secs(5));
//! # Ok(()) }
//! ```
//!
//! # Order
//!
//! Events of one type are delivered in the order in which they were published. Across types,
//! nobody sees an effect before its cause, for first attempts. This includes messages: if you
//! await `publish(..)` and then `ask` a subscriber, it answers after its first attempt at the
//! event. (Letters only go ahead of events that wait for a retry or a guard, or for their instance
//! per key. With workers this holds where event and message go to the same worker.)
//!
//! A retry in place keeps the order; younger events of that service wait, letters do not. A
//! deferred retry gives up its place; a parked one keeps the order within its key. With workers,
//! and with an instance per key, order holds for each key.
//!
//! # Waiting in a circle
//!
//! A service handles one thing at a time. If `a` asks `b` while `b` waits for `a`, neither will
//! ever answer. The wait that would close such a circle fails at once, and its error names the
//! path, `shop/b -> shop/a -> shop/b`: [`AskError::Cycle`], [`TellError::Cycle`],
//! [`PublishError::Cycle`], [`ChildError::Cycle`]. The same happens to a service that asks itself.
//!
//! Every wait of a handler, hook or timer for another service of its board counts:
//!
//! - for an answer;
//! - for room in a mailbox or subscription, also for what is published on success;
//! - for [`settled`](Publish::settled), and for follow-up events that a policy waits for;
//! - for the stop, restart or start of a child;
//! - while children start in order, at first or with their group: also for a sibling whose turn to
//!   start comes later.
//!
//! (Waiting for [`Board::settle`] in a service is [`SettleError::Inside`].) It does not matter
//! whether the verb was called through the [`Context`] or through an [`Address`], [`Recipient`],
//! [`Publisher`] or [`Board`], nor whether several waits are joined. A wait counts until it
//! completes or its future is dropped, even if another branch of a `select!` could complete first.
//!
//! Other waits do not count: those of tasks that a handler has spawned, of its blocking and its
//! later work, of instances per key (the other keys go on), of a future that an earlier handler had
//! begun, and of code outside the board. They end by their time limit; `settled` without
//! [`within`](PublishSettled::within) has none.
//!
//! To avoid a circle, let one service not wait: it tells instead of asking, or publishes and
//! receives the answer as an event. [`BoardBuilder::cycles`] turns the error into a warning.
//!
//! # Tests of your services
//!
//! [`BoardBuilder::on_this_thread`] runs the whole board on your thread, so that tokio's paused
//! clock (its feature `test-util`) and one seed govern everything; [`Board::settle`] waits until
//! nothing is left to do, and needs no sleeping. It runs within a `LocalSet`:
//!
//! ```
//! # use callboard::prelude::*;
//! # struct Ping;
//! # impl Event for Ping { const NAME: &'static str = "ping"; }
//! # #[derive(Default)] struct Flaky;
//! # impl Service for Flaky {}
//! # impl Handle<Ping> for Flaky {
//! #     async fn handle(&mut self, _: &Ping, cx: &mut Context<Self>) -> Outcome {
//! #         if cx.attempt() < 3 { Err(Failure::new("not yet")) } else { Ok(()) }
//! #     }
//! # }
//! # type Tested = Result<(), Box<dyn std::error::Error>>;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Tested { it_tries_again().await }
//! # const _: &str = stringify!(
//! #[tokio::test(start_paused = true)]
//! # );
//! async fn it_tries_again() -> Result<(), Box<dyn std::error::Error>> {
//!     let test = async {
//!         let flaky = service("flaky", Flaky::default).on::<Ping>();
//!         let tree = Supervisor::one_for_one("shop").child(flaky);
//!         let board = Board::builder().on_this_thread().start(tree).await?;
//!         board.publish(Ping).await?;
//!         board.settle().await?; // two retries, no waiting
//!         let ledger = board.ledger();
//!         let row = ledger.delivery("shop/flaky", "ping").ok_or("no such row")?;
//!         assert_eq!((row.acknowledged, row.retried), (1, 2));
//!         Ok(())
//!     };
//!     tokio::task::LocalSet::new().run_until(test).await
//! }
//! ```
//!
//! A board with threads of its own does not hear of a clock that is paused on yours.

// Examples print; the library speaks through `tracing`.
#![warn(clippy::print_stderr, clippy::print_stdout)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::panic,
        clippy::unwrap_used,
        reason = "a test ends by panicking"
    )
)]

#[cfg(not(panic = "unwind"))]
compile_error!(
    "callboard needs `panic = \"unwind\"`: a service that panics is caught and restarted, and with \
     `panic = \"abort\"` the whole process would end instead"
);

mod activity;
mod agenda;
mod bell;
mod board;
mod bridge;
mod broker;
mod clock;
mod crew;
mod dead_letter;
pub mod defaults;
mod dice;
mod event;
mod exit;
mod failure;
mod gauges;
mod host;
mod insider;
mod ledger;
mod lifecycle;
mod mailbox;
mod message;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod names;
mod panic;
mod park;
pub mod policy;
mod pulse;
mod restart;
mod service;
mod shelf;
mod shutdown;
mod supervisor;
mod sync;
mod topic;
mod vitals;
mod waits;
mod wall;
mod works;

pub use board::{
    Board, BoardBuilder, BoardError, Current, Inspection, LeftBehind, LocalBoardBuilder,
    MailboxLoad, Monitor, Policies, PolicyError, PolicyRow, ShutdownReport, StartError, Stuck,
    Tree, Undelivered, Watchdog,
};
pub use bridge::{ActixRecipient, ToActix, to_actix};
pub use broker::RedriveError;
pub use dead_letter::{DeadLetter, FailedAttempt};
pub use event::{Cause, Event, EventId, Key};
pub use exit::Exit;
pub use failure::{BreakerOpen, Failure, Outcome, Overdue};
pub use host::seed::Problem;
pub use ledger::{DeliveryRow, Ledger, LetterRow, TopicRow};
pub use lifecycle::{Change, Lifecycle};
pub use mailbox::gauge::Guarded;
pub use message::Message;
pub use panic::Panic;
pub use policy::{
    Backoff, Breaker, BreakerState, Dedupe, Jitter, OnFailure, OnSuccess, Policy, RateLimit,
    Reason, Retry, RetryBudget,
};
pub use restart::Restart;
pub use service::{
    Address, And, Answer, AskError, Blocking, BlockingError, Context, Handle, Nothing, On, PerKey,
    Placement, Publisher, Recipient, Service, ServiceSpec, SubscribeError, TellError, TimedOut,
    TimerId, service,
};
pub use shutdown::Shutdown;
pub use supervisor::{
    AutoShutdown, Child, ChildError, ChildInfo, Count, LookupError, Strategy, Supervisor,
    SupervisorHandle,
};
pub use topic::batch::{PublishAll, PublishAllError};
pub use topic::place::Overflow;
pub use topic::publish::{Publish, PublishError};
pub use topic::schedule::Scheduled;
pub use topic::series::{MissedTicks, Series};
pub use topic::settled::PublishSettled;
pub use topic::settlement::{Fate, Settled};
pub use vitals::{LastFailure, State};
pub use waits::Cycles;
pub use wall::SettleError;
pub use works::Stop;

/// What most programs need: `use callboard::prelude::*;`.
pub mod prelude {
    pub use std::time::Duration;

    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        Address, Answer, Board, Context, DeadLetter, Event, Exit, Failure, Handle, Message,
        OnFailure, OnSuccess, Outcome, Overflow, Policy, Retry, Service, Supervisor, millis, secs,
        service,
    };
}

/// A duration of this many milliseconds.
#[must_use]
pub const fn millis(count: u64) -> std::time::Duration {
    std::time::Duration::from_millis(count)
}

/// A duration of this many seconds.
#[must_use]
pub const fn secs(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count)
}

/// The README's program is compiled and run with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
