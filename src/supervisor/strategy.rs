//! Which children a failure concerns, and which ends complete a supervisor.
//!
//! A user chooses both when writing the tree; the family asks them after every exit.
//!
//! Invariant: the range a failure affects is contiguous and contains the failed child.
//!
//! It does not count restarts; that is the intensity's part.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Which children are restarted when one of them fails: OTP's strategies.
///
/// A group is stopped in reverse order, one child after the other, each within its own shutdown
/// time, and started in order, each when the one before it is ready. Members of the group that did
/// not fail are restarted however they ended, except for temporary ones: these end for good.
/// Children that had ended for good before stay as they are. A whole group counts as one restart.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Only the child that failed; its siblings do not notice. The default, for children that do
    /// not depend on one another.
    #[default]
    OneForOne,
    /// All children, for those that share state which none of them could rebuild alone.
    OneForAll,
    /// The child that failed and those added after it, for children that depend on the ones before
    /// them.
    RestForOne,
}

impl Strategy {
    /// Says which children, by their place in the order, a failure of `failed` restarts.
    pub(crate) fn affected(self, failed: u64) -> RangeInclusive<u64> {
        match self {
            Strategy::OneForOne => failed..=failed,
            Strategy::OneForAll => 0..=u64::MAX,
            Strategy::RestForOne => failed..=u64::MAX,
        }
    }
}

/// Whether a supervisor ends when children marked as significant have: OTP's `auto_shutdown`.
///
/// Only an end that was not requested, and that no restart follows, counts: of a transient child
/// that ended normally, or of a temporary one. The end of a child that was terminated, or stopped
/// together with its group, does not count. The other children are then stopped in reverse order,
/// and the supervisor ends with [`Exit::Shutdown`](crate::Exit::Shutdown). An end before all
/// children have started takes effect when they have.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoShutdown {
    /// It goes on, even without any child. The default.
    #[default]
    Never,
    /// As soon as one significant child has ended.
    AnySignificant,
    /// When a significant child has ended and no other significant one is left.
    AllSignificant,
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_affects_its_range() {
        assert_eq!(Strategy::OneForOne.affected(1), 1..=1);
        assert_eq!(Strategy::OneForAll.affected(1), 0..=u64::MAX);
        assert_eq!(Strategy::RestForOne.affected(1), 1..=u64::MAX);
    }
}
