//! Where one child is between its first start and its end for good.
//!
//! The siblings keep one for each child; the family moves it along and asks it.
//!
//! Invariant: a child has one state, so at most one life.
//!
//! It knows no siblings.

use super::action::Why;
use crate::vitals::State;

/// Where one child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// No life; one begins when it is its turn.
    Waiting,
    /// No life; it waits once the pause after its failure is over.
    BackingOff,
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
    /// Alive, and meant to stay so.
    pub(super) const UPRIGHT: [Life; 2] = [Life::Starting, Life::Running];
    /// Alive, and meant to be gone.
    pub(super) const LEAVING: [Life; 3] = [Life::Doomed, Life::Stopping, Life::Killed];
    /// Alive, to be gone, and not yet by force.
    pub(super) const SPARED: [Life; 2] = [Life::Doomed, Life::Stopping];
    /// Everything that is not yet what it should be: neither running nor closed.
    pub(super) const UNSETTLED: [Life; 6] = [
        Life::Waiting,
        Life::BackingOff,
        Life::Starting,
        Life::Doomed,
        Life::Stopping,
        Life::Killed,
    ];

    /// Everything that has not ended for good.
    pub(super) const OPEN: [Life; 7] = [
        Life::Waiting,
        Life::BackingOff,
        Life::Starting,
        Life::Running,
        Life::Doomed,
        Life::Stopping,
        Life::Killed,
    ];

    pub(super) fn is_alive(self) -> bool {
        Life::UPRIGHT.contains(&self) || self.is_leaving()
    }

    pub(super) fn is_leaving(self) -> bool {
        Life::LEAVING.contains(&self)
    }

    pub(super) fn standing(self) -> State {
        match self {
            Life::Waiting => State::Waiting,
            Life::BackingOff => State::BackingOff,
            Life::Starting => State::Starting,
            Life::Running => State::Running,
            Life::Doomed | Life::Stopping | Life::Killed => State::Stopping,
            Life::Closed => State::Closed,
        }
    }
}

/// What becomes of a child once its present life is over because the family wanted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes back: a bystander of a group restart, or renewed.
    Again,
    /// It has been decided that it ends, and the family's own end does not change that.
    ForGood,
    /// It ends only because the family does, so it may come back when the family is made anew.
    WithFamily,
}

impl Fate {
    pub(super) fn why(self) -> Why {
        match self {
            Fate::Again => Why::Again,
            Fate::ForGood | Fate::WithFamily => Why::ForGood,
        }
    }
}

/// Why somebody waits for a child's start. A start that fails is then an answer, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Added,
    Restarted,
}
