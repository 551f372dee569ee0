//! Rounds in which several kinds of work take turns, so that what the machine does meanwhile meets
//! all of them.
//!
//! Benches that compare within one run hand it their work.
//!
//! Invariant: time is read between bursts only, and each kind runs for the same time in each round.
//!
//! It judges nothing.

use std::time::{Duration, Instant};

/// One kind of work, burst by burst.
pub(crate) struct Work<'a> {
    /// Operations in one burst: what the time is divided by.
    pub(crate) operations: u64,
    pub(crate) burst: Box<dyn FnMut() + 'a>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(operations: u64, burst: impl FnMut() + 'a) -> Self {
        Work {
            operations,
            burst: Box::new(burst),
        }
    }

    /// The time of an operation in nanoseconds, from bursts that fill a turn.
    fn turn(&mut self, turn: Duration) -> f64 {
        let (mut bursts, begun) = (0, Instant::now());
        loop {
            (self.burst)();
            bursts += 1;
            let spent = begun.elapsed();
            if spent >= turn {
                return spent.as_nanos() as f64 / (bursts * self.operations) as f64;
            }
        }
    }
}

/// The nanoseconds per operation of each kind of work in each round: `[kind][round]`.
///
/// A first round warms up, and is left out.
pub(crate) fn take_turns(rounds: usize, turn: Duration, works: &mut [Work<'_>]) -> Vec<Vec<f64>> {
    let mut taken = vec![Vec::with_capacity(rounds); works.len()];
    for round in 0..=rounds {
        for (work, times) in works.iter_mut().zip(&mut taken) {
            let time = work.turn(turn);
            if round > 0 {
                times.push(time);
            }
        }
    }
    taken
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which such a share of them lies.
pub(crate) fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    sorted[(last as f64 * share).round() as usize]
}
