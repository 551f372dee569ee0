//! What follows when a life is over: a restart, a pause before it, the end of the child, or the
//! end of the family.
//!
//! The family calls it when a life is ready or over, or a pause is; it asks the restart type, the
//! strategy and the intensity.
//!
//! Invariant: every restart that nobody asked for is counted once, at the moment it is made: at
//! the failure, or when the pause after it is over.
//!
//! It neither stops nor starts anybody: it says who has to, and the turns do it in order.

use std::time::Duration;

use super::action::{Action, ChildId};
use super::life::{Fate, Life};
use super::siblings::Child;
use super::{Family, Phase};
use crate::exit::Exit;
use crate::restart::Restart;
use crate::supervisor::strategy::AutoShutdown;

impl Family {
    pub(super) fn started(&mut self, child: ChildId, generation: u64, now: Duration) {
        let Some(found) = self.living(child, generation) else {
            return;
        };
        found.has_risen = true;
        found.request = None;
        found.ready_at = found.ready_at.or(Some(now));
        // One that is already to be stopped stays so.
        if found.life() == Life::Starting {
            self.siblings.set(child, Life::Running);
        }
    }

    pub(super) fn life_over(&mut self, child: ChildId, generation: u64, exit: Exit, now: Duration) {
        let stable_after = self.plan.stable_after;
        let Some(found) = self.living(child, generation) else {
            return;
        };
        if found.was_stable(stable_after, now) {
            found.streak = 0;
        }
        match found.after(&exit) {
            After::ComeBack => self.siblings.set(child, Life::Waiting),
            After::Leave => self.close(child, Exit::Shutdown),
            After::Refuse => self.close(child, exit),
            After::Restart => self.fail(child, exit, now),
            After::End | After::GiveUp if self.plan.workers => {
                self.siblings.set(child, Life::Waiting);
                self.end(Action::Retired(exit));
            }
            After::End => self.end_of_own_accord(child, exit),
            After::GiveUp => {
                self.siblings.set(child, Life::Waiting);
                self.give_up(child, exit);
            }
            After::FailTheStart => {
                self.siblings.set(child, Life::Waiting);
                self.end(Action::StartFailed { child, exit });
            }
        }
    }

    pub(super) fn backed_off(&mut self, child: ChildId, generation: u64, now: Duration) {
        let Some(found) = self.siblings.get_mut(child) else {
            return;
        };
        if found.life() != Life::BackingOff || found.generation != generation {
            return;
        }
        let fault = found.fault.take().map(|fault| *fault);
        self.siblings.set(child, Life::Waiting);
        if !self.intensity.allow(now) {
            self.give_up(child, fault.unwrap_or(Exit::Killed));
        }
    }

    /// Finds the child if that very life of it is not over yet.
    fn living(&mut self, child: ChildId, generation: u64) -> Option<&mut Child> {
        let found = self.siblings.get_mut(child)?;
        (found.generation == generation && found.life().is_alive()).then_some(found)
    }

    /// Lets a failed child and those affected come back, at once or after a pause, or gives up.
    fn fail(&mut self, child: ChildId, exit: Exit, now: Duration) {
        self.siblings.set(child, Life::Waiting);
        if self.plan.stable_after.is_some() {
            self.back_off(child, exit);
        } else if !self.intensity.allow(now) {
            return self.give_up(child, exit);
        }
        let affected = self.strategy().affected(child);
        for sibling in self.siblings.index().reversed(&Life::UPRIGHT, affected) {
            self.send_off_bystander(sibling);
        }
    }

    fn back_off(&mut self, child: ChildId, exit: Exit) {
        let Some(found) = self.siblings.get_mut(child) else {
            return;
        };
        found.streak = found.streak.saturating_add(1);
        found.fault = Some(Box::new(exit));
        self.actions.push(Action::BackOff {
            child,
            generation: found.generation,
            restart: found.streak,
        });
        self.siblings.set(child, Life::BackingOff);
    }

    /// A temporary child does not come back with its group, unless its first start is still owed.
    fn send_off_bystander(&mut self, child: ChildId) {
        let Some(found) = self.siblings.get(child) else {
            return;
        };
        let is_spent = found.member.restart == Restart::Temporary && found.has_risen;
        let fate = if is_spent { Fate::ForGood } else { Fate::Again };
        self.send_off(child, fate);
    }

    fn give_up(&mut self, child: ChildId, exit: Exit) {
        let name = self.member(child).map_or("", |member| &member.name);
        let report = match self.phase {
            Phase::Rising => Action::StartFailed { child, exit },
            _ => Action::Escalate(Exit::Escalated {
                path: format!("{}/{name}", self.plan.path),
                cause: Box::new(exit),
            }),
        };
        self.end(report);
    }

    /// Closes a child that has ended by itself, which may complete the family. During the first
    /// start that waits until all are up, as in OTP, where the exit is read after `init`.
    fn end_of_own_accord(&mut self, child: ChildId, exit: Exit) {
        let is_significant = self.member(child).is_some_and(|member| member.significant);
        self.close(child, exit);
        let is_last_word = match self.plan.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => self.siblings.significant() == 0,
        };
        if is_significant && is_last_word {
            self.is_complete = true;
        }
    }
}

/// What follows when a life is over.
enum After {
    /// It was to be stopped, and starts again in its turn.
    ComeBack,
    /// It was to be stopped for good, however it ended: whoever asked for its start hears of that.
    Leave,
    /// Whoever asked for its start is told that it failed.
    Refuse,
    Restart,
    /// Nobody wanted it to end, and it does not come back.
    End,
    /// Its own policy says that the family has to end, whatever the budget.
    GiveUp,
    FailTheStart,
}

impl Child {
    fn was_stable(&mut self, stable_after: Option<Duration>, now: Duration) -> bool {
        let ready_at = self.ready_at.take();
        ready_at
            .zip(stable_after)
            .is_some_and(|(ready_at, least)| now.saturating_sub(ready_at) >= least)
    }

    fn after(&self, exit: &Exit) -> After {
        let (life, is_temporary) = (self.life(), self.member.restart == Restart::Temporary);
        match exit {
            _ if life.is_leaving() && self.fate != Fate::Again => After::Leave,
            _ if !life.is_leaving() && self.request.is_some() => After::Refuse,
            _ if !life.is_leaving() && !self.has_risen => After::FailTheStart,
            // Its own policy has the last word also where it was to come back.
            Exit::Fatal(_) => After::GiveUp,
            Exit::Retired(_) => After::End,
            _ if life.is_leaving() => After::ComeBack,
            // A restart that fails is tried again however it ended: nobody ended it by wish.
            _ if life == Life::Starting && !is_temporary => After::Restart,
            exit if self.member.restart.wants(exit) => After::Restart,
            _ => After::End,
        }
    }
}
