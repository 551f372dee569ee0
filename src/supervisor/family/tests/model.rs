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
    was_added: bool,
    is_awaited: bool,
    has_risen: bool,
    ready_at: Option<Duration>,
    streak: u32,
}

impl Seen {
    pub(super) fn living(&self) -> Option<Living> {
        match self.at {
            At::Living(living) => Some(living),
            _ => None,
        }
    }

    fn leaves(&self) -> bool {
        self.living().is_some_and(|one| one.leaves.is_some())
    }

    fn is_settled(&self) -> bool {
        match &self.at {
            At::Living(one) => one.is_ready && one.leaves.is_none(),
            At::Closed | At::Forgotten => true,
            At::Waiting | At::Pausing(_) => false,
        }
    }

    fn is_closed(&self) -> bool {
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
    plan: Plan,
    /// By id, the forgotten included.
    pub(super) children: Vec<Seen>,
    pub(super) stage: Stage,
    pub(super) now: Duration,
    counted: Vec<Duration>,
    is_complete: bool,
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

    pub(super) fn foresee(&mut self, input: &Input) {
        match input.clone() {
            Input::Start if matches!(self.stage, Stage::New) => self.stage = Stage::Rising,
            Input::Start => {}
            Input::Stop | Input::Kill => self.end(Action::Down),
            Input::Started {
                child,
                generation,
                result,
            } if self.lives(child, generation) => match result {
                Ok(()) => self.ready(child as usize),
                Err(exit) => self.over(child as usize, exit),
            },
            Input::Exited {
                child,
                generation,
                exit,
            } if self.lives(child, generation) => self.over(child as usize, exit),
            Input::Started { .. } | Input::Exited { .. } => {}
            Input::BackedOff { child, generation } => self.rested(child as usize, generation),
            Input::Add { member, .. } => self.add(member),
            _ if self.is_ending() => {}
            Input::Terminate { child } => self.terminate(child as usize),
            Input::Restart { child } => self.restart(child as usize),
            Input::Renew { child } => self.renew(child as usize),
            Input::Delete { child } => self.delete(child as usize),
        }
        self.conclude();
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

    fn push(&mut self, member: Member, was_added: bool) {
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

    fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
    }

    fn lives(&self, child: ChildId, generation: u64) -> bool {
        let found = self.children.get(child as usize);
        found.is_some_and(|one| one.generation == generation && one.living().is_some())
    }

    fn ready(&mut self, child: usize) {
        let now = self.now;
        let seen = &mut self.children[child];
        seen.has_risen = true;
        seen.is_awaited = false;
        seen.ready_at.get_or_insert(now);
        if let At::Living(one) = &mut seen.at {
            one.is_ready = true;
        }
    }

    fn over(&mut self, child: usize, exit: Exit) {
        let stable_after = self.plan.stable_after;
        let seen = &mut self.children[child];
        let one = seen.living().expect("it was asked for");
        let ready_at = seen.ready_at.take();
        if let (Some(ready_at), Some(least)) = (ready_at, stable_after)
            && self.now - ready_at >= least
        {
            seen.streak = 0;
        }
        let has_risen = seen.has_risen;
        match one.leaves {
            Some(Goal::Again) => self.children[child].at = At::Waiting,
            Some(goal) => self.close(child, exit, goal == Goal::WithFamily),
            None if seen.is_awaited => self.close(child, exit, false),
            None if has_risen => self.own_end(child, one.is_ready, exit),
            None => {
                self.children[child].at = At::Waiting;
                let child = child as ChildId;
                self.end(Action::StartFailed { child, exit });
            }
        }
        if one.leaves.is_some() && !one.is_asked && !one.is_killed {
            self.mark("an end before its turn to be stopped");
        }
    }

    fn own_end(&mut self, child: usize, was_ready: bool, exit: Exit) {
        let member = self.children[child].member.clone();
        let comes_back = match member.restart {
            Permanent => true,
            Transient => !was_ready || !matches!(exit, Exit::Normal | Exit::Shutdown),
            _ => false,
        };
        if comes_back {
            return self.fail(child, was_ready, exit);
        }
        self.close(child, exit, false);
        let is_left = |one: &Seen| one.member.significant && !one.is_closed();
        self.is_complete |= member.significant
            && match self.plan.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.iter().any(is_left),
            };
    }

    fn fail(&mut self, child: usize, was_ready: bool, exit: Exit) {
        if self.children.iter().any(Seen::leaves) {
            self.mark("a failure while others leave");
        }
        if self
            .children
            .iter()
            .any(|one| matches!(one.at, At::Pausing(_)))
        {
            self.mark("a failure while another pauses");
        }
        if !was_ready {
            self.mark("a failed restart");
        }
        if self.plan.stable_after.is_some() {
            self.pause(child, exit);
        } else {
            self.children[child].at = At::Waiting;
            if !self.count(child, exit) {
                return;
            }
        }
        for sibling in 0..self.children.len() {
            let is_affected = match self.plan.strategy {
                _ if self.plan.dynamic => false,
                OneForAll => true,
                RestForOne => sibling > child,
                _ => false,
            };
            let seen = &mut self.children[sibling];
            let is_spent = seen.member.restart == Temporary && seen.has_risen;
            if let At::Living(one) = &mut seen.at
                && is_affected
                && one.leaves.is_none()
            {
                one.leaves = Some(if is_spent { Goal::Gone } else { Goal::Again });
                self.mark("a bystander");
            }
        }
    }

    fn pause(&mut self, child: usize, exit: Exit) {
        let seen = &mut self.children[child];
        seen.streak += 1;
        seen.at = At::Pausing(exit);
        self.owed.push(Action::BackOff {
            child: child as ChildId,
            generation: seen.generation,
            restart: seen.streak,
        });
        if seen.streak > 1 {
            self.mark("a second pause in a row");
        }
    }

    fn rested(&mut self, child: usize, generation: u64) {
        let Some(seen) = self.children.get_mut(child) else {
            return;
        };
        if seen.generation == generation
            && let At::Pausing(exit) = mem::replace(&mut seen.at, At::Waiting)
        {
            self.count(child, exit);
        } else {
            unreachable!("the world tells stale ones to the family alone");
        }
    }

    /// Counts a restart, or ends the family.
    fn count(&mut self, child: usize, exit: Exit) -> bool {
        let recent = |at: &&Duration| self.now - **at <= self.plan.window;
        let is_allowed =
            self.counted.iter().filter(recent).count() < self.plan.max_restarts as usize;
        if is_allowed {
            self.counted.push(self.now);
        } else if matches!(self.stage, Stage::Rising) {
            let child = child as ChildId;
            self.end(Action::StartFailed { child, exit });
        } else {
            let path = "shop/child".into();
            let cause = Box::new(exit);
            self.end(Action::Escalate(Exit::Escalated { path, cause }));
        }
        is_allowed
    }

    fn end(&mut self, last: Action) {
        if self.is_ending() {
            return;
        }
        self.stage = Stage::Ending(last);
        for child in (0..self.children.len()).rev() {
            match &mut self.children[child].at {
                At::Waiting | At::Pausing(_) => self.close(child, Exit::Shutdown, true),
                At::Living(one) if one.leaves != Some(Goal::Gone) => {
                    one.leaves = Some(Goal::WithFamily);
                }
                _ => {}
            }
        }
    }

    fn close(&mut self, child: usize, exit: Exit, with_family: bool) {
        let seen = &mut self.children[child];
        assert!(!seen.is_closed());
        let passes = seen.member.restart == Temporary || self.plan.dynamic;
        let is_lost = (seen.was_added && !seen.has_risen) || (passes && !with_family);
        let is_awaited = mem::take(&mut seen.is_awaited);
        seen.at = if is_lost { At::Forgotten } else { At::Closed };
        let child = child as ChildId;
        if is_awaited {
            self.mark("a refusal");
            self.owed.push(Action::Refused { child, exit });
        }
        self.owed.push(Action::Close { child });
        if is_lost {
            self.mark("a child forgotten");
            self.owed.push(Action::Forget { child });
        }
    }

    fn add(&mut self, member: Member) {
        self.push(member, true);
        if self.is_ending() {
            self.close(self.children.len() - 1, Exit::Shutdown, true);
        }
    }

    fn terminate(&mut self, child: usize) {
        match &mut self.children[child].at {
            At::Living(one) => {
                if one.leaves.replace(Goal::Gone) == Some(Goal::Again) {
                    self.mark("a terminated bystander");
                }
            }
            At::Closed | At::Forgotten => {}
            at => {
                let pauses = matches!(at, At::Pausing(_));
                self.close(child, Exit::Shutdown, false);
                if pauses {
                    self.mark("a terminated pause");
                }
            }
        }
    }

    fn restart(&mut self, child: usize) {
        let seen = &mut self.children[child];
        if let At::Closed = seen.at {
            (seen.at, seen.is_awaited, seen.streak) = (At::Waiting, true, 0);
            self.mark("a closed child asked back");
        }
    }

    fn renew(&mut self, child: usize) {
        let seen = &mut self.children[child];
        match &mut seen.at {
            At::Living(one) => one.leaves = Some(Goal::Again),
            At::Pausing(_) => seen.at = At::Waiting,
            _ => return,
        }
        seen.streak = 0;
        self.mark("a child renewed");
    }

    fn delete(&mut self, child: usize) {
        if let At::Closed = self.children[child].at {
            self.children[child].at = At::Forgotten;
            self.owed.push(Action::Forget {
                child: child as ChildId,
            });
            self.mark("a child deleted");
        }
    }

    fn conclude(&mut self) {
        if matches!(self.stage, Stage::Rising) && self.children.iter().all(Seen::is_settled) {
            self.stage = Stage::Up;
            self.owed.push(Action::Up);
        }
        if self.is_complete && matches!(self.stage, Stage::Up) {
            self.end(Action::Completed);
        }
        if let Stage::Ending(last) = &self.stage
            && self.children.iter().all(Seen::is_closed)
        {
            self.owed.push(last.clone());
            self.stage = Stage::Ended(last.clone());
        }
    }
}
