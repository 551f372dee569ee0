//! One setting of a policy, and where it was made.
//!
//! A policy is made of parts; explanations print them. It calls nothing.
//!
//! Invariant: a part keeps the path at which it was set, however far it is inherited.
//!
//! It knows nothing of what it holds.

use std::fmt;
use std::sync::Arc;

/// A setting; `from` is the path where it was made, once the tree is known.
#[derive(Clone, Debug)]
pub(crate) struct Part<T> {
    pub(crate) value: T,
    pub(crate) from: Option<Arc<str>>,
}

impl<T> Part<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value, from: None }
    }

    /// Notes where it was made, unless that is known.
    pub(crate) fn made_at(&mut self, path: &Arc<str>) {
        self.from.get_or_insert_with(|| Arc::clone(path));
    }
}

/// Where each part of a policy comes from: a table that prints itself.
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
    /// Its name, as that of the method which sets it.
    pub name: &'static str,
    /// What it is set to.
    pub value: String,
    /// The path of the supervisor or service that sets it, with ` on ` and the event's name where
    /// its subscription does; `None` for a default, and for a policy that is in no tree.
    pub from: Option<String>,
    /// Whether nobody has set it.
    pub is_default: bool,
}

impl ExplainedPart {
    pub(crate) fn new<T>(
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
