//! Spinning: an arbiter that stays awake for a while after it has run out of work.
//!
//! The house starts one spinner on each arbiter if the board asks for it; the guard around a life
//! tells it of every run.
//!
//! Invariant: it ends its round as soon as no life has run for its time, and costs nothing until
//! one runs again.
//!
//! It looks for no work itself: its runtime does, between any two of its turns.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::clock::{Clock, deadline};

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
    static RESTING: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A life runs on this thread.
pub(crate) fn note_run() {
    // The thread may be ending.
    let _ = RUNS.try_with(|runs| runs.set(runs.get().wrapping_add(1)));
    let resting = RESTING.try_with(|resting| resting.borrow_mut().take());
    if let Ok(Some(spinner)) = resting {
        spinner.wake();
    }
}

fn runs() -> u64 {
    RUNS.with(Cell::get)
}

/// Keeps this thread from parking until no life has run on it for so long; again after each run.
pub(crate) async fn spin(time: Duration, clock: Clock) {
    loop {
        let (mut seen, mut until) = (runs(), deadline(clock.now(), time));
        loop {
            tokio::task::yield_now().await;
            let now = clock.now();
            if runs() != seen {
                (seen, until) = (runs(), deadline(now, time));
            } else if now >= until {
                break;
            }
        }
        poll_fn(|cx| {
            if runs() != seen {
                return Poll::Ready(());
            }
            RESTING.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use tokio::runtime::Handle;
    use tokio::time::advance;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    const TIME: Duration = Duration::from_micros(50);

    #[tokio::test(start_paused = true)]
    async fn it_is_awake_until_nothing_has_run_for_its_time_and_again_after_a_run() {
        let clock = Clock::new(Handle::current());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut spinning = pin!(spin(TIME, clock));
        // Within a runtime a yield is kept until its turn is over: outside it wakes at once.
        let mut is_awake = || {
            let mut poll = || spinning.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll().is_pending());
            RESTING.with(|resting| resting.borrow().is_none())
        };
        assert!(is_awake());
        advance(TIME / 2).await;
        note_run();
        assert!(is_awake());
        advance(TIME / 2).await;
        assert!(is_awake(), "something has run since");
        advance(TIME / 2).await;
        assert!(!is_awake());
        woken.take();
        note_run();
        assert_eq!(woken.take(), 1);
        assert!(is_awake());
    }
}
