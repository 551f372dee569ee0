//! What is asked of a supervisor while it runs, and why it says no.
//!
//! Handles and the board's control verbs ask; the supervisor's actor answers when it is done.
//!
//! Invariant: whoever asks is answered: by the actor, by its end, or by the time limit.
//!
//! It does nothing itself.

use std::time::Duration;

use tokio::sync::oneshot;

use super::node::{Branch, Node};
use super::recipe::{Argument, Spoiled};
use super::{Child, LookupError};
use crate::clock::within;
use crate::defaults::CONTROL_WAIT;
use crate::exit::Exit;
use crate::host::Problem;
use crate::panic::Panic;
use crate::sync::Arc;
use crate::waits::{Waiting, running};
use crate::wall::Wall;

/// Why a supervisor refused or failed a request. Nothing has changed, unless stated otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// There is nothing at this path.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The child is invalid.
    #[error("invalid child: {}", list(problems))]
    #[non_exhaustive]
    Refused {
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
    },
    /// There is a child of this name, alive or not.
    #[error("there is already a child at {path}")]
    #[non_exhaustive]
    AlreadyExists {
        /// Its path.
        path: String,
    },
    /// The child must have ended for good first; or it was being stopped, and is started again
    /// because a later request asked for its restart.
    #[error("{path} has not ended for good: stop it first, or restart it as it is")]
    #[non_exhaustive]
    Running {
        /// Its path.
        path: String,
    },
    /// The child has ended for good; `restart_child` starts it again. From
    /// [`Board::scale`](crate::Board::scale) also: the service has not started, or is restarting.
    #[error("{path} has ended for good: restart starts it again")]
    #[non_exhaustive]
    NotRunning {
        /// Its path.
        path: String,
    },
    /// The child did not start; or a stop overtook its restart, and then `exit` is
    /// [`Exit::Shutdown`]. A child that was to be added is not kept.
    #[error("{path} did not start: it {exit}")]
    #[non_exhaustive]
    Failed {
        /// Its path.
        path: String,
        /// Why it did not start.
        exit: Exit,
    },
    /// The supervisor makes its children from a recipe, and takes no others.
    #[error("{path} makes its children from a recipe: use start_child_from")]
    #[non_exhaustive]
    Dynamic {
        /// The supervisor's path.
        path: String,
    },
    /// The supervisor has no recipe.
    #[error("{path} has no recipe: use start_child")]
    #[non_exhaustive]
    NotDynamic {
        /// The supervisor's path.
        path: String,
    },
    /// The recipe takes another argument.
    #[error("the recipe of {path} takes a {expected}, not a {found}")]
    #[non_exhaustive]
    WrongArgument {
        /// The supervisor's path.
        path: String,
        /// The type it takes.
        expected: &'static str,
        /// The type it was given.
        found: &'static str,
    },
    /// The recipe panicked.
    #[error("the recipe of {path} panicked")]
    #[non_exhaustive]
    Recipe {
        /// The supervisor's path.
        path: String,
        /// What it said.
        #[source]
        panic: Panic,
    },
    /// These are the workers of a service: scale it, or stop it as a whole.
    #[error("the children of {path} are its workers: scale it, or stop it as a whole")]
    #[non_exhaustive]
    Workers {
        /// The service's path.
        path: String,
    },
    /// The service has no workers.
    #[error("{path} has no workers")]
    #[non_exhaustive]
    NoWorkers {
        /// The path.
        path: String,
    },
    /// The number of workers is already being changed; or the worker to be restarted is being
    /// removed by such a change.
    #[error("the number of workers of {path} is already being changed")]
    #[non_exhaustive]
    Scaling {
        /// The service's path.
        path: String,
    },
    /// The supervisor is stopping or has ended, or the board has.
    #[error("{path} is stopping, or has ended")]
    #[non_exhaustive]
    Stopping {
        /// The supervisor's path.
        path: String,
    },
    /// The root ends only with its board.
    #[error("{path} is the root: shut the board down")]
    #[non_exhaustive]
    Root {
        /// The root's path.
        path: String,
    },
    /// The system could not provide a thread.
    #[error("no thread for the child")]
    Threads(#[source] std::io::Error),
    /// No answer in time: the request takes longer, or the supervisor's thread is blocked. It may
    /// still be carried out.
    #[error("no answer from {path} within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The supervisor's path.
        path: String,
        /// How long the asker waited.
        limit: Duration,
    },
    /// A `_blocking` form was called on one of the board's own threads, which it would block.
    #[error("a blocking call on a thread of a board would stop its services: use the async form")]
    Blocking,
    /// The request would have waited for the service that made it.
    #[error("a cycle of waits: {path}")]
    #[non_exhaustive]
    Cycle {
        /// The paths of those that would wait, the asker first and last.
        path: String,
    },
}

fn list(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

impl ChildError {
    pub(super) fn spoiled(path: &str, spoiled: Spoiled) -> Self {
        let path = path.to_owned();
        match spoiled {
            Spoiled::WrongArgument { expected, found } => ChildError::WrongArgument {
                path,
                expected,
                found,
            },
            Spoiled::Panicked(panic) => ChildError::Recipe { path, panic },
        }
    }
}

/// What is asked. Children are named by the last part of their paths.
pub(crate) enum Ask {
    Start(Box<Child>),
    StartFrom(Argument),
    Terminate(String),
    Restart(String),
    Delete(String),
    /// Stop it in order and start it again.
    Renew(String),
    /// End its life now.
    Kill(String),
    /// Have so many workers.
    Scale(usize),
}

impl Ask {
    /// Whether it asks for which children there are.
    pub(super) fn is_of_children(&self) -> bool {
        match self {
            Ask::Start(_) | Ask::StartFrom(_) | Ask::Terminate(_) => true,
            Ask::Restart(_) | Ask::Delete(_) => true,
            Ask::Renew(_) | Ask::Kill(_) | Ask::Scale(_) => false,
        }
    }

    /// Whether a child has to start before it is done, for which it may not yet be its turn.
    fn waits_for_turn(&self) -> bool {
        match self {
            Ask::Start(_) | Ask::StartFrom(_) | Ask::Restart(_) => true,
            Ask::Renew(_) | Ask::Scale(_) => true,
            Ask::Terminate(_) | Ask::Delete(_) | Ask::Kill(_) => false,
        }
    }

    /// Whether this child, and all below it, has to end or to work before it is done.
    fn waits_for(&self, child: &Node) -> bool {
        match self {
            Ask::Terminate(name) | Ask::Renew(name) => child.name() == name,
            Ask::Scale(_) => true,
            _ => false,
        }
    }
}

pub(crate) type Answer = oneshot::Sender<Result<String, ChildError>>;

/// What is asked, and the way back: the path of the child it was about.
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) answer: Answer,
}

impl actix::Message for Request {
    type Result = ();
}

/// Asks a supervisor and waits until it is done.
///
/// # Cancel safety
/// Dropping the future does not take back what was asked.
pub(crate) async fn ask(wall: &Wall, supervisor: &Node, ask: Ask) -> Result<String, ChildError> {
    let path = || supervisor.path().to_string();
    let stopping = || ChildError::Stopping { path: path() };
    let _waiting = begin_wait(wall, supervisor, &ask)?;
    let desk = supervisor.branch().and_then(|branch| branch.desk.get());
    let (answer, answered) = oneshot::channel();
    desk.ok_or_else(stopping)?.do_send(Request { ask, answer });
    match within(&wall.pulse.clock, Some(CONTROL_WAIT), answered).await {
        Some(Ok(answer)) => answer,
        Some(Err(_)) => Err(stopping()),
        None => Err(ChildError::TimedOut {
            path: path(),
            limit: CONTROL_WAIT,
        }),
    }
}

/// Notes that the service which asks, if one does, waits for the supervisor, if anything has to
/// start, and for all that has to end first.
fn begin_wait(wall: &Wall, supervisor: &Node, ask: &Ask) -> Result<Option<Waiting>, ChildError> {
    let Some(waiter) = running(wall.waits.board()) else {
        return Ok(None);
    };
    let mut paths = Vec::new();
    if ask.waits_for_turn() {
        paths.push(Arc::clone(supervisor.path()));
    }
    let children = supervisor.branch().map(Branch::children);
    let children = children.into_iter().flatten();
    for child in children.filter(|child| ask.waits_for(child)) {
        let below = child.subtree();
        paths.extend(below.iter().map(|node| Arc::clone(node.path())));
    }
    let waiting = waiter.wait(paths).map_err(|cycle| ChildError::Cycle {
        path: cycle.to_string(),
    })?;
    Ok(Some(waiting))
}
