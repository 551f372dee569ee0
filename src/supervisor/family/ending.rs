//! How a child is closed, and how the whole family ends.
//!
//! The family calls it for `Stop` and `Kill`; requests and the aftermath of a life, when there is
//! nothing else left.
//!
//! Invariant: the first reason to end stands, and is told once everything is closed.
//!
//! It stops nobody: who has to leave is marked, and stopped in turn.

use super::action::{Action, ChildId};
use super::life::{Fate, Life, Request};
use super::{Family, Phase};
use crate::exit::Exit;
use crate::restart::Restart;

impl Family {
    /// Turns to the end, with `report` as the last word; what does not live is closed at once.
    pub(super) fn end(&mut self, report: Action) {
        if self.is_ending() {
            return;
        }
        self.phase = Phase::Ending(report);
        let all = 0..=ChildId::MAX;
        for child in self.siblings.index().reversed(&Life::OPEN, all) {
            self.end_child(child);
        }
    }

    pub(super) fn kill(&mut self) {
        self.end(Action::Down);
        let spared = self
            .siblings
            .index()
            .reversed(&Life::SPARED, 0..=ChildId::MAX);
        for child in spared {
            self.siblings.set(child, Life::Killed);
            let generation = self.generation(child);
            self.actions.push(Action::Kill { child, generation });
        }
    }

    /// Ends a child for good; `exit` is what whoever asked for its start is told.
    pub(super) fn close(&mut self, child: ChildId, exit: Exit) {
        let Some(found) = self.siblings.get_mut(child) else {
            return;
        };
        let request = found.request.take();
        let stays = found.fate == Fate::WithFamily;
        let passes = self.plan.dynamic || found.member.restart == Restart::Temporary;
        if request.is_some() {
            self.actions.push(Action::Refused { child, exit });
        }
        self.siblings.set(child, Life::Closed);
        self.actions.push(Action::Close { child });
        if request == Some(Request::Added) || (passes && !stays) {
            self.forget(child);
        }
    }

    pub(super) fn forget(&mut self, child: ChildId) {
        self.siblings.remove(child);
        self.actions.push(Action::Forget { child });
    }

    fn end_child(&mut self, child: ChildId) {
        let Some(found) = self.siblings.get_mut(child) else {
            return;
        };
        let life = found.life();
        // What had been decided for a child that is leaving already stands: one that was
        // terminated is not to come back when the family is made anew.
        if !life.is_leaving() || found.fate == Fate::Again {
            found.fate = Fate::WithFamily;
        }
        if Life::UPRIGHT.contains(&life) {
            self.siblings.set(child, Life::Doomed);
        } else if !life.is_alive() {
            self.close(child, Exit::Shutdown);
        }
    }
}
