//! What happens to an event when handling it goes well or badly.
//!
//! Users set policies on supervisors, services and subscriptions; hosts ask for [`Rules`] and
//! [`decide`]. It calls only its own parts: [`Retry`], [`Backoff`] and the [`Verdict`].
//!
//! Invariant: everything here is pure; time and chance are arguments.
//!
//! It carries nothing out, and knows nothing of restart intensity.

use std::time::Duration;

mod backoff;
mod retry;
mod verdict;

pub use backoff::{Backoff, Jitter, LONGEST};
pub use retry::Retry;
pub use verdict::{Attempt, EventVerdict, Reason, Trouble, Verdict, WorkerVerdict, decide};

/// What happens to events that fail; every part is optional, and what is not set here is taken
/// from the next policy up the tree, and at last from the [defaults](crate::defaults).
///
/// ```
/// use std::time::Duration;
/// use callboard::{Policy, Retry};
///
/// let policy = Policy::new()
///     .retry(Retry::exponential(Duration::from_millis(50)).attempts(4))
///     .timeout(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Policy {
    retry: Option<Retry>,
    timeout: Option<Timeout>,
    timeout_restarts: Option<bool>,
}

/// A [`Policy`] with every part filled in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rules {
    /// How an event is tried again.
    pub retry: Retry,
    /// How long one attempt may take; `None` is as long as it likes.
    pub timeout: Option<Duration>,
    /// Whether an attempt that takes longer costs the worker its life, as a crash does.
    pub timeout_restarts: bool,
}

impl Policy {
    /// Starts a policy that sets nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how an event is tried again; by default 3 attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets how long one attempt may take before it is cancelled; by default as long as it likes.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(Timeout::After(limit));
        self
    }

    /// Lets an attempt take as long as it likes, whatever is set further up the tree.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = Some(Timeout::Never);
        self
    }

    /// Restarts the worker after a timeout, as after a crash; by default it keeps its state.
    pub fn timeout_restarts(mut self) -> Self {
        self.timeout_restarts = Some(true);
        self
    }

    /// Fills in, for each part that is not set here, what the outer policy sets.
    pub(crate) fn over(&self, outer: &Self) -> Self {
        Self {
            retry: self.retry.as_ref().or(outer.retry.as_ref()).cloned(),
            timeout: self.timeout.or(outer.timeout),
            timeout_restarts: self.timeout_restarts.or(outer.timeout_restarts),
        }
    }

    /// Fills in the defaults, for each part that is not set.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let timeout = match self.timeout {
            Some(Timeout::After(limit)) => Some(limit),
            Some(Timeout::Never) | None => None,
        };
        Rules {
            retry: self.retry.clone().unwrap_or_default(),
            timeout,
            timeout_restarts: self.timeout_restarts.unwrap_or(false),
        }
    }

    /// Names the settings that cannot be meant, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.retry.as_ref().map(Retry::problems).unwrap_or_default();
        match self.timeout {
            Some(Timeout::After(Duration::ZERO)) => {
                problems.push("the timeout is zero, so no attempt could succeed".to_owned());
            }
            Some(Timeout::After(limit)) if limit > LONGEST => {
                problems.push(format!("the timeout of {limit:?} is longer than 365 days"));
            }
            _ => {}
        }
        problems
    }
}

#[derive(Clone, Copy, Debug)]
enum Timeout {
    Never,
    After(Duration),
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_policy_that_sets_nothing_follows_the_defaults() {
        let rules = Policy::new().rules();
        assert_eq!(rules.retry.attempts_max(), crate::defaults::ATTEMPTS);
        assert_eq!((rules.timeout, rules.timeout_restarts), (None, false));
    }

    #[test]
    fn the_nearest_setting_of_each_part_wins() {
        let top = Policy::new()
            .retry(Retry::never())
            .timeout(SECOND)
            .timeout_restarts();
        let middle = Policy::new().timeout(SECOND * 2);
        let bottom = Policy::new().retry(Retry::default().attempts(9));
        let rules = bottom.over(&middle.over(&top)).rules();
        assert_eq!(rules.retry.attempts_max(), 9);
        assert_eq!(
            (rules.timeout, rules.timeout_restarts),
            (Some(SECOND * 2), true)
        );
        let rules = bottom.over(&middle).over(&top).rules();
        assert_eq!(
            (rules.retry.attempts_max(), rules.timeout),
            (9, Some(SECOND * 2))
        );
        assert_eq!(Policy::new().no_timeout().over(&top).rules().timeout, None);
        assert_eq!(Policy::new().over(&top).rules().retry.attempts_max(), 1);
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named() {
        assert!(Policy::new().problems().is_empty());
        assert!(
            Policy::new()
                .timeout(SECOND)
                .no_timeout()
                .problems()
                .is_empty()
        );
        let bad = Policy::new()
            .timeout(Duration::ZERO)
            .retry(Retry::default().attempts(0));
        assert_eq!(bad.problems().len(), 2);
        assert!(Policy::new().timeout(Duration::MAX).problems()[0].contains("365 days"));
    }
}
