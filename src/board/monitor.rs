//! Hearing of every change in the life of one service.
//!
//! Users get it from the board and wait on it; the supervisors' actors and the control verbs tell.
//!
//! Invariant: it makes nobody wait: one that is not read misses the oldest, and counts them.
//!
//! It changes nothing, and dropping it ends nothing.

use std::fmt;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::insider::is_needed;
use crate::lifecycle::Lifecycle;
use crate::park::block_on;

/// The changes in the life of one service, from the moment it was asked for:
/// `board.monitor(&address)`.
///
/// ```
/// # use callboard::{Change, prelude::*};
/// # #[derive(Default)] struct Clerk;
/// # impl Service for Clerk {}
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clerk = service("clerk", Clerk::default);
/// let address = clerk.address();
/// let board = Board::start(Supervisor::one_for_one("shop").child(clerk))?;
/// let mut monitor = board.monitor(&address)?;
/// board.shutdown_blocking(secs(5));
///
/// let heard: Vec<String> = std::iter::from_fn(|| monitor.try_next())
///     .map(|news| news.to_string())
///     .collect();
/// assert_eq!(heard[0], "shop/clerk (life 1) is stopping");
/// assert_eq!(heard[1], "shop/clerk (life 1) was shut down");
/// # Ok(()) }
/// ```
pub struct Monitor {
    changes: Receiver<Lifecycle>,
    missed: u64,
}

impl Monitor {
    pub(crate) fn new(changes: Receiver<Lifecycle>) -> Self {
        Monitor { changes, missed: 0 }
    }

    /// Waits for the next change; `None` once there can be no more, because the board has ended or
    /// the service was deleted.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<Lifecycle> {
        loop {
            match self.changes.recv().await {
                Ok(news) => return Some(news),
                Err(RecvError::Lagged(missed)) => self.missed += missed,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// As [`Monitor::next`], for callers outside any runtime: blocks the thread. On a thread of a
    /// board it does not wait, as [`Monitor::try_next`]: `None` may then also mean that there is
    /// none yet.
    pub fn next_blocking(&mut self) -> Option<Lifecycle> {
        if is_needed() {
            return self.try_next();
        }
        block_on(self.next())
    }

    /// The next change, if there is one already. Never waits.
    pub fn try_next(&mut self) -> Option<Lifecycle> {
        loop {
            match self.changes.try_recv() {
                Ok(news) => return Some(news),
                Err(TryRecvError::Lagged(missed)) => self.missed += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// How many changes it has missed because it was not read in time: it keeps the last 256.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("waiting", &self.changes.len())
            .field("missed", &self.missed)
            .finish()
    }
}
