//! The board's one clock.
//!
//! Every stamp, deadline and age is taken from it, on any thread. It calls `tokio::time`, inside
//! the runtime the board was started with.
//!
//! Invariant: all threads see the same time, also when that runtime's clock is paused for a test.
//!
//! It drives no timer: a sleep it makes is polled by whoever asked for it.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that asks tokio for the time"
)]

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, Sleep, sleep_until};

/// The time of one runtime, readable everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    handle: Handle,
    start: Instant,
    /// Kept as long as anything can tell the time: whatever drives the runtime's timers.
    _driver: Option<Arc<dyn Any + Send + Sync>>,
}

/// While it lives, its thread reads the time without entering the clock's runtime.
#[must_use = "the thread is adopted only while this lives"]
#[derive(Debug)]
pub(crate) struct Adopted {
    before: Option<Id>,
    /// It belongs to the thread it was made on.
    bound: PhantomData<*const ()>,
}

/// A look at the clock that is handed on: it is taken when it is first asked for, and good until it
/// is forgotten, as it is to be whenever the user's code has run.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    pub(crate) clock: &'a Clock,
    seen: Option<Instant>,
}

thread_local! {
    static ADOPTED: Cell<Option<Id>> = const { Cell::new(None) };
}

impl Clock {
    /// Starts a clock on this runtime, whose timers must be enabled.
    pub(crate) fn new(handle: Handle) -> Self {
        let start = inside(&handle, Instant::now);
        Self {
            handle,
            start,
            _driver: None,
        }
    }

    /// Keeps what drives the timers alive for as long as this clock is, so that no sleep is ever
    /// polled after its runtime has gone.
    pub(crate) fn driven_by(mut self, driver: Arc<dyn Any + Send + Sync>) -> Self {
        self._driver = Some(driver);
        self
    }

    /// The runtime whose time it is.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Returns the present time of the clock's runtime, on whatever thread it is called.
    pub(crate) fn now(&self) -> Instant {
        inside(&self.handle, Instant::now)
    }

    /// Makes a sleep until then, on the clock's runtime; any executor may poll it.
    ///
    /// On an adopted thread it is made on that thread's own runtime.
    ///
    /// # Panics
    ///
    /// As tokio's does: here if the runtime has no timers, and when polled after the runtime is
    /// gone.
    pub(crate) fn sleep_until(&self, then: Instant) -> Sleep {
        inside(&self.handle, || sleep_until(then))
    }

    /// Returns how long this clock has been running.
    pub(crate) fn since_start(&self) -> Duration {
        self.since_start_at(self.now())
    }

    /// How long the clock had been running at this instant.
    #[inline]
    pub(crate) fn since_start_at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// Promises that the runtime of this thread has the same time as the clock's, as an arbiter's
    /// has when nothing is paused: entering the clock's runtime for each reading is saved.
    pub(crate) fn adopt(&self) -> Adopted {
        let before = ADOPTED.replace(Some(self.handle.id()));
        Adopted {
            before,
            bound: PhantomData,
        }
    }
}

impl<'a> Look<'a> {
    pub(crate) fn at(clock: &'a Clock) -> Self {
        Look { clock, seen: None }
    }

    /// The time, as it was seen when this was first asked.
    #[inline]
    pub(crate) fn now(&mut self) -> Instant {
        *self.seen.get_or_insert_with(|| self.clock.now())
    }

    /// How long the clock had been running then.
    #[inline]
    pub(crate) fn since_start(&mut self) -> Duration {
        let now = self.now();
        self.clock.since_start_at(now)
    }

    /// Something has taken time: whoever asks next looks anew.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.seen = None;
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        // The thread may be ending; then there is nobody left to be adopted.
        let _ = ADOPTED.try_with(|adopted| adopted.set(self.before));
    }
}

/// Waits for a future at most so long; `None` if it was not ready by then.
///
/// The timer is made when the future first waits, so that one which is ready at once pays
/// nothing.
pub(crate) fn within<F: Future>(
    clock: &Clock,
    limit: Option<Duration>,
    future: F,
) -> impl Future<Output = Option<F::Output>> {
    let end = move || limit.map(|limit| deadline(clock.now(), limit));
    unless_past(clock, end, future)
}

/// As [`within`], up to an instant that is known, if there is one.
pub(crate) fn by<F: Future>(
    clock: &Clock,
    end: Option<Instant>,
    future: F,
) -> impl Future<Output = Option<F::Output>> {
    unless_past(clock, move || end, future)
}

/// The timer is made when the future first waits.
async fn unless_past<F: Future>(
    clock: &Clock,
    end: impl Fn() -> Option<Instant>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(None::<Sleep>);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if sleep.is_none() {
            let Some(end) = end() else {
                return Poll::Pending;
            };
            sleep.set(Some(clock.sleep_until(end)));
        }
        let slept = sleep
            .as_mut()
            .as_pin_mut()
            .is_some_and(|sleep| sleep.poll(cx).is_ready());
        if slept {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// The instant at which a wait of `limit` that starts now is over.
pub(crate) fn deadline(now: Instant, limit: Duration) -> Instant {
    // A limit beyond what the clock can count is no limit, and a century is as good as none.
    now.checked_add(limit)
        .unwrap_or(now + Duration::from_secs(3_155_760_000))
}

/// The first tick still to come of those that are an interval apart, of which one was due then.
pub(crate) fn next_tick(due: Instant, now: Instant, interval: Duration) -> Instant {
    let missed = now.saturating_duration_since(due).as_nanos() / interval.as_nanos().max(1);
    let ticks = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
    deadline(due, interval.saturating_mul(ticks)).max(now)
}

fn inside<R>(handle: &Handle, run: impl FnOnce() -> R) -> R {
    if ADOPTED.try_with(Cell::get).ok().flatten() == Some(handle.id()) {
        return run();
    }
    match Handle::try_current() {
        Ok(current) if current.id() == handle.id() => run(),
        // A thread that is ending cannot enter anything any more.
        Err(error) if error.is_thread_local_destroyed() => run(),
        _ => {
            let _inside = handle.enter();
            run()
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;
    use tokio::time::advance;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_foreign_thread_sees_the_paused_clock() {
        let clock = Clock::new(Handle::current());
        advance(HOUR).await;
        let other = clock.clone();
        let seen = thread::spawn(move || (other.now(), other.since_start()))
            .join()
            .unwrap();
        assert_eq!(seen, (clock.now(), HOUR));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_of_another_runtime_sees_the_paused_clock() {
        let clock = Clock::new(Handle::current());
        advance(HOUR).await;
        let other = clock.clone();
        let run = move || actix_rt::System::new().block_on(async move { other.since_start() });
        assert_eq!(thread::spawn(run).join().unwrap(), HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_made_and_polled_on_another_runtime_follows_the_paused_clock() {
        let clock = Clock::new(Handle::current());
        let (done, wait) = oneshot::channel();
        let other = clock.clone();
        let run = move || {
            actix_rt::System::new().block_on(async move {
                other.sleep_until(other.now() + HOUR).await;
                done.send(other.since_start()).unwrap();
            });
        };
        let thread = thread::spawn(run);
        assert!(wait.await.unwrap() >= HOUR);
        thread.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_adopted_thread_reads_its_own_runtime_until_the_guard_is_dropped() {
        let clock = Clock::new(Handle::current());
        advance(HOUR).await;
        let other = clock.clone();
        let run = move || {
            let adopted = other.adopt();
            let own = other.since_start();
            drop(adopted);
            (own, other.since_start())
        };
        let (own, entered) = thread::spawn(run).join().unwrap();
        assert!(own < HOUR);
        assert_eq!(entered, HOUR);
    }
}
