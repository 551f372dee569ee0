//! The naive model: what a family must do, found by looking at everybody every time.
//!
//! It foresees what an input closes, forgets, refuses, delays and reports, word for word. Stops and
//! starts it does not foresee: it says of each whether it may be now, so that what may be and is
//! not done is found as well.

use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    Again,
    Gone,
    WithFamily,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Living {
    pub(super) is_ready: bool,
    pub(super) leaves: Option<Goal>,
    pub(super) is_asked: bool,
    pub(super) is_killed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum At {
    Waiting,
    Pausing(Exit),
    Living(Living),
    Closed,
    Forgotten,
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) member: Member,
    pub(super) at: At,
    pub(super) generation: u64,
    pub(super) was_added: bool,
    pub(super) is_awaited: bool,
    pub(super) has_risen: bool,
    pub(super) ready_at: Option<Duration>,
    pub(super) streak: u32,
}

impl Seen {
    pub(super) fn living(&self) -> Option<Living> {
        match self.at {
            At::Living(living) => Some(living),
            _ => None,
        }
    }

    pub(super) fn leaves(&self) -> bool {
        self.living().is_some_and(|one| one.leaves.is_some())
    }

    pub(super) fn is_settled(&self) -> bool {
        match &self.at {
            At::Living(one) => one.is_ready && one.leaves.is_none(),
            At::Closed | At::Forgotten => true,
            At::Waiting | At::Pausing(_) => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.at, At::Closed | At::Forgotten)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    New,
    Rising,
    Up,
    Ending(Action),
    Ended(Action),
}

pub(super) struct Model {
    pub(super) plan: Plan,
    /// By id, the forgotten included.
    pub(super) children: Vec<Seen>,
    pub(super) stage: Stage,
    pub(super) now: Duration,
    pub(super) counted: Vec<Duration>,
    pub(super) is_complete: bool,
    /// What the family has still to say.
    pub(super) owed: Vec<Action>,
    /// How often something worth a test has happened.
    pub(super) marks: BTreeMap<&'static str, u32>,
}

impl Model {
    pub(super) fn new(plan: Plan, members: Vec<Member>) -> Self {
        let mut model = Model {
            plan,
            children: Vec::new(),
            stage: Stage::New,
            now: Duration::ZERO,
            counted: Vec::new(),
            is_complete: false,
            owed: Vec::new(),
            marks: BTreeMap::new(),
        };
        members.into_iter().for_each(|one| model.push(one, false));
        model
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending(_) | Stage::Ended(_))
    }

    /// Whether this child has to be stopped now.
    pub(super) fn may_stop(&self, child: usize) -> bool {
        let one = self.children[child].living().unwrap_or_default();
        let later_leaves = || self.children[child + 1..].iter().any(Seen::leaves);
        one.leaves.is_some()
            && !one.is_asked
            && !one.is_killed
            && (self.is_independent() || !later_leaves())
    }

    /// Whether this child has to be started now.
    pub(super) fn may_start(&self, child: usize) -> bool {
        let pauses = |one: &Seen| matches!(one.at, At::Pausing(_));
        let in_turn = || {
            self.children[..child].iter().all(Seen::is_settled)
                && !self.children[child..].iter().any(Seen::leaves)
                && !self.children.iter().any(pauses)
        };
        matches!(self.stage, Stage::Rising | Stage::Up)
            && matches!(self.children[child].at, At::Waiting)
            && (self.is_independent() || in_turn())
    }

    fn is_independent(&self) -> bool {
        let is_alone = self.plan.strategy == OneForOne && matches!(self.stage, Stage::Up);
        self.plan.dynamic || is_alone
    }

    pub(super) fn push(&mut self, member: Member, was_added: bool) {
        self.children.push(Seen {
            member,
            at: At::Waiting,
            generation: 0,
            was_added,
            is_awaited: was_added,
            has_risen: false,
            ready_at: None,
            streak: 0,
        });
    }

    pub(super) fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
    }
}
