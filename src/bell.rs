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

use crate::sync::{AtomicBool, Mutex, Ordering, lock};

#[derive(Debug)]
pub(crate) struct Bell {
    armed: AtomicBool,
    /// Something beside what is to be read asks for a look before the next delivery.
    stirred: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Bell {
            armed: AtomicBool::new(false),
            stirred: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// The mailbox is about to look for the last time, then to sleep.
    pub(crate) fn arm(&self, waker: &Waker) {
        {
            let mut slot = lock(&self.waker);
            if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
                *slot = Some(waker.clone());
            }
        }
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

    #[inline]
    pub(crate) fn is_stirred(&self) -> bool {
        self.stirred.load(Ordering::Relaxed)
    }

    /// The look begins. A swap, so that it sees all that was written before the last stir.
    pub(crate) fn calm(&self) {
        self.stirred.swap(false, Ordering::SeqCst);
    }

    /// Wakes the mailbox if it sleeps.
    pub(crate) fn ring(&self) {
        if self.armed.load(Ordering::SeqCst) && self.armed.swap(false, Ordering::SeqCst) {
            // Cloned, and the lock let go: waking may run the executor's code, which needs no lock
            // of ours.
            let waker = lock(&self.waker).clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
