//! What happens to an event when handling it goes well or badly.
//!
//! Users set policies on supervisors, services and subscriptions; hosts ask for [`Rules`] and
//! [`decide`]. It calls only its own parts.
//!
//! Invariant: everything here is pure; time and chance are arguments.
//!
//! It carries nothing out, and knows nothing of restart intensity.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

mod backoff;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "asked once deliveries are guarded")
)]
mod breaker;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "asked once deliveries are guarded")
)]
mod budget;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "asked once deliveries are guarded")
)]
mod circuit;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "asked once deliveries are guarded")
)]
mod dedupe;
mod on_failure;
mod on_success;
mod part;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "asked once deliveries are guarded")
)]
mod rate;
mod retry;
mod rules;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "asked once deliveries are guarded")
)]
mod sharing;
mod standing;
mod step;
mod verdict;
mod window;

pub use backoff::{Backoff, Jitter, LONGEST};
pub use breaker::{Breaker, BreakerState};
pub use budget::RetryBudget;
pub use dedupe::Dedupe;
pub use on_failure::OnFailure;
pub use on_success::OnSuccess;
pub use part::{ExplainedPart, Explanation};
pub use rate::RateLimit;
pub use retry::Retry;
pub use rules::Rules;
pub use verdict::{Attempt, EventVerdict, Reason, Trouble, Verdict, WorkerVerdict, decide};

pub(crate) use retry::Manner;
pub(crate) use standing::Standing;
pub(crate) use step::Step;
pub(crate) use verdict::give_up;

use on_failure::FailureOf;
use part::Part;

/// What happens to events that succeed or fail; every part is optional, and what is not set here
/// is taken from the next policy up the tree (subscription, service, supervisor, and so on), and
/// at last from the [defaults](crate::defaults).
///
/// The parts are applied in a fixed order, whatever the order in which they were set:
///
/// 1. [`time_to_live`](Self::time_to_live): what has waited for too long is *expired*;
/// 2. the attempt, cut off by [`timeout`](Self::timeout) and [`deadline`](Self::deadline);
/// 3. after a success: [`success`](Self::success), then the event is acknowledged;
/// 4. after a failure: [`retry`](Self::retry), bounded by its attempts, its total time and the
///    deadline;
/// 5. when it is given up: [`failure_of`](Self::failure_of) the type of the failure, else
///    [`failure`](Self::failure).
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
    retry: Option<Part<Retry>>,
    timeout: Option<Part<Limit>>,
    timeout_restarts: Option<Part<bool>>,
    deadline: Option<Part<Limit>>,
    time_to_live: Option<Part<Limit>>,
    failure: Option<Part<OnFailure>>,
    /// For each type of failure one, the nearest first.
    failure_of: Vec<Part<FailureOf>>,
    success: Option<Part<OnSuccess>>,
}

impl Policy {
    /// Starts a policy that sets nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how an event is tried again; by default 3 attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(Part::new(retry));
        self
    }

    /// Sets how long one attempt may take before it is cancelled; by default as long as it likes.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(Part::new(Limit::After(limit)));
        self
    }

    /// Lets an attempt take as long as it likes, whatever is set further up the tree.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = Some(Part::new(Limit::Never));
        self
    }

    /// Restarts the worker after a timeout, as after a crash; by default it keeps its state.
    pub fn timeout_restarts(mut self) -> Self {
        self.timeout_restarts = Some(Part::new(true));
        self
    }

    /// Sets how long after its publication an event may still be tried, all attempts together; by
    /// default for ever.
    ///
    /// An attempt that is under way then is cancelled as by a timeout; no further one is made, and
    /// one whose delay would end later is not waited for. An event that comes to its turn too late
    /// is given up without an attempt. It then meets the failure policy; see
    /// [`time_to_live`](Self::time_to_live) for what is to be let go. What was published before
    /// its topic had a subscriber with a deadline or a time to live has none.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(Part::new(Limit::After(limit)));
        self
    }

    /// Lets an event be tried however old it is, whatever is set further up the tree.
    pub fn no_deadline(mut self) -> Self {
        self.deadline = Some(Part::new(Limit::Never));
        self
    }

    /// Sets how long an event may wait for its first attempt, counted from its publication; by
    /// default for ever. One that has waited longer is let go when it comes to its turn, and
    /// counted as *expired*.
    pub fn time_to_live(mut self, limit: Duration) -> Self {
        self.time_to_live = Some(Part::new(Limit::After(limit)));
        self
    }

    /// Lets an event wait for ever, whatever is set further up the tree.
    pub fn no_time_to_live(mut self) -> Self {
        self.time_to_live = Some(Part::new(Limit::Never));
        self
    }

    /// Sets what happens to an event that is given up; by default it becomes a dead letter.
    pub fn failure(mut self, then: OnFailure) -> Self {
        self.failure = Some(Part::new(then));
        self
    }

    /// Sets what happens to an event that is given up because of a failure of this type, ahead of
    /// [`failure`](Self::failure). Each type is a part of its own; of several that apply, the
    /// nearest and then the one set last counts.
    ///
    /// The type is that of the error itself, not of its causes; see
    /// [`Failure::is`](crate::Failure::is). [`TimedOut`](crate::TimedOut), [`Overdue`](crate::Overdue)
    /// and [`Panic`](crate::Panic) are types as well.
    pub fn failure_of<T: Error + 'static>(mut self, then: OnFailure) -> Self {
        self.failure_of
            .insert(0, Part::new(FailureOf::new::<T>(then)));
        self
    }

    /// Sets what happens after an event was handled; by default it is acknowledged.
    pub fn success(mut self, then: OnSuccess) -> Self {
        self.success = Some(Part::new(then));
        self
    }

    /// Tells what each part is set to, and where.
    ///
    /// On a running board, see [`Board::policies`](crate::Board::policies).
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let limit = |limit: Option<&Limit>| limit.map_or_else(|| "none".into(), Limit::to_string);
        let restarts = |restarts: Option<&bool>| String::from(yes_no(restarts == Some(&true)));
        let mut parts = vec![
            ExplainedPart::new("time_to_live", self.time_to_live.as_ref(), limit),
            ExplainedPart::new("timeout", self.timeout.as_ref(), limit),
            ExplainedPart::new("timeout_restarts", self.timeout_restarts.as_ref(), restarts),
            ExplainedPart::new("deadline", self.deadline.as_ref(), limit),
            ExplainedPart::new("success", self.success.as_ref(), shown),
            ExplainedPart::new("retry", self.retry.as_ref(), shown),
        ];
        parts.extend(self.failure_of.iter().map(|part| {
            ExplainedPart::new("failure_of", Some(part), |of| {
                of.map_or_else(String::new, |of| format!("{}: {}", of.error, of.then))
            })
        }));
        parts.push(ExplainedPart::new("failure", self.failure.as_ref(), shown));
        Explanation { parts }
    }

    /// Notes that its parts were set here, where that is not known yet.
    pub(crate) fn made_at(mut self, path: &str) -> Self {
        let path = Arc::from(path);
        made_at(&mut self.retry, &path);
        made_at(&mut self.timeout, &path);
        made_at(&mut self.timeout_restarts, &path);
        made_at(&mut self.deadline, &path);
        made_at(&mut self.time_to_live, &path);
        made_at(&mut self.failure, &path);
        made_at(&mut self.success, &path);
        for part in &mut self.failure_of {
            part.made_at(&path);
        }
        self
    }

    /// Fills in, for each part that is not set here, what the outer policy sets.
    pub(crate) fn over(&self, outer: &Self) -> Self {
        let failure_of = self.failure_of.iter().chain(&outer.failure_of);
        Self {
            retry: nearest(&self.retry, &outer.retry),
            timeout: nearest(&self.timeout, &outer.timeout),
            timeout_restarts: nearest(&self.timeout_restarts, &outer.timeout_restarts),
            deadline: nearest(&self.deadline, &outer.deadline),
            time_to_live: nearest(&self.time_to_live, &outer.time_to_live),
            failure: nearest(&self.failure, &outer.failure),
            failure_of: failure_of.cloned().collect(),
            success: nearest(&self.success, &outer.success),
        }
    }

    /// Fills in the defaults, for each part that is not set.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let of = |part: &Part<FailureOf>| part.value.clone();
        Rules {
            retry: value(&self.retry),
            timeout: limit(&self.timeout),
            timeout_restarts: value(&self.timeout_restarts),
            deadline: limit(&self.deadline),
            time_to_live: limit(&self.time_to_live),
            failure: value(&self.failure),
            failure_of: self.failure_of.iter().map(of).collect(),
            success: value(&self.success),
        }
    }

    /// The steps that it takes after a success or a failure, and whether they are waited for.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&Step, bool)> {
        let of = self.failure_of.iter().map(|part| &part.value.then);
        let failures = of.chain(self.failure.as_ref().map(|part| &part.value));
        let failures = failures.flat_map(|then| then.steps.iter().map(|step| (step, then.waited)));
        let success = self.success.iter().map(|part| &part.value);
        let success = success.flat_map(|then| then.steps.iter().map(|step| (step, then.waited)));
        failures.chain(success)
    }

    /// Names the settings that cannot be meant, in plain words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let retry = self.retry.as_ref().map(|part| part.value.problems());
        let mut problems = retry.unwrap_or_default();
        for (name, part, what) in [
            ("timeout", &self.timeout, "no attempt could succeed"),
            ("deadline", &self.deadline, "no attempt could begin"),
            ("time to live", &self.time_to_live, "no attempt could begin"),
        ] {
            match part.as_ref().map(|part| part.value) {
                Some(Limit::After(Duration::ZERO)) => {
                    problems.push(format!("the {name} is zero, so {what}"));
                }
                Some(Limit::After(limit)) if limit > LONGEST => {
                    problems.push(format!("the {name} of {limit:?} is longer than 365 days"));
                }
                _ => {}
            }
        }
        problems
    }
}

fn made_at<T>(part: &mut Option<Part<T>>, path: &Arc<str>) {
    if let Some(part) = part {
        part.made_at(path);
    }
}

fn nearest<T: Clone>(inner: &Option<Part<T>>, outer: &Option<Part<T>>) -> Option<Part<T>> {
    inner.as_ref().or(outer.as_ref()).cloned()
}

fn value<T: Clone + Default>(part: &Option<Part<T>>) -> T {
    let part = part.as_ref();
    part.map_or_else(T::default, |part| part.value.clone())
}

fn limit(part: &Option<Part<Limit>>) -> Option<Duration> {
    match part.as_ref()?.value {
        Limit::After(limit) => Some(limit),
        Limit::Never => None,
    }
}

fn shown<T: fmt::Display + Default>(value: Option<&T>) -> String {
    value.map_or_else(|| T::default().to_string(), T::to_string)
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Never,
    After(Duration),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("none"),
            Self::After(limit) => write!(f, "{limit:?}"),
        }
    }
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
