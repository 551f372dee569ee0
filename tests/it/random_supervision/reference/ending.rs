//! How the board ends.

use super::*;

impl Reference {
    /// Whether a shutdown would find nothing to wait for.
    pub(crate) fn is_quiet(&self) -> bool {
        let busy = |node: &Node| match node.worker.doing {
            Doing::Starting | Doing::HangingStart | Doing::Stopping | Doing::Handling => true,
            Doing::Nothing | Doing::Resting => {
                !node.worker.queue.is_empty() && !node.worker.suspended
            }
        };
        // What the scribe has still to read is read while it runs.
        self.nodes[SCRIBE].worker.doing == Doing::Resting && !self.nodes.iter().any(busy)
    }

    /// Ends the board: either nothing is to be waited for, or nothing happens before the limit.
    pub(crate) fn shut_down(&mut self, limit: Ms) {
        let until = self.now + limit;
        if !self.is_quiet() {
            self.wait(limit);
        }
        let drain = false;
        self.stop_family(ROOT, Some(until), After::Nothing { drain });
        self.listen();
        while self.over.is_none() {
            let last = until + LAST_MOMENT;
            match self.next_due().filter(|next| *next <= last) {
                Some(next) => {
                    self.tie |= next == last;
                    self.pass(next);
                }
                None => {
                    self.now = last;
                    self.mark("a board out of time");
                    self.kill_family(ROOT);
                    self.listen();
                }
            }
        }
    }

    pub(super) fn end_board(&mut self, end: End) {
        self.nodes[ROOT].last = Some(end.clone());
        self.show(ROOT, State::Waiting, &end.to_string());
        self.shut(ROOT);
        self.over = Some(end);
    }
}
