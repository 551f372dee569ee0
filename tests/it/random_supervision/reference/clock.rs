//! How time passes for the reference, and what is due when.

use super::*;

impl Reference {
    /// Starts the root and lets time pass until it is up, or over.
    pub(crate) fn start(&mut self) {
        self.nodes[ROOT].life = 1;
        self.show(ROOT, State::Starting, "is starting");
        self.begin_family(ROOT);
        self.listen();
        while self.over.is_none() && !self.is_up(ROOT) {
            let next = self.next_due().unwrap();
            self.pass(next);
        }
    }

    /// Lets time pass; nothing may be due at its very end.
    pub(crate) fn wait(&mut self, time: Ms) {
        let end = self.now + time;
        while let Some(next) = self.next_due().filter(|next| *next <= end) {
            self.tie |= next == end;
            self.pass(next);
        }
        self.now = end;
    }

    /// When something happens next by itself.
    pub(crate) fn next_due(&self) -> Option<Ms> {
        let due = self.nodes.iter().flat_map(|node| self.dues(node));
        due.min()
    }

    pub(super) fn dues(&self, node: &Node) -> Vec<Ms> {
        let worker = &node.worker;
        let mut dues = Vec::new();
        dues.extend(worker.until);
        dues.extend(worker.killer);
        if worker.doing == Doing::Resting && !worker.suspended {
            dues.extend(worker.alarms.iter().map(|(at, _)| *at));
        }
        if let At::Pausing(until) = node.at {
            dues.push(until);
        }
        dues.into_iter().filter(|_| !node.gone).collect()
    }

    pub(super) fn pass(&mut self, to: Ms) {
        self.now = to;
        let due = |id: &Id| self.dues(&self.nodes[*id]).contains(&to);
        let concerned: Vec<Id> = (0..self.nodes.len()).filter(due).collect();
        let causes = self.nodes.iter().flat_map(|node| self.dues(node));
        let is_kill = |id: &Id| self.nodes[*id].worker.killer == Some(to);
        // Siblings that are killed at once end in any order, which is no harm.
        let mut pairs = concerned.windows(2);
        let siblings = pairs.all(|pair| self.above(pair[0]) == self.above(pair[1]));
        let all_killed = siblings && concerned.iter().all(is_kill);
        let count = causes.filter(|at| *at == to).count();
        self.tie |= count > 1 && !(all_killed && count == concerned.len());
        for id in concerned {
            self.come_due(id);
        }
        self.listen();
    }

    pub(super) fn come_due(&mut self, id: Id) {
        let now = self.now;
        let node = &mut self.nodes[id];
        if node.worker.killer == Some(now) {
            self.die(id, End::Killed, false);
        } else if node.worker.until == Some(now) {
            node.worker.until = None;
            self.be_done(id);
        } else if node.at == At::Pausing(now) {
            self.end_pause(id);
        } else {
            self.work(id);
        }
    }

    /// Supervisors hear what has happened to their children, until there is no more news.
    pub(super) fn listen(&mut self) {
        while let Some(news) = self.news.pop_front() {
            match news {
                News::Started(child) => self.hear_start(child),
                News::Ended(child, end) => self.hear_end(child, end),
            }
        }
    }
}
