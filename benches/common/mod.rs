//! What several benches need: a thread to run on, the services they measure, and rounds that take
//! turns.
//!
//! A module of each bench that names it, and no bench itself.
#![allow(
    dead_code,
    reason = "each bench is a program of its own, and uses a part of this"
)]

pub(crate) mod count;
pub(crate) mod ground;
pub(crate) mod readers;
pub(crate) mod rounds;
