//! Which service the current thread is running, if any.
//!
//! The guard around a life marks every poll; verbs that wait look here at the moment they begin
//! to wait, whether they were called through a context or through a plain handle.
//!
//! Invariant: the mark is there only while a life of that service is being polled, so a future
//! that is polled elsewhere, by a task of its own, makes nobody wait.
//!
//! It does not say who may publish while a board drains: that is `insider.rs`.

use std::cell::RefCell;
use std::rc::Rc;

use super::Waiter;

thread_local! {
    static RUNNING: RefCell<Option<Rc<Mark>>> = const { RefCell::new(None) };
}

/// What marks a thread: the service that it runs.
pub(crate) struct Mark<T: ?Sized = dyn LetGo> {
    pub(crate) waiter: Waiter,
    /// Those who wait for the service.
    pub(crate) others: T,
}

/// Those who wait for a service.
pub(crate) trait LetGo {
    /// Ends their waits for what the service has done already, before it waits itself.
    fn let_go(&self);
}

/// Marks the thread as running a service until dropped.
pub(crate) struct Running {
    before: Option<Rc<Mark>>,
}

impl Running {
    pub(crate) fn enter(mark: Rc<Mark>) -> Self {
        let mark = Some(mark);
        let before = RUNNING.try_with(|running| running.replace(mark));
        Running {
            before: before.ok().flatten(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread may be ending.
        let _ = RUNNING.try_with(|running| running.replace(self.before.take()));
    }
}

/// The service that this thread runs, if it is one of this board. It is about to wait: nobody
/// waits any more for what it has done already.
pub(crate) fn running(board: usize) -> Option<Waiter> {
    let of_board = |mark: &Rc<Mark>| mark.waiter.board() == board;
    let found = RUNNING.try_with(|running| running.borrow().clone().filter(of_board));
    let mark = found.ok().flatten()?;
    mark.others.let_go();
    Some(mark.waiter.clone())
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::Waits;
    use super::*;
    use crate::sync::Arc;

    struct Nobody;
    impl LetGo for Nobody {
        fn let_go(&self) {}
    }

    #[test]
    fn a_mark_is_seen_by_its_board_until_it_is_dropped() {
        let (waits, others) = (Arc::<Waits>::default(), Arc::<Waits>::default());
        let mark = |waits: &Arc<Waits>, path: &str| -> Rc<Mark> {
            let waiter = waits.waiter(&path.into());
            let others = Nobody;
            Rc::new(Mark { waiter, others })
        };
        let (outer, inner) = (mark(&waits, "outer"), mark(&others, "inner"));
        let path = |waits: &Waits| running(waits.board()).map(|waiter| waiter.0.path.to_string());
        assert_eq!(path(&waits), None);
        let mark = Running::enter(Rc::clone(&outer));
        assert_eq!(path(&waits).as_deref(), Some("outer"));
        assert_eq!(path(&others), None);
        let nested = Running::enter(Rc::clone(&inner));
        assert_eq!(path(&waits), None);
        assert_eq!(path(&others).as_deref(), Some("inner"));
        drop(nested);
        assert_eq!(path(&waits).as_deref(), Some("outer"));
        drop(mark);
        assert_eq!(path(&waits), None);
    }
}
