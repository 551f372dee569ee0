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
    step: Duration,
    newest: u128,
    slots: [Slot; STEPS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    step: u128,
    counts: [u64; 2],
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            step: (length / STEPS as u32).max(Duration::from_nanos(1)),
            newest: 0,
            slots: [Slot::default(); STEPS],
        }
    }

    pub(super) fn add(&mut self, now: Duration, counts: [u64; 2]) {
        let step = self.advance(now);
        // A remainder of division by a small number fits anything.
        let slot = &mut self.slots[(step % STEPS as u128) as usize];
        if slot.step != step {
            *slot = Slot {
                step,
                counts: [0; 2],
            };
        }
        for (sum, count) in slot.counts.iter_mut().zip(counts) {
            *sum = sum.saturating_add(count);
        }
    }

    pub(super) fn totals(&mut self, now: Duration) -> [u64; 2] {
        let newest = self.advance(now);
        let recent = |slot: &&Slot| newest - slot.step < STEPS as u128;
        let counts = self.slots.iter().filter(recent).map(|slot| slot.counts);
        counts.fold([0; 2], |[a, b], [c, d]| {
            [a.saturating_add(c), b.saturating_add(d)]
        })
    }

    fn advance(&mut self, now: Duration) -> u128 {
        self.newest = self.newest.max(now.as_nanos() / self.step.as_nanos());
        self.newest
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
            let step = Window::new(millis(length)).step.as_nanos() as u64;
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
