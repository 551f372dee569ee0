//! Telling those who wait for room, whenever the life that reads a mailbox waits itself.
//!
//! The guard around a life calls it; topics and letterboxes wake whoever waits for them.
//!
//! Invariant: what was taken before a life waits, for whatever reason, has been announced by the
//! time it does; and it is announced once, since whoever works there may itself wait for room in
//! its own mailbox, and would wake itself for ever.
//!
//! It announces nothing between two deliveries of a turn: that is at most a millisecond. But when a
//! poll begins, or a wait is about to be noted, it stirs the bell: the next delivery ends the waits
//! of the one before.

use std::cell::{Cell, RefCell};

use crate::bell::Bell;
use crate::sync::Arc;
use crate::waits::LetGo;

/// Where somebody may wait for room.
pub(crate) trait Door {
    /// How much has been taken out: it rises when there is more room.
    fn taken(&self) -> u64;
    /// Wakes those who wait for room, if any.
    fn announce(&self);
}

/// The doors of one mailbox.
pub(crate) struct Doors {
    bell: Arc<Bell>,
    watched: RefCell<Vec<Watched>>,
}

/// A door, and what was taken when it was last announced.
pub(crate) struct Watched {
    door: Box<dyn Door>,
    announced: Cell<u64>,
}

impl Doors {
    pub(crate) fn new(bell: Arc<Bell>, watched: Vec<Watched>) -> Self {
        Doors {
            bell,
            watched: RefCell::new(watched),
        }
    }

    /// From now on these are the doors.
    pub(crate) fn set(&self, doors: Vec<Watched>) {
        *self.watched.borrow_mut() = doors;
    }

    /// A poll of the life begins: what it was about has waited.
    pub(crate) fn note_poll(&self) {
        self.bell.stir_here();
    }

    /// Announces the room that has been made since this was last called.
    pub(crate) fn announce(&self) {
        for Watched { door, announced } in &*self.watched.borrow() {
            let taken = door.taken();
            if announced.replace(taken) != taken {
                door.announce();
            }
        }
    }
}

impl LetGo for Doors {
    fn let_go(&self) {
        // A wait is about to be noted, and ends before the next delivery at the latest.
        self.bell.stir_here();
        self.announce();
    }
}

impl Watched {
    pub(crate) fn new(door: impl Door + 'static) -> Self {
        Watched {
            door: Box::new(door),
            // What was taken before this life may not have been announced.
            announced: Cell::new(u64::MAX),
        }
    }

    /// Announces, whatever was announced before.
    pub(crate) fn announce(&self) {
        self.door.announce();
    }
}
