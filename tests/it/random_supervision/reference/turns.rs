//! Whose turn it is to stop or to start, and when a supervisor is up, or gone.

use super::*;

impl Reference {
    /// Whose turn it is to stop or to start, and whether all are up, or gone.
    pub(super) fn take_turns(&mut self, of: Id) {
        let settled = |node: &Node| matches!(node.at, At::Running | At::Closed);
        let all = |is: fn(&Node) -> bool, one: &Self| {
            one.children(of).iter().all(|id| is(&one.nodes[*id]))
        };
        if self.nodes[of].family.phase == Phase::Rising && all(settled, self) {
            self.nodes[of].family.phase = Phase::Up;
            self.rise(of);
        }
        if self.is_up(of) && self.nodes[of].family.complete {
            self.mark("a completion");
            self.end_family(of, Last::Completed);
        }
        self.stop_in_turn(of);
        self.start_in_turn(of);
        if let Phase::Ending(last) = self.nodes[of].family.phase.clone()
            && all(|node| node.at == At::Closed, self)
        {
            self.nodes[of].family.phase = Phase::Down;
            self.fall(of, last);
        }
    }

    /// Whether its children start and stop without regard to each other.
    pub(super) fn is_independent(&self, of: Id) -> bool {
        let rules = self.rules(of);
        rules.dynamic || (rules.strategy == Strategy::OneForOne && self.is_up(of))
    }

    pub(super) fn stop_in_turn(&mut self, of: Id) {
        let leaves = |id: &Id| matches!(self.nodes[*id].at, At::Leaving { .. });
        let leaving: Vec<Id> = self.children(of).into_iter().filter(leaves).collect();
        let those = if self.is_independent(of) {
            leaving.len()
        } else {
            1
        };
        for child in leaving.into_iter().rev().take(those) {
            if let At::Leaving {
                told: false,
                killed: false,
            } = self.nodes[child].at
            {
                let (told, killed) = (true, false);
                self.nodes[child].at = At::Leaving { told, killed };
                self.stop_child(of, child);
            }
        }
    }

    pub(super) fn stop_child(&mut self, of: Id, child: Id) {
        let family = &self.nodes[of].family;
        let (until, ends) = (family.deadline, family.after);
        let after = match self.nodes[child].goal {
            _ if self.is_ending(of) => ends,
            Goal::ComesBack => After::Again,
            _ => After::Nothing { drain: false },
        };
        self.show(child, State::Stopping, "is stopping");
        let Some(job) = self.nodes[child].sketch.job() else {
            return self.stop_family(child, until, after);
        };
        let now = self.now;
        let events = self.events;
        let worker = &mut self.nodes[child].worker;
        if worker.doing == Doing::Nothing {
            return;
        }
        let starts = matches!(worker.doing, Doing::Starting | Doing::HangingStart);
        // What is starting has promised nothing yet.
        if starts || job.shutdown == Shutdown::Kill {
            return self.die(child, End::Killed, false);
        }
        let drains = matches!(job.shutdown, Shutdown::Drain(_));
        match after {
            After::Nothing { drain } if drain || drains => worker.drain = Some(events),
            _ => worker.stop = true,
        }
        let usual = time(job.shutdown);
        let left = until.map(|until| until.saturating_sub(now).max(LAST_TURN));
        worker.killer = Some(now + left.map_or(usual, |left| left.min(usual)));
        self.work(child);
    }

    pub(super) fn start_in_turn(&mut self, of: Id) {
        if !matches!(self.nodes[of].family.phase, Phase::Rising | Phase::Up) {
            return;
        }
        let children = self.children(of);
        let at = |id: &Id| self.nodes[*id].at;
        let held = |id: &Id| matches!(at(id), At::Leaving { .. } | At::Pausing(_));
        let unsettled = |id: &Id| !matches!(at(id), At::Running | At::Closed);
        let first = children.iter().find(|id| unsettled(id)).copied();
        let in_turn = first.filter(|_| !children.iter().any(held));
        let free = self.is_independent(of);
        let begins = |id: &Id| at(id) == At::Waiting && (free || in_turn == Some(*id));
        let those: Vec<Id> = children.iter().copied().filter(begins).collect();
        for child in those {
            let node = &mut self.nodes[child];
            (node.at, node.life) = (At::Starting, node.life + 1);
            self.show(child, State::Starting, "is starting");
            if self.is_service(child) {
                self.begin_life(child);
            } else {
                self.begin_family(child);
            }
        }
    }

    pub(super) fn rise(&mut self, of: Id) {
        if of == ROOT {
            self.show(ROOT, State::Running, "has started");
        } else {
            self.news.push_back(News::Started(of));
        }
    }

    pub(super) fn fall(&mut self, of: Id, last: Last) {
        for child in self.children(of) {
            self.answer_starts(child, "stopping");
            self.answer_ends(child, "stopping");
        }
        let path = |id: Id| self.nodes[id].path.clone();
        let end = match last {
            Last::StartFailed(child, end) | Last::GivesUp(child, end) => {
                End::GaveUp(path(child), Box::new(end))
            }
            Last::Told if self.nodes[of].family.killed => End::Killed,
            Last::Told | Last::Completed => End::Shutdown,
        };
        if of == ROOT {
            self.end_board(end);
        } else {
            self.news.push_back(News::Ended(of, end));
        }
    }
}
