//! Events of one subscription that wait outside its order, while others go on.
//!
//! A source puts them here and takes up those that are due.
//!
//! Invariant: of several events in one line only the first has a due time; the next gets one when
//! the first is settled.
//!
//! It knows no bound: its source does.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use crate::event::Key;
use crate::mailbox::held::Held;

#[derive(Debug)]
pub(crate) struct Aside<E> {
    /// By due time, then age; the last number keeps two from being one.
    waiting: BTreeMap<(Instant, u64, u64), Held<E>>,
    serial: u64,
    lines: BTreeMap<Key, Line<E>>,
    /// How many stand in the lines.
    lined_up: usize,
}

/// The events of one key that are to be handled one after the other.
#[derive(Debug)]
struct Line<E> {
    /// The number of the event that heads it, wherever that is.
    head: u64,
    behind: VecDeque<Held<E>>,
}

impl<E> Aside<E> {
    pub(crate) fn new() -> Self {
        Aside {
            waiting: BTreeMap::new(),
            serial: 0,
            lines: BTreeMap::new(),
            lined_up: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.lined_up
    }

    /// When the first is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, ..)| *due)
    }

    /// Lets an event wait until it is due.
    pub(crate) fn put(&mut self, held: Held<E>) {
        self.serial += 1;
        let key = (held.due, held.number(), self.serial);
        self.waiting.insert(key, held);
    }

    /// Takes out the one that is due first.
    pub(crate) fn take_first(&mut self) -> Option<Held<E>> {
        self.waiting.pop_first().map(|(_, held)| held)
    }

    pub(crate) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    pub(crate) fn has_line(&self, key: &Key) -> bool {
        self.lines.contains_key(key)
    }

    /// The number of the event that heads the line of this key.
    pub(crate) fn line_head(&self, key: &Key) -> Option<u64> {
        self.lines.get(key).map(|line| line.head)
    }

    /// Begins a line behind the event with this number. False if another heads one for this key
    /// already.
    pub(crate) fn begin_line(&mut self, key: &Key, head: u64) -> bool {
        if self.has_line(key) {
            return false;
        }
        let behind = VecDeque::new();
        self.lines.insert(key.clone(), Line { head, behind });
        true
    }

    /// Puts an event at the end of the line for its key.
    pub(crate) fn line_up(&mut self, key: &Key, held: Held<E>) {
        match self.lines.get_mut(key) {
            Some(line) => {
                line.behind.push_back(held);
                self.lined_up += 1;
            }
            None => self.put(held),
        }
    }

    /// The head of a line is settled: the next one is due, and heads what is left of it.
    pub(crate) fn move_up(&mut self, key: Key, now: Instant) {
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        match line.behind.pop_front() {
            Some(mut next) => {
                line.head = next.number();
                self.lined_up -= 1;
                next.line = Some(key);
                next.due = now;
                self.put(next);
            }
            None => drop(self.lines.remove(&key)),
        }
    }

    /// Takes out all, the oldest first.
    pub(crate) fn drain(&mut self) -> Vec<Held<E>> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        let lines = std::mem::take(&mut self.lines).into_values();
        let lines = lines.flat_map(|line| line.behind);
        let mut all: Vec<_> = waiting.chain(lines).collect();
        self.lined_up = 0;
        all.sort_by_key(Held::number);
        all
    }
}
