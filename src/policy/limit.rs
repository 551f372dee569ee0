//! A limit in time that a policy may set, or lift.
//!
//! Policies hold them as parts. It calls nothing.
//!
//! Invariant: no limit is something that can be set: it covers what is set further up the tree.
//!
//! It does not know what it limits.

use std::fmt;
use std::time::Duration;

use crate::policy::backoff::LONGEST;

#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Never,
    After(Duration),
}

impl Limit {
    pub(super) fn get(self) -> Option<Duration> {
        match self {
            Self::After(limit) => Some(limit),
            Self::Never => None,
        }
    }

    /// What is invalid about it; `what` follows from zero.
    pub(super) fn problem(self, name: &str, what: &str) -> Option<String> {
        match self {
            Self::After(Duration::ZERO) => Some(format!("the {name} is zero, so {what}")),
            Self::After(limit) if limit > LONGEST => {
                Some(format!("the {name} of {limit:?} is longer than 365 days"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("none"),
            Self::After(limit) => write!(f, "{limit:?}"),
        }
    }
}
