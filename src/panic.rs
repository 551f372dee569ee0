//! A panic of user code, caught and put into words.
//!
//! Every floor runs user code through [`guard`], or hands it the payload it caught itself. It
//! calls only the standard library.
//!
//! Invariant: nothing a user's panic carries can panic a second time on our side, not even the
//! `Drop` of its payload.
//!
//! It installs no panic hook: the hook belongs to the whole process, and so to the program.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// A panic in user code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {message}")]
#[non_exhaustive]
pub struct Panic {
    /// The text it panicked with, or `(no text)` when the payload was neither `&str` nor `String`.
    pub message: String,
    /// Where it panicked, as `file:line:column`.
    ///
    /// Always `None` so far: only a panic hook knows the place, and this crate installs none. The
    /// program's own hook, which runs first, prints it.
    pub location: Option<String>,
}

impl Panic {
    /// Puts a caught payload into words and drops it, guarded.
    pub(crate) fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        let message = text_of(&*payload).unwrap_or("(no text)").to_owned();
        discard(payload);
        Self {
            message,
            location: None,
        }
    }
}

/// Runs user code; a panic comes back as an error.
///
/// # Errors
///
/// The [`Panic`], if the code panicked. What it left behind is the caller's to judge.
pub(crate) fn guard<R>(run: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(run)).map_err(Panic::from_payload)
}

/// Polls user code; a panic comes back as an error, and the future is not to be polled again.
pub(crate) async fn guarded<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Panic> {
    poll_fn(|cx| match guard(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Drops things of the user's, each under guard: a second panic in the drop of one list would abort
/// the process.
pub(crate) fn bury<T>(all: impl IntoIterator<Item = T>) {
    for one in all {
        let _ = guard(move || drop(one));
    }
}

/// A list of the user's things, buried when it is dropped.
pub(crate) struct Fragile<T>(Vec<T>);

impl<T> Default for Fragile<T> {
    fn default() -> Self {
        Fragile(Vec::new())
    }
}

impl<T> Deref for Fragile<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Fragile<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> Drop for Fragile<T> {
    fn drop(&mut self) {
        bury(mem::take(&mut self.0));
    }
}

/// One thing of the user's, such as a function with all that it has captured, buried when it is
/// dropped: whoever happens to be the last to hold it goes on.
pub(crate) struct Frail<T>(Option<T>);

impl<T> Frail<T> {
    pub(crate) fn new(value: T) -> Self {
        Frail(Some(value))
    }

    /// Takes it out, to be dropped without a guard; it is not to be used any more.
    pub(crate) fn release(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Deref for Frail<T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "the value leaves only at the end")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Frail<T> {
    #[expect(clippy::expect_used, reason = "the value leaves only at the end")]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Frail<T> {
    fn drop(&mut self) {
        bury(self.0.take());
    }
}

fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Its payload may panic on drop as well, and so on without end: leaking one is the end.
        #[expect(clippy::mem_forget, reason = "dropping it may panic again, and again")]
        mem::forget(second);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::cell::Cell;
    use std::panic::panic_any;

    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any(Bomb);
        }
    }

    fn message(run: impl FnOnce()) -> String {
        guard(run).unwrap_err().message
    }

    #[test]
    fn code_that_does_not_panic_returns_its_value() {
        assert_eq!(guard(|| 7), Ok(7));
    }

    #[test]
    fn the_text_of_a_panic_is_kept() {
        assert_eq!(message(|| panic!("boom")), "boom");
        assert_eq!(message(|| panic!("boom {}", 7)), "boom 7");
        assert_eq!(message(|| panic_any(7)), "(no text)");
        assert_eq!(
            guard(|| panic!("boom")).unwrap_err().to_string(),
            "panicked: boom"
        );
    }

    #[test]
    fn a_list_of_what_panics_on_drop_is_buried_one_by_one() {
        let mut all = Fragile::default();
        all.extend([Bomb, Bomb]);
        drop(all);
    }

    #[test]
    fn a_function_that_panics_on_drop_is_called_and_buried() {
        let (bomb, calls) = (Bomb, Cell::new(0));
        let calling = &calls;
        let function = Frail::new(move || {
            let _ = &bomb;
            calling.set(calling.get() + 1);
        });
        function();
        drop(function);
        assert_eq!(calls.get(), 1);
    }

    #[test]
    fn a_payload_that_panics_on_drop_without_end_is_survived() {
        assert_eq!(message(|| panic_any(Bomb)), "(no text)");
    }
}
