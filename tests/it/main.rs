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

/// The tree itself: sizes, floors, words, and that its papers and its code agree.
mod tidy;

/// What we build upon: versions with known holes, doubles, sources, and how many there are.
mod supply;

/// A service that does as it is told, and a log of what it did.
mod support_lives;

/// Starting in order, from any runtime, and leaving nothing behind when it fails.
mod start;

/// Lives, restart types, the budget of restarts, and what survives them.
mod restarts;

/// Asking and telling: every ask ends, and what is not accepted comes back.
mod asks;

/// Timers: between deliveries, never behind a queue, and bound to one life.
mod timers;

/// Ending in two phases, by the deadline, with a report.
mod shutdown;

/// Panics of user code anywhere: the process lives on and nothing is lost.
mod panics;

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
