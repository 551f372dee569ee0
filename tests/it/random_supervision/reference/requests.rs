//! What is done to the tree from outside.

use super::*;

impl Reference {
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Publish(to, deed) => self.publish(to, deed),
            Step::SpoilStart(id, deed) => self.nodes[id].worker.starts.push_back(deed),
            Step::SpoilStop(id, deed) => self.nodes[id].worker.stops.push_back(deed),
            Step::SpoilRecipe(id) => self.nodes[id].worker.recipes += 1,
            Step::Ask(ask) => self.ask(ask),
            Step::Suspend(id) => self.suspend(id, true),
            Step::Resume(id) => self.suspend(id, false),
        }
        self.listen();
    }

    /// Whoever has not ended for good hears it, in the order of publishing.
    pub(super) fn publish(&mut self, to: Id, deed: Deed) {
        let event = self.events;
        self.events += 1;
        for id in 0..self.nodes.len() {
            let deed = if id == to { deed } else { Deed::Nothing };
            let node = &mut self.nodes[id];
            if id == SCRIBE || !node.worker.open || node.gone {
                continue;
            }
            node.worker.counts.accepted += 1;
            let attempt = 1;
            node.worker.queue.push_back(Item {
                event,
                attempt,
                deed,
            });
            self.work(id);
        }
    }

    pub(super) fn suspend(&mut self, id: Id, suspended: bool) {
        let node = &mut self.nodes[id];
        if node.gone || node.worker.suspended == suspended {
            return;
        }
        node.worker.suspended = suspended;
        self.tell(
            id,
            if suspended {
                "is suspended"
            } else {
                "is resumed"
            },
        );
        self.work(id);
    }

    pub(super) fn ask(&mut self, ask: Ask) {
        let call = self.answers.len();
        self.answers.push(None);
        self.asked_at.push(self.now);
        let (above, child) = match &ask {
            Ask::Add(sketch) => (sketch.above.unwrap(), None),
            Ask::Kill(id)
            | Ask::Stop(id)
            | Ask::Restart(id)
            | Ask::RestartChild(id)
            | Ask::Delete(id) => (self.nodes[*id].sketch.above.unwrap(), Some(*id)),
        };
        if self.nodes[above].gone || child.is_some_and(|child| self.nodes[child].gone) {
            return self.answer(call, "lookup");
        }
        if matches!(
            self.nodes[above].family.phase,
            Phase::Down | Phase::Ending(_)
        ) {
            return self.answer(call, "stopping");
        }
        let closed = child.is_some_and(|child| self.nodes[child].at == At::Closed);
        match ask {
            Ask::Kill(_) if closed => self.answer(call, "not running"),
            Ask::RestartChild(_) | Ask::Delete(_) if !closed => self.answer(call, "running"),
            Ask::Kill(id) => {
                self.answer(call, "ok");
                self.kill(id);
            }
            Ask::Stop(_) if closed => self.answer(call, "ok"),
            Ask::Stop(id) => {
                self.nodes[id].ends.push(call);
                self.terminate(id);
            }
            Ask::Restart(id) if !closed => {
                // It comes back, so whoever waits for its end waits in vain.
                self.answer_ends(id, "running");
                self.nodes[id].starts.push(call);
                self.renew(id);
            }
            Ask::Restart(id) | Ask::RestartChild(id) => {
                let node = &mut self.nodes[id];
                (node.at, node.streak) = (At::Waiting, 0);
                node.wish = Some(Wish::Restarted);
                node.starts.push(call);
            }
            Ask::Delete(id) => {
                self.nodes[id].ends.push(call);
                self.forget(id);
            }
            Ask::Add(sketch) => {
                let id = self.push(sketch);
                self.nodes[id].wish = Some(Wish::Added);
                self.nodes[id].starts.push(call);
            }
        }
        self.take_turns(above);
    }

    pub(super) fn answer(&mut self, call: usize, text: &str) {
        let late = self.now > self.asked_at[call] + CONTROL_WAIT;
        let text = if late { "timed out" } else { text };
        self.answers[call].get_or_insert(text.to_owned());
    }

    pub(super) fn answer_starts(&mut self, id: Id, text: &str) {
        for call in std::mem::take(&mut self.nodes[id].starts) {
            self.answer(call, text);
        }
    }

    pub(super) fn answer_ends(&mut self, id: Id, text: &str) {
        for call in std::mem::take(&mut self.nodes[id].ends) {
            self.answer(call, text);
        }
    }

    /// Ends a life now, because of what it does.
    pub(super) fn kill(&mut self, id: Id) {
        if self.is_service(id) {
            let doing = self.nodes[id].worker.doing;
            if doing != Doing::Nothing {
                self.mark("a kill on request");
                self.die(id, End::Killed, doing == Doing::Handling);
            }
        } else if self.nodes[id].family.phase != Phase::Down {
            self.mark("a supervisor killed on request");
            self.nodes[id].family.killed = true;
            self.kill_family(id);
        }
    }

    pub(super) fn terminate(&mut self, id: Id) {
        match self.nodes[id].at {
            At::Waiting => self.close(id, End::Shutdown),
            At::Pausing(_) => {
                self.mark("a stop in backoff");
                self.close(id, End::Shutdown);
            }
            _ => self.send_off(id, Goal::EndsForGood),
        }
    }

    /// Neither counted nor delayed.
    pub(super) fn renew(&mut self, id: Id) {
        match self.nodes[id].at {
            At::Waiting => return,
            At::Pausing(_) => self.nodes[id].at = At::Waiting,
            _ => self.send_off(id, Goal::ComesBack),
        }
        self.nodes[id].streak = 0;
    }
}
