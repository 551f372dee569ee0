//! One supervisor and its children as a pure state machine.
//!
//! The supervisor's actor calls [`Family::step`] for everything that happens and does what the
//! actions say, in their order; the strategy, the restart types and the intensity decide.
//!
//! Invariant: a child has at most one life at a time and is closed exactly once, and the family
//! ends with exactly one report, its last action.
//!
//! It has no clock and no timers: shutdown times, start times and backoff are the actor's.

mod action;
mod life;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::{mem, time::Duration};

pub(crate) use action::{Action, Input, Member};
use life::{Child, Life};

use super::{intensity::Intensity, strategy::Strategy};
use crate::exit::Exit;
use crate::restart::Restart;

/// How far the family as a whole has come.
#[derive(Debug)]
enum Phase {
    /// Not yet asked to start.
    New,
    /// The first start is under way.
    Rising,
    /// `Up` has been said; it stays so even when every child has ended for good.
    Up,
    /// All children are being stopped; then the report is due. The first reason to end stands.
    Ending(Action),
    /// The report has been given.
    Ended,
}

/// The children of one supervisor, and what is to happen to them next.
#[derive(Debug)]
pub(crate) struct Family {
    path: String,
    strategy: Strategy,
    intensity: Intensity,
    children: Vec<Child>,
    phase: Phase,
    /// What the current step has decided so far.
    actions: Vec<Action>,
}

impl Family {
    /// Makes the family of the supervisor at `path`; nothing happens before [`Input::Start`].
    pub(crate) fn new(
        path: String,
        strategy: Strategy,
        intensity: Intensity,
        children: Vec<Member>,
    ) -> Self {
        let children = children.into_iter().map(Child::new).collect();
        Self {
            path,
            strategy,
            intensity,
            children,
            phase: Phase::New,
            actions: Vec::new(),
        }
    }

    /// Takes in what happened at `now` and says what is to be done, in this order.
    ///
    /// `now` is the time since any fixed start and should not go back.
    pub(crate) fn step(&mut self, input: Input, now: Duration) -> Vec<Action> {
        match input {
            Input::Start => self.rise(),
            Input::Started {
                child,
                generation,
                result: Ok(()),
            } => self.started(child, generation),
            Input::Started {
                child,
                generation,
                result: Err(exit),
            }
            | Input::Exited {
                child,
                generation,
                exit,
            } => {
                self.life_over(child, generation, exit, now);
            }
            Input::Stop => self.end(Action::Down),
            Input::Kill => self.kill(),
        }
        self.stop_in_turn();
        self.start_in_turn();
        self.report();
        mem::take(&mut self.actions)
    }

    /// Whether the family is on its way out, or gone: what it closes now may yet be started
    /// again with the whole family.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Ended)
    }

    pub(crate) fn member(&self, child: usize) -> Option<&Member> {
        self.children.get(child).map(|child| &child.member)
    }

    fn rise(&mut self) {
        if matches!(self.phase, Phase::New) {
            self.phase = Phase::Rising;
        }
    }

    fn started(&mut self, child: usize, generation: u64) {
        let Some(found) = self.living(child, generation) else {
            return;
        };
        found.has_risen = true;
        // One that is already to be stopped stays so.
        if found.life == Life::Starting {
            found.life = Life::Running;
        }
    }

    /// Finds the child if that very life of it is not over yet.
    fn living(&mut self, child: usize, generation: u64) -> Option<&mut Child> {
        let found = self.children.get_mut(child)?;
        (found.generation == generation && !found.life.is_over()).then_some(found)
    }

    fn life_over(&mut self, child: usize, generation: u64, exit: Exit, now: Duration) {
        let Some(found) = self.living(child, generation) else {
            return;
        };
        let was = mem::replace(&mut found.life, Life::Waiting);
        let (has_risen, restart) = (found.has_risen, found.member.restart);
        if matches!(self.phase, Phase::Ending(_)) {
            self.close(child);
        } else if was.is_leaving() {
            // A bystander of a group restart: however it ended, it comes back with the group,
            // also a temporary one of which the tree still waits for the first start.
            if restart == Restart::Temporary && has_risen {
                self.close(child);
            }
        } else if !has_risen {
            self.end(Action::StartFailed { child, exit });
        } else if restart.wants(&exit) {
            self.restart(child, exit, now);
        } else {
            self.close(child);
        }
    }

    /// Lets a failed child and those affected come back, or gives up.
    fn restart(&mut self, child: usize, exit: Exit, now: Duration) {
        if !self.intensity.allow(now) {
            let report = self.giving_up(child, exit);
            return self.end(report);
        }
        let affected = self.strategy.affected(self.children.len(), child);
        for sibling in &mut self.children[affected] {
            sibling.doom();
        }
    }

    fn giving_up(&self, child: usize, exit: Exit) -> Action {
        match self.phase {
            Phase::Rising => Action::StartFailed { child, exit },
            _ => Action::Escalate(Exit::Escalated {
                path: format!("{}/{}", self.path, self.children[child].member.name),
                cause: Box::new(exit),
            }),
        }
    }

    /// Turns to the end, with `report` as the last word; what does not live is closed at once.
    fn end(&mut self, report: Action) {
        if matches!(self.phase, Phase::Ending(_) | Phase::Ended) {
            return;
        }
        self.phase = Phase::Ending(report);
        for child in (0..self.children.len()).rev() {
            self.children[child].doom();
            if self.children[child].life == Life::Waiting {
                self.close(child);
            }
        }
    }

    fn kill(&mut self) {
        self.end(Action::Down);
        for (child, found) in self.children.iter_mut().enumerate().rev() {
            if !found.life.is_over() && found.life != Life::Killed {
                found.life = Life::Killed;
                self.actions.push(Action::Kill {
                    child,
                    generation: found.generation,
                });
            }
        }
    }

    fn close(&mut self, child: usize) {
        self.children[child].life = Life::Closed;
        self.actions.push(Action::Close { child });
    }

    /// Where the siblings after `child` end that wait for it to start: all of them while the
    /// family rises, else those that share its failures.
    fn reach(&self, child: usize) -> usize {
        match self.phase {
            Phase::Up => self.strategy.affected(self.children.len(), child).end,
            _ => self.children.len(),
        }
    }

    /// Stops the last of the doomed, unless one after it has still to leave.
    fn stop_in_turn(&mut self) {
        let mut from_last = self.children.iter_mut().enumerate().rev();
        let Some((child, found)) = from_last.find(|(_, one)| one.life.is_leaving()) else {
            return;
        };
        if found.life == Life::Doomed {
            found.life = Life::Stopping;
            self.actions.push(Action::Stop {
                child,
                generation: found.generation,
            });
        }
    }

    /// Starts every waiting child that no earlier one holds up and whose group has left.
    fn start_in_turn(&mut self) {
        if !matches!(self.phase, Phase::Rising | Phase::Up) {
            return;
        }
        // Children below this index wait for one before them.
        let mut held = 0;
        for child in 0..self.children.len() {
            let reach = self.reach(child);
            if self.children[child].life == Life::Waiting
                && child >= held
                && !self.children[child + 1..reach]
                    .iter()
                    .any(|later| later.life.is_leaving())
            {
                self.begin(child);
            }
            if !self.children[child].life.is_settled() {
                held = held.max(reach);
            }
        }
    }

    fn begin(&mut self, child: usize) {
        let found = &mut self.children[child];
        found.life = Life::Starting;
        found.generation += 1;
        self.actions.push(Action::Start {
            child,
            generation: found.generation,
        });
    }

    fn report(&mut self) {
        let all = |wanted: fn(Life) -> bool| self.children.iter().all(|one| wanted(one.life));
        match self.phase {
            Phase::Rising if all(Life::is_settled) => {
                self.phase = Phase::Up;
                self.actions.push(Action::Up);
            }
            Phase::Ending(_) if all(|life| life == Life::Closed) => {
                if let Phase::Ending(last) = mem::replace(&mut self.phase, Phase::Ended) {
                    self.actions.push(last);
                }
            }
            _ => {}
        }
    }
}
