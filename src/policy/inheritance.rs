//! Which setting of each part of a policy is in force.
//!
//! Specs put the policies of a tree over each other; subscriptions ask for the rules that come of
//! it. It calls the parts.
//!
//! Invariant: the nearest setting of each part wins, and what nobody sets is the default.
//!
//! It does not know the tree: whoever does puts the policies in order.

use std::sync::Arc;

use crate::policy::limit::Limit;
use crate::policy::on_failure::FailureOf;
use crate::policy::part::Part;
use crate::policy::{Policy, Rules};

impl Policy {
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
        made_at(&mut self.dedupe, &path);
        made_at(&mut self.breaker, &path);
        made_at(&mut self.rate_limit, &path);
        made_at(&mut self.retry_budget, &path);
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
            dedupe: nearest(&self.dedupe, &outer.dedupe),
            breaker: nearest(&self.breaker, &outer.breaker),
            rate_limit: nearest(&self.rate_limit, &outer.rate_limit),
            retry_budget: nearest(&self.retry_budget, &outer.retry_budget),
        }
    }

    /// Fills in the defaults, for each part that is not set.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let of = |part: &Part<FailureOf>| part.value.clone();
        let limit = |part: &Option<Part<Limit>>| part.as_ref().and_then(|part| part.value.get());
        Rules {
            retry: value(&self.retry),
            timeout: limit(&self.timeout),
            timeout_restarts: value(&self.timeout_restarts),
            deadline: limit(&self.deadline),
            time_to_live: limit(&self.time_to_live),
            failure: value(&self.failure),
            failure_of: self.failure_of.iter().map(of).collect(),
            success: value(&self.success),
            dedupe: value(&self.dedupe),
            breaker: value(&self.breaker),
            rate_limit: value(&self.rate_limit),
            retry_budget: value(&self.retry_budget),
        }
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
