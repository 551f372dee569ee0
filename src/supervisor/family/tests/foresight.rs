//! What the naive model foresees of an input.

use super::{
    model::{At, Goal, Model, Seen, Stage},
    *,
};

impl Model {
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
            Input::Dismiss { child } => self.dismiss(child as usize),
            _ if self.is_ending() => {}
            Input::Terminate { child } => self.terminate(child as usize),
            Input::Restart { child } => self.restart(child as usize),
            Input::Renew { child } => self.renew(child as usize),
            Input::Delete { child } => self.delete(child as usize),
        }
        self.conclude();
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
            Some(Goal::Again) => match exit {
                Exit::Retired(_) | Exit::Fatal(_) => self.own_end(child, one.is_ready, exit),
                _ => self.children[child].at = At::Waiting,
            },
            Some(goal) => self.close(child, Exit::Shutdown, goal == Goal::WithFamily),
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
        if let Exit::Fatal(_) = exit {
            self.mark("a fatal end");
            self.children[child].at = At::Waiting;
            return self.give_up(child, exit);
        }
        let is_retired = matches!(exit, Exit::Retired(_));
        if is_retired {
            self.mark("a retired child");
        }
        let comes_back = match member.restart {
            _ if is_retired => false,
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
        } else {
            self.give_up(child, exit);
        }
        is_allowed
    }

    fn give_up(&mut self, child: usize, exit: Exit) {
        if matches!(self.stage, Stage::Rising) {
            let child = child as ChildId;
            return self.end(Action::StartFailed { child, exit });
        }
        let path = "shop/child".into();
        let cause = Box::new(exit);
        self.end(Action::Escalate(Exit::Escalated { path, cause }));
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

    fn dismiss(&mut self, child: usize) {
        if !self.is_ending() {
            return self.terminate(child);
        }
        match &mut self.children[child].at {
            At::Living(one) => {
                let before = one.leaves.replace(Goal::Gone);
                if before == Some(Goal::WithFamily) {
                    self.mark("a child let go on the way out");
                }
            }
            At::Closed => self.delete(child),
            _ => {}
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
