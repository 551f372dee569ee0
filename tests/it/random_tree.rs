//! Random trees under random trouble keep every promise at once.
//!
//! A seed decides the tree, its policies, how each attempt at each event goes (it succeeds,
//! fails, panics, is too slow, publishes, sets timers, subscribes ..), and what is thrown at the
//! board from outside. A model that knows only what was published and what handlers saw predicts
//! the state of every delivery; after every step it is compared with the ledger, and at the end
//! with everything that the board tells: counts, dead letters, outcomes, the report.
//!
//! A run that fails names its mode and seed: add them to `KNOWN`, which is always run first.

mod audit;

mod book;

mod drive;

mod plan;

mod players;

use drive::{Summary, run};
use plan::Mode;

/// Runs that once failed, with what was wrong then.
const KNOWN: &[(Mode, u64)] = &[];

/// How many runs of each mode: a few seconds in release.
const RUNS: u64 = if cfg!(debug_assertions) { 400 } else { 1_500 };

fn runs(mode: Mode) -> Summary {
    players::silence_the_script();
    let known = KNOWN.iter().filter(|(known, _)| *known == mode);
    let seeds = known.map(|(_, seed)| *seed).chain(0..RUNS);
    let all: Vec<Summary> = seeds.map(|seed| run(seed, mode)).collect();
    let sum = |of: fn(&Summary) -> u64| all.iter().map(of).sum();
    Summary {
        trace: 0,
        handled: sum(|one| one.handled),
        acknowledged: sum(|one| one.acknowledged),
        dead: sum(|one| one.dead),
        shed: sum(|one| one.shed),
        undelivered: sum(|one| one.undelivered),
        retried: sum(|one| one.retried),
        redriven: sum(|one| one.redriven),
        panicked: sum(|one| one.panicked),
        timed_out: sum(|one| one.timed_out),
        expired: sum(|one| one.expired),
        restarted: sum(|one| one.restarted),
        given_up: sum(|one| one.given_up),
    }
}

/// Everything that was to happen did happen, or nothing was shown.
fn something_happened(sum: &Summary) {
    let counts = [
        sum.handled,
        sum.acknowledged,
        sum.dead,
        sum.shed,
        sum.undelivered,
        sum.retried,
        sum.redriven,
        sum.panicked,
        sum.timed_out,
        sum.expired,
        sum.restarted,
    ];
    assert!(counts.iter().all(|count| *count > 0), "{sum:?}");
}

#[test]
fn every_delivery_ends_as_the_script_predicts() {
    let sum = runs(Mode::Settled);
    something_happened(&sum);
    assert_eq!(sum.given_up, 0);
}

#[test]
fn a_shutdown_in_the_middle_leaves_every_delivery_in_one_state() {
    let sum = runs(Mode::Abrupt);
    something_happened(&sum);
    assert_eq!(sum.given_up, 0);
}

#[test]
fn supervisors_that_give_up_leave_every_delivery_in_one_state() {
    let sum = runs(Mode::GivingUp);
    something_happened(&sum);
    assert!(sum.given_up > 0, "{sum:?}");
}

#[test]
fn one_seed_replays_one_run() {
    players::silence_the_script();
    for mode in [Mode::Settled, Mode::Abrupt, Mode::GivingUp] {
        for seed in 0..RUNS / 30 {
            assert_eq!(run(seed, mode), run(seed, mode), "{mode:?}, seed {seed}");
        }
    }
}
