//! The concurrent protocols, under a model checker.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models` runs the wake-up, the stir, the
//! room, the close, the quiet, the tally and the waits, extracted without their data, in every
//! order of memory that the language allows. With `--cfg shuttle` the bell, the topic and the
//! mailbox themselves run, in random schedules.
//!
//! Invariant: each extracted protocol stands beside a broken variant of itself, and the checker
//! must find it: a model that cannot fail proves nothing.
//!
//! They test what threads may do to each other, not what services promise.
#![allow(clippy::panic, clippy::unwrap_used)]

#[cfg(loom)]
mod close;
#[cfg(loom)]
mod quiet;
#[cfg(loom)]
mod room;
#[cfg(loom)]
mod stir;
#[cfg(loom)]
mod tally;
#[cfg(loom)]
mod waits;
#[cfg(loom)]
mod wake_up;

#[cfg(shuttle)]
mod bell;
#[cfg(shuttle)]
mod mailbox;
#[cfg(shuttle)]
mod topic;
#[cfg(shuttle)]
mod workers;
#[cfg(shuttle)]
mod world;
