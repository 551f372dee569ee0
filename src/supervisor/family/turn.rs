//! Whose turn it is to stop or to start, and when the whole family is up or gone.
//!
//! The family calls it at the end of every step, when all that happened has been noted.
//!
//! Invariant: where order matters, a child stops when all after it have left, and starts when all
//! before it are settled, nobody is leaving and nobody is given a pause.
//!
//! It decides nothing about a single child: only about before and after.

use std::mem;

use super::action::{Action, ChildId};
use super::life::Life;
use super::{Family, Phase};
use crate::supervisor::strategy::Strategy;

impl Family {
    pub(super) fn take_turns(&mut self) {
        self.report_up();
        if self.is_complete && matches!(self.phase, Phase::Up) {
            self.end(Action::Completed);
        }
        self.stop_in_turn();
        self.start_in_turn();
        self.report_end();
    }

    /// Whether each child starts and stops without regard to its siblings.
    pub(crate) fn is_independent(&self) -> bool {
        let is_up = matches!(self.phase, Phase::Up);
        self.plan.dynamic || (is_up && self.plan.strategy == Strategy::OneForOne)
    }

    fn report_up(&mut self) {
        if matches!(self.phase, Phase::Rising) && self.siblings.index().is_none(&Life::UNSETTLED) {
            self.phase = Phase::Up;
            self.actions.push(Action::Up);
        }
    }

    /// Stops the last of the doomed, unless one after it has still to leave; or all of them.
    fn stop_in_turn(&mut self) {
        if self.is_independent() {
            let doomed: Vec<ChildId> = self.siblings.index().at(Life::Doomed).rev().collect();
            doomed.into_iter().for_each(|child| self.stop(child));
        } else if let Some(child) = self.siblings.index().last(&Life::LEAVING)
            && self.siblings.life(child) == Some(Life::Doomed)
        {
            self.stop(child);
        }
    }

    /// Starts the first of the waiting, unless something holds it up; or all of them.
    fn start_in_turn(&mut self) {
        if !matches!(self.phase, Phase::Rising | Phase::Up) {
            return;
        }
        if self.is_independent() {
            let waiting: Vec<ChildId> = self.siblings.index().at(Life::Waiting).collect();
            waiting.into_iter().for_each(|child| self.begin(child));
        } else if let Some(child) = self.siblings.index().first(&Life::UNSETTLED)
            && self.siblings.life(child) == Some(Life::Waiting)
            && self.siblings.index().is_none(&Life::LEAVING)
            && self.siblings.index().is_none(&[Life::BackingOff])
        {
            self.begin(child);
        }
    }

    fn stop(&mut self, child: ChildId) {
        let Some(found) = self.siblings.get(child) else {
            return;
        };
        let (generation, why) = (found.generation, found.fate.why());
        self.siblings.set(child, Life::Stopping);
        self.actions.push(Action::Stop {
            child,
            generation,
            why,
        });
    }

    fn begin(&mut self, child: ChildId) {
        let Some(found) = self.siblings.get_mut(child) else {
            return;
        };
        found.generation += 1;
        let generation = found.generation;
        self.siblings.set(child, Life::Starting);
        self.actions.push(Action::Start { child, generation });
    }

    fn report_end(&mut self) {
        if !matches!(self.phase, Phase::Ending(_)) || !self.siblings.index().is_none(&Life::OPEN) {
            return;
        }
        if let Phase::Ending(last) = mem::replace(&mut self.phase, Phase::Ended) {
            self.actions.push(last);
        }
    }
}
