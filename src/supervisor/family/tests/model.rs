//! Random histories of one family, played by a faithful actor and compared with a naive model.
//!
//! The actor answers every start and every stop, sooner or later, lets lives end at any moment,
//! repeats itself about lives long over, and asks to stop whenever it likes.

use proptest::{
    prelude::{ProptestConfig, Strategy as Generate, proptest},
    strategy::ValueTree,
    test_runner::TestRunner,
};

use super::{
    plan::{Deed, Plan, plans},
    *,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    StartFailed,
    Escalate,
    Down,
}

#[derive(Clone, Copy, Debug)]
struct Living {
    generation: u64,
    is_ready: bool,
    is_doomed: bool,
    is_asked: bool,
    is_killed: bool,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    living: Option<Living>,
    generation: u64,
    has_risen: bool,
    is_closed: bool,
}

/// The actor, and what it has seen of its family.
struct World {
    plan: Plan,
    family: Family,
    now: Duration,
    children: Vec<Seen>,
    counted: Vec<Duration>,
    is_started: bool,
    is_up: bool,
    expected: Option<End>,
    last: Option<End>,
}

impl World {
    fn new(plan: Plan) -> Self {
        let member = |restart: &Restart| Member {
            name: String::new(),
            restart: *restart,
        };
        let family = Family::new(
            "shop".into(),
            plan.strategy,
            Intensity::new(plan.max, Duration::from_millis(plan.window_ms)),
            plan.restarts.iter().map(member).collect(),
        );
        Self {
            children: vec![Seen::default(); plan.restarts.len()],
            plan,
            family,
            now: Duration::ZERO,
            counted: Vec::new(),
            is_started: false,
            is_up: false,
            expected: None,
            last: None,
        }
    }

    /// Plays the whole plan, then brings all up if it can, then stops; returns how it ended.
    fn play(mut self) -> End {
        for deed in self.plan.deeds.clone() {
            self.perform(deed);
        }
        self.answer_all();
        self.feed(Input::Stop);
        self.answer_all();
        let last = self.last.expect("the family has ended");
        for deed in [Deed::Start, Deed::Stop, Deed::Kill] {
            self.perform(deed);
        }
        for pick in 0..self.children.len() {
            self.perform(Deed::Stale {
                pick,
                back: 0,
                exit: None,
            });
            self.perform(Deed::Stale {
                pick,
                back: 0,
                exit: Some(failure()),
            });
        }
        last
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Start => self.feed(Input::Start),
            Deed::Stop => self.feed(Input::Stop),
            Deed::Kill => self.feed(Input::Kill),
            Deed::Wait { ms } => self.now += Duration::from_millis(ms),
            Deed::Stale { pick, back, exit } => self.repeat(pick, back, exit),
            Deed::Ready { pick } => {
                if let Some((child, generation)) = self.pick(pick, |one| !one.is_ready) {
                    self.feed(ready(child, generation));
                }
            }
            Deed::FailStart { pick, exit } => {
                if let Some((child, generation)) = self.pick(pick, |one| !one.is_ready) {
                    self.feed(Input::Started {
                        child,
                        generation,
                        result: Err(exit),
                    });
                }
            }
            Deed::Exit { pick, exit } => {
                if let Some((child, generation)) = self.pick(pick, |_| true) {
                    self.feed(exited(child, generation, exit));
                }
            }
            Deed::Obey { pick } => {
                let asked = |one: &Living| one.is_asked || one.is_killed;
                if let Some((child, generation)) = self.pick(pick, asked) {
                    self.feed(exited(child, generation, Exit::Shutdown));
                }
            }
        }
    }

    /// Finds the `pick`-th living child that `fits`, going round.
    fn pick(&self, pick: usize, fits: impl Fn(&Living) -> bool) -> Option<(usize, u64)> {
        let fitting: Vec<(usize, u64)> = (self.children.iter().enumerate())
            .filter_map(|(child, seen)| Some((child, seen.living.filter(&fits)?.generation)))
            .collect();
        fitting.get(pick % fitting.len().max(1)).copied()
    }

    /// Speaks of a life that is over, or is yet to come.
    fn repeat(&mut self, pick: usize, back: u64, exit: Option<Exit>) {
        let Some(child) = pick.checked_rem(self.children.len()) else {
            return;
        };
        let seen = &self.children[child];
        let generation = seen.generation.wrapping_sub(back);
        if seen.living.is_some_and(|one| one.generation == generation) {
            return;
        }
        let input = match exit {
            Some(exit) => exited(child, generation, exit),
            None => ready(child, generation),
        };
        let actions = self.family.step(input, self.now);
        assert!(actions.is_empty(), "a stale report led to {actions:?}");
    }

    /// Obeys and makes ready until there is nothing left to answer.
    fn answer_all(&mut self) {
        let waits = |one: &Living| one.is_asked || one.is_killed || !one.is_ready;
        while let Some((child, generation)) = self.pick(0, waits) {
            let one = self.children[child].living.expect("it was picked");
            match one.is_asked || one.is_killed {
                true => self.feed(exited(child, generation, Exit::Shutdown)),
                false => self.feed(ready(child, generation)),
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let is_kill = matches!(input, Input::Kill);
        let ends_for_good = self.foresee(&input);
        let actions = self.family.step(input, self.now);
        for action in &actions {
            assert!(self.last.is_none(), "{action:?} after the end");
            self.obey(action);
        }
        if let Some(child) = ends_for_good {
            assert!(self.children[child].is_closed, "{child} has ended for good");
        }
        if is_kill {
            self.check_kill(&actions);
        }
        self.check_progress();
    }

    /// Changes the model as the input must change the family; names a child that must be closed.
    fn foresee(&mut self, input: &Input) -> Option<usize> {
        match input {
            Input::Start => self.is_started = true,
            Input::Stop | Input::Kill => self.expect(End::Down),
            Input::Started {
                child,
                result: Ok(()),
                ..
            } => {
                let seen = &mut self.children[*child];
                seen.has_risen = true;
                if let Some(one) = &mut seen.living {
                    one.is_ready = true;
                }
            }
            Input::Started {
                child,
                result: Err(exit),
                ..
            }
            | Input::Exited { child, exit, .. } => {
                return self.foresee_exit(*child, exit);
            }
        }
        None
    }

    fn foresee_exit(&mut self, child: usize, exit: &Exit) -> Option<usize> {
        let one = self.children[child].living.take().expect("it was picked");
        if self.expected.is_some() {
            return Some(child);
        }
        if one.is_doomed {
            return None;
        }
        if !self.children[child].has_risen {
            self.expect(End::StartFailed);
        } else if !self.plan.restarts[child].wants(exit) {
            return Some(child);
        } else if self.recent() >= self.plan.max as usize {
            self.expect(if self.is_up {
                End::Escalate
            } else {
                End::StartFailed
            });
        } else {
            self.counted.push(self.now);
            assert!(self.recent() <= self.plan.max as usize);
            for sibling in self.plan.strategy.affected(self.children.len(), child) {
                self.doom(sibling);
            }
        }
        None
    }

    fn recent(&self) -> usize {
        let window = Duration::from_millis(self.plan.window_ms);
        self.counted
            .iter()
            .filter(|at| self.now - **at <= window)
            .count()
    }

    fn expect(&mut self, end: End) {
        if self.expected.is_none() {
            self.expected = Some(end);
            (0..self.children.len()).for_each(|child| self.doom(child));
        }
    }

    fn doom(&mut self, child: usize) {
        if let Some(one) = &mut self.children[child].living {
            one.is_doomed = true;
        }
    }

    fn obey(&mut self, action: &Action) {
        match action {
            Action::Start { child, generation } => self.begin(*child, *generation),
            Action::Stop { child, generation } => self.stop(*child, *generation),
            Action::Kill { child, generation } => {
                let one = self.children[*child]
                    .living
                    .as_mut()
                    .expect("only the living");
                assert_eq!(one.generation, *generation);
                assert!(
                    !mem::replace(&mut one.is_killed, true),
                    "{child} is killed twice"
                );
                assert!(self.expected.is_some());
            }
            Action::Close { child } => {
                let seen = &mut self.children[*child];
                assert!(seen.living.is_none(), "{child} is closed alive");
                assert!(
                    seen.has_risen || self.expected.is_some(),
                    "{child} never lived"
                );
                assert!(
                    !mem::replace(&mut seen.is_closed, true),
                    "{child} is closed twice"
                );
            }
            Action::Up => {
                assert!(self.expected.is_none() && !mem::replace(&mut self.is_up, true));
                assert!((0..self.children.len()).all(|child| self.is_settled(child)));
            }
            Action::StartFailed { .. } => self.finish(End::StartFailed),
            Action::Escalate(_) => self.finish(End::Escalate),
            Action::Down => self.finish(End::Down),
        }
    }

    fn begin(&mut self, child: usize, generation: u64) {
        let seen = &self.children[child];
        assert!(seen.living.is_none(), "{child} has two lives");
        assert!(!seen.is_closed && generation > seen.generation);
        assert!(self.is_started && self.expected.is_none());
        let again = self.plan.restarts[child] == Restart::Temporary && seen.has_risen;
        assert!(!again, "{child} is temporary and starts again");
        for earlier in (0..child).filter(|one| self.are_linked(*one, child)) {
            assert!(
                self.is_settled(earlier),
                "{child} starts before {earlier} is up"
            );
        }
        for later in (child + 1..self.children.len()).filter(|one| self.are_linked(child, *one)) {
            let doomed = self.children[later].living.is_some_and(|one| one.is_doomed);
            assert!(!doomed, "{child} starts before {later} is gone");
        }
        let seen = &mut self.children[child];
        seen.generation = generation;
        seen.living = Some(Living {
            generation,
            is_ready: false,
            is_doomed: false,
            is_asked: false,
            is_killed: false,
        });
    }

    fn stop(&mut self, child: usize, generation: u64) {
        for later in (child + 1..self.children.len()).filter(|one| self.are_linked(child, *one)) {
            assert!(
                self.children[later].living.is_none(),
                "{child} stops before {later}"
            );
        }
        let one = self.children[child]
            .living
            .as_mut()
            .expect("only the living");
        assert_eq!(one.generation, generation);
        assert!(one.is_doomed && !one.is_killed);
        assert!(
            !mem::replace(&mut one.is_asked, true),
            "{child} is stopped twice"
        );
    }

    fn finish(&mut self, end: End) {
        assert_eq!(Some(end), self.expected);
        for (child, seen) in self.children.iter().enumerate() {
            assert!(
                seen.is_closed && seen.living.is_none(),
                "{child} outlives its family"
            );
        }
        self.last = Some(end);
    }

    /// Whether the first of two children has to start before the second and stop after it.
    fn are_linked(&self, earlier: usize, later: usize) -> bool {
        let shared = self.plan.strategy.affected(self.children.len(), earlier);
        !self.is_up || self.expected.is_some() || shared.contains(&later)
    }

    fn is_settled(&self, child: usize) -> bool {
        let seen = &self.children[child];
        seen.is_closed
            || seen
                .living
                .is_some_and(|one| one.is_ready && !one.is_doomed)
    }

    fn check_kill(&self, actions: &[Action]) {
        let killed: Vec<usize> = (actions.iter())
            .filter_map(|action| match action {
                Action::Kill { child, .. } => Some(*child),
                _ => None,
            })
            .collect();
        assert!(
            killed.is_sorted_by(|a, b| a > b),
            "{killed:?} is not in reverse order"
        );
        let spared = self
            .children
            .iter()
            .any(|seen| seen.living.is_some_and(|one| !one.is_killed));
        assert!(!spared, "a kill spares nobody");
    }

    /// Unless the actor owes an answer, the family is up and well, or has ended.
    fn check_progress(&self) {
        let owes = |one: &Living| one.is_asked || one.is_killed || !(one.is_ready || one.is_doomed);
        if self.pick(0, owes).is_some() || (!self.is_started && self.expected.is_none()) {
            return;
        }
        if self.expected.is_some() {
            assert!(self.last.is_some(), "the family never ends");
        } else {
            let settled = (0..self.children.len()).all(|child| self.is_settled(child));
            assert!(self.is_up && settled, "the family is stuck");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_family_keeps_its_invariants_whatever_happens(plan in plans()) {
        World::new(plan).play();
    }
}

#[test]
fn the_random_histories_reach_every_end() {
    let mut runner = TestRunner::deterministic();
    let mut ends = [0; 3];
    for _ in 0..1_000 {
        let plan = plans()
            .new_tree(&mut runner)
            .expect("every plan is possible")
            .current();
        ends[World::new(plan).play() as usize] += 1;
    }
    assert!(
        ends.iter().all(|count| *count > 50),
        "start failed, escalate, down: {ends:?}"
    );
}
