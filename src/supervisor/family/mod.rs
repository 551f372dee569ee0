//! One supervisor and its children as a pure state machine.
//!
//! The supervisor's actor calls [`Family::step`] for everything that happens and does what the
//! actions say, in their order; the strategy, the restart types and the intensity decide. It keeps
//! to OTP's `supervisor`, but for this: a group restart leaves those alone that have ended for
//! good, where OTP starts them again.
//!
//! Invariant: a child has at most one life at a time and is closed exactly once after each time it
//! was opened, and the family ends with exactly one report: its last action, but for the refusals
//! of children that are added too late, and for workers that are let go.
//!
//! It has no clock and no timers: shutdown times, start times and pauses are the actor's. A step
//! costs O(log n) for each child whose state it changes, so 100,000 children are no burden.

mod action;
mod aftermath;
mod ending;
mod index;
mod life;
mod request;
mod siblings;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod turn;

use std::{mem, time::Duration};

pub(crate) use action::{Action, ChildId, Input, Member, Plan, Why};
use siblings::Siblings;

use super::{intensity::Intensity, strategy::Strategy};
use crate::vitals::State;

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
    plan: Plan,
    intensity: Intensity,
    siblings: Siblings,
    phase: Phase,
    /// Significant children have ended, so the family ends as soon as it is up.
    is_complete: bool,
    /// What the current step has decided so far.
    actions: Vec<Action>,
}

impl Family {
    /// Makes a family of `children`, whose ids rise; nothing happens before [`Input::Start`].
    pub(crate) fn new(plan: Plan, children: impl IntoIterator<Item = (ChildId, Member)>) -> Self {
        Self {
            intensity: Intensity::new(plan.max_restarts, plan.window),
            plan,
            siblings: Siblings::new(children),
            phase: Phase::New,
            is_complete: false,
            actions: Vec::new(),
        }
    }

    /// Counts the lives of a child on from those it had in an earlier family, so that no late word
    /// about one of them can be mistaken for one about another.
    pub(crate) fn count_on(&mut self, child: ChildId, lives: u64) {
        if let Some(found) = self.siblings.get_mut(child) {
            found.generation = lives;
        }
    }

    /// Takes in what happened at `now` and says what is to be done, in this order.
    ///
    /// `now` is the time since any fixed start and should not go back.
    pub(crate) fn step(&mut self, input: Input, now: Duration) -> Vec<Action> {
        self.take_in(input, now);
        self.take_turns();
        mem::take(&mut self.actions)
    }

    /// Whether the family is on its way out, or gone: what it closes now may yet be started
    /// again with the whole family.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Ended)
    }

    /// Whether it has never been started: what has been asked for until then stands.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.phase, Phase::New)
    }

    /// What it will say last, while it is on its way out.
    pub(crate) fn last_word(&self) -> Option<&Action> {
        match &self.phase {
            Phase::Ending(last) => Some(last),
            _ => None,
        }
    }

    /// Whether the first start is under way.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn is_rising(&self) -> bool {
        matches!(self.phase, Phase::Rising)
    }

    /// What is known of a child that has not been forgotten.
    pub(crate) fn member(&self, child: ChildId) -> Option<&Member> {
        self.siblings.get(child).map(|found| &found.member)
    }

    /// Where a child is that has not been forgotten.
    pub(crate) fn standing(&self, child: ChildId) -> Option<State> {
        self.siblings.life(child).map(life::Life::standing)
    }

    fn take_in(&mut self, input: Input, now: Duration) {
        match input {
            Input::Start => self.rise(),
            Input::Started {
                child,
                generation,
                result: Ok(()),
            } => self.started(child, generation, now),
            Input::Started {
                child,
                generation,
                result: Err(exit),
            }
            | Input::Exited {
                child,
                generation,
                exit,
            } => self.life_over(child, generation, exit, now),
            Input::BackedOff { child, generation } => self.backed_off(child, generation, now),
            Input::Add { child, member } => self.add(child, member),
            Input::Terminate { child } => self.terminate(child),
            Input::Dismiss { child } => self.dismiss(child),
            Input::Restart { child } => self.restart(child),
            Input::Renew { child } => self.renew(child),
            Input::Delete { child } => self.delete(child),
            Input::Stop => self.end(Action::Down),
            Input::Kill => self.kill(),
        }
    }

    fn rise(&mut self) {
        if matches!(self.phase, Phase::New) {
            self.phase = Phase::Rising;
        }
    }

    /// Who is concerned when a child fails; where children are independent, only that child.
    fn strategy(&self) -> Strategy {
        if self.plan.dynamic {
            Strategy::OneForOne
        } else {
            self.plan.strategy
        }
    }

    fn generation(&self, child: ChildId) -> u64 {
        self.siblings.get(child).map_or(0, |found| found.generation)
    }
}
