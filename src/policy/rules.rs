//! A policy with every part filled in.
//!
//! A subscription follows one; the verdict reads it. It calls nothing.
//!
//! Invariant: it is never changed: a policy that is changed makes another.
//!
//! It says nothing of where its parts come from.

use std::time::Duration;

use crate::failure::Failure;
use crate::policy::breaker::Breaker;
use crate::policy::budget::RetryBudget;
use crate::policy::dedupe::Dedupe;
use crate::policy::on_failure::{FailureOf, OnFailure};
use crate::policy::on_success::OnSuccess;
use crate::policy::rate::RateLimit;
use crate::policy::retry::Retry;

/// A [`Policy`](crate::Policy) with every part filled in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rules {
    /// How an event is tried again.
    pub retry: Retry,
    /// How long one attempt may take; `None` is as long as it likes.
    pub timeout: Option<Duration>,
    /// Whether an attempt that takes longer costs the worker its life, as a crash does.
    pub timeout_restarts: bool,
    /// How long after its publication an event may be tried.
    pub deadline: Option<Duration>,
    /// How long an event may wait for its first attempt.
    pub time_to_live: Option<Duration>,
    /// What happens to an event that is given up because of a failure that no other names.
    pub failure: OnFailure,
    pub(crate) failure_of: Vec<FailureOf>,
    /// What happens after an event was handled.
    pub success: OnSuccess,
    /// Which events are copies, if any are.
    pub dedupe: Option<Dedupe>,
    /// When to stop trying, if ever.
    pub breaker: Option<Breaker>,
    /// How often attempts may be made, if that is bounded.
    pub rate_limit: Option<RateLimit>,
    /// How many retries there may be, if that is bounded.
    pub retry_budget: Option<RetryBudget>,
}

impl Rules {
    /// What happens to an event that is given up because of this failure.
    pub fn on_failure(&self, failure: &Failure) -> &OnFailure {
        let of = self.failure_of.iter().find(|of| (of.applies)(failure));
        of.map_or(&self.failure, |of| &of.then)
    }

    /// How long an attempt may take that begins now at an event accepted then: the timeout, or the
    /// time to the deadline if that is shorter.
    #[inline]
    pub(crate) fn limit(
        &self,
        accepted: Option<Duration>,
        at: impl FnOnce() -> Duration,
    ) -> Option<Duration> {
        match (self.left(accepted, at), self.timeout) {
            (Some(left), Some(timeout)) => Some(left.min(timeout)),
            (left, timeout) => left.or(timeout),
        }
    }

    /// Whether an event accepted then is not to be tried, or not for the first time.
    pub(crate) fn is_too_late(
        &self,
        accepted: Option<Duration>,
        at: Duration,
        is_first: bool,
    ) -> bool {
        let has_expired = is_first && is_over(self.time_to_live, accepted, at);
        has_expired || is_over(self.deadline, accepted, at)
    }

    /// What is left to the deadline.
    #[inline]
    pub(crate) fn left(
        &self,
        accepted: Option<Duration>,
        at: impl FnOnce() -> Duration,
    ) -> Option<Duration> {
        let (limit, accepted) = self.deadline.zip(accepted)?;
        Some(limit.saturating_sub(at().saturating_sub(accepted)))
    }

    /// Whether an event is handled without a look at it before or after, and at the clock.
    pub(crate) fn are_lax(&self) -> bool {
        let is_timed = self.timeout.is_some() || self.needs_time() || self.retry.is_bounded();
        !is_timed && !self.has_guards() && self.success.steps.is_empty()
    }

    /// Whether something is to be asked before events are tried, or tried again.
    pub(crate) fn has_guards(&self) -> bool {
        let before = self.dedupe.is_some() || self.breaker.is_some() || self.rate_limit.is_some();
        before || self.retry_budget.is_some()
    }

    /// Whether how old an event is matters.
    pub(crate) fn needs_time(&self) -> bool {
        self.deadline.is_some() || self.time_to_live.is_some()
    }
}

/// Whether an event that was accepted then is older than this.
#[inline]
pub(crate) fn is_over(limit: Option<Duration>, accepted: Option<Duration>, at: Duration) -> bool {
    let limit = limit.zip(accepted);
    limit.is_some_and(|(limit, accepted)| at.saturating_sub(accepted) >= limit)
}
