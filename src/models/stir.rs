//! How a reader that is busy is told to look up: `Bell::stir` and `Bell::calm`.
//!
//! Invariant: whoever has brought something about, and stirred, is seen by the next look: nothing
//! is written before a stir that the look which ends it does not see.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// How a variant departs from the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// The look begins with a plain store.
    StoreCalm,
    /// Who brings something about stirs before.
    StirFirst,
}

struct Bell {
    stirred: AtomicBool,
    /// Written and read by the reader alone.
    stirred_here: AtomicBool,
    /// What is brought about.
    order: AtomicBool,
}

impl Bell {
    fn give_order(&self, flaw: Flaw) {
        if flaw == Flaw::StirFirst {
            self.stirred.store(true, Ordering::SeqCst);
        }
        self.order.store(true, Ordering::Relaxed);
        if flaw != Flaw::StirFirst {
            self.stirred.store(true, Ordering::SeqCst);
        }
    }

    fn is_stirred(&self) -> bool {
        self.stirred_here.load(Ordering::Relaxed) | self.stirred.load(Ordering::Relaxed)
    }

    fn calm(&self, flaw: Flaw) {
        self.stirred_here.store(false, Ordering::Relaxed);
        if self.stirred.load(Ordering::Relaxed) {
            if flaw == Flaw::StoreCalm {
                self.stirred.store(false, Ordering::SeqCst);
            } else {
                self.stirred.swap(false, Ordering::SeqCst);
            }
        }
    }
}

/// The reader looks up twice while an order is given: of its own accord, and once more if it is
/// stirred.
fn model(flaw: Flaw) {
    loom::model(move || {
        let bell = Arc::new(Bell {
            stirred: AtomicBool::new(false),
            stirred_here: AtomicBool::new(true),
            order: AtomicBool::new(false),
        });
        let giver = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || bell.give_order(flaw))
        };
        let mut is_seen = false;
        for _ in 0..2 {
            if bell.is_stirred() {
                bell.calm(flaw);
                is_seen |= bell.order.load(Ordering::Relaxed);
            }
        }
        giver.join().unwrap();
        assert!(is_seen || bell.is_stirred(), "an order was missed");
    });
}

#[test]
fn no_order_is_missed() {
    model(Flaw::None);
}

#[test]
#[should_panic(expected = "an order was missed")]
fn a_look_that_begins_with_a_store_is_caught() {
    model(Flaw::StoreCalm);
}

#[test]
#[should_panic(expected = "an order was missed")]
fn a_stir_before_the_order_is_caught() {
    model(Flaw::StirFirst);
}
