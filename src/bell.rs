//! What wakes a mailbox.
//!
//! Topics and senders ring it after they have written; the mailbox arms it before it looks for
//! the last time and sleeps.
//!
//! Invariant: whoever writes after the mailbox has looked finds the bell armed. Arming comes
//! before the last look, and looking takes the lock that writing takes (or both sides
//! use SeqCst), so one of the two sees the other.
//!
//! While the mailbox is read, the bell is stirred by whatever is to be looked at before the next
//! delivery. Invariant: whoever brings such a thing about stirs it, before or after, on the thread
//! that reads; on any other, after.
//!
//! It does not say what there is to read.

use std::task::Waker;

use crate::sync::{AtomicBool, Mutex, OnceLock, Ordering, lock};

#[derive(Debug)]
pub(crate) struct Bell {
    armed: AtomicBool,
    /// Something beside what is to be read asks for a look before the next delivery.
    stirred: AtomicBool,
    /// As `stirred`, on the thread that reads, where nothing has to be exchanged.
    stirred_here: AtomicBool,
    /// Who reads, which is one task as a rule: neither to arm nor to ring the bell takes a lock.
    task: OnceLock<Waker>,
    /// Whether it is another one now.
    is_other: AtomicBool,
    other: Mutex<Option<Waker>>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Bell {
            armed: AtomicBool::new(false),
            stirred: AtomicBool::new(false),
            stirred_here: AtomicBool::new(false),
            task: OnceLock::new(),
            is_other: AtomicBool::new(false),
            other: Mutex::new(None),
        }
    }

    /// The mailbox is about to look for the last time, then to sleep.
    pub(crate) fn arm(&self, waker: &Waker) {
        let is_other = !self.task.get_or_init(|| waker.clone()).will_wake(waker);
        if is_other {
            let mut other = lock(&self.other);
            if !other.as_ref().is_some_and(|old| old.will_wake(waker)) {
                *other = Some(waker.clone());
            }
        }
        self.is_other.store(is_other, Ordering::Relaxed);
        // A swap and not a store, as in the model: it reads what the last ringer wrote, and costs
        // the same.
        self.armed.swap(true, Ordering::SeqCst);
    }

    /// The mailbox is awake.
    pub(crate) fn disarm(&self) {
        // Whoever has rung it has done so already.
        if self.is_armed() {
            self.armed.store(false, Ordering::SeqCst);
        }
    }

    /// Whether nobody has rung it since it was armed.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }

    /// Asks for a look before the next delivery, for whatever reason: each has a place of its own.
    /// One flag for all of them, because every delivery looks at it.
    pub(crate) fn stir(&self) {
        self.stirred.store(true, Ordering::SeqCst);
    }

    /// As [`Bell::stir`], on the thread that reads.
    #[inline]
    pub(crate) fn stir_here(&self) {
        self.stirred_here.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_stirred(&self) -> bool {
        self.stirred_here.load(Ordering::Relaxed) | self.stirred.load(Ordering::Relaxed)
    }

    /// The look begins.
    #[inline]
    pub(crate) fn calm(&self) {
        self.stirred_here.store(false, Ordering::Relaxed);
        if self.stirred.load(Ordering::Relaxed) {
            // A swap, so that it sees all that was written before the last stir.
            self.stirred.swap(false, Ordering::SeqCst);
        }
    }

    /// Wakes the mailbox if it sleeps.
    pub(crate) fn ring(&self) {
        if self.armed.load(Ordering::SeqCst) && self.armed.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if !self.is_other.load(Ordering::Relaxed) {
            if let Some(task) = self.task.get() {
                task.wake_by_ref();
            }
            return;
        }
        // Cloned, and the lock let go: waking may run the executor's code, which needs no lock of
        // ours.
        let other = lock(&self.other).clone();
        if let Some(other) = other {
            other.wake();
        }
    }
}
