//! Scenarios as tables, and random histories against a model that keeps every report.

use proptest::{collection::vec, prelude::*, sample::select};

use super::BreakerState::{Closed, HalfOpen, Open};
use super::Report::{Failed, Succeeded, Void};
use super::*;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Opens when half of at least four have failed within a second, for two.
fn breaker() -> Breaker {
    let breaker = Breaker::new().failure_rate(0.5).at_least(4);
    breaker.window(millis(1_000)).open_for(millis(2_000))
}

fn pass(circuit: &mut Circuit, at: u64) -> Pass {
    let (entry, _) = circuit.admit(millis(at));
    let Entry::Pass(pass) = entry else {
        panic!("{entry:?} at {at}");
    };
    pass
}

/// Makes one attempt at once, and returns what became of the circuit.
fn attempt(circuit: &mut Circuit, at: u64, report: Report) -> Option<BreakerState> {
    let pass = pass(circuit, at);
    circuit.report(pass, report, millis(at))
}

fn opened(breaker: &Breaker) -> Circuit {
    let mut circuit = Circuit::new(breaker);
    let reports = [Failed; 4].map(|report| attempt(&mut circuit, 0, report));
    assert_eq!(reports, [None, None, None, Some(Open)]);
    circuit
}

#[test]
fn it_opens_when_too_many_of_enough_attempts_have_failed() {
    for (reports, expected) in [
        (vec![Failed, Failed, Failed], Closed),
        (vec![Failed, Failed, Failed, Failed], Open),
        (vec![Failed, Failed, Succeeded, Succeeded], Open),
        (vec![Failed, Succeeded, Succeeded, Succeeded], Closed),
        (vec![Failed, Failed, Failed, Void], Closed),
        (vec![Failed, Failed, Failed, Succeeded], Open),
        (
            vec![
                Succeeded, Succeeded, Succeeded, Succeeded, Failed, Failed, Failed,
            ],
            Closed,
        ),
        (vec![Void; 100], Closed),
    ] {
        let mut circuit = Circuit::new(&breaker());
        for report in &reports {
            attempt(&mut circuit, 0, *report);
        }
        assert_eq!(circuit.state(), expected, "{reports:?}");
    }
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    for (at, expected) in [(999, Some(Open)), (1_000, None)] {
        let mut circuit = Circuit::new(&breaker());
        for _ in 0..3 {
            attempt(&mut circuit, 0, Failed);
        }
        assert_eq!(attempt(&mut circuit, at, Failed), expected, "at {at}");
    }
}

#[test]
fn while_it_is_open_events_wait_or_are_refused() {
    let mut circuit = opened(&breaker());
    for at in [0, 1_999] {
        assert_eq!(
            circuit.admit(millis(at)),
            (Entry::Wait(millis(2_000)), None)
        );
    }
    let mut circuit = opened(&breaker().dead_letters());
    assert_eq!(circuit.admit(millis(1_999)), (Entry::Refused, None));
    assert_eq!(circuit.admit(millis(2_000)).1, Some(HalfOpen));
    assert_eq!(circuit.admit(millis(2_000)), (Entry::Refused, None));
}

#[test]
fn a_probe_decides_whether_it_closes() {
    for (report, expected) in [
        (Succeeded, Some(Closed)),
        (Failed, Some(Open)),
        (Void, None),
    ] {
        let mut circuit = opened(&breaker());
        let (entry, became) = circuit.admit(millis(2_000));
        let Entry::Pass(probe) = entry else {
            panic!("{entry:?}");
        };
        assert_eq!(became, Some(HalfOpen));
        // The others have to wait for it, not knowing how long.
        assert_eq!(
            circuit.admit(millis(2_001)),
            (Entry::Wait(millis(2_201)), None)
        );
        assert_eq!(circuit.report(probe, report, millis(2_050)), expected);
        match circuit.admit(millis(2_050)) {
            (Entry::Pass(_), None) => assert_ne!(report, Failed),
            other => assert_eq!(
                (other, report),
                ((Entry::Wait(millis(4_050)), None), Failed)
            ),
        }
    }
}

#[test]
fn several_probes_must_all_succeed() {
    let mut circuit = opened(&breaker().probes(3));
    let probes = [2_000, 2_001, 2_002].map(|at| pass(&mut circuit, at));
    assert_eq!(circuit.admit(millis(2_003)).0, Entry::Wait(millis(2_203)));
    let reports = probes.map(|probe| circuit.report(probe, Succeeded, millis(2_100)));
    assert_eq!(reports, [None, None, Some(Closed)]);
    let mut circuit = opened(&breaker().probes(3));
    let probes = [2_000, 2_001].map(|at| pass(&mut circuit, at));
    assert_eq!(circuit.report(probes[0], Succeeded, millis(2_100)), None);
    assert_eq!(circuit.report(probes[1], Failed, millis(2_100)), Some(Open));
}

#[test]
fn a_probe_that_was_not_made_gives_its_place_back() {
    let mut circuit = opened(&breaker());
    for at in 2_000..2_010 {
        assert_eq!(attempt(&mut circuit, at, Void), None);
    }
    assert_eq!(attempt(&mut circuit, 2_010, Succeeded), Some(Closed));
}

#[test]
fn after_it_has_closed_it_counts_anew() {
    let mut circuit = opened(&breaker().open_for(millis(10)));
    assert_eq!(attempt(&mut circuit, 10, Succeeded), Some(Closed));
    let reports = [Failed; 4].map(|report| attempt(&mut circuit, 11, report));
    assert_eq!(reports, [None, None, None, Some(Open)]);
}

#[test]
fn words_from_before_its_last_change_are_not_heeded() {
    let mut circuit = Circuit::new(&breaker());
    let late = [0; 3].map(|at| pass(&mut circuit, at));
    for _ in 0..4 {
        attempt(&mut circuit, 0, Failed);
    }
    assert_eq!(circuit.state(), Open);
    assert_eq!(circuit.report(late[0], Succeeded, millis(1)), None);
    let probe = pass(&mut circuit, 2_000);
    assert_eq!(circuit.report(late[1], Failed, millis(2_001)), None);
    assert_eq!(
        circuit.report(probe, Succeeded, millis(2_001)),
        Some(Closed)
    );
    assert_eq!(circuit.report(late[2], Failed, millis(2_001)), None);
    let reports = [Failed; 3].map(|report| attempt(&mut circuit, 2_001, report));
    assert_eq!(reports, [None; 3]);
}

#[test]
fn a_probe_of_which_nothing_is_heard_is_not_waited_for() {
    let mut circuit = opened(&breaker());
    let lost = pass(&mut circuit, 2_000);
    assert_eq!(
        circuit.admit(millis(3_999)),
        (Entry::Wait(millis(4_000)), None)
    );
    let second = pass(&mut circuit, 4_000);
    assert_eq!(circuit.report(lost, Failed, millis(4_001)), None);
    assert_eq!(
        circuit.report(second, Succeeded, millis(4_001)),
        Some(Closed)
    );
}

#[test]
fn those_who_share_a_breaker_open_it_together() {
    let own = breaker().at_least(2);
    for (breaker, expected) in [(own.clone(), Closed), (own.shared(), Open)] {
        let mut states = [(); 2].map(|()| breaker.clone().state());
        for state in &mut states {
            state.with(|circuit| attempt(circuit, 0, Failed));
        }
        for state in &mut states {
            assert_eq!(state.with(|circuit| circuit.state()), expected);
        }
        let changed = breaker.probes(1).state();
        assert_eq!(changed.with(|circuit| circuit.state()), Closed);
    }
}

#[test]
fn impossible_settings_and_times_harm_nobody() {
    let none = Duration::ZERO;
    let nothing = breaker().window(none).open_for(none).at_least(0).probes(0);
    let everything = breaker().window(Duration::MAX).open_for(Duration::MAX);
    for breaker in [
        nothing.failure_rate(f64::NAN),
        everything.failure_rate(-1.0),
        breaker(),
    ] {
        let mut circuit = Circuit::new(&breaker);
        let passes = [Duration::MAX, none, millis(1)].map(|now| (circuit.admit(now).0, now));
        for report in [Failed, Succeeded, Void] {
            for (entry, now) in passes {
                if let Entry::Pass(pass) = entry {
                    circuit.report(pass, report, now);
                }
                let _ = circuit.admit(Duration::MAX);
            }
        }
    }
}

/// What every attempt said, and when.
struct Naive {
    state: BreakerState,
    /// The reports in the present state, in tenths of the window.
    reports: Vec<(u64, Report)>,
    since: u64,
    out: u32,
    changes: u32,
}

const RATE: f64 = 0.4;
const LEAST: usize = 3;
const PROBES: u32 = 2;
const PAUSE: u64 = 150;

impl Naive {
    fn admit(&mut self, now: u64) -> bool {
        let succeeded = self
            .reports
            .iter()
            .filter(|(_, report)| *report == Succeeded);
        let taken = self.out + succeeded.count() as u32;
        let is_over = now >= self.since + PAUSE;
        match self.state {
            Open if is_over => self.become_state(HalfOpen),
            HalfOpen if is_over && taken >= PROBES => self.become_state(HalfOpen),
            HalfOpen if taken < PROBES => {}
            Closed => return true,
            _ => return false,
        }
        (self.since, self.out) = (now, self.out + 1);
        true
    }

    fn report(&mut self, now: u64, report: Report) {
        self.reports.push((now / 10, report));
        self.out = self.out.saturating_sub(1);
        let count = |wanted| {
            let same = |(at, report): &&(u64, Report)| *report == wanted && now / 10 - at < 10;
            self.reports.iter().filter(same).count()
        };
        match self.state {
            Closed => {
                let (failed, all) = (count(Failed), count(Failed) + count(Succeeded));
                if report != Void && all >= LEAST && failed as f64 / all as f64 >= RATE {
                    self.since = now;
                    self.become_state(Open);
                }
            }
            HalfOpen if report == Failed => {
                self.since = now;
                self.become_state(Open);
            }
            _ => {
                let fine = self
                    .reports
                    .iter()
                    .filter(|(_, report)| *report == Succeeded);
                if fine.count() as u32 >= PROBES {
                    self.become_state(Closed);
                }
            }
        }
    }

    fn become_state(&mut self, state: BreakerState) {
        (self.state, self.out) = (state, 0);
        self.changes += 1;
        self.reports.clear();
    }
}

proptest! {
    #[test]
    fn it_agrees_with_one_that_keeps_every_report(
        moves in vec((0u64..40, any::<bool>(), select(&[Failed, Failed, Succeeded, Void])), 0..200),
    ) {
        let breaker = breaker().failure_rate(RATE).at_least(LEAST as u32).probes(PROBES);
        let mut circuit = Circuit::new(&breaker.window(millis(100)).open_for(millis(PAUSE)));
        let mut naive = Naive {
            state: Closed,
            reports: Vec::new(),
            since: 0,
            out: 0,
            changes: 0,
        };
        // Attempts under way, and how often the state had changed when they began.
        let (mut under_way, mut now) = (Vec::new(), 0);
        for (step, begins, report) in moves {
            now += step;
            let before = naive.state;
            let became = if begins {
                let (entry, became) = circuit.admit(millis(now));
                let goes = naive.admit(now);
                match entry {
                    Entry::Pass(pass) if goes => under_way.push((pass, naive.changes)),
                    Entry::Wait(then) if !goes => prop_assert!(then > millis(now)),
                    other => prop_assert!(false, "{:?}, but {}", other, goes),
                }
                became
            } else if !under_way.is_empty() {
                let (pass, began) = under_way.remove(0);
                if began == naive.changes {
                    naive.report(now, report);
                }
                circuit.report(pass, report, millis(now))
            } else {
                None
            };
            prop_assert_eq!(became, (before != naive.state).then_some(naive.state));
            prop_assert_eq!(circuit.state(), naive.state);
        }
    }
}
