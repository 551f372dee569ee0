//! Which children a failure concerns, and which exits call for a restart.
//!
//! A user chooses both when writing the tree; the family asks them after every exit.
//!
//! Invariant: the range a failure affects is contiguous and contains the failed child.
//!
//! It does not count restarts; that is the intensity's part.

use std::ops::Range;

/// Which children are restarted when one of them fails.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Only the child that failed; its siblings do not notice. The default.
    #[default]
    OneForOne,
    // The family is written for groups already. These two exist for its tests until the board
    // can hand their events in flight back; then they only lose the attribute.
    /// All children: stopped in reverse order, then started in order.
    #[cfg(test)]
    OneForAll,
    /// The child that failed and those after it, stopped and started like the whole group.
    #[cfg(test)]
    RestForOne,
}

impl Strategy {
    /// Says which of `children` a failure of the one at index `failed` restarts.
    pub(crate) fn affected(self, children: usize, failed: usize) -> Range<usize> {
        match self {
            Strategy::OneForOne => failed..children.min(failed + 1),
            #[cfg(test)]
            Strategy::OneForAll => 0..children,
            #[cfg(test)]
            Strategy::RestForOne => failed..children,
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_affects_its_range() {
        assert_eq!(Strategy::OneForOne.affected(4, 1), 1..2);
        assert_eq!(Strategy::OneForAll.affected(4, 1), 0..4);
        assert_eq!(Strategy::RestForOne.affected(4, 1), 1..4);
    }
}
