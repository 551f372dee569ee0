//! What several benches need: threads to run on, the services they measure, what they are measured
//! beside, and rounds that take turns.
//!
//! A module of each bench that names it, and no bench itself.
#![allow(
    dead_code,
    reason = "each bench is a program of its own, and uses a part of this"
)]

pub(crate) mod actix_peer;
pub(crate) mod bare_log;
pub(crate) mod count;
pub(crate) mod elsewhere;
pub(crate) mod ground;
pub(crate) mod phoenix;
pub(crate) mod readers;
pub(crate) mod rounds;
pub(crate) mod settings;
pub(crate) mod tokio_peer;
pub(crate) mod works;
