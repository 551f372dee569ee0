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
    /// Made when it is first needed: most subscriptions let nothing wait.
    parts: Option<Box<Parts<E>>>,
}

#[derive(Debug)]
struct Parts<E> {
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

impl<E> Default for Parts<E> {
    fn default() -> Self {
        Parts {
            waiting: BTreeMap::new(),
            serial: 0,
            lines: BTreeMap::new(),
            lined_up: 0,
        }
    }
}

impl<E> Aside<E> {
    pub(crate) fn new() -> Self {
        Aside { parts: None }
    }

    fn line(&self, key: &Key) -> Option<&Line<E>> {
        self.parts.as_ref()?.lines.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        let parts = self.parts.as_ref();
        parts.map_or(0, |parts| parts.waiting.len() + parts.lined_up)
    }

    /// When the first is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (due, ..) = self.parts.as_ref()?.waiting.keys().next()?;
        Some(*due)
    }

    /// Lets an event wait until it is due.
    pub(crate) fn put(&mut self, held: Held<E>) {
        self.parts.get_or_insert_default().put(held);
    }

    /// Takes out the one that is due first.
    pub(crate) fn take_first(&mut self) -> Option<Held<E>> {
        let (_, held) = self.parts.as_mut()?.waiting.pop_first()?;
        Some(held)
    }

    pub(crate) fn has_lines(&self) -> bool {
        let parts = self.parts.as_ref();
        parts.is_some_and(|parts| !parts.lines.is_empty())
    }

    pub(crate) fn has_line(&self, key: &Key) -> bool {
        self.line(key).is_some()
    }

    /// The number of the event that heads the line of this key.
    pub(crate) fn line_head(&self, key: &Key) -> Option<u64> {
        self.line(key).map(|line| line.head)
    }

    /// Begins a line behind the event with this number. False if another heads one for this key
    /// already.
    pub(crate) fn begin_line(&mut self, key: &Key, head: u64) -> bool {
        if self.has_line(key) {
            return false;
        }
        let behind = VecDeque::new();
        let parts = self.parts.get_or_insert_default();
        parts.lines.insert(key.clone(), Line { head, behind });
        true
    }

    /// Puts an event at the end of the line for its key.
    pub(crate) fn line_up(&mut self, key: &Key, held: Held<E>) {
        let parts = self.parts.get_or_insert_default();
        match parts.lines.get_mut(key) {
            Some(line) => {
                line.behind.push_back(held);
                parts.lined_up += 1;
            }
            None => parts.put(held),
        }
    }

    /// The head of a line is settled: the next one is due, and heads what is left of it.
    pub(crate) fn move_up(&mut self, key: Key, now: Instant) {
        let Some(parts) = &mut self.parts else { return };
        let Some(line) = parts.lines.get_mut(&key) else {
            return;
        };
        match line.behind.pop_front() {
            Some(mut next) => {
                line.head = next.number();
                parts.lined_up -= 1;
                next.line = Some(key);
                next.due = now;
                parts.put(next);
            }
            None => drop(parts.lines.remove(&key)),
        }
    }

    /// What a guard makes wait is due now.
    pub(crate) fn let_go(&mut self, now: Instant) {
        let Some(parts) = &mut self.parts else { return };
        let waiting = parts.waiting.iter();
        let keys = waiting
            .filter(|(_, held)| held.is_put_off)
            .map(|(key, _)| *key);
        for key in keys.collect::<Vec<_>>() {
            if let Some(mut held) = parts.waiting.remove(&key) {
                held.due = now;
                parts.put(held);
            }
        }
    }

    /// Takes out all, the oldest first.
    pub(crate) fn drain(&mut self) -> Vec<Held<E>> {
        let Some(parts) = self.parts.take() else {
            return Vec::new();
        };
        let lines = parts.lines.into_values().flat_map(|line| line.behind);
        let mut all: Vec<_> = parts.waiting.into_values().chain(lines).collect();
        all.sort_by_key(Held::number);
        all
    }
}

impl<E> Parts<E> {
    fn put(&mut self, held: Held<E>) {
        self.serial += 1;
        let key = (held.due, held.number(), self.serial);
        self.waiting.insert(key, held);
    }
}
