//! Which children are where: one ordered set for each life.
//!
//! The siblings keep it in step with the children, and search in it.
//!
//! Invariant: a child is in one set only.
//!
//! It knows nothing of a child but its id.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::action::ChildId;
use super::life::Life;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Index {
    waiting: BTreeSet<ChildId>,
    backing_off: BTreeSet<ChildId>,
    starting: BTreeSet<ChildId>,
    running: BTreeSet<ChildId>,
    doomed: BTreeSet<ChildId>,
    stopping: BTreeSet<ChildId>,
    killed: BTreeSet<ChildId>,
    closed: BTreeSet<ChildId>,
}

impl Index {
    pub(super) fn insert(&mut self, life: Life, child: ChildId) {
        self.set_mut(life).insert(child);
    }

    /// Takes a child out of a set, and tells whether it was there.
    pub(super) fn remove(&mut self, life: Life, child: ChildId) -> bool {
        self.set_mut(life).remove(&child)
    }

    /// The children with this life, in order.
    pub(super) fn at(&self, life: Life) -> impl DoubleEndedIterator<Item = ChildId> {
        self.set(life).iter().copied()
    }

    pub(super) fn first(&self, lives: &[Life]) -> Option<ChildId> {
        let firsts = lives.iter().filter_map(|life| self.set(*life).first());
        firsts.min().copied()
    }

    pub(super) fn last(&self, lives: &[Life]) -> Option<ChildId> {
        let lasts = lives.iter().filter_map(|life| self.set(*life).last());
        lasts.max().copied()
    }

    pub(super) fn is_none(&self, lives: &[Life]) -> bool {
        lives.iter().all(|life| self.set(*life).is_empty())
    }

    /// Those in the range with one of these lives, in reverse order.
    pub(super) fn reversed(&self, lives: &[Life], range: RangeInclusive<ChildId>) -> Vec<ChildId> {
        // A set panics when asked for a range that is empty.
        if range.is_empty() {
            return Vec::new();
        }
        let within = |life: &Life| self.set(*life).range(range.clone()).copied();
        let mut found: Vec<ChildId> = lives.iter().flat_map(within).collect();
        found.sort_unstable();
        found.reverse();
        found
    }

    fn set(&self, life: Life) -> &BTreeSet<ChildId> {
        match life {
            Life::Waiting => &self.waiting,
            Life::BackingOff => &self.backing_off,
            Life::Starting => &self.starting,
            Life::Running => &self.running,
            Life::Doomed => &self.doomed,
            Life::Stopping => &self.stopping,
            Life::Killed => &self.killed,
            Life::Closed => &self.closed,
        }
    }

    fn set_mut(&mut self, life: Life) -> &mut BTreeSet<ChildId> {
        match life {
            Life::Waiting => &mut self.waiting,
            Life::BackingOff => &mut self.backing_off,
            Life::Starting => &mut self.starting,
            Life::Running => &mut self.running,
            Life::Doomed => &mut self.doomed,
            Life::Stopping => &mut self.stopping,
            Life::Killed => &mut self.killed,
            Life::Closed => &mut self.closed,
        }
    }
}
