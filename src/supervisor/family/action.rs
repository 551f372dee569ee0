//! What the actor tells the family, and what the family tells the actor to do.
//!
//! The actor makes the inputs and obeys the actions; the family reads and makes them.
//!
//! Invariant: a life is named by its child's index and its generation, and by nothing else.
//!
//! It decides nothing.

use crate::exit::Exit;
use crate::restart::Restart;

/// What the family needs to know of a child.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) restart: Restart,
}

/// What has happened.
///
/// A report about a life that is over is ignored, so the actor may repeat itself or be late.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Bring all children up, in order. Only the first one counts.
    Start,
    /// A life is ready, or will never be.
    Started {
        child: usize,
        generation: u64,
        result: Result<(), Exit>,
    },
    /// A life is over.
    Exited {
        child: usize,
        generation: u64,
        exit: Exit,
    },
    /// Stop all children in reverse order; the answer is [`Action::Down`], unless it was ending
    /// already.
    Stop,
    /// As `Stop`, but the time is up: whatever still lives is killed at once.
    Kill,
}

/// What the actor is to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Begin a life; answer with [`Input::Started`], or [`Input::Exited`] if it is over first.
    Start { child: usize, generation: u64 },
    /// End a life within the child's own shutdown time, also one that is still starting;
    /// answer with [`Input::Exited`].
    Stop { child: usize, generation: u64 },
    /// End a life now; answer with [`Input::Exited`].
    Kill { child: usize, generation: u64 },
    /// The child has ended for good: its subscriptions close, its unread work is undelivered.
    Close { child: usize },
    /// All children have started.
    Up,
    /// The last action: the first start failed because of this child.
    StartFailed { child: usize, exit: Exit },
    /// The last action: the budget of restarts is spent.
    Escalate(Exit),
    /// The last action: a requested stop is complete.
    Down,
}
