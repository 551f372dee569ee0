//! One run: what the script says is done to a board, and after every step the board is compared
//! with the reference.

use std::collections::BTreeMap;

use callboard::prelude::*;
use callboard::{BoardError, ChildError, Inspection, StartError, State};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::sleep;

use super::plan::{Id, Ms, ROOT, SCRIBE};
use super::probes::{Shared, Word, added, open, tree};
use super::reference::{Ask, Counts, End, Line, Reference, Step};
use super::script::Script;

/// Plays one run; what it went through, or nothing if its script was not to be.
///
/// # Panics
/// If the board does not do as the reference says; the message starts with the seed.
pub(crate) fn run(seed: u64) -> Option<BTreeMap<&'static str, u32>> {
    let script = Script::draw(seed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let drive = Drive {
        seed,
        reference: Reference::new(script.sketches.clone()),
        book: Shared::default(),
        calls: Vec::new(),
        events: 0,
    };
    Some(LocalSet::new().block_on(&runtime, drive.play(script)))
}

struct Drive {
    seed: u64,
    reference: Reference,
    book: Shared,
    calls: Vec<JoinHandle<String>>,
    events: u64,
}

/// Where one service or supervisor stands.
#[derive(Debug, PartialEq)]
struct Standing {
    path: String,
    state: State,
    life: u64,
    last: Option<String>,
    suspended: bool,
}

impl Drive {
    async fn play(mut self, script: Script) -> BTreeMap<&'static str, u32> {
        // All times are whole milliseconds from here on.
        sleep(millis(1)).await;
        for step in script.first {
            self.spoil(&step);
            self.reference.take(step);
        }
        self.reference.start();
        let root = tree(&script.sketches, &self.book);
        let builder = Board::builder().seed(self.seed).on_this_thread();
        match builder.start(root).await {
            Ok(board) => self.go_on(&board, script.steps, script.limit).await,
            Err(error) => self.check_refusal(&error),
        }
        self.check_lines();
        self.check(&self.reference.marks, &script.expected.marks, "marks");
        self.reference.marks
    }

    async fn go_on(&mut self, board: &Board, steps: Vec<(Step, u64)>, limit: Option<u64>) {
        self.compare(board);
        for (step, time) in steps {
            self.spoil(&step);
            self.perform(board, &step);
            self.reference.take(step);
            self.reference.wait(time);
            sleep(millis(time)).await;
            self.compare(board);
        }
        let report = if let Some(limit) = limit {
            self.reference.shut_down(limit);
            board.shutdown(millis(limit)).await
        } else {
            board.wait().await.map_or_else(drop, drop);
            board.shutdown(secs(1)).await
        };
        self.compare(board);
        self.check(&report.stuck, &Vec::new(), "who is stuck");
        self.check(&report.ledger.is_settled(), &true, "everything is settled");
        self.check_end(board.wait().await);
        self.check_calls().await;
    }

    /// Tells a service what to do later.
    fn spoil(&self, step: &Step) {
        let path = |id: Id| &self.reference.nodes[id].path;
        let mut book = open(&self.book);
        match step {
            Step::SpoilStart(id, deed) => book.page(path(*id)).starts.push_back(*deed),
            Step::SpoilStop(id, deed) => book.page(path(*id)).stops.push_back(*deed),
            Step::SpoilRecipe(id) => book.page(path(*id)).recipes += 1,
            _ => {}
        }
    }

    fn perform(&mut self, board: &Board, step: &Step) {
        let path = |id: Id| self.reference.nodes[id].path.clone();
        match step {
            Step::Publish(to, deed) => {
                let (id, to, deed) = (self.events, path(*to), *deed);
                self.events += 1;
                board.try_publish(Word { id, to, deed }).unwrap();
            }
            Step::Suspend(id) => drop(board.suspend(&path(*id))),
            Step::Resume(id) => drop(board.resume(&path(*id))),
            Step::Ask(ask) => self.ask(board.clone(), ask.clone()),
            _ => {}
        }
    }

    fn ask(&mut self, board: Board, ask: Ask) {
        let nodes = &self.reference.nodes;
        let above = match &ask {
            Ask::Add(sketch) => sketch.above.unwrap(),
            Ask::Kill(id)
            | Ask::Stop(id)
            | Ask::Restart(id)
            | Ask::RestartChild(id)
            | Ask::Delete(id) => nodes[*id].sketch.above.unwrap(),
        };
        let (dynamic, above) = (
            self.reference.rules(above).dynamic,
            nodes[above].path.clone(),
        );
        let path = |id: Id| nodes[id].path.clone();
        let name = |id: Id| nodes[id].sketch.name.clone();
        let call = match ask {
            Ask::Kill(id) => {
                let path = path(id);
                spawn_local(async move { said(board.kill(&path).await) })
            }
            Ask::Stop(id) => {
                let path = path(id);
                spawn_local(async move { said(board.stop(&path).await) })
            }
            Ask::Restart(id) => {
                let path = path(id);
                spawn_local(async move { said(board.restart(&path).await) })
            }
            Ask::RestartChild(id) => {
                let name = name(id);
                spawn_local(async move {
                    match board.supervisor(&above) {
                        Ok(above) => said(above.restart_child(&name).await),
                        Err(_) => "lookup".to_owned(),
                    }
                })
            }
            Ask::Delete(id) => {
                let name = name(id);
                spawn_local(async move {
                    match board.supervisor(&above) {
                        Ok(above) => said(above.delete_child(&name).await),
                        Err(_) => "lookup".to_owned(),
                    }
                })
            }
            Ask::Add(sketch) => {
                let book = Shared::clone(&self.book);
                spawn_local(async move {
                    match board.supervisor(&above) {
                        Err(_) => "lookup".to_owned(),
                        Ok(one) if dynamic => said(one.start_child_from(sketch).await),
                        Ok(one) => {
                            let child = added(&sketch, &above, &book);
                            said(one.start_child(child).await)
                        }
                    }
                })
            }
        };
        self.calls.push(call);
    }
}

/// An answer in the words of the reference.
fn said<T>(answer: Result<T, ChildError>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(ChildError::Lookup(_)) => "lookup".to_owned(),
        Err(ChildError::Stopping { .. }) => "stopping".to_owned(),
        Err(ChildError::Running { .. }) => "running".to_owned(),
        Err(ChildError::NotRunning { .. }) => "not running".to_owned(),
        Err(ChildError::TimedOut { .. }) => "timed out".to_owned(),
        Err(ChildError::Failed { exit, .. }) => format!("failed: {exit}"),
        Err(other) => other.to_string(),
    }
}

// What is compared.
impl Drive {
    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(&self, found: &T, expected: &T, what: &str) {
        assert!(
            found == expected,
            "seed {}, at {} ms: {what}\n   found {found:?}\nexpected {expected:?}",
            self.seed,
            self.reference.now
        );
    }

    fn compare(&self, board: &Board) {
        self.check(&open(&self.book).faults, &Vec::new(), "faults");
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        walk(board.tree().root(), &mut found);
        self.foresee(ROOT, &mut expected);
        for (found, expected) in found.iter().zip(&expected) {
            self.check(found, expected, "where it stands");
        }
        self.check(&found.len(), &expected.len(), "how many there are");
        self.compare_events(board);
    }

    fn foresee(&self, id: Id, into: &mut Vec<Standing>) {
        let node = &self.reference.nodes[id];
        into.push(Standing {
            path: node.path.clone(),
            state: node.state,
            life: node.life,
            last: node.last.as_ref().map(ToString::to_string),
            suspended: node.worker.suspended,
        });
        for child in self.reference.children(id) {
            self.foresee(child, into);
        }
    }

    /// Every event is where the reference says, at each of its subscribers.
    fn compare_events(&self, board: &Board) {
        let ledger = board.ledger();
        self.check(&ledger.gap(), &0, "the gap");
        let (mut found_sum, mut expected_sum) = (Counts::default(), Counts::default());
        for row in ledger
            .deliveries
            .iter()
            .filter(|row| row.event == Word::NAME)
        {
            add(&mut found_sum, counts(row));
        }
        let mut book = open(&self.book);
        for (id, node) in self.reference.nodes.iter().enumerate().skip(SCRIBE + 1) {
            if !self.reference.is_service(id) {
                continue;
            }
            let expected = self.reference.counts(id);
            add(&mut expected_sum, expected);
            if !node.gone {
                let row = ledger.delivery(&node.path, Word::NAME);
                let found = row.map(counts).unwrap_or_default();
                self.check(&found, &expected, &format!("the events of {}", node.path));
            }
            let handled = &book.page(&node.path).handled;
            let what = format!("what {} handled", node.path);
            self.check(handled, &node.worker.handled, &what);
        }
        self.check(&found_sum, &expected_sum, "all events");
    }

    fn check_refusal(&self, error: &StartError) {
        let end = self.reference.over.as_ref().map(End::first);
        let found = match error {
            StartError::Failed { path, exit, .. } => format!("{path} {exit}"),
            other => other.to_string(),
        };
        self.check(&Some(found), &end, "why it did not start");
    }

    fn check_end(&self, ended: Result<(), BoardError>) {
        let gave_up = self.reference.over.as_ref();
        let gave_up = gave_up.map(|end| end.to_string());
        let expected = gave_up.filter(|text| text.starts_with("gave up"));
        let found = ended.err().map(|error| error.exit.to_string());
        self.check(&found, &expected, "how it ended");
    }

    async fn check_calls(&mut self) {
        for (call, handle) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            let found = handle.await.unwrap();
            let expected = self.reference.answers[call].clone();
            self.check(
                &Some(found),
                &expected,
                &format!("the answer to ask {call}"),
            );
        }
    }

    /// What was told of the children of each supervisor, in its order, until the scribe stops: what
    /// comes in that moment it may not hear any more.
    fn check_lines(&self) {
        let end = self.end_of_scribe();
        let before = |lines: &[Line]| -> Vec<Line> {
            let lines = lines.iter().filter(|line| line.at < end);
            lines.cloned().collect()
        };
        let (found, expected) = (
            before(&open(&self.book).lines),
            before(&self.reference.lines),
        );
        for id in (0..self.reference.nodes.len()).filter(|id| !self.reference.is_service(*id)) {
            let (found, expected) = (self.below(id, &found), self.below(id, &expected));
            let path = &self.reference.nodes[id].path;
            for (found, expected) in found.iter().zip(&expected) {
                self.check(found, expected, &format!("what {path} did"));
            }
            let both = found.len().min(expected.len());
            self.check(
                &found.get(both),
                &expected.get(both),
                &format!("what else {path} did"),
            );
        }
    }

    fn end_of_scribe(&self) -> Ms {
        let path = &self.reference.nodes[SCRIBE].path;
        let of_scribe = |line: &&Line| line.path == *path && line.change == "was shut down";
        let last = self.reference.lines.iter().rev().find(of_scribe);
        last.map_or(0, |line| line.at)
    }

    fn below(&self, of: Id, lines: &[Line]) -> Vec<Line> {
        let path = &self.reference.nodes[of].path;
        let scribe = &self.reference.nodes[SCRIBE].path;
        let is_below = |line: &&Line| {
            let above = line.path.rsplit_once('/').map(|(above, _)| above);
            above == Some(path) && line.path != *scribe
        };
        let mut lines: Vec<Line> = lines.iter().filter(is_below).cloned().collect();
        self.put_in_order(of, &mut lines);
        lines
    }

    /// Those who are killed at once end in any order; independent ones do everything so.
    fn put_in_order(&self, of: Id, lines: &mut [Line]) {
        if self.reference.rules(of).dynamic {
            return lines.sort_by(|a, b| (a.at, &a.path).cmp(&(b.at, &b.path)));
        }
        let both_end = |a: &Line, b: &Line| a.at == b.at && is_over(a) && is_over(b);
        for group in lines.chunk_by_mut(both_end) {
            group.sort_by(|a, b| a.path.cmp(&b.path));
        }
    }
}

/// Whether a life has ended, or nothing comes after it.
fn is_over(line: &Line) -> bool {
    let goes_on = ["is ", "has started", "starts "];
    !goes_on.iter().any(|word| line.change.starts_with(word))
}

fn walk(of: &Inspection, into: &mut Vec<Standing>) {
    into.push(Standing {
        path: of.path.clone(),
        state: of.state,
        life: of.life,
        last: of.last_exit.as_ref().map(ToString::to_string),
        suspended: of.suspended,
    });
    for child in &of.children {
        walk(child, into);
    }
}

fn counts(row: &callboard::DeliveryRow) -> Counts {
    Counts {
        accepted: row.accepted,
        acknowledged: row.acknowledged,
        dead: row.dead_lettered,
        undelivered: row.undelivered,
        waiting: row.queued + row.deferred,
        in_flight: row.in_flight,
    }
}

fn add(sum: &mut Counts, more: Counts) {
    sum.accepted += more.accepted;
    sum.acknowledged += more.acknowledged;
    sum.dead += more.dead;
    sum.undelivered += more.undelivered;
    sum.waiting += more.waiting;
    sum.in_flight += more.in_flight;
}
