//! What the actor tells the family, and what the family tells the actor to do.
//!
//! The actor makes the plan and the inputs and obeys the actions; the family reads and makes them.
//!
//! Invariant: a life is named by its child's id and its generation, and by nothing else.
//!
//! It decides nothing.

use std::time::Duration;

use crate::exit::Exit;
use crate::restart::Restart;
use crate::supervisor::strategy::{AutoShutdown, Strategy};
use crate::sync::Arc;

/// Names a child among its siblings: its place in the order of starting. Never used twice, so a
/// late word about a child that was forgotten cannot reach another.
pub(crate) type ChildId = u64;

/// What the family needs to know of a child.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    pub(crate) restart: Restart,
    /// Whether its end by itself may complete the family; see [`Plan::auto_shutdown`].
    pub(crate) significant: bool,
}

/// What a supervisor's children have in common.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) path: Arc<str>,
    pub(crate) strategy: Strategy,
    pub(crate) max_restarts: u32,
    pub(crate) window: Duration,
    /// Waits before restarts: whether there is a backoff, and after how long a life counts as
    /// stable, so that its failure begins a new row. `None`: restart at once.
    pub(crate) stable_after: Option<Duration>,
    pub(crate) auto_shutdown: AutoShutdown,
    /// Children are made on demand from one recipe: they start and stop independently, all at
    /// once, whatever the strategy, and one that ends for good is forgotten.
    pub(crate) dynamic: bool,
    /// The children are the workers of one service: when one has ended for good, so has the
    /// service, for the same reason.
    pub(crate) workers: bool,
}

/// What has happened, or is asked for.
///
/// A report about a life that is over is ignored, so the actor may repeat itself or be late. What
/// is asked for a child that does not exist, or of a family that is ending, is ignored as well;
/// only `Add` is refused then, because somebody waits for the start, and `Dismiss` is heeded.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Bring all children up, in order. Only the first one counts.
    Start,
    /// A life is ready, or will never be.
    Started {
        child: ChildId,
        generation: u64,
        result: Result<(), Exit>,
    },
    /// A life is over.
    Exited {
        child: ChildId,
        generation: u64,
        exit: Exit,
    },
    /// The delay that [`Action::BackOff`] asked for is over.
    BackedOff { child: ChildId, generation: u64 },
    /// There is a new child, last in order; it starts in its turn. An id that is not higher than
    /// all before it is ignored.
    Add { child: ChildId, member: Member },
    /// Stop a child in order, and let it stay down; its spec stays, unless it is temporary or
    /// dynamic. OTP's `terminate_child`.
    Terminate { child: ChildId },
    /// As `Terminate`, for a worker that is let go; heeded while the family is ending, too: it does
    /// not come back with it.
    Dismiss { child: ChildId },
    /// Start a child that is closed. OTP's `restart_child`.
    Restart { child: ChildId },
    /// Stop a child in order and start it again, neither counted nor delayed: an operator's wish,
    /// not a failure. It ends a row of restarts, too. Not for a closed child.
    Renew { child: ChildId },
    /// Forget a child that is closed. OTP's `delete_child`.
    Delete { child: ChildId },
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
    Start { child: ChildId, generation: u64 },
    /// End a life within the child's own shutdown time, also one that is still starting;
    /// answer with [`Input::Exited`].
    Stop {
        child: ChildId,
        generation: u64,
        why: Why,
    },
    /// End a life now; answer with [`Input::Exited`].
    Kill { child: ChildId, generation: u64 },
    /// Wait before the next life; answer with [`Input::BackedOff`]. `generation` is that of the
    /// life that ended, and `restart` how many restarts in a row this is, 1 first.
    BackOff {
        child: ChildId,
        generation: u64,
        restart: u32,
    },
    /// The child has ended for good: its subscriptions close, its unread work is undelivered.
    Close { child: ChildId },
    /// The spec of a child is gone: it was temporary, dynamic, deleted, or added and never
    /// started. Comes after its `Close`.
    Forget { child: ChildId },
    /// A child that was added or restarted on request will not start; whoever asked is told why.
    /// Its `Close` follows.
    Refused { child: ChildId, exit: Exit },
    /// All children have started.
    Up,
    /// The last action: the first start failed because of this child.
    StartFailed { child: ChildId, exit: Exit },
    /// The last action: the budget of restarts is spent, or a child's policy said so.
    Escalate(Exit),
    /// The last action: a worker has ended for good, and the service with it.
    Retired(Exit),
    /// The last action: significant children have ended by themselves, so the work is done.
    Completed,
    /// The last action: a requested stop is complete.
    Down,
}

/// Whether a life that is stopped will be followed by another, as far as is known by then: a
/// later request, or the end of the family, may still change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The child comes back, so what it has in hand can wait for the next life.
    Again,
    /// It does not, or the whole family is ending.
    ForGood,
}
