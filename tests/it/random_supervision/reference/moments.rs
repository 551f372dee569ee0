//! What is told of everybody, and which moments are bad ones.

use super::*;

impl Reference {
    pub(super) fn show(&mut self, id: Id, state: State, change: &str) {
        if self.nodes[id].state != state {
            self.nodes[id].state = state;
            self.tell(id, change);
        }
    }

    pub(super) fn tell(&mut self, id: Id, change: &str) {
        let node = &self.nodes[id];
        self.lines.push(Line {
            at: self.now,
            path: node.path.clone(),
            life: node.life,
            change: change.to_owned(),
        });
    }

    /// A crash at a bad moment.
    pub(super) fn note_trouble(&mut self, above: Id, child: Id, end: &End) {
        if !end.is_abnormal() {
            return;
        }
        let me = self.nodes[child].clone();
        let siblings = self.children(above);
        let others = || siblings.iter().filter(|id| **id != child);
        let is_leaving = |id: &Id| matches!(self.nodes[*id].at, At::Leaving { .. });
        let comes_back = |id: &Id| is_leaving(id) && self.nodes[*id].goal == Goal::ComesBack;
        let pausing = others().any(|id| matches!(self.nodes[*id].at, At::Pausing(_)));
        let group = others().any(comes_back);
        let own_fault = *end != End::Killed;
        let lives = matches!(me.at, At::Starting | At::Running);
        let marks = [
            (
                "a crash during restart",
                me.at == At::Starting && me.has_risen,
            ),
            ("a crash in backoff", pausing && lives),
            (
                "a crash in a group restart",
                (group && (lives || own_fault)) || (comes_back(&child) && own_fault),
            ),
            ("a crash in shutdown", self.is_ending(above) && own_fault),
        ];
        for (mark, _) in marks.iter().filter(|(_, so)| *so) {
            self.mark(mark);
        }
    }

    /// An end at a bad moment.
    pub(super) fn note_end(&mut self, of: Id) {
        let ats: Vec<(At, Goal)> = self
            .children(of)
            .iter()
            .map(|id| (self.nodes[*id].at, self.nodes[*id].goal))
            .collect();
        if ats.iter().any(|(at, _)| matches!(at, At::Pausing(_))) {
            self.mark("an end in backoff");
        }
        let group =
            |(at, goal): &(At, Goal)| matches!(at, At::Leaving { .. }) && *goal == Goal::ComesBack;
        if ats.iter().any(group) {
            self.mark("an end in a group restart");
        }
    }

    /// Who backs off, leaves or starts, for whoever looks for bad moments.
    pub(crate) fn is_in_trouble(&self, id: Id) -> bool {
        !self.nodes[id].gone && !matches!(self.nodes[id].at, At::Running | At::Closed)
    }

    pub(crate) fn is_alive(&self, id: Id) -> bool {
        let at = self.nodes[id].at;
        matches!(at, At::Starting | At::Running | At::Leaving { .. })
    }
}
