//! The children of one family, found by id and by where they are.
//!
//! The family reads and changes them here; it is the only place where a child's life changes.
//!
//! Invariant: the index of lives and the count of significant children say what the children say,
//! because they change in the same place.
//!
//! It decides nothing, and every question costs O(log n).

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{ChildId, Member};
use super::index::Index;
use super::life::{Fate, Life, Request};
use crate::exit::Exit;

#[derive(Debug)]
pub(super) struct Child {
    pub(super) member: Member,
    life: Life,
    /// How many lives it has had; names the current one.
    pub(super) generation: u64,
    /// Whether any life has started well. A child whose first start fails fails the tree.
    pub(super) has_risen: bool,
    /// Who waits for its next good start, if anybody.
    pub(super) request: Option<Request>,
    /// What follows when it has left; means something only while it is leaving.
    pub(super) fate: Fate,
    /// When its life became ready.
    pub(super) ready_at: Option<Duration>,
    /// How many restarts in a row it has had, without a stable life between them.
    pub(super) streak: u32,
    /// How the life ended after which it backs off; told if the budget turns out to be spent. A
    /// box: few back off.
    pub(super) fault: Option<Box<Exit>>,
}

impl Child {
    fn new(member: Member, request: Option<Request>) -> Self {
        Self {
            member,
            life: Life::Waiting,
            generation: 0,
            has_risen: false,
            request,
            fate: Fate::Again,
            ready_at: None,
            streak: 0,
            fault: None,
        }
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }
}

#[derive(Debug, Default)]
pub(super) struct Siblings {
    children: BTreeMap<ChildId, Child>,
    index: Index,
    /// How many significant children are not closed.
    significant: usize,
    /// The highest id so far.
    last: Option<ChildId>,
}

impl Siblings {
    /// Those that a family begins with, all waiting. Of ids that do not rise the first is taken.
    pub(super) fn new(children: impl IntoIterator<Item = (ChildId, Member)>) -> Self {
        let mut siblings = Siblings::default();
        let claimed = children
            .into_iter()
            .filter(|(child, _)| siblings.claim(*child));
        let claimed: Vec<_> = claimed.collect();
        for (child, member) in &claimed {
            siblings.significant += usize::from(member.significant);
            siblings.index.insert(Life::Waiting, *child);
        }
        // Collected, and not inserted one by one: that leaves the nodes of the map half empty.
        let child = |(child, member)| (child, Child::new(member, None));
        siblings.children = claimed.into_iter().map(child).collect();
        siblings
    }

    /// Takes note of an id, and tells whether it may be used: ids only ever rise.
    pub(super) fn claim(&mut self, child: ChildId) -> bool {
        let is_new = self.last.is_none_or(|last| child > last);
        if is_new {
            self.last = Some(child);
        }
        is_new
    }

    /// Takes in a child whose id has been claimed; it waits for its turn.
    pub(super) fn insert(&mut self, child: ChildId, member: Member, request: Option<Request>) {
        self.significant += usize::from(member.significant);
        self.index.insert(Life::Waiting, child);
        self.children.insert(child, Child::new(member, request));
    }

    pub(super) fn get(&self, child: ChildId) -> Option<&Child> {
        self.children.get(&child)
    }

    pub(super) fn get_mut(&mut self, child: ChildId) -> Option<&mut Child> {
        self.children.get_mut(&child)
    }

    pub(super) fn life(&self, child: ChildId) -> Option<Life> {
        self.get(child).map(Child::life)
    }

    /// Moves a child to another life: the one place where that happens.
    pub(super) fn set(&mut self, child: ChildId, life: Life) {
        let Some(found) = self.children.get_mut(&child) else {
            return;
        };
        let was = std::mem::replace(&mut found.life, life);
        self.index.remove(was, child);
        self.index.insert(life, child);
        if found.member.significant {
            self.significant += usize::from(was == Life::Closed);
            self.significant -= usize::from(life == Life::Closed);
        }
    }

    /// Forgets a child that is closed.
    pub(super) fn remove(&mut self, child: ChildId) {
        if self.index.remove(Life::Closed, child) {
            self.children.remove(&child);
        }
    }

    /// Which children are where.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// How many significant children have not ended for good.
    pub(super) fn significant(&self) -> usize {
        self.significant
    }

    /// Counts everything anew, for the tests.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(super) fn check(&self) {
        let mut index = Index::default();
        for (id, child) in &self.children {
            index.insert(child.life, *id);
        }
        assert_eq!(self.index, index, "the index has drifted");
        let open = |child: &&Child| child.member.significant && child.life != Life::Closed;
        let significant = self.children.values().filter(open).count();
        assert_eq!(self.significant, significant, "the count has drifted");
    }
}
