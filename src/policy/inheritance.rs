//! Which setting of each part of a policy is in force.
//!
//! Specs put the policies of a tree over each other; subscriptions ask for the rules that come of
//! it. It calls the parts.
//!
//! Invariant: the nearest setting of each part wins, and what nobody sets is the default.
//!
//! It does not know the tree: whoever does puts the policies in order.

use std::fmt;
use std::sync::Arc;

use crate::policy::limit::Limit;
use crate::policy::on_failure::FailureOf;
use crate::policy::part::Part;
use crate::policy::{Policy, Rules};

impl Policy {
    /// Notes that its parts were set here, where that is not known yet.
    pub(crate) fn made_at(mut self, path: impl fmt::Display) -> Self {
        if self.parts.is_none() {
            return self;
        }
        let (path, parts) = (Arc::from(path.to_string()), self.change());
        made_at(&mut parts.retry, &path);
        made_at(&mut parts.timeout, &path);
        made_at(&mut parts.timeout_restarts, &path);
        made_at(&mut parts.deadline, &path);
        made_at(&mut parts.time_to_live, &path);
        made_at(&mut parts.failure, &path);
        made_at(&mut parts.success, &path);
        made_at(&mut parts.dedupe, &path);
        made_at(&mut parts.breaker, &path);
        made_at(&mut parts.rate_limit, &path);
        made_at(&mut parts.retry_budget, &path);
        for part in &mut parts.failure_of {
            part.made_at(&path);
        }
        self
    }

    /// Fills in, for each part that is not set here, what the outer policy sets.
    pub(crate) fn over(&self, outer: &Self) -> Self {
        let (Some(inner), Some(_)) = (&self.parts, &outer.parts) else {
            let one = if self.parts.is_some() { self } else { outer };
            return one.clone();
        };
        let mut both = self.clone();
        let (outer, parts) = (outer.parts(), both.change());
        parts.retry = nearest(&inner.retry, &outer.retry);
        parts.timeout = nearest(&inner.timeout, &outer.timeout);
        parts.timeout_restarts = nearest(&inner.timeout_restarts, &outer.timeout_restarts);
        parts.deadline = nearest(&inner.deadline, &outer.deadline);
        parts.time_to_live = nearest(&inner.time_to_live, &outer.time_to_live);
        parts.failure = nearest(&inner.failure, &outer.failure);
        parts.failure_of.extend_from_slice(&outer.failure_of);
        parts.success = nearest(&inner.success, &outer.success);
        parts.dedupe = nearest(&inner.dedupe, &outer.dedupe);
        parts.breaker = nearest(&inner.breaker, &outer.breaker);
        parts.rate_limit = nearest(&inner.rate_limit, &outer.rate_limit);
        parts.retry_budget = nearest(&inner.retry_budget, &outer.retry_budget);
        both
    }

    /// Fills in the defaults, for each part that is not set.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let parts = self.parts();
        let of = |part: &Part<FailureOf>| part.value.clone();
        let limit = |part: &Option<Part<Limit>>| part.as_ref().and_then(|part| part.value.get());
        Rules {
            retry: value(&parts.retry),
            timeout: limit(&parts.timeout),
            timeout_restarts: value(&parts.timeout_restarts),
            deadline: limit(&parts.deadline),
            time_to_live: limit(&parts.time_to_live),
            failure: value(&parts.failure),
            failure_of: parts.failure_of.iter().map(of).collect(),
            success: value(&parts.success),
            dedupe: value(&parts.dedupe),
            breaker: value(&parts.breaker),
            rate_limit: value(&parts.rate_limit),
            retry_budget: value(&parts.retry_budget),
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
