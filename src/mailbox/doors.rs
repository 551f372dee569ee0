//! Telling those who wait for room, whenever the life that reads a mailbox waits itself.
//!
//! The guard around a life calls it; topics and letterboxes wake whoever waits for them.
//!
//! Invariant: what was taken before a life waits, for whatever reason, has been announced by the
//! time it does; and it is announced once, since whoever works there may itself wait for room in
//! its own mailbox, and would wake itself for ever.
//!
//! It announces nothing between two deliveries of a turn: that is at most a millisecond.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Where somebody may wait for room.
pub(crate) trait Door {
    /// How much has been taken out: it rises when there is more room.
    fn taken(&self) -> u64;
    /// Wakes those who wait for room, if any.
    fn announce(&self);
}

/// The doors of one mailbox, each with what was taken when it was last announced.
#[derive(Default)]
pub(crate) struct Doors(RefCell<Vec<(Cell<u64>, Rc<dyn Door>)>>);

impl Doors {
    /// From now on these are the doors.
    pub(crate) fn set(&self, doors: Vec<Rc<dyn Door>>) {
        *self.0.borrow_mut() = doors.into_iter().map(unannounced).collect();
    }

    /// Announces the room that has been made since this was last called.
    pub(crate) fn announce(&self) {
        for (announced, door) in &*self.0.borrow() {
            let taken = door.taken();
            if announced.replace(taken) != taken {
                door.announce();
            }
        }
    }
}

/// What was taken before this life may not have been announced.
fn unannounced(door: Rc<dyn Door>) -> (Cell<u64>, Rc<dyn Door>) {
    (Cell::new(u64::MAX), door)
}
