//! How a child is stopped.
//!
//! Specs carry it; hosts and supervisors obey it when a child is told to stop.
//!
//! Invariant: whatever is chosen, the child is gone when its time is over.
//!
//! It does not say what becomes of the unread: that is the same for all.

use std::fmt;
use std::time::Duration;

use crate::defaults;

/// How a child is stopped, and how long that may take; OTP's `shutdown`.
///
/// When the time is over, the child is killed: its handler is dropped where it waits, `stopping`
/// is not called, and the event in flight goes back to the mailbox without a counted attempt. A
/// handler that blocks its thread cannot be killed; it is left behind and reported.
///
/// A plain [`Duration`] is `Graceful`: `.shutdown(secs(2))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Handles what it had accepted when the stop began, retries included, then stops as
    /// `Graceful` does, all within this time.
    ///
    /// Only if the child will not be started again: in the restart of a group its mailbox is kept,
    /// so there it acts as `Graceful`. For a supervisor: all services below drain. A
    /// [suspended](crate::Board::suspend) service handles nothing, so it does not drain.
    Drain(Duration),
    /// Finishes the event it is handling, calls `stopping`, and ends, within this time. The
    /// default, with 5 s; for a supervisor without a limit of its own.
    Graceful(Duration),
    /// Is killed at once; OTP's `brutal_kill`.
    Kill,
}

impl Shutdown {
    /// The time it has.
    pub(crate) fn time(self) -> Duration {
        match self {
            Shutdown::Drain(time) | Shutdown::Graceful(time) => time,
            Shutdown::Kill => Duration::ZERO,
        }
    }

    /// The time of one that ends by itself, and is told so.
    pub(crate) fn farewell(self) -> Duration {
        match self {
            Shutdown::Kill => defaults::SHUTDOWN_WAIT,
            timed => timed.time(),
        }
    }

    /// What is impossible about it.
    pub(crate) fn problem(self) -> Option<String> {
        let timed = !matches!(self, Shutdown::Kill);
        (timed && self.time().is_zero())
            .then(|| format!("{self} leaves no time to stop: use Shutdown::Kill"))
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown::Graceful(defaults::SHUTDOWN_WAIT)
    }
}

impl From<Duration> for Shutdown {
    fn from(time: Duration) -> Self {
        Shutdown::Graceful(time)
    }
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shutdown::Drain(time) => write!(f, "drain within {time:?}"),
            Shutdown::Graceful(time) => write!(f, "graceful within {time:?}"),
            Shutdown::Kill => f.write_str("kill"),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn only_a_kill_may_leave_no_time() {
        let second = Duration::from_secs(1);
        let table = [
            (Shutdown::Drain(second), second, false),
            (Shutdown::Drain(Duration::ZERO), Duration::ZERO, true),
            (Shutdown::from(second), second, false),
            (Shutdown::Graceful(Duration::ZERO), Duration::ZERO, true),
            (Shutdown::Kill, Duration::ZERO, false),
        ];
        for (shutdown, time, refused) in table {
            assert_eq!(
                (shutdown.time(), shutdown.problem().is_some()),
                (time, refused),
                "{shutdown}"
            );
        }
    }
}
