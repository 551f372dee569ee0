//! Events that are made and published again and again, one per tick.
//!
//! `board.every(..)` starts it, as a task of the board's own runtime; the board's agenda tells it
//! the time.
//!
//! Invariant: one event is under way at a time, numbered without a gap, and it ends with the
//! board, by its handle, or when the user's function panics.
//!
//! It keeps no board alive and nothing from settling.

use std::fmt;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::publish::{Publish, PublishError};
use super::{Origin, Topic};
use crate::agenda::Alarm;
use crate::clock::{deadline, next_tick};
use crate::defaults::PUBLISH_WAIT;
use crate::event::Event;
use crate::insider::inside;
use crate::panic::guard;
use crate::sync::{Arc, Mutex, lock};

/// The shortest interval: timers count in milliseconds.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What happens to ticks that pass while the event before them still waits for room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissedTicks {
    /// They are skipped: the next event comes at the next multiple of the interval. The default,
    /// and what [`Context::every`](crate::Context::every) does.
    #[default]
    Skip,
    /// They are made up for: one event each, in immediate succession, until none is missing.
    Burst,
    /// They delay all later ticks: the next event comes one interval after the late one.
    Delay,
}

impl MissedTicks {
    /// The tick after the one that was due then, if its event was accepted, or given up, now.
    fn next(self, due: Instant, now: Instant, interval: Duration) -> Instant {
        match self {
            MissedTicks::Burst => deadline(due, interval),
            MissedTicks::Delay => deadline(now, interval),
            MissedTicks::Skip => next_tick(due, now, interval),
        }
    }
}

/// A series of events, one per tick; made by [`Board::every`](crate::Board::every).
///
/// Dropping it changes nothing: only [`cancel`](Self::cancel) and the end of the board end it.
pub struct Series {
    task: AbortHandle,
    missed: Arc<Mutex<MissedTicks>>,
    event: &'static str,
}

impl Series {
    pub(crate) fn start<E: Event>(
        topic: Arc<Topic<E>>,
        board: usize,
        interval: Duration,
        make: impl FnMut(u64) -> E + Send + 'static,
    ) -> Self {
        let missed = Arc::default();
        let clock = topic.pulse.clock.clone();
        let ticks = Ticks {
            interval: interval.max(INTERVAL_MIN),
            missed: Arc::clone(&missed),
            board,
            topic,
        };
        let first = deadline(clock.now(), ticks.interval);
        let task = clock.handle().spawn(ticks.run(first, make));
        Series {
            task: task.abort_handle(),
            missed,
            event: E::NAME,
        }
    }

    /// Sets what happens to missed ticks from now on; [`MissedTicks::Skip`] by default.
    pub fn missed(self, missed: MissedTicks) -> Self {
        *lock(&self.missed) = missed;
        self
    }

    /// Ends the series: no further event is made, and one that waits for room is dropped. An event
    /// that is being accepted at this moment is still accepted.
    pub fn cancel(&self) {
        self.task.abort();
    }

    /// Whether it has ended: by [`cancel`](Self::cancel), with the board, or by a panic.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series")
            .field("event", &self.event)
            .field("is_over", &self.is_over())
            .finish_non_exhaustive()
    }
}

/// What the task of a series knows.
struct Ticks<E> {
    topic: Arc<Topic<E>>,
    board: usize,
    interval: Duration,
    missed: Arc<Mutex<MissedTicks>>,
}

impl<E: Event> Ticks<E> {
    async fn run(self, first: Instant, mut make: impl FnMut(u64) -> E + Send + 'static) {
        let pulse = Arc::clone(&self.topic.pulse);
        let mut due = first;
        for number in 0.. {
            if !Alarm::set(&pulse.agenda, due).await {
                return;
            }
            match guard(|| make(number)) {
                Ok(event) => self.publish(event, number).await,
                Err(panic) => {
                    tracing::error!(
                        target: "callboard::series",
                        event = E::NAME, number, %panic,
                        "a series has ended: making its event panicked"
                    );
                    return;
                }
            }
            let missed = *lock(&self.missed);
            due = missed.next(due, pulse.clock.now(), self.interval);
        }
    }

    /// Publishes one event. Once the board takes in nothing more there is no next tick either.
    async fn publish(&self, event: E, number: u64) {
        let (topic, origin) = (Arc::clone(&self.topic), Origin::default());
        let publish = Publish::new(topic, event, origin, PUBLISH_WAIT, self.board);
        // Events are dropped in it, which is the user's code: it must not block this thread.
        let Err(refused) = inside(self.board, publish).await else {
            return;
        };
        if !matches!(refused, PublishError::Closed { .. }) {
            tracing::warn!(
                target: "callboard::series",
                event = E::NAME, number, error = %refused,
                "an event of a series was not accepted"
            );
        }
        // It is dropped here, which is nobody's failure.
        let _ = guard(move || drop(refused));
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn missed_ticks_are_left_out_made_up_for_or_shift_the_rest() {
        let due = Instant::now();
        // How late, and after how long the next tick comes: skipped, made up for, shifted.
        let table = [
            (0, 10, 10, 10),
            (1, 10, 10, 11),
            (9, 10, 10, 19),
            (10, 20, 10, 20),
            (35, 40, 10, 45),
        ];
        for (late, skip, burst, delay) in table {
            let next = |missed: MissedTicks| missed.next(due, due + ms(late), ms(10)) - due;
            assert_eq!(next(MissedTicks::Skip), ms(skip), "{late} ms late");
            assert_eq!(next(MissedTicks::Burst), ms(burst), "{late} ms late");
            assert_eq!(next(MissedTicks::Delay), ms(delay), "{late} ms late");
        }
    }
}
