//! How one life of a service, or a supervisor, ended.
//!
//! Hosts and supervisors make it; restarts, reports and the user's hooks read it. It calls only
//! failures and panics.
//!
//! Invariant: it prints as one line, as what is said of a path: `{path} {exit}` is a sentence.
//!
//! It does not say what follows: that depends on the child's restart type and its supervisor.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::failure::Failure;
use crate::panic::Panic;

/// Why a life of a service, or a supervisor, ended.
///
/// It prints as a predicate, so that `format!("{path} {exit}")` is a sentence with the whole chain:
/// `shop/payments gave up: shop/payments/gateway panicked: boom`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// It ended of its own accord, by [`Context::stop`](crate::Context::stop); also what an idle
    /// instance per key is given when it is retired.
    Normal,
    /// It was stopped by its supervisor, or because the board shuts down.
    Shutdown,
    /// It could not go on and said why, such as a `started` that failed.
    Failure(Failure),
    /// Its code panicked.
    Panic(Panic),
    /// It exceeded this limit: while handling an event, where a timeout restarts the service, or
    /// while starting.
    Timeout(Duration),
    /// It was killed: by `Board::kill`, or because it did not stop in time.
    Killed,
    /// Its failure policy ended it for good: it is not restarted, whatever its restart type.
    Retired(Failure),
    /// Its failure policy said that its supervisor has to give up, whatever is left of the budget.
    Fatal(Failure),
    /// It is a supervisor that gave up, because a child ended once too often.
    Escalated {
        /// The path of the child whose end was one too many.
        path: String,
        /// How that child ended.
        cause: Box<Exit>,
    },
}

impl Exit {
    /// Tells whether something went wrong: all but [`Normal`](Exit::Normal) and
    /// [`Shutdown`](Exit::Shutdown).
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown)
    }
}

/// As its text.
impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("ended normally"),
            Self::Shutdown => f.write_str("was shut down"),
            Self::Failure(failure) => write!(f, "failed: {}", one_line(&failure.describe())),
            Self::Panic(panic) => f.write_str(&one_line(&panic.to_string())),
            Self::Timeout(limit) => write!(f, "timed out after {limit:?}"),
            Self::Killed => f.write_str("was killed"),
            Self::Retired(failure) => write!(f, "was retired: {}", one_line(&failure.describe())),
            Self::Fatal(failure) => write!(f, "failed fatally: {}", one_line(&failure.describe())),
            Self::Escalated { path, cause } => write!(f, "gave up: {path} {cause}"),
        }
    }
}

// Texts of users may span lines, as those of `assert_eq!` do.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::panic::guard;

    fn panicked(text: &'static str) -> Exit {
        Exit::Panic(guard(|| panic!("{text}")).unwrap_err())
    }

    fn escalated(path: &str, cause: Exit) -> Exit {
        Exit::Escalated {
            path: path.into(),
            cause: Box::new(cause),
        }
    }

    #[test]
    fn an_exit_is_said_of_a_path() {
        let table = [
            (Exit::Normal, "ended normally", false),
            (Exit::Shutdown, "was shut down", false),
            (
                Exit::Failure(Failure::new("no disk")),
                "failed: no disk",
                true,
            ),
            (panicked("boom"), "panicked: boom", true),
            (panicked("left\n  right"), "panicked: left right", true),
            (
                Exit::Timeout(Duration::from_secs(2)),
                "timed out after 2s",
                true,
            ),
            (Exit::Killed, "was killed", true),
            (
                Exit::Retired(Failure::new("no\n  disk")),
                "was retired: no disk",
                true,
            ),
            (
                Exit::Fatal(Failure::new("no\n  disk")),
                "failed fatally: no disk",
                true,
            ),
            (
                escalated("a", panicked("boom")),
                "gave up: a panicked: boom",
                true,
            ),
        ];
        for (exit, text, abnormal) in table {
            assert_eq!(
                (exit.to_string().as_str(), exit.is_abnormal()),
                (text, abnormal)
            );
        }
    }

    #[test]
    fn an_escalation_tells_the_whole_chain() {
        let payments = escalated("shop/payments/gateway", panicked("boom"));
        let text = "shop/payments gave up: shop/payments/gateway panicked: boom";
        assert_eq!(format!("shop/payments {payments}"), text);
        let shop = escalated("shop/payments", payments);
        assert_eq!(format!("shop {shop}"), format!("shop gave up: {text}"));
    }
}
