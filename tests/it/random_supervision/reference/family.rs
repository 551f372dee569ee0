//! One supervisor: whom it starts, restarts, stops and closes, and when it ends.

use super::*;

impl Reference {
    pub(super) fn is_up(&self, of: Id) -> bool {
        self.nodes[of].family.phase == Phase::Up
    }

    pub(super) fn is_ending(&self, of: Id) -> bool {
        matches!(self.nodes[of].family.phase, Phase::Ending(_))
    }

    /// A life of a supervisor begins: with all children whose specs are there, also those that
    /// had ended for good, and with a budget that nobody has used.
    pub(super) fn begin_family(&mut self, of: Id) {
        self.nodes[of].family = Family {
            phase: Phase::Rising,
            ..Family::new()
        };
        for child in self.children(of) {
            let node = &mut self.nodes[child];
            (node.at, node.state, node.wish) = (At::Waiting, State::Waiting, None);
            node.goal = Goal::ComesBack;
            (node.has_risen, node.ready_at, node.streak) = (false, None, 0);
        }
        self.take_turns(of);
    }

    pub(super) fn hear_start(&mut self, child: Id) {
        let now = self.now;
        if self.nodes[child].state == State::Starting {
            self.show(child, State::Running, "has started");
        }
        let node = &mut self.nodes[child];
        (node.has_risen, node.wish) = (true, None);
        node.ready_at.get_or_insert(now);
        // One that is to be gone stays so, and is not what anybody waits for.
        if node.at == At::Starting {
            node.at = At::Running;
            self.answer_starts(child, "ok");
        }
        self.take_turns(self.above(child));
    }

    pub(super) fn hear_end(&mut self, child: Id, end: End) {
        let above = self.above(child);
        self.note_trouble(above, child, &end);
        self.nodes[child].last = Some(end.clone());
        self.show(child, State::Waiting, &end.to_string());
        if self.nodes[child].at == At::Starting {
            self.answer_starts(child, &format!("failed: {end}"));
        }
        self.end_row(above, child);
        self.follow(above, child, end);
        self.take_turns(above);
    }

    /// After a life that was stable a new row of restarts begins.
    pub(super) fn end_row(&mut self, above: Id, child: Id) {
        let now = self.now;
        let node = &mut self.nodes[child];
        let ready_at = node.ready_at.take();
        if let Some(pause) = self.nodes[above].sketch.rules().unwrap().pause
            && ready_at.is_some_and(|ready_at| now - ready_at >= pause.stable_ms)
        {
            self.nodes[child].streak = 0;
        }
    }

    /// What follows the end of a life.
    pub(super) fn follow(&mut self, above: Id, child: Id, end: End) {
        let node = &mut self.nodes[child];
        let restart = node.sketch.restart;
        let wanted = match (restart, node.at) {
            (Restart::Temporary, _) => false,
            // One that did not come up did not end by its own wish.
            (_, At::Starting) | (Restart::Permanent, _) => true,
            _ => end.is_abnormal(),
        };
        match node.at {
            At::Leaving { .. } if node.goal == Goal::ComesBack => node.at = At::Waiting,
            At::Leaving { .. } => self.close(child, end),
            // It fails whoever asked for it, and nobody else.
            _ if node.wish.is_some() => self.close(child, end),
            // The first start of all succeeds as a whole or not at all.
            _ if !node.has_risen => {
                node.at = At::Waiting;
                self.end_family(above, Last::StartFailed(child, end));
            }
            _ if wanted => self.fail(above, child, end),
            _ => self.end_of_own_accord(above, child, end),
        }
    }

    pub(super) fn fail(&mut self, above: Id, child: Id, end: End) {
        let rules = self.rules(above);
        if let Some(pause) = rules.pause {
            let node = &mut self.nodes[child];
            node.streak += 1;
            node.fault = end;
            let doubled = pause.first_ms << (node.streak - 1).min(20);
            let time = doubled.min(pause.most_ms);
            node.at = At::Pausing(self.now + time);
            let text = format!("starts again in {:?}", millis(time));
            self.show(child, State::BackingOff, &text);
        } else {
            self.nodes[child].at = At::Waiting;
            if !self.count_restart(above, child, end) {
                return;
            }
        }
        for sibling in self.children(above) {
            let affected = match rules.strategy {
                Strategy::OneForAll => true,
                Strategy::RestForOne => sibling > child,
                _ => false,
            };
            let node = &self.nodes[sibling];
            if affected && matches!(node.at, At::Starting | At::Running) {
                // A temporary child does not come back, unless its first start is still owed.
                let spent = node.sketch.restart == Restart::Temporary && node.has_risen;
                let goal = [Goal::ComesBack, Goal::EndsForGood][usize::from(spent)];
                self.send_off(sibling, goal);
                self.mark("a bystander");
            }
        }
    }

    pub(super) fn end_pause(&mut self, child: Id) {
        let above = self.above(child);
        self.nodes[child].at = At::Waiting;
        let fault = self.nodes[child].fault.clone();
        self.count_restart(above, child, fault);
        self.take_turns(above);
    }

    /// No window has more restarts than allowed, wherever it is laid; else the supervisor ends.
    pub(super) fn count_restart(&mut self, above: Id, child: Id, end: End) -> bool {
        let (rules, now) = (self.rules(above), self.now);
        let family = &mut self.nodes[above].family;
        let recent = |at: &&Ms| now - **at <= rules.window_ms;
        let allowed = family.restarts.iter().filter(recent).count() < rules.max_restarts as usize;
        if allowed {
            family.restarts.push(now);
            self.mark("a restart");
        } else if family.phase == Phase::Rising {
            self.end_family(above, Last::StartFailed(child, end));
        } else {
            self.mark("an escalation");
            self.end_family(above, Last::GivesUp(child, end));
        }
        allowed
    }

    pub(super) fn end_of_own_accord(&mut self, above: Id, child: Id, end: End) {
        let significant = self.nodes[child].sketch.significant;
        let left = |id: &Id| {
            let node = &self.nodes[*id];
            *id != child && node.sketch.significant && node.at != At::Closed
        };
        let completes = significant
            && match self.rules(above).auto_shutdown {
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children(above).iter().any(left),
                _ => false,
            };
        self.nodes[above].family.complete |= completes;
        self.close(child, end);
    }

    pub(super) fn send_off(&mut self, child: Id, goal: Goal) {
        let node = &mut self.nodes[child];
        node.goal = goal;
        if matches!(node.at, At::Starting | At::Running) {
            let (told, killed) = (false, false);
            node.at = At::Leaving { told, killed };
        }
    }

    /// The child has ended for good, or for as long as its supervisor has.
    pub(super) fn close(&mut self, child: Id, end: End) {
        let above = self.above(child);
        let node = &mut self.nodes[child];
        let wish = node.wish.take();
        // Who waits for the start of one that is to be gone hears of that, however it has ended.
        let leaves = matches!(node.at, At::Leaving { .. }) && node.goal != Goal::ComesBack;
        let end = if leaves { End::Shutdown } else { end };
        if wish.is_some() {
            self.answer_starts(child, &format!("failed: {end}"));
        }
        let node = &mut self.nodes[child];
        node.at = At::Closed;
        let with_family = node.goal == Goal::EndsWithFamily;
        let passes = node.sketch.restart == Restart::Temporary || self.rules(above).dynamic;
        let forgotten = wish == Some(Wish::Added) || (passes && !with_family);
        let completes = self.is_up(above) && self.nodes[above].family.complete;
        if forgotten {
            self.shut(child);
            self.forget(child);
        } else if self.is_ending(above) || completes {
            // It may be started again with the family, so its mailbox is kept.
            self.nodes[child].state = State::Waiting;
        } else {
            self.shut(child);
        }
    }

    /// Subscriptions end, of all below as well: what was not read is undelivered.
    pub(super) fn shut(&mut self, id: Id) {
        self.answer_starts(id, "failed: was shut down");
        self.show(id, State::Closed, "has ended for good");
        for child in self.children(id).into_iter().rev() {
            self.shut(child);
        }
        let worker = &mut self.nodes[id].worker;
        worker.open = false;
        worker.counts.undelivered += worker.queue.len() as u64;
        worker.queue.clear();
        self.answer_ends(id, "ok");
    }

    pub(super) fn forget(&mut self, id: Id) {
        self.answer_ends(id, "ok");
        for child in self.children(id) {
            self.forget(child);
        }
        self.nodes[id].gone = true;
    }

    /// The supervisor ends; the first reason stands.
    pub(super) fn end_family(&mut self, of: Id, last: Last) {
        if matches!(self.nodes[of].family.phase, Phase::Ending(_) | Phase::Down) {
            return;
        }
        self.note_end(of);
        self.nodes[of].family.phase = Phase::Ending(last);
        for child in self.children(of).into_iter().rev() {
            let node = &mut self.nodes[child];
            match node.at {
                At::Closed => {}
                // What was decided for one that leaves already stands.
                At::Leaving { .. } if node.goal == Goal::EndsForGood => {}
                At::Leaving { .. } => node.goal = Goal::EndsWithFamily,
                At::Starting | At::Running => self.send_off(child, Goal::EndsWithFamily),
                At::Waiting | At::Pausing(_) => {
                    node.goal = Goal::EndsWithFamily;
                    self.close(child, End::Shutdown);
                }
            }
        }
    }

    pub(super) fn stop_family(&mut self, of: Id, until: Option<Ms>, after: After) {
        let how = self.rules(of).shutdown;
        let own = how.map(|how| self.now + time(how));
        let drains = matches!(how, Some(Shutdown::Drain(_)));
        if of == ROOT && !self.is_ending(ROOT) {
            self.show(ROOT, State::Stopping, "is stopping");
        }
        let family = &mut self.nodes[of].family;
        let limits = [own, until, family.deadline];
        family.deadline = limits.into_iter().flatten().min();
        // What it was told first stands, unless that was that it comes back.
        if let (After::Again, After::Nothing { drain }) = (family.after, after) {
            let drain = drain || drains;
            family.after = After::Nothing { drain };
        }
        if how == Some(Shutdown::Kill) {
            return self.kill_family(of);
        }
        let told = |id: &Id| matches!(self.nodes[*id].at, At::Leaving { told: true, .. });
        let early: Vec<Id> = self.children(of).into_iter().filter(told).collect();
        self.end_family(of, Last::Told);
        self.take_turns(of);
        for child in early {
            self.hurry(of, child);
        }
    }

    /// A child that was stopping already has no more time than its supervisor.
    fn hurry(&mut self, of: Id, child: Id) {
        let family = &self.nodes[of].family;
        let (deadline, after, now) = (family.deadline, family.after, self.now);
        let Some(until) = deadline else { return };
        if !self.is_service(child) {
            return self.stop_family(child, deadline, after);
        }
        let until = until.max(now + LAST_TURN);
        let worker = &mut self.nodes[child].worker;
        if worker.killer.is_some_and(|killer| killer > until) {
            worker.killer = Some(until);
            self.mark("a limit for one that was stopping already");
        }
    }

    /// All below ends now; no event is to blame for it.
    pub(super) fn kill_family(&mut self, of: Id) {
        self.end_family(of, Last::Told);
        for child in self.children(of).into_iter().rev() {
            let node = &mut self.nodes[child];
            if let At::Leaving {
                told,
                killed: false,
            } = node.at
            {
                node.at = At::Leaving { told, killed: true };
                self.show(child, State::Stopping, "is stopping");
                if self.is_service(child) {
                    self.die(child, End::Killed, false);
                } else {
                    self.kill_family(child);
                }
            }
        }
        self.take_turns(of);
    }

    pub(super) fn above(&self, child: Id) -> Id {
        self.nodes[child].sketch.above.unwrap()
    }
}
