//! The primitives that the board's data is built from.
//!
//! `topic/` and `mailbox/` take their locks and atomics from here, and nowhere else, so that the
//! same source runs under the model checker: `--cfg shuttle` swaps every primitive for shuttle's.
//!
//! Invariant: no lock here is ever poisoned for its next user, because no user code runs under
//! one; [`lock`] therefore looks through the poison flag.
//!
//! It does not wrap what the model checker need not see (counters that only tests read).

#[cfg(not(shuttle))]
mod primitives {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

    /// Lets another thread go on while this one waits for a few instructions of it.
    pub(crate) fn spin() {
        std::thread::yield_now();
    }

    /// A value that is written once, by whoever holds a lock, and read by anybody. In an
    /// `OnceLock` one might sleep until another has written: to look for such a sleeper took a
    /// sixth of publishing to one.
    pub(crate) struct WriteOnce<T>(::spin::Once<T>);

    impl<T> WriteOnce<T> {
        pub(crate) fn new() -> Self {
            WriteOnce(::spin::Once::new())
        }

        #[inline]
        pub(crate) fn get(&self) -> Option<&T> {
            self.0.get()
        }

        /// Writes what `make` returns, in place, unless something was written.
        #[inline]
        pub(crate) fn write(&self, make: impl FnOnce() -> T) {
            self.0.call_once(make);
        }

        pub(crate) fn take(&mut self) -> Option<T> {
            std::mem::replace(self, WriteOnce::new()).0.try_into_inner()
        }
    }
}

#[cfg(shuttle)]
mod primitives {
    pub(crate) use shuttle::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError};
    pub(crate) use std::sync::{Arc, Weak};

    /// Lets another thread go on while this one waits for a few instructions of it.
    pub(crate) fn spin() {
        shuttle::thread::yield_now();
    }

    /// shuttle has no `OnceLock`: the flag is where threads may be switched, the cell holds.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        set: AtomicBool,
        cell: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            OnceLock {
                set: AtomicBool::new(false),
                cell: std::sync::OnceLock::new(),
            }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            if self.set.load(Ordering::SeqCst) {
                self.cell.get()
            } else {
                None
            }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            let result = self.cell.set(value);
            self.set.store(true, Ordering::SeqCst);
            result
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            let value = self.cell.get_or_init(make);
            self.set.store(true, Ordering::SeqCst);
            value
        }
    }

    /// A value that is written once, by whoever holds a lock, and read by anybody.
    pub(crate) struct WriteOnce<T>(OnceLock<T>);

    impl<T> WriteOnce<T> {
        pub(crate) fn new() -> Self {
            WriteOnce(OnceLock::new())
        }

        pub(crate) fn get(&self) -> Option<&T> {
            self.0.get()
        }

        /// Writes what `make` returns, unless something was written.
        pub(crate) fn write(&self, make: impl FnOnce() -> T) {
            self.0.get_or_init(make);
        }

        pub(crate) fn take(&mut self) -> Option<T> {
            self.0.cell.take()
        }
    }
}

pub(crate) use primitives::*;

/// Locks, whatever happened to an earlier holder.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
