//! The guard around one life: panics are caught, kills are obeyed.
//!
//! The host's actor spawns it; it polls the life and ends with its exit.
//!
//! Invariant: whatever the life does, even in its drops, this future ends with an exit and the
//! thread goes on.
//!
//! It says nothing to anybody: its output does.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread::panicking;

use crate::activity::Polling;
use crate::exit::Exit;
use crate::host::spin::note_run;
use crate::host::{Begun, BoxedLife};
use crate::insider::InsideOf;
use crate::mailbox::doors::Doors;
use crate::panic::{Frail, guard};
use crate::service::control::Control;
use crate::sync::Arc;
use crate::vitals::Vitals;
use crate::waits::{Mark, Running};

/// Something of the user's that is dropped under guard if a panic passes by: a second panic, in
/// its drop, would abort the process.
pub(crate) struct Kept<T>(Frail<T>);

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Kept(Frail::new(value))
    }

    /// Drops it under guard: a panic has been caught, and another would hide it.
    pub(crate) fn bury(mut self) {
        let value = self.0.release();
        let _ = guard(move || drop(value));
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        // Without a panic passing by, one in the drop is the life's exit, as any other.
        if !panicking() {
            drop(self.0.release());
        }
    }
}

pub(crate) struct Guarded {
    life: Option<BoxedLife>,
    control: Rc<Control>,
    vitals: Arc<Vitals>,
    mark: Rc<Mark<Doors>>,
}

impl Guarded {
    pub(crate) fn new(begun: Begun, vitals: Arc<Vitals>) -> Self {
        let Begun {
            life,
            control,
            mark,
        } = begun;
        Guarded {
            life: Some(life),
            control,
            vitals,
            mark,
        }
    }

    /// Marks the thread as running this service.
    fn enter(&self) -> Running {
        // The count of an `Rc` is not atomic, so that marking a poll costs next to nothing.
        let mark = Rc::clone(&self.mark);
        Running::enter(mark)
    }
}

/// Drops what is left of a life; a panic in a user's drop changes the exit.
fn bury(life: &mut Option<BoxedLife>, exit: Exit) -> Exit {
    let life = life.take();
    match guard(move || drop(life)) {
        Err(panic) if !matches!(exit, Exit::Panic(_)) => Exit::Panic(panic),
        _ => exit,
    }
}

impl Future for Guarded {
    type Output = Exit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        let this = &mut *self;
        let _inside = InsideOf::enter(this.mark.waiter.board());
        let _running = this.enter();
        let _polling = Polling::begin(&this.vitals.own);
        this.mark.others.note_poll();
        note_run();
        this.control.runs_on(cx.waker());
        if this.control.killed().is_some() {
            let _ = bury(&mut this.life, Exit::Killed);
            return Poll::Ready(Exit::Killed);
        }
        let Some(life) = &mut this.life else {
            return Poll::Pending;
        };
        let exit = match guard(|| life.as_mut().poll(cx)) {
            Ok(Poll::Pending) => {
                this.mark.others.announce();
                return Poll::Pending;
            }
            Ok(Poll::Ready(exit)) => exit,
            Err(panic) => Exit::Panic(panic),
        };
        Poll::Ready(bury(&mut this.life, exit))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _inside = InsideOf::enter(self.mark.waiter.board());
        let _running = self.enter();
        let _ = bury(&mut self.life, Exit::Killed);
    }
}
