//! What a board allocates, counted.
//!
//! A test binary of its own, because it replaces the allocator by one that counts. It counts for
//! each thread by itself, so every board runs on the thread of its test, and tests may run beside
//! each other. Time is paused: nothing here depends on how fast the machine is.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends by panicking, and helpers outside of `#[test]` functions need that too"
)]

/// What the modules below share: a board on this thread, and services that read or are stuck.
mod stage;

/// In steady state an event costs its share of a block, a delivery nothing, a letter little.
mod steady;

/// A service that has nothing to do takes little, and so does its start.
mod idle;

/// Who lags, or is stuck, holds no more than its capacity, whatever is offered.
mod bounded;

/// What was needed for a while is given back: after a burst, and after the end of a service.
mod given_back;

/// A day in virtual time: nothing grows, although services tick, publish and panic all the time.
mod soak;
