//! How many retries there may be for so many deliveries.
//!
//! A policy holds a [`RetryBudget`]; hosts pay into the [`Purse`] made from it for each delivery,
//! and take from it for each retry. It calls the window.
//!
//! Invariant: no window holds more retries than the share of its deliveries and the reserve.
//!
//! It refuses and never delays; what follows a refusal is the failure policy's business.

use std::fmt;
use std::time::Duration;

use crate::defaults;
use crate::policy::backoff::LONGEST;
use crate::policy::sharing::{GuardState, Sharing};
use crate::policy::window::Window;

/// How many retries there may be: a share of the deliveries, and a reserve.
///
/// Retries help when few events fail. When all do, retries multiply the load on whatever is down,
/// and keep it down. Within each window there are at most `share` retries for each delivery, plus
/// the reserve for each second; beyond that, the failure policy applies at once.
///
/// ```
/// use callboard::{RetryBudget, secs};
///
/// let budget = RetryBudget::new(0.2).at_least(10).window(secs(10));
/// let for_all = budget.shared();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryBudget {
    share: f64,
    at_least: u32,
    window: Duration,
    sharing: Sharing<Purse>,
}

impl RetryBudget {
    /// Allows this many retries for each delivery, such as 0.2 for one retry in five deliveries;
    /// from 0 to 1,000, in steps of a millionth.
    pub const fn new(share: f64) -> Self {
        Self {
            share,
            at_least: defaults::RETRY_BUDGET_AT_LEAST,
            window: defaults::RETRY_BUDGET_WINDOW,
            sharing: Sharing::none(),
        }
    }

    /// Sets the reserve: how many more retries a second are allowed, however few deliveries there
    /// are; by default 10 ([`defaults::RETRY_BUDGET_AT_LEAST`]).
    pub fn at_least(mut self, per_second: u32) -> Self {
        self.at_least = per_second;
        self.sharing.renew();
        self
    }

    /// Sets over which time deliveries and retries are counted, at most 365 days; by default 10 s
    /// ([`defaults::RETRY_BUDGET_WINDOW`]). They are forgotten a tenth of it at a time.
    pub fn window(mut self, length: Duration) -> Self {
        self.window = length;
        self.sharing.renew();
        self
    }

    /// Lets all subscriptions that inherit this budget, or a clone of it, share one; by default
    /// each has its own.
    ///
    /// Use it on one board only: two boards count their time from different moments.
    pub fn shared(mut self) -> Self {
        self.sharing.begin();
        self
    }

    /// The state for one subscription.
    pub(crate) fn state(&self) -> GuardState<Purse> {
        self.sharing.state(|| Purse::new(self))
    }

    /// Whether both say the same, and share with the same ones: what one has counted fits the
    /// other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same = self.share.to_bits() == other.share.to_bits();
        let same = same && (self.at_least, self.window) == (other.at_least, other.window);
        same && self.sharing.is_like(&other.sharing)
    }

    /// Names the invalid settings, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let (share, window) = (self.share, self.window);
        let mut problems = Vec::new();
        if !(0.0..=SHARE_MAX).contains(&share) {
            problems.push(format!("the share {share} is not a number from 0 to 1,000"));
        } else if share == 0.0 && self.at_least == 0 {
            problems.push("it allows no retry at all, as Retry::never() does".to_owned());
        }
        if window.is_zero() {
            problems.push("the window is zero, so nothing is counted".to_owned());
        }
        if window > LONGEST {
            problems.push(format!("the window of {window:?} is longer than 365 days"));
        }
        let named = problems
            .iter()
            .map(|problem| format!("retry budget: {problem}"));
        named.collect()
    }
}

impl fmt::Display for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            share,
            at_least,
            window,
            ..
        } = self;
        write!(
            f,
            "{share} retries for each event and {at_least} a second, within {window:?}"
        )?;
        f.write_str(if self.sharing.is_shared() {
            ", shared"
        } else {
            ""
        })
    }
}

const SHARE_MAX: f64 = 1_000.0;

/// What is counted in: millionths of a retry, so that shares add up exactly.
const RETRY: u128 = 1_000_000;

/// What is left of a budget.
#[derive(Debug)]
pub(crate) struct Purse {
    share: u128,
    reserve: u128,
    /// Deliveries and retries.
    window: Window,
}

impl Purse {
    fn new(budget: &RetryBudget) -> Self {
        let share = budget.share.clamp(0.0, SHARE_MAX) * RETRY as f64;
        Self {
            // A number of no kind becomes 0.
            share: share.round() as u128,
            reserve: budget.window.as_micros() * u128::from(budget.at_least),
            window: Window::new(budget.window),
        }
    }

    /// Pays in for a delivery.
    pub(crate) fn deposit(&mut self, now: Duration) {
        self.window.add(now, [1, 0]);
    }

    /// Takes out for a retry, if enough is left.
    pub(crate) fn withdraw(&mut self, now: Duration) -> bool {
        let is_allowed = self.left(now) > 0;
        if is_allowed {
            self.window.add(now, [0, 1]);
        }
        is_allowed
    }

    /// How many retries could be paid for now.
    pub(crate) fn left(&mut self, now: Duration) -> u64 {
        let [deliveries, retries] = self.window.totals(now);
        let allowed = (u128::from(deliveries) * self.share + self.reserve) / RETRY;
        let left = allowed.saturating_sub(u128::from(retries));
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn withdrawn(purse: &mut Purse, now: Duration) -> u32 {
        (0..1_000).take_while(|_| purse.withdraw(now)).count() as u32
    }

    #[test]
    fn retries_are_a_share_of_the_deliveries_and_a_reserve() {
        for (share, at_least, window, deliveries, expected) in [
            (0.2, 0, 10, 0, 0),
            (0.2, 0, 10, 4, 0),
            (0.2, 0, 10, 5, 1),
            (0.2, 0, 10, 9, 1),
            (0.2, 0, 10, 100, 20),
            (0.1, 0, 10, 30, 3),
            (0.29, 0, 10, 100, 29),
            (0.0, 1, 10, 100, 10),
            (0.2, 2, 10, 100, 40),
            (0.2, 10, 10, 0, 100),
            (2.0, 0, 10, 3, 6),
            // What is nearest to 2.01 is a little less.
            (2.01, 0, 10, 100, 201),
        ] {
            let budget = RetryBudget::new(share).at_least(at_least);
            let mut purse = Purse::new(&budget.window(SECOND * window));
            (0..deliveries).for_each(|_| purse.deposit(Duration::ZERO));
            let case = format!("{share} {at_least} {window} {deliveries}");
            assert_eq!(withdrawn(&mut purse, Duration::ZERO), expected, "{case}");
        }
    }

    #[test]
    fn what_is_older_than_the_window_neither_pays_nor_counts() {
        let mut purse = Purse::new(&RetryBudget::new(0.5).at_least(0).window(SECOND * 10));
        (0..10).for_each(|_| purse.deposit(Duration::ZERO));
        assert_eq!(withdrawn(&mut purse, SECOND * 2), 5);
        // The deliveries are forgotten before the retries, so that a debt is left.
        (0..4).for_each(|_| purse.deposit(SECOND * 10));
        assert_eq!(withdrawn(&mut purse, SECOND * 10), 0);
        assert_eq!(withdrawn(&mut purse, SECOND * 12), 2);
        assert_eq!(withdrawn(&mut purse, SECOND * 30), 0);
    }

    #[test]
    fn those_who_share_a_budget_use_it_up_together() {
        let own = RetryBudget::new(0.0).at_least(1).window(SECOND);
        for (budget, second) in [(own.clone(), true), (own.shared(), false)] {
            let [a, b] = [(); 2].map(|()| budget.clone().state());
            assert!(a.with(|purse| purse.withdraw(Duration::ZERO)));
            assert_eq!(b.with(|purse| purse.withdraw(Duration::ZERO)), second);
            let changed = budget.clone().at_least(2).state();
            assert!(changed.with(|purse| purse.withdraw(Duration::ZERO)));
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named_and_harm_nobody() {
        let good = RetryBudget::new(0.2);
        for budget in [
            good.clone(),
            RetryBudget::new(0.0),
            RetryBudget::new(1_000.0).at_least(0),
            good.clone().window(LONGEST).at_least(u32::MAX),
        ] {
            assert_eq!(budget.problems(), [""; 0]);
        }
        for (budget, word) in [
            (RetryBudget::new(-0.1), "share"),
            (RetryBudget::new(1_000.1), "share"),
            (RetryBudget::new(f64::NAN), "share"),
            (RetryBudget::new(f64::INFINITY), "share"),
            (RetryBudget::new(0.0).at_least(0), "no retry"),
            (good.clone().window(Duration::ZERO), "zero"),
            (good.clone().window(Duration::MAX).at_least(u32::MAX), "365"),
        ] {
            let problems = budget.problems();
            let named = problems.len() == 1 && problems[0].starts_with("retry budget: ");
            assert!(named && problems[0].contains(word), "{problems:?}");
            let mut purse = Purse::new(&budget);
            for now in [Duration::ZERO, Duration::MAX, SECOND] {
                purse.deposit(now);
                purse.withdraw(now);
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_one_that_keeps_every_moment(
            percent in 0u32..300,
            at_least in 0u32..4,
            moves in vec((0u64..400, any::<bool>()), 0..200),
        ) {
            let budget = RetryBudget::new(f64::from(percent) / 100.0).at_least(at_least);
            let mut purse = Purse::new(&budget.window(SECOND));
            let (mut deliveries, mut retries, mut now) = (Vec::new(), Vec::new(), 0);
            for (step, is_delivery) in moves {
                now += step;
                let at = Duration::from_millis(now);
                if is_delivery {
                    deliveries.push(now / 100);
                    purse.deposit(at);
                    continue;
                }
                // A second holds this tenth of it and the nine before.
                let recent = |at: &&u64| now / 100 - **at < 10;
                let paid = deliveries.iter().filter(recent).count() as u32 * percent;
                let spent = retries.iter().filter(recent).count() as u32 * 100;
                let is_allowed = spent + 100 <= paid + at_least * 100;
                prop_assert_eq!(purse.withdraw(at), is_allowed);
                retries.extend(is_allowed.then_some(now / 100));
            }
        }
    }
}
