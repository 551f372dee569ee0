//! Where an event or letter comes from.
//!
//! Verbs make it; topics and letters keep what they need of it.
//!
//! Invariant: it consists of whole words. It is moved with whoever publishes, and a copy that spans
//! a gap waits for what was stored beside the gap: that took a sixth of publishing to one.
//!
//! It knows the service that publishes by its number alone.

use crate::event::{Byline, Cause};

#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    byline: Option<Byline>,
    span: Option<tracing::Id>,
    /// 1 for an insider.
    insider: u64,
}

impl Origin {
    /// From an insider it is still accepted while the board drains.
    #[inline]
    pub(crate) fn new(is_insider: bool, byline: Option<Byline>, span: Option<tracing::Id>) -> Self {
        Origin {
            byline,
            span,
            insider: is_insider.into(),
        }
    }

    /// What was being handled when it was published, and by whom.
    #[inline]
    pub(crate) fn byline(&self) -> Option<Byline> {
        self.byline
    }

    /// What was being handled when it was published.
    #[inline]
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.byline.map(Byline::cause)
    }

    pub(crate) fn span(&self) -> Option<&tracing::Id> {
        self.span.as_ref()
    }

    /// Whether a handler, or the board itself, has published it.
    #[inline]
    pub(crate) fn is_insider(&self) -> bool {
        self.insider == 1
    }

    /// By the time it is published the span may have ended, and its number be another's.
    pub(crate) fn forget_span(&mut self) {
        self.span = None;
    }
}
