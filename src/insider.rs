//! Which board's service the current thread is running, or does blocking work for, if any; and
//! whether a whole board runs on it.
//!
//! Hosts mark every poll of a life, and blocking work its thread; so does whatever drops events on
//! the thread that keeps the time. Blocking verbs ask, and so does anything published through a
//! plain board handle from inside a handler.
//!
//! Invariant: a mark is there only while user code of that board may run, or while its root lives.
//!
//! It does not know which service.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;

use crate::park::block_on;

thread_local! {
    static INSIDE: Cell<Option<usize>> = const { Cell::new(None) };
    static WORKING: Cell<Option<usize>> = const { Cell::new(None) };
    static HOSTED: Cell<usize> = const { Cell::new(0) };
}

/// Marks the thread as running code of a board until dropped.
#[derive(Debug)]
pub(crate) struct InsideOf {
    before: Option<usize>,
}

impl InsideOf {
    /// `board` is anything that differs between boards that live at the same time.
    pub(crate) fn enter(board: usize) -> Self {
        InsideOf {
            before: INSIDE.with(|inside| inside.replace(Some(board))),
        }
    }
}

impl Drop for InsideOf {
    fn drop(&mut self) {
        // The thread may be ending.
        let _ = INSIDE.try_with(|inside| inside.set(self.before));
    }
}

/// Polls code of a board, marked as such.
pub(crate) async fn inside<F: Future>(board: usize, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _inside = InsideOf::enter(board);
        future.as_mut().poll(cx)
    })
    .await
}

/// The board whose code this thread runs.
pub(crate) fn current_board() -> Option<usize> {
    INSIDE.try_with(Cell::get).ok().flatten()
}

/// A whole board runs on this thread until this is dropped, here.
#[derive(Debug)]
pub(crate) struct Hosting(PhantomData<*const ()>);

impl Hosting {
    pub(crate) fn here() -> Self {
        HOSTED.set(HOSTED.get() + 1);
        Hosting(PhantomData)
    }
}

impl Drop for Hosting {
    fn drop(&mut self) {
        // The thread may be ending.
        let _ = HOSTED.try_with(|hosted| hosted.set(hosted.get() - 1));
    }
}

/// Whether a board needs this thread: it runs a service, or whole boards.
pub(crate) fn is_needed() -> bool {
    let hosts = HOSTED.try_with(|hosted| hosted.get() > 0);
    current_board().is_some() || hosts.unwrap_or_default()
}

/// Waits for a verb on this thread, unless a board needs it.
pub(crate) fn blocking<T, E>(refused: E, verb: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    if is_needed() {
        return Err(refused);
    }
    block_on(verb)
}

/// Marks the thread as doing blocking work for a handler of a board until dropped: it may block,
/// but is no outsider, and the board waits for it.
#[derive(Debug)]
pub(crate) struct WorkingFor(());

impl WorkingFor {
    pub(crate) fn enter(board: usize) -> Self {
        WORKING.set(Some(board));
        WorkingFor(())
    }
}

impl Drop for WorkingFor {
    fn drop(&mut self) {
        let _ = WORKING.try_with(|working| working.set(None));
    }
}

/// Whether this thread runs code of that board, or does blocking work for it.
#[inline]
pub(crate) fn serves(board: usize) -> bool {
    let working = WORKING.try_with(Cell::get).ok().flatten();
    current_board() == Some(board) || working == Some(board)
}
