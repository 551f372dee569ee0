//! A future of the user's that runs beside its service's life, in a task of its own.
//!
//! Later work and the instances of a per-key service run in one.
//!
//! Invariant: a panic, in its polls or in its drop, ends it and nothing else.
//!
//! It waits for nobody in the sense of cycles: the service goes on meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::activity::Polling;
use crate::insider::InsideOf;
use crate::panic::{Panic, guard};
use crate::service::strand::Strand;

/// A future, polled as what it is: code of the board's, which may panic.
pub(crate) struct Inside<F: ?Sized> {
    future: Option<Pin<Box<F>>>,
    board: usize,
    /// Is on its thread meanwhile.
    strand: Strand,
}

impl<F: Future + ?Sized> Inside<F> {
    pub(crate) fn new(board: usize, strand: Strand, future: Pin<Box<F>>) -> Self {
        Inside {
            future: Some(future),
            board,
            strand,
        }
    }
}

impl<F: Future + ?Sized> Future for Inside<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _inside = InsideOf::enter(this.board);
        let _polling = Polling::begin(&this.strand);
        let Some(future) = &mut this.future else {
            return Poll::Pending;
        };
        let poll = guard(|| future.as_mut().poll(cx));
        if !matches!(poll, Ok(Poll::Pending)) {
            // A panic in its drop counts as well.
            let future = this.future.take();
            if let Err(panic) = guard(move || drop(future)) {
                return Poll::Ready(Err(panic));
            }
        }
        match poll {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl<F: ?Sized> Drop for Inside<F> {
    fn drop(&mut self) {
        let _inside = InsideOf::enter(self.board);
        let future = self.future.take();
        let _ = guard(move || drop(future));
    }
}

/// A task that ends when this is dropped.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Begins a task on this thread, which has an executor, as every arbiter has.
    pub(crate) fn begin(future: impl Future<Output = ()> + 'static) -> Self {
        Task(tokio::task::spawn_local(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
