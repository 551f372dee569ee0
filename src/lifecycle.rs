//! What happened to one service or supervisor: an event, and what a monitor hears.
//!
//! Supervisors' actors and the board's control verbs make it; whoever subscribes or monitors
//! reads it.
//!
//! Invariant: it never makes anybody wait: its subscriptions drop the oldest.
//!
//! It changes nothing: it is told after the fact.

use std::fmt;
use std::time::Duration;

use crate::event::{Event, Key};
use crate::exit::Exit;
use crate::sync::Arc;

/// Something that happened to a service or supervisor; itself an event, to which any service may
/// subscribe.
///
/// It is published only while somebody subscribes to it. Its subscriptions never make a publisher
/// wait: they are always `Overflow::DropOldest`, so a slow subscriber loses the oldest changes
/// (counted as *shed*). The changes of one path arrive in order. A service that panics while it
/// handles `Lifecycle` causes further changes; its restart budget ends that.
///
/// ```
/// use callboard::{Change, Lifecycle, prelude::*};
///
/// #[derive(Default)]
/// struct Pager { crashes: u32 }
/// impl Service for Pager {}
/// impl Handle<Lifecycle> for Pager {
///     async fn handle(&mut self, news: &Lifecycle, _: &mut Context<Self>) -> Outcome {
///         if let Change::Ended(exit) = news.change() && exit.is_abnormal() {
///             self.crashes += 1;
///             println!("{news}"); // shop/payments (life 3) panicked: boom
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Lifecycle {
    pub(crate) path: Arc<str>,
    pub(crate) life: u64,
    pub(crate) at: Duration,
    pub(crate) change: Change,
}

/// What happened to a service or supervisor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// A life begins; `started` has not been called yet.
    Starting,
    /// `started` has succeeded; for a supervisor: all its children have.
    Started,
    /// A life is over, or has never come up.
    Ended(Exit),
    /// Its next life begins after this delay.
    BackingOff(Duration),
    /// It was ordered to stop, and may finish what it is doing.
    Stopping,
    /// It has ended for good: its subscriptions are closed. It may be started again on request.
    Closed,
    /// It begins nothing more for now, but finishes what it has begun.
    Suspended,
    /// It goes on, beginning with what has come in since.
    Resumed,
    /// The breaker of one of its subscriptions has opened: too many attempts have failed. A shared
    /// breaker is reported only for the service whose attempt changed it.
    #[non_exhaustive]
    BreakerOpened {
        /// The event's name.
        event: &'static str,
    },
    /// That breaker lets a few attempts through as probes.
    #[non_exhaustive]
    BreakerHalfOpen {
        /// The event's name.
        event: &'static str,
    },
    /// That breaker has closed: the probes have succeeded.
    #[non_exhaustive]
    BreakerClosed {
        /// The event's name.
        event: &'static str,
    },
}

impl Lifecycle {
    /// Whose change it is: a path such as `shop/payments`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Which of its lives: 1 for the first, 0 before it.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// When, counted from the board's start.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// What happened.
    pub fn change(&self) -> &Change {
        &self.change
    }
}

impl Event for Lifecycle {
    const NAME: &'static str = "callboard.lifecycle";

    fn key(&self) -> Key {
        Key::from(self.path())
    }
}

impl fmt::Display for Lifecycle {
    /// One line: `shop/payments (life 3) panicked: boom`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (life {}) {}", self.path, self.life, self.change)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Starting => f.write_str("is starting"),
            Change::Started => f.write_str("has started"),
            Change::Ended(exit) => exit.fmt(f),
            Change::BackingOff(delay) => write!(f, "starts again in {delay:?}"),
            Change::Stopping => f.write_str("is stopping"),
            Change::Closed => f.write_str("has ended for good"),
            Change::Suspended => f.write_str("is suspended"),
            Change::Resumed => f.write_str("is resumed"),
            Change::BreakerOpened { event } => write!(f, "stops trying {event}: breaker open"),
            Change::BreakerHalfOpen { event } => write!(f, "probes {event}: breaker half open"),
            Change::BreakerClosed { event } => write!(f, "tries {event} again: breaker closed"),
        }
    }
}
