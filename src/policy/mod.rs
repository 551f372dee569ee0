//! What happens to an event when handling it goes well or badly.
//!
//! Users set policies on supervisors, services and subscriptions; hosts ask for [`Rules`] and
//! [`decide`]. It calls only its own parts.
//!
//! Invariant: everything here is pure; time and chance are arguments.
//!
//! It carries nothing out, and knows nothing of restart intensity.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

mod backoff;
mod breaker;
mod budget;
mod circuit;
mod dedupe;
mod explanation;
mod inheritance;
mod limit;
mod on_failure;
mod on_success;
mod part;
mod parts;
mod rate;
mod retry;
mod rules;
mod sharing;
mod standing;
mod step;
mod verdict;
mod window;

pub use backoff::{Backoff, Jitter, LONGEST};
pub use breaker::{Breaker, BreakerState};
pub use budget::RetryBudget;
pub use dedupe::Dedupe;
pub use explanation::{ExplainedPart, Explanation};
pub use on_failure::OnFailure;
pub use on_success::OnSuccess;
pub use rate::RateLimit;
pub use retry::Retry;
pub use rules::Rules;
pub(crate) use rules::is_over;
pub use verdict::{Attempt, EventVerdict, Reason, Trouble, Verdict, WorkerVerdict, decide};

pub(crate) use budget::Purse;
pub(crate) use circuit::{Circuit, Entry, Pass, Report};
pub(crate) use dedupe::{Identity, Memory};
pub(crate) use rate::{Opening, Rate};
pub(crate) use retry::Manner;
pub(crate) use sharing::GuardState;
pub(crate) use standing::Standing;
pub(crate) use step::Step;
pub(crate) use verdict::give_up;

use limit::Limit;
use on_failure::FailureOf;
use part::Part;
use parts::Parts;

/// What happens to events that succeed or fail. Every part is optional; a part that is not set here
/// is taken from the next policy up the tree (subscription, service, supervisor, and so on), and
/// finally from the [defaults](crate::defaults).
///
/// The parts are applied in a fixed order, whatever the order in which they were set:
///
/// 1. [`time_to_live`](Self::time_to_live): an event that has waited too long is *expired*;
/// 2. [`dedupe`](Self::dedupe): a copy of an earlier event is *discarded*;
/// 3. [`breaker`](Self::breaker): while it is open, no attempt is made;
/// 4. [`rate_limit`](Self::rate_limit): events that come too fast wait;
/// 5. the attempt, cut off by [`timeout`](Self::timeout) and [`deadline`](Self::deadline);
/// 6. after a success: [`success`](Self::success), then the event is acknowledged;
/// 7. after a failure: [`retry`](Self::retry), bounded by its attempts, its total time, the
///    deadline and the [`retry_budget`](Self::retry_budget);
/// 8. when the event is given up: [`failure_of`](Self::failure_of) the type of the failure, else
///    [`failure`](Self::failure).
///
/// The first two are asked once for each event, breaker and rate limit before each attempt, the
/// retry budget after a failure that is to be tried again.
///
/// While the breaker or rate limit delays the first event of a subscription, all events of the
/// service wait, as in an in-place retry, to keep order; letters and timers go on. Events past
/// their deadline skip both, because they are not tried.
///
/// Each subscription, and each worker of a service, has dedupe memory, breaker, rate limit and
/// retry budget of its own; the last three can be `shared`. Their counts survive restarts, and
/// changes of the policy that do not change them.
///
/// ```
/// use std::time::Duration;
/// use callboard::{Policy, Retry};
///
/// let policy = Policy::new()
///     .retry(Retry::exponential(Duration::from_millis(50)).attempts(4))
///     .timeout(Duration::from_secs(2));
/// println!("{}", policy.explain());
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Policy {
    /// Most policies set nothing, and then they take and cost nothing.
    parts: Option<Arc<Parts>>,
}

impl Policy {
    /// Starts a policy that sets nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how an event is tried again; by default 3 attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.change().retry = Some(Part::new(retry));
        self
    }

    /// Sets how long one attempt may take, with its [later work](crate::Context::later), before it
    /// is cancelled at its `.await`; no limit by default.
    ///
    /// It is for events. An answer has none, nor have hooks and timers: an answer goes on after its
    /// asker has given up, so limit what it waits for.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.change().timeout = Some(Part::new(Limit::After(limit)));
        self
    }

    /// Sets no limit for an attempt, whatever is set further up the tree.
    pub fn no_timeout(mut self) -> Self {
        self.change().timeout = Some(Part::new(Limit::Never));
        self
    }

    /// Restarts the worker after a timeout, as after a crash; by default it keeps its state.
    pub fn timeout_restarts(mut self) -> Self {
        self.change().timeout_restarts = Some(Part::new(true));
        self
    }

    /// Sets how long after its publication an event may still be tried, all attempts together; no
    /// limit by default.
    ///
    /// An attempt under way at the deadline is cancelled as by a timeout, and fails with
    /// [`TimedOut`](crate::TimedOut). No further attempt is made, nor one whose delay would end
    /// after the deadline. An event whose turn comes too late is given up without an attempt, and
    /// its failure is [`Overdue`](crate::Overdue). The failure policy then applies; to drop such
    /// events instead, use [`time_to_live`](Self::time_to_live). An event that was published before
    /// its topic had a subscriber with a deadline or a time to live has no deadline.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.change().deadline = Some(Part::new(Limit::After(limit)));
        self
    }

    /// Sets no deadline, whatever is set further up the tree.
    pub fn no_deadline(mut self) -> Self {
        self.change().deadline = Some(Part::new(Limit::Never));
        self
    }

    /// Sets how long an event may wait for its first attempt, counted from its publication; no
    /// limit by default. An event that has waited longer is dropped when its turn comes, and
    /// counted as *expired*. Redriven dead letters never expire this way.
    pub fn time_to_live(mut self, limit: Duration) -> Self {
        self.change().time_to_live = Some(Part::new(Limit::After(limit)));
        self
    }

    /// Sets no time to live, whatever is set further up the tree.
    pub fn no_time_to_live(mut self) -> Self {
        self.change().time_to_live = Some(Part::new(Limit::Never));
        self
    }

    /// Sets what happens to an event that is given up; by default it becomes a dead letter.
    pub fn failure(mut self, then: OnFailure) -> Self {
        self.change().failure = Some(Part::new(then));
        self
    }

    /// Sets what happens to an event that is given up because of a failure of this type, in place
    /// of [`failure`](Self::failure). Each type is a part of its own; if several apply, the nearest
    /// counts, and of these the one set last.
    ///
    /// The type is that of the error itself, not of its causes; see
    /// [`Failure::is`](crate::Failure::is). [`TimedOut`](crate::TimedOut),
    /// [`Overdue`](crate::Overdue) and [`Panic`](crate::Panic) are types as well.
    pub fn failure_of<T: Error + 'static>(mut self, then: OnFailure) -> Self {
        let part = Part::new(FailureOf::new::<T>(then));
        self.change().failure_of.insert(0, part);
        self
    }

    /// Sets what happens after an event was handled; by default it is acknowledged.
    pub fn success(mut self, then: OnSuccess) -> Self {
        self.change().success = Some(Part::new(then));
        self
    }

    /// Discards events that are copies of earlier ones; by default none is.
    pub fn dedupe(mut self, dedupe: Dedupe) -> Self {
        self.change().dedupe = Some(Part::new(Some(dedupe)));
        self
    }

    /// Sets no dedupe, whatever is set further up the tree: copies are handled as well.
    pub fn no_dedupe(mut self) -> Self {
        self.change().dedupe = Some(Part::new(None));
        self
    }

    /// Stops trying for a while when too many attempts fail; no breaker by default.
    ///
    /// ```
    /// use callboard::{Breaker, Policy, RateLimit, RetryBudget, secs};
    ///
    /// let policy = Policy::new()
    ///     .breaker(Breaker::new().open_for(secs(30)))
    ///     .rate_limit(RateLimit::per_second(50))
    ///     .retry_budget(RetryBudget::new(0.1));
    /// ```
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.change().breaker = Some(Part::new(Some(breaker)));
        self
    }

    /// Sets no breaker, whatever is set further up the tree.
    pub fn no_breaker(mut self) -> Self {
        self.change().breaker = Some(Part::new(None));
        self
    }

    /// Limits how often attempts are made; no limit by default.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.change().rate_limit = Some(Part::new(Some(limit)));
        self
    }

    /// Sets no rate limit, whatever is set further up the tree.
    pub fn no_rate_limit(mut self) -> Self {
        self.change().rate_limit = Some(Part::new(None));
        self
    }

    /// Limits retries to a share of the deliveries; no limit by default. An event that may not be
    /// tried again because of it meets the failure policy, with the reason
    /// [`RetryBudgetSpent`](crate::Reason::RetryBudgetSpent). Retries after crashes count too.
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.change().retry_budget = Some(Part::new(Some(budget)));
        self
    }

    /// Sets no retry budget, whatever is set further up the tree.
    pub fn no_retry_budget(mut self) -> Self {
        self.change().retry_budget = Some(Part::new(None));
        self
    }

    /// The steps that it takes after a success or a failure, and whether they are waited for.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&Step, bool)> {
        let parts = self.parts();
        let of = parts.failure_of.iter().map(|part| &part.value.then);
        let failures = of.chain(parts.failure.as_ref().map(|part| &part.value));
        let failures = failures.flat_map(|then| then.steps.iter().map(|step| (step, then.waited)));
        let success = parts.success.iter().map(|part| &part.value);
        let success = success.flat_map(|then| then.steps.iter().map(|step| (step, then.waited)));
        failures.chain(success)
    }

    /// Names the invalid settings, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let Some(parts) = &self.parts else {
            return Vec::new();
        };
        let retry = parts.retry.as_ref().map(|part| part.value.problems());
        let mut problems = retry.unwrap_or_default();
        for (name, part, what) in [
            ("timeout", &parts.timeout, "no attempt could succeed"),
            ("deadline", &parts.deadline, "no attempt could begin"),
            (
                "time to live",
                &parts.time_to_live,
                "no attempt could begin",
            ),
        ] {
            let part = part.as_ref();
            problems.extend(part.and_then(|part| part.value.problem(name, what)));
        }
        problems.extend(problems_of(&parts.dedupe, Dedupe::problems));
        problems.extend(problems_of(&parts.breaker, Breaker::problems));
        problems.extend(problems_of(&parts.rate_limit, RateLimit::problems));
        problems.extend(problems_of(&parts.retry_budget, RetryBudget::problems));
        problems
    }
}

fn problems_of<T>(part: &Option<Part<Option<T>>>, problems: fn(&T) -> Vec<String>) -> Vec<String> {
    let guard = part.as_ref().and_then(|part| part.value.as_ref());
    guard.map_or_else(Vec::new, problems)
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
