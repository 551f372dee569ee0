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

/// The shop example, run as a user runs it: its answers, messages and exit codes.
mod shop;

/// What we build upon: versions with known holes, doubles, sources, and how many there are.
mod supply;
