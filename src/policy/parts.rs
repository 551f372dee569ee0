//! What a policy sets, where it sets anything.
//!
//! A policy holds it, shared with its clones; inheritance and explanations read it.
//!
//! Invariant: the rules that are kept here are those that follow from the parts.
//!
//! It does not know who it is for.

use std::sync::{Arc, OnceLock};

use crate::policy::breaker::Breaker;
use crate::policy::budget::RetryBudget;
use crate::policy::dedupe::Dedupe;
use crate::policy::limit::Limit;
use crate::policy::on_failure::{FailureOf, OnFailure};
use crate::policy::on_success::OnSuccess;
use crate::policy::part::Part;
use crate::policy::rate::RateLimit;
use crate::policy::retry::Retry;
use crate::policy::{Policy, Rules};

#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) retry: Option<Part<Retry>>,
    pub(super) timeout: Option<Part<Limit>>,
    pub(super) timeout_restarts: Option<Part<bool>>,
    pub(super) deadline: Option<Part<Limit>>,
    pub(super) time_to_live: Option<Part<Limit>>,
    pub(super) failure: Option<Part<OnFailure>>,
    /// For each type of failure one, the nearest first.
    pub(super) failure_of: Vec<Part<FailureOf>>,
    pub(super) success: Option<Part<OnSuccess>>,
    pub(super) dedupe: Option<Part<Option<Dedupe>>>,
    pub(super) breaker: Option<Part<Option<Breaker>>>,
    pub(super) rate_limit: Option<Part<Option<RateLimit>>>,
    pub(super) retry_budget: Option<Part<Option<RetryBudget>>>,
    /// Made when they are first asked for: one copy for a whole tree, if it sets nothing else.
    rules: OnceLock<Arc<Rules>>,
}

/// Those of a policy that sets nothing, and the rules that follow.
static NOTHING: Parts = Parts {
    retry: None,
    timeout: None,
    timeout_restarts: None,
    deadline: None,
    time_to_live: None,
    failure: None,
    failure_of: Vec::new(),
    success: None,
    dedupe: None,
    breaker: None,
    rate_limit: None,
    retry_budget: None,
    rules: OnceLock::new(),
};

impl Policy {
    pub(super) fn parts(&self) -> &Parts {
        self.parts.as_deref().unwrap_or(&NOTHING)
    }

    /// The parts of this policy alone, to be changed.
    pub(super) fn change(&mut self) -> &mut Parts {
        let parts = Arc::make_mut(self.parts.get_or_insert_default());
        parts.rules = OnceLock::new();
        parts
    }

    /// Its rules, shared by all who follow them.
    pub(crate) fn shared_rules(&self) -> Arc<Rules> {
        let rules = &self.parts().rules;
        Arc::clone(rules.get_or_init(|| Arc::new(self.rules())))
    }
}
