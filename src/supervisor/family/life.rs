//! Where one child is between its first start and its end for good.
//!
//! The family moves it along and asks it.
//!
//! Invariant: a child has one state, so at most one life.
//!
//! It knows no siblings.

use super::action::Member;

/// Where one child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// No life; one begins when it is its turn.
    Waiting,
    Starting,
    Running,
    /// Alive, to be stopped when it is its turn.
    Doomed,
    Stopping,
    Killed,
    /// Ended for good.
    Closed,
}

impl Life {
    pub(super) fn is_over(self) -> bool {
        matches!(self, Life::Waiting | Life::Closed)
    }

    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Life::Doomed | Life::Stopping | Life::Killed)
    }

    pub(super) fn is_settled(self) -> bool {
        matches!(self, Life::Running | Life::Closed)
    }
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) member: Member,
    pub(super) life: Life,
    /// How many lives it has had; names the current one.
    pub(super) generation: u64,
    /// Whether any life has started well. A child whose first start fails fails the tree.
    pub(super) has_risen: bool,
}

impl Child {
    pub(super) fn new(member: Member) -> Self {
        Self {
            member,
            life: Life::Waiting,
            generation: 0,
            has_risen: false,
        }
    }

    /// Marks it to be stopped in its turn, if it lives and is not leaving already.
    pub(super) fn doom(&mut self) {
        if matches!(self.life, Life::Starting | Life::Running) {
            self.life = Life::Doomed;
        }
    }
}
