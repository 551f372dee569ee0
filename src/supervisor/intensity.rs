//! How many restarts a supervisor allows within a window of time.
//!
//! The family asks before every restart; a refusal ends the family.
//!
//! Invariant: no window holds more than `max` allowed restarts, wherever it is laid.
//!
//! It has no clock: the time is an argument, counted from any fixed start.

use std::{collections::VecDeque, time::Duration};

/// The budget of restarts: OTP's `intensity` and `period`.
///
/// A restart at time `t` is allowed if and only if, with `allowed` the earlier ones,
///
/// ```text
/// count(s in allowed, t - s <= window) + 1 <= max
/// ```
///
/// so a restart exactly `window` ago still counts, and with `max` 0 the first is refused.
#[derive(Clone, Debug)]
pub(crate) struct Intensity {
    max: u32,
    window: Duration,
    /// The allowed restarts that may still count, oldest first; never more than `max`.
    allowed: VecDeque<Duration>,
}

impl Intensity {
    pub(crate) fn new(max: u32, window: Duration) -> Self {
        Self {
            max,
            window,
            allowed: VecDeque::new(),
        }
    }

    /// Counts one restart at `now`, or refuses it; a refused one is not counted.
    pub(crate) fn allow(&mut self, now: Duration) -> bool {
        // A clock that steps back makes the difference 0: the restart counts, the safe side.
        while self
            .allowed
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > self.window)
        {
            self.allowed.pop_front();
        }
        let room = self.allowed.len() < usize::try_from(self.max).unwrap_or(usize::MAX);
        if room {
            self.allowed.push_back(now);
        }
        room
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Keeps everything for ever and counts anew each time.
    fn naive(max: usize, window: u64, times: &[u64]) -> Vec<bool> {
        let mut allowed: Vec<u64> = Vec::new();
        let mut verdicts = Vec::new();
        for now in times {
            let recent = allowed.iter().filter(|at| now - **at <= window).count();
            verdicts.push(recent < max);
            if recent < max {
                allowed.push(*now);
            }
        }
        verdicts
    }

    #[test]
    fn with_max_0_the_first_restart_is_refused() {
        assert!(!Intensity::new(0, Duration::from_secs(10)).allow(Duration::ZERO));
    }

    #[test]
    fn a_restart_exactly_one_window_ago_still_counts() {
        let mut intensity = Intensity::new(1, Duration::from_secs(10));
        let verdicts = [0, 10, 11].map(|s| intensity.allow(Duration::from_secs(s)));
        assert_eq!(verdicts, [true, false, true]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_naive_count(
            max in 0u32..6,
            window in 0u64..20,
            steps in vec(0u64..8, 0..60),
        ) {
            let mut now = 0;
            let times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
            let mut intensity = Intensity::new(max, Duration::from_millis(window));
            let found: Vec<bool> =
                times.iter().map(|at| intensity.allow(Duration::from_millis(*at))).collect();
            prop_assert_eq!(found, naive(max as usize, window, &times));
        }
    }
}
