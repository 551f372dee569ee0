//! Event-driven services inside one binary.

#[cfg(not(panic = "unwind"))]
compile_error!(
    "callboard needs `panic = \"unwind\"`: a service that panics is caught and restarted, and with \
     `panic = \"abort\"` the whole process would end instead"
);

mod board;
mod broker;
mod clock;
mod dead_letter;
pub mod defaults;
mod dice;
mod event;
mod exit;
mod failure;
mod host;
mod ledger;
mod mailbox;
mod message;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod panic;
mod park;
pub mod policy;
mod pulse;
mod registry;
mod restart;
mod service;
mod shelf;
mod supervisor;
mod sync;
mod topic;
mod wall;

pub use board::{
    Board, BoardBuilder, BoardError, LocalBoardBuilder, ShutdownReport, StartError, Stuck,
    Undelivered,
};
pub use broker::RedriveError;
pub use dead_letter::{DeadLetter, FailedAttempt, Reason};
pub use event::{Cause, Event, EventId, Key};
pub use exit::Exit;
pub use failure::{Failure, Outcome};
pub use host::seed::Problem;
pub use ledger::{DeliveryRow, Ledger, LetterRow, TopicRow};
pub use message::Message;
pub use panic::Panic;
pub use policy::{Backoff, Jitter, Policy, Retry};
pub use registry::LookupError;
pub use restart::Restart;
pub use service::{
    Address, And, Answer, AskError, Context, Handle, Nothing, On, Placement, Publisher, Recipient,
    Service, ServiceSpec, SubscribeError, TellError, TimedOut, TimerId, service,
};
pub use supervisor::{Child, Strategy, Supervisor};
pub use topic::place::Overflow;
pub use topic::publish::{Publish, PublishError, PublishSettled};
pub use topic::settlement::{Fate, Settled};

/// What most programs need: `use callboard::prelude::*;`.
pub mod prelude {
    pub use std::time::Duration;

    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        Address, Answer, Board, Context, DeadLetter, Event, Exit, Failure, Handle, Message,
        Outcome, Overflow, Policy, Retry, Service, Supervisor, millis, secs, service,
    };
}

/// So many milliseconds.
pub const fn millis(count: u64) -> std::time::Duration {
    std::time::Duration::from_millis(count)
}

/// So many seconds.
pub const fn secs(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count)
}
