//! Random histories of one family, played by a faithful actor and compared with the naive model.
//!
//! The actor answers every start, every stop and every pause, sooner or later, lets lives end at
//! any moment, repeats itself about lives long over, and asks for whatever it likes.

use std::collections::BTreeMap;

use proptest::{
    prelude::{ProptestConfig, Strategy as Generate, proptest},
    strategy::ValueTree,
    test_runner::TestRunner,
};

use super::{
    history::{Ask, Deed, History, Stale, histories},
    model::{At, Living, Model, Seen, Stage},
    *,
};

struct World {
    deeds: Vec<Deed>,
    family: Family,
    model: Model,
}

impl World {
    fn new(history: History) -> Self {
        let History {
            plan,
            members,
            deeds,
        } = history;
        Self {
            deeds,
            family: Family::new(plan.clone(), (0..).zip(members.clone())),
            model: Model::new(plan, members),
        }
    }

    /// Plays the whole history, then brings all up if it can, then stops; returns how it ended.
    fn play(mut self) -> (String, BTreeMap<&'static str, u32>) {
        for deed in mem::take(&mut self.deeds) {
            self.perform(deed);
        }
        self.answer_all();
        self.feed(Input::Stop);
        self.answer_all();
        let Stage::Ended(last) = &self.model.stage else {
            panic!("the family never ends");
        };
        let last = word(last);
        for deed in [Deed::Start, Deed::Stop, Deed::Kill] {
            self.perform(deed);
        }
        for pick in 0..self.model.children.len() {
            for what in [Stale::Ready, Stale::Exit(failure()), Stale::Rested] {
                self.repeat(pick, 0, what);
            }
            for what in [
                Ask::Terminate,
                Ask::Restart,
                Ask::Renew,
                Ask::Delete,
                Ask::Dismiss,
            ] {
                self.ask(pick, what);
            }
        }
        (last, self.model.marks)
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Start => self.feed(Input::Start),
            Deed::Stop => self.feed(Input::Stop),
            Deed::Kill => self.feed(Input::Kill),
            Deed::Wait { ms } => self.model.now += Duration::from_millis(ms),
            Deed::Stale { pick, back, what } => self.repeat(pick, back, what),
            Deed::Ask { pick, what } => self.ask(pick, what),
            Deed::Add { member } => {
                let child = self.model.children.len() as ChildId;
                self.feed(Input::Add { child, member });
            }
            Deed::Ready { pick } => {
                if let Some((child, generation)) = self.pick_life(pick, |one| !one.is_ready) {
                    self.feed(ready(child, generation));
                }
            }
            Deed::FailStart { pick, exit } => {
                if let Some((child, generation)) = self.pick_life(pick, |one| !one.is_ready) {
                    self.feed(Input::Started {
                        child,
                        generation,
                        result: Err(exit),
                    });
                }
            }
            Deed::Exit { pick, exit } => {
                if let Some((child, generation)) = self.pick_life(pick, |_| true) {
                    self.feed(exited(child, generation, exit));
                }
            }
            Deed::Obey { pick } => {
                if let Some((child, generation)) = self.pick_life(pick, is_ordered) {
                    self.feed(stopped(child, generation));
                }
            }
            Deed::Rest { pick } => {
                if let Some((child, generation)) = self.pick(pick, pauses) {
                    self.feed(rested(child, generation));
                }
            }
        }
    }

    /// Finds the `pick`-th child that `fits`, going round.
    fn pick(&self, pick: usize, fits: impl Fn(&Seen) -> bool) -> Option<(ChildId, u64)> {
        let children = (0..).zip(&self.model.children);
        let fitting: Vec<(ChildId, u64)> = children
            .filter(|(_, seen)| fits(seen))
            .map(|(child, seen)| (child, seen.generation))
            .collect();
        fitting.get(pick % fitting.len().max(1)).copied()
    }

    fn pick_life(&self, pick: usize, fits: impl Fn(&Living) -> bool) -> Option<(ChildId, u64)> {
        self.pick(pick, |seen| seen.living().is_some_and(|one| fits(&one)))
    }

    /// Speaks of a life that is over, or is yet to come: nothing may follow.
    fn repeat(&mut self, pick: usize, back: u64, what: Stale) {
        let Some((child, generation)) = self.pick(pick, |_| true) else {
            return;
        };
        let seen = &self.model.children[child as usize];
        let generation = generation.wrapping_sub(back);
        let is_current = generation == seen.generation;
        let input = match what {
            Stale::Rested if is_current && pauses(seen) => return,
            Stale::Ready if is_current && seen.living().is_some_and(|one| one.is_ready) => {
                return self.feed(ready(child, generation));
            }
            Stale::Ready | Stale::Exit(_) if is_current && seen.living().is_some() => return,
            Stale::Rested => rested(child, generation),
            Stale::Ready => ready(child, generation),
            Stale::Exit(exit) => exited(child, generation, exit),
        };
        let actions = self.family.step(input, self.model.now);
        assert!(actions.is_empty(), "a stale report led to {actions:?}");
    }

    fn ask(&mut self, pick: usize, what: Ask) {
        // Now and then for a child that is forgotten.
        let is_known = |seen: &Seen| pick.is_multiple_of(4) || !matches!(seen.at, At::Forgotten);
        let Some((child, _)) = self.pick(pick, is_known) else {
            return;
        };
        self.feed(match what {
            Ask::Terminate => terminate(child),
            Ask::Dismiss => dismiss(child),
            Ask::Restart => restart(child),
            Ask::Renew => renew(child),
            Ask::Delete => delete(child),
        });
    }

    /// Obeys, rests and makes ready until there is nothing left to answer.
    fn answer_all(&mut self) {
        let is_owed = |one: &Living| is_ordered(one) || !one.is_ready;
        loop {
            if let Some((child, generation)) = self.pick_life(0, is_owed) {
                let one = self.model.children[child as usize].living();
                match one.is_some_and(|one| is_ordered(&one)) {
                    true => self.feed(stopped(child, generation)),
                    false => self.feed(ready(child, generation)),
                }
            } else if let Some((child, generation)) = self.pick(0, pauses) {
                self.feed(rested(child, generation));
            } else {
                return;
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let is_kill = matches!(input, Input::Kill);
        self.model.foresee(&input);
        let actions = self.family.step(input, self.model.now);
        self.family.siblings.check();
        let mut said = Vec::new();
        let (mut started, mut left) = (Vec::new(), Vec::new());
        for action in &actions {
            match action {
                Action::Start { child, generation } => {
                    self.begin(*child, *generation);
                    started.push(*child);
                }
                Action::Stop {
                    child,
                    generation,
                    why,
                } => {
                    self.stop(*child, *generation, *why);
                    left.push(*child);
                }
                Action::Kill { child, generation } => {
                    assert!(is_kill);
                    self.kill(*child, *generation);
                    left.push(*child);
                }
                other => said.push(word(other)),
            }
        }
        let owed: Vec<String> = self.model.owed.drain(..).map(|one| word(&one)).collect();
        assert_eq!(said, owed, "of {actions:?}");
        assert!(started.is_sorted_by(|a, b| a < b), "{started:?}");
        assert!(left.is_sorted_by(|a, b| a > b), "{left:?}");
        self.check_last(&actions);
        self.check_nothing_is_left_undone(is_kill);
        self.check_standings();
    }

    fn begin(&mut self, child: ChildId, generation: u64) {
        assert!(self.model.may_start(child as usize), "{child} starts");
        let seen = &mut self.model.children[child as usize];
        assert!(generation > seen.generation);
        seen.generation = generation;
        seen.at = At::Living(Living::default());
    }

    fn stop(&mut self, child: ChildId, generation: u64, why: Why) {
        assert!(self.model.may_stop(child as usize), "{child} is stopped");
        let is_ending = self.model.is_ending();
        let one = self.living(child, generation);
        one.is_asked = true;
        let is_again = one.leaves == Some(model::Goal::Again) && !is_ending;
        assert_eq!(why == Why::Again, is_again, "why {child} is stopped");
    }

    fn kill(&mut self, child: ChildId, generation: u64) {
        let one = self.living(child, generation);
        let was_killed = mem::replace(&mut one.is_killed, true);
        assert!(!was_killed, "{child} is killed twice");
    }

    fn living(&mut self, child: ChildId, generation: u64) -> &mut Living {
        let seen = &mut self.model.children[child as usize];
        assert_eq!(seen.generation, generation);
        match &mut seen.at {
            At::Living(one) => one,
            at => panic!("{child} does not live: {at:?}"),
        }
    }

    /// The last word is the last of all, but for the answer to a late request.
    fn check_last(&self, actions: &[Action]) {
        let is_last = |action: &&Action| {
            matches!(
                action,
                Action::StartFailed { .. } | Action::Escalate(_) | Action::Completed | Action::Down
            )
        };
        if let Some(last) = actions.iter().find(is_last) {
            assert_eq!(actions.last().map(word), Some(word(last)));
        }
    }

    fn check_nothing_is_left_undone(&self, is_kill: bool) {
        for (child, seen) in self.model.children.iter().enumerate() {
            assert!(!self.model.may_start(child), "{child} is not started");
            assert!(!self.model.may_stop(child), "{child} is not stopped");
            let is_spared = is_kill && seen.living().is_some_and(|one| !one.is_killed);
            assert!(!is_spared, "{child} is not killed");
        }
        let is_owed = |one: &Living| is_ordered(one) || !one.is_ready;
        let is_waited_for = self
            .pick_life(0, is_owed)
            .or(self.pick(0, pauses))
            .is_some();
        match self.model.stage {
            Stage::Rising => assert!(is_waited_for, "the family is stuck while it rises"),
            Stage::Ending(_) => assert!(is_waited_for, "the family is stuck while it ends"),
            Stage::New | Stage::Up | Stage::Ended(_) => {}
        }
        let waits = |seen: &Seen| matches!(seen.at, At::Waiting);
        if matches!(self.model.stage, Stage::Up) && !is_waited_for {
            assert!(self.pick(0, waits).is_none(), "a child waits for ever");
        }
    }

    fn check_standings(&self) {
        for (child, seen) in (0..).zip(&self.model.children) {
            let expected = match &seen.at {
                At::Waiting => Some(State::Waiting),
                At::Pausing(_) => Some(State::BackingOff),
                At::Living(one) if one.leaves.is_some() => Some(State::Stopping),
                At::Living(one) if one.is_ready => Some(State::Running),
                At::Living(_) => Some(State::Starting),
                At::Closed => Some(State::Closed),
                At::Forgotten => None,
            };
            assert_eq!(self.family.standing(child), expected, "{child}");
        }
        assert_eq!(self.family.is_ending(), self.model.is_ending());
        let is_rising = matches!(self.model.stage, Stage::Rising);
        assert_eq!(self.family.is_rising(), is_rising);
    }
}

fn is_ordered(one: &Living) -> bool {
    one.is_asked || one.is_killed
}

fn pauses(seen: &Seen) -> bool {
    matches!(seen.at, At::Pausing(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_family_keeps_its_invariants_whatever_happens(history in histories()) {
        World::new(history).play();
    }
}

#[test]
fn the_random_histories_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    let mut marks: BTreeMap<&'static str, u32> = BTreeMap::new();
    for _ in 0..500 {
        let tree = histories().new_tree(&mut runner);
        let history = tree.expect("every history is possible").current();
        let (last, seen) = World::new(history).play();
        let kind = last.split(" at ").next().unwrap_or_default().to_owned();
        *ends.entry(kind).or_default() += 1;
        seen.into_iter()
            .for_each(|(mark, count)| *marks.entry(mark).or_default() += count);
    }
    let is_often = |count: &u32| *count > 15;
    assert!(ends.len() == 4 && ends.values().all(is_often), "{ends:?}");
    assert!(
        marks.len() == 16 && marks.values().all(is_often),
        "{marks:?}"
    );
}
