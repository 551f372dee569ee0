//! Everything the crate promises, checked from outside.
//!
//! One test binary, one module per promise. To add a test, find the promise it shows in the list
//! below and put it into that module; a new promise gets a new module and a line here saying what
//! it is. Names are sentences in the present tense: `a_panicking_handler_is_restarted`.
//!
//! Time is paused, never slept: wait for events, never for durations. A test of a failure also
//! asserts that the failure happened, or it passes when nothing fails at all.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends by panicking, and helpers outside of `#[test]` functions need that too"
)]

/// Actors of actix beside the board: they hear its events, and publish.
mod bridge;

/// Cycles of waits: refused at once, with the path.
mod waits;

/// Whoever waits for a start, or for a control verb, that waits for it hears so at once.
mod start_cycles;

/// The tree itself: sizes, floors, words, and that its papers and its code agree.
mod tidy;

/// An example, run as a user runs it.
mod support_example;

/// The shop example, run as a user runs it: its answers, messages and exit codes.
mod shop;

/// The tree example, run as a user runs it: what it tells, its errors and exit codes.
mod tree_example;

/// The casework example, run as a user runs it: its numbers, complaints and exit codes.
mod casework;

/// What we build upon: versions with known holes, doubles, sources, and how many there are.
mod supply;

/// What the modules below share: boards of clerks that follow a script.
mod support_events;

/// A million events, ten thousand panics: nothing is lost, nothing is out of order.
mod million;

/// Everybody sees events of one type in one order, and causes before effects across types.
mod order;

/// A subscription has room for so many events, and publishers wait, are refused, or wait no more.
mod room;

/// No two event types have the same name on a board, whenever they come to it.
mod names;

/// A service has room for so many letters, from however many threads they are sent.
mod letters;

/// What a full subscription that drops the oldest passes over is counted, and is never in custody.
mod shed;

/// Events are tried again as the nearest policy says, in place, and attempts are counted.
mod retry;

/// Each part of a policy does what it says, wherever in the tree it is set.
mod policies;

/// One instance per key: in order for each, none waiting for another, and none kept for ever.
mod per_key;

/// A handler that takes too long is cancelled, or noted as late.
mod timeout;

/// Work that blocks is done off the arbiter, for as long as its event is waited for.
mod blocking;

/// What was given up is a dead letter: an event, on a shelf, to be given back.
mod dead_letters;

/// Every event is dropped exactly once, and what is kept keeps nothing else.
mod memory;

/// Every delivery is in one state, and the gap is 0 at every moment.
mod ledger;

/// A publisher may wait for what becomes of its event at each subscriber, or until a deadline.
mod settled;

/// What is scheduled is published when it is due, comes back, and keeps nobody waiting.
mod schedule;

/// Series publish an event per tick, whatever happens to some of them.
mod series;

/// Many events at once: accepted in order, and what is refused comes back.
mod batch;

/// `settle` returns when nothing is on its way, and not before.
mod settle;

/// What is published on success is published only after success.
mod on_success;

/// Services subscribe and unsubscribe while events flow.
mod subscriptions;

/// A service that does as it is told, and a log of what it did.
mod support_lives;

/// A service that blocks its thread until it is let go.
mod support_blocker;

/// Starting in order, from any runtime, and leaving nothing behind when it fails.
mod start;

/// Lives, restart types, the budget of restarts, and what survives them.
mod restarts;

/// OTP's supervision: strategies, restart types, exits and orders, as the docs say.
mod otp;

/// Children that are started, stopped and forgotten while the board runs.
mod dynamic;

/// Restart storms: the budget holds, one escalation follows, and neighbours keep working.
mod storms;

/// Asking and telling: every ask ends, and what is not accepted comes back.
mod asks;

/// Messages told in a row are handled one by one, in order, and each has its own end.
mod tells;

/// Asks at random, while services come and go: nobody waits for ever, and every end is true.
mod random_asks;

/// Timers: between deliveries, never behind a queue, and bound to one life.
mod timers;

/// Ending in two phases, by the deadline, with a report.
mod shutdown;

/// A service may end its own board, and never waits for itself.
mod self_stop;

/// Suspended services handle nothing, lose nothing, and are named by whoever waits for quiet.
mod suspension;

/// Restart and stop by path: never behind data, from anywhere.
mod control;

/// Kill by path: what waits for ever is ended, with its event.
mod kill;

/// How each child is stopped, and what its stop leaves behind.
mod stops;

/// What happens to a service is told to monitors and subscribers, and stops nobody.
mod lifecycle;

/// What a service is doing is read while it does it; the tree as text and as a picture.
mod inspect;

/// Signals of the system end a program in order.
#[cfg(unix)]
mod signals;

/// Panics of user code anywhere: the process lives on and nothing is lost.
mod panics;

/// Handlers that block or wait too long are noticed, with their neighbours.
mod watchdog;

/// Workers share what their service hears, by key and in order, also while their number changes.
mod workers;

/// Which thread services run on.
mod placement;

/// Boards on the caller's own thread: one clock and one seed.
mod local;

/// What the docs say of types, stated as code.
mod doc_facts;

/// What is told to `tracing`, and that nothing is put into words unless somebody listens.
mod tracing;

/// What the compiler says of the usual mistakes.
mod compile_fail;

/// Random trees under random trouble: every promise at once, against a model.
mod random_tree;

/// Random trees under random failures, against a specification that runs.
mod random_supervision;
