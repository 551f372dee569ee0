//! Waiting for a future on a thread that runs no executor.
//!
//! The `_blocking` verbs call it, after they have made sure that no board lives on this thread.
//!
//! Invariant: it polls only when woken, and a wake-up between poll and park is not lost.
//!
//! It drives no timers and no I/O: the future's own come from the board's runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until the future is ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    // On a task of tokio that has used up what it may do in one turn, all of tokio's would wait
    // until it yields, which it cannot do here.
    let mut future = pin!(tokio::task::unconstrained(future));
    // Most are ready at once: a waker, which takes memory, is made for the others only.
    if let Poll::Ready(output) = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        return output;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}
