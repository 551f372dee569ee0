//! What each part of a policy is set to, in words, and where that was done.
//!
//! Users ask a policy, or a board, and print it. It calls the parts.
//!
//! Invariant: every part is told, set or not, in the order in which they are applied.
//!
//! It decides nothing: what is in force is decided where policies are put over each other.

use std::fmt;

use crate::policy::Policy;
use crate::policy::limit::Limit;
use crate::policy::part::Part;

/// What each part of a policy is set to and where; it prints as a list, one part a line.
///
/// See [`Policy::explain`](crate::Policy::explain).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The parts, in the order in which they are applied.
    pub parts: Vec<ExplainedPart>,
}

/// One part of a policy, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedPart {
    /// Its name: that of the method which sets it.
    pub name: &'static str,
    /// What it is set to.
    pub value: String,
    /// The path of the supervisor or service that sets it, with ` on ` and the event's name where
    /// its subscription does; `None` for a default, and for a policy that is in no tree.
    pub from: Option<String>,
    /// Whether it is a default, set nowhere.
    pub is_default: bool,
}

impl Policy {
    /// What each part is set to, and where.
    ///
    /// For a running board, see [`Board::policies`](crate::Board::policies).
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let limit = |limit: Option<&Limit>| limit.map_or_else(|| "none".into(), Limit::to_string);
        let restarts = |restarts: Option<&bool>| String::from(yes_no(restarts == Some(&true)));
        let mut parts = vec![
            ExplainedPart::new("time_to_live", self.parts().time_to_live.as_ref(), limit),
            ExplainedPart::new("dedupe", self.parts().dedupe.as_ref(), guard),
            ExplainedPart::new("breaker", self.parts().breaker.as_ref(), guard),
            ExplainedPart::new("rate_limit", self.parts().rate_limit.as_ref(), guard),
            ExplainedPart::new("timeout", self.parts().timeout.as_ref(), limit),
            ExplainedPart::new(
                "timeout_restarts",
                self.parts().timeout_restarts.as_ref(),
                restarts,
            ),
            ExplainedPart::new("deadline", self.parts().deadline.as_ref(), limit),
            ExplainedPart::new("success", self.parts().success.as_ref(), shown),
            ExplainedPart::new("retry", self.parts().retry.as_ref(), shown),
            ExplainedPart::new("retry_budget", self.parts().retry_budget.as_ref(), guard),
        ];
        parts.extend(self.parts().failure_of.iter().map(|part| {
            ExplainedPart::new("failure_of", Some(part), |of| {
                of.map_or_else(String::new, |of| format!("{}: {}", of.error, of.then))
            })
        }));
        parts.push(ExplainedPart::new(
            "failure",
            self.parts().failure.as_ref(),
            shown,
        ));
        Explanation { parts }
    }
}

impl fmt::Display for ExplainedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)?;
        match &self.from {
            Some(from) => write!(f, " ({from})"),
            None if self.is_default => f.write_str(" (default)"),
            None => Ok(()),
        }
    }
}

/// One line for each part.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.parts.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl ExplainedPart {
    fn new<T>(
        name: &'static str,
        part: Option<&Part<T>>,
        value: impl FnOnce(Option<&T>) -> String,
    ) -> Self {
        Self {
            name,
            value: value(part.map(|part| &part.value)),
            from: part.and_then(|part| part.from.as_deref().map(str::to_owned)),
            is_default: part.is_none(),
        }
    }
}

fn shown<T: fmt::Display + Default>(value: Option<&T>) -> String {
    value.map_or_else(|| T::default().to_string(), T::to_string)
}

fn guard<T: fmt::Display>(value: Option<&Option<T>>) -> String {
    let guard = value.and_then(Option::as_ref);
    guard.map_or_else(|| "none".to_owned(), T::to_string)
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
