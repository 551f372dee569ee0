//! What is asked for one child: add, terminate, restart, renew, delete.
//!
//! The family calls it for inputs that are wishes; what follows is decided by whose turn it is.
//!
//! Invariant: a request is never a failure: it counts no restart and waits for no backoff, and a
//! start that was asked for and fails disturbs no sibling.
//!
//! It heeds nothing but `dismiss` while the family is ending: then everything stops anyway, and
//! what is closed may be wanted again when the whole family starts anew.

use super::Family;
use super::action::{Action, ChildId, Member};
use super::life::{Fate, Life, Request};
use crate::exit::Exit;

impl Family {
    pub(super) fn add(&mut self, child: ChildId, member: Member) {
        if !self.siblings.claim(child) {
            return;
        }
        if self.is_ending() {
            let exit = Exit::Shutdown;
            self.actions.push(Action::Refused { child, exit });
            self.actions.push(Action::Close { child });
            self.actions.push(Action::Forget { child });
        } else {
            self.siblings.insert(child, member, Some(Request::Added));
        }
    }

    pub(super) fn terminate(&mut self, child: ChildId) {
        match self.life_to_change(child) {
            Some(Life::Waiting | Life::BackingOff) => self.close(child, Exit::Shutdown),
            Some(life) if life.is_alive() => self.send_off(child, Fate::ForGood),
            _ => {}
        }
    }

    pub(super) fn dismiss(&mut self, child: ChildId) {
        if !self.is_ending() {
            return self.terminate(child);
        }
        if self.siblings.life(child) == Some(Life::Closed) {
            self.forget(child);
        } else if let Some(found) = self.siblings.get_mut(child) {
            // It is closed, and forgotten, when its life is over.
            found.fate = Fate::ForGood;
        }
    }

    pub(super) fn restart(&mut self, child: ChildId) {
        if self.life_to_change(child) == Some(Life::Closed) {
            self.siblings.set(child, Life::Waiting);
            self.begin_row(child);
            if let Some(found) = self.siblings.get_mut(child) {
                found.request = Some(Request::Restarted);
            }
        }
    }

    pub(super) fn renew(&mut self, child: ChildId) {
        match self.life_to_change(child) {
            Some(Life::BackingOff) => self.siblings.set(child, Life::Waiting),
            Some(life) if life.is_alive() => self.send_off(child, Fate::Again),
            _ => return,
        }
        self.begin_row(child);
    }

    pub(super) fn delete(&mut self, child: ChildId) {
        if self.life_to_change(child) == Some(Life::Closed) {
            self.forget(child);
        }
    }

    /// Marks a living child to be stopped in its turn; the last one to say what follows is heeded.
    pub(super) fn send_off(&mut self, child: ChildId, fate: Fate) {
        let Some(found) = self.siblings.get_mut(child) else {
            return;
        };
        found.fate = fate;
        if Life::UPRIGHT.contains(&found.life()) {
            self.siblings.set(child, Life::Doomed);
        }
    }

    fn life_to_change(&self, child: ChildId) -> Option<Life> {
        if self.is_ending() {
            return None;
        }
        self.siblings.life(child)
    }

    /// A start that somebody wished for ends the row of restarts: it is not one of them.
    fn begin_row(&mut self, child: ChildId) {
        if let Some(found) = self.siblings.get_mut(child) {
            found.streak = 0;
        }
    }
}
