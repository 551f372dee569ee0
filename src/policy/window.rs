//! Two counts over the last so much time.
//!
//! The breaker counts calls and failures in one, the retry budget deliveries and retries. It calls
//! nothing.
//!
//! Invariant: it takes the same memory whatever is counted, and a clock that goes back is taken to
//! stand still.
//!
//! It has no clock: the time is an argument, counted from any fixed start.

use std::time::Duration;

/// Into how many steps a window is divided: what is old is forgotten a tenth at a time.
pub(super) const STEPS: usize = 10;

/// What was counted in the current step of time and the nine before it, so over at least nine
/// tenths of the window, and never over more than the whole.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// In nanoseconds, as is `end`.
    step: u128,
    /// When the newest step is over: until then there is nothing to be found out about it.
    end: u128,
    slots: [Slot; STEPS],
    /// Where the newest step is counted.
    current: usize,
    /// The sums over what is not forgotten.
    totals: [u64; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    step: u128,
    counts: [u64; 2],
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let step = (length / STEPS as u32).as_nanos().max(1);
        Self {
            step,
            end: step,
            slots: [Slot::default(); STEPS],
            current: 0,
            totals: [0; 2],
        }
    }

    pub(super) fn add(&mut self, now: Duration, counts: [u64; 2]) {
        self.advance(now);
        let slot = &mut self.slots[self.current];
        for sums in [&mut slot.counts, &mut self.totals] {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.saturating_add(count);
            }
        }
    }

    pub(super) fn totals(&mut self, now: Duration) -> [u64; 2] {
        self.advance(now);
        self.totals
    }

    fn advance(&mut self, now: Duration) {
        let now = now.as_nanos();
        if now >= self.end {
            self.turn(now / self.step);
        }
    }

    /// A new step begins.
    #[cold]
    fn turn(&mut self, newest: u128) {
        self.end = (newest + 1) * self.step;
        // A remainder of division by a small number fits anything.
        self.current = (newest % STEPS as u128) as usize;
        self.slots[self.current] = Slot {
            step: newest,
            counts: [0; 2],
        };
        let recent = |slot: &&Slot| newest - slot.step < STEPS as u128;
        let counts = self.slots.iter().filter(recent).map(|slot| slot.counts);
        self.totals = counts.fold([0; 2], |[a, b], [c, d]| {
            [a.saturating_add(c), b.saturating_add(d)]
        });
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_old_is_forgotten_a_step_at_a_time() {
        let mut window = Window::new(millis(1_000));
        window.add(millis(0), [1, 0]);
        window.add(millis(99), [1, 0]);
        window.add(millis(100), [1, 1]);
        for (at, expected) in [
            (100, [3, 1]),
            (999, [3, 1]),
            (1_000, [1, 1]),
            (1_100, [0; 2]),
        ] {
            assert_eq!(window.totals(millis(at)), expected, "at {at}");
        }
        // The clock goes back: what was forgotten stays so, and new counts count.
        window.add(millis(0), [5, 5]);
        assert_eq!(window.totals(millis(0)), [5, 5]);
        assert_eq!(window.totals(millis(1_100)), [5, 5]);
    }

    #[test]
    fn any_length_and_any_time_will_do() {
        for length in [
            Duration::ZERO,
            Duration::from_nanos(1),
            millis(7),
            Duration::MAX,
        ] {
            let mut window = Window::new(length);
            window.add(Duration::ZERO, [u64::MAX, 1]);
            window.add(Duration::ZERO, [1, 1]);
            assert_eq!(window.totals(Duration::ZERO), [u64::MAX, 2]);
            window.add(Duration::MAX, [1, 0]);
            assert_eq!(window.totals(Duration::MAX), [1, 0], "{length:?}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_one_that_keeps_every_moment(
            length in 1u64..400,
            moves in vec((0u64..60, any::<bool>(), 0u64..3, 0u64..3), 0..80),
        ) {
            let step = Window::new(millis(length)).step as u64;
            let (mut window, mut kept) = (Window::new(millis(length)), Vec::new());
            let (mut now, mut newest) = (200_u64, 0);
            for (by, back, a, b) in moves {
                now = if back { now.saturating_sub(by) } else { now + by };
                let at = now * 1_000_000 / step;
                newest = newest.max(at);
                window.add(millis(now), [a, b]);
                kept.push((newest, a, b));
                let recent = kept.iter().filter(|(at, ..)| newest - at < 10);
                let expected = recent.fold([0, 0], |[c, d], (_, a, b)| [c + a, d + b]);
                prop_assert_eq!(window.totals(millis(now)), expected);
            }
        }
    }
}
