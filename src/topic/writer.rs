//! What the lock of a topic protects: the blocks, the places, who sleeps, who is full.
//!
//! Only `topic` uses it, under its lock; nothing here runs user code or waits.
//!
//! Invariant: `limits` holds every open place at a tail no later than the one at which it is
//! full, so comparing the tail with the smallest is enough until that is reached.
//!
//! It frees nothing itself: freed blocks are handed out, to be dropped outside the lock.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::Refusal;
use super::block::{Block, Slot};
use super::place::{Overflow, Place, Terms};
use super::settlement::{Ending, Fate, Settlement};
use super::tally::Count;
use crate::bell::Bell;
use crate::ledger::{DeliveryRow, TopicRow, take_tree};
use crate::sync::{Arc, Ordering};

/// Limits of closed places that are not worth a search.
const LIMITS_KEPT: usize = 64;

pub(super) struct Writer<E> {
    pub(super) tail: u64,
    unheard: u64,
    published: u64,
    blocks: VecDeque<Arc<Block<E>>>,
    /// The open places.
    places: BTreeMap<u64, Arc<Place<E>>>,
    /// Closed places that still hold an event in flight or deferred.
    ending: Vec<Arc<Place<E>>>,
    next_place: u64,
    /// Rows of places that have ended, by service.
    archive: BTreeMap<Arc<str>, DeliveryRow>,
    waits: BinaryHeap<Reverse<Limit<E>>>,
    sheds: BinaryHeap<Reverse<Limit<E>>>,
    sleepers: Vec<Arc<Place<E>>>,
    /// An emptied list of sleepers, to be filled again: waking allocates nothing.
    spare: Vec<Arc<Place<E>>>,
    /// The place that was furthest behind when blocks were last freed.
    laggard: Option<Arc<Place<E>>>,
    /// Events before this position may be watched.
    watched: u64,
}

/// The tail at which a place is full, as last computed.
struct Limit<E> {
    at: u64,
    place: Arc<Place<E>>,
}

impl<E> Limit<E> {
    fn key(&self) -> (u64, u64) {
        (self.at, self.place.id)
    }
}

impl<E> PartialEq for Limit<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<E> Eq for Limit<E> {}
impl<E> PartialOrd for Limit<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Limit<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<E> Writer<E> {
    pub(super) fn new() -> Self {
        Writer {
            tail: 0,
            unheard: 0,
            published: 0,
            blocks: VecDeque::new(),
            places: BTreeMap::new(),
            ending: Vec::new(),
            next_place: 0,
            archive: BTreeMap::new(),
            waits: BinaryHeap::new(),
            sheds: BinaryHeap::new(),
            sleepers: Vec::new(),
            spare: Vec::new(),
            laggard: None,
            watched: 0,
        }
    }

    pub(super) fn open(
        &mut self,
        terms: Terms,
        bell: Arc<Bell>,
        event: &'static str,
    ) -> Arc<Place<E>> {
        let id = self.next_place;
        self.next_place += 1;
        let overflow = terms.overflow;
        let place = Arc::new(Place::new(id, event, terms, bell, self.tail));
        self.places.insert(id, Arc::clone(&place));
        let limit = Reverse(Limit {
            at: place.limit(),
            place: Arc::clone(&place),
        });
        match overflow {
            Overflow::Wait => self.waits.push(limit),
            Overflow::DropOldest => self.sheds.push(limit),
        }
        place
    }

    #[cfg(test)]
    pub(super) fn open_places(&self) -> Vec<Arc<Place<E>>> {
        self.places.values().cloned().collect()
    }

    /// Closes a place; returns the numbers of what it had not read, and blocks to drop.
    pub(super) fn close(&mut self, place: &Arc<Place<E>>) -> (Vec<u64>, Vec<Arc<Block<E>>>) {
        if place.is_closed() {
            return (Vec::new(), Vec::new());
        }
        let unread = place.close(self.tail);
        let mut numbers: Vec<u64> = unread
            .filter_map(|at| self.report(place, at, Fate::Undelivered))
            .collect();
        while let Some(returned) = place.take_return(Count::Undelivered) {
            numbers.push(returned.number);
        }
        self.places.remove(&place.id);
        self.ending.push(Arc::clone(place));
        self.forget_limits();
        if self
            .laggard
            .as_ref()
            .is_some_and(|laggard| Arc::ptr_eq(laggard, place))
        {
            self.laggard = None;
        }
        self.archive_ended();
        let freed = if self.places.is_empty() {
            self.blocks.drain(..).collect()
        } else {
            Vec::new()
        };
        (numbers, freed)
    }

    /// Drops the limits of closed places once they are the most: one that is not on top is not
    /// met while nothing is published, and readers may come and go meanwhile.
    fn forget_limits(&mut self) {
        let open = self.places.len();
        for limits in [&mut self.waits, &mut self.sheds] {
            if limits.len() > 2 * open + LIMITS_KEPT {
                limits.retain(|limit| !limit.0.place.is_closed());
            }
        }
    }

    pub(super) fn has_readers(&self) -> bool {
        !self.places.is_empty()
    }

    /// Adds the rows of what was at and below this path, and has ended, to the row of this name.
    pub(super) fn fold(&mut self, path: &str, into: &Arc<str>) {
        self.archive_ended();
        for row in take_tree(&mut self.archive, path) {
            let mut sum = DeliveryRow::new(into.to_string(), row.event.clone());
            sum.add(&row);
            match self.archive.get_mut(into) {
                Some(before) => before.add(&sum),
                None => drop(self.archive.insert(Arc::clone(into), sum)),
            }
        }
    }

    /// Tells the watch of an event, if it has one, what became of it; returns its number.
    fn report(&self, place: &Place<E>, position: u64, fate: Fate) -> Option<u64> {
        let slot = self.find(position)?.slot(position)?;
        place.report(slot, Ending::after(0, fate));
        Some(slot.stamp.number)
    }

    /// Checks that all places have room, and makes room where the oldest may go.
    pub(super) fn admit(&mut self) -> Result<(), Refusal> {
        self.admit_waits()?;
        self.shed();
        Ok(())
    }

    /// Checks that all places whose publishers wait have room.
    pub(super) fn admit_waits(&mut self) -> Result<(), Refusal> {
        while let Some(mut top) = self.waits.peek_mut() {
            if top.0.at > self.tail {
                break;
            }
            if top.0.place.is_closed() {
                PeekMut::pop(top);
                continue;
            }
            let at = top.0.place.limit();
            let place = &top.0.place;
            let lag_allowed = place.terms.capacity / 2;
            let caught_up = at.saturating_sub(place.terms.capacity - lag_allowed) >= self.tail;
            if caught_up && place.stalled.load(Ordering::Relaxed) {
                place.stalled.store(false, Ordering::Relaxed);
            }
            if at <= self.tail {
                return Err(Refusal::Full {
                    service: Arc::clone(&place.terms.service),
                    stalled: place.stalled.load(Ordering::Relaxed),
                });
            }
            top.0.at = at;
        }
        Ok(())
    }

    fn shed(&mut self) {
        while let Some(top) = self.sheds.peek() {
            if top.0.at > self.tail {
                break;
            }
            let Some(Reverse(mut limit)) = self.sheds.pop() else {
                break;
            };
            if limit.place.is_closed() {
                continue;
            }
            let floor = (self.tail + 1).saturating_sub(limit.place.terms.capacity);
            let passed = limit.place.shed_before(floor);
            for position in passed.start..passed.end.min(self.watched) {
                self.report(&limit.place, position, Fate::Shed);
            }
            limit.at = limit.place.limit();
            self.sheds.push(Reverse(limit));
        }
    }

    pub(super) fn mark_stalled(&mut self) {
        if let Some(top) = self.waits.peek()
            && top.0.place.limit() <= self.tail
        {
            top.0.place.stalled.store(true, Ordering::Relaxed);
        }
    }

    /// Counts an event as published. False if nobody is there to hear it.
    pub(super) fn count_published(&mut self) -> bool {
        self.published += 1;
        let heard = !self.places.is_empty();
        self.unheard += u64::from(!heard);
        heard
    }

    pub(super) fn expect(&mut self, watch: &Arc<Settlement>) {
        let readers = self.places.values();
        watch.expect(readers.map(|place| (place.id, Arc::clone(&place.terms.service))));
        self.watched = self.tail + 1;
    }

    /// The paths of those who have a place.
    pub(super) fn readers(&self) -> Vec<Arc<str>> {
        self.places
            .values()
            .map(|place| Arc::clone(&place.terms.service))
            .collect()
    }

    /// Writes the slot at the tail; returns blocks that everybody has passed.
    pub(super) fn append(&mut self, slot: Slot<E>) -> Vec<Arc<Block<E>>> {
        let mut freed = Vec::new();
        let block = match self.blocks.back() {
            Some(block) if block.holds(self.tail) => block,
            last => {
                let next = Block::after(last.map_or(0, |block| block.len()), self.tail);
                freed = self.free_passed();
                self.blocks.push_back(next);
                let Some(block) = self.blocks.back() else {
                    return freed;
                };
                block
            }
        };
        block.write(self.tail, slot);
        self.tail += 1;
        freed
    }

    /// As [`Writer::free_passed`], for readers that fall asleep: nobody may append for long. The
    /// last block stays, because the next one grows from it.
    pub(super) fn free_read(&mut self) -> Vec<Arc<Block<E>>> {
        if self.blocks.len() < 2 {
            return Vec::new();
        }
        let last = self.blocks.pop_back();
        let freed = self.free_passed();
        self.blocks.extend(last);
        freed
    }

    /// Takes from the front the blocks that every place has passed. The laggard of last
    /// time is asked first, so that a slow reader costs one look and not one per place.
    fn free_passed(&mut self) -> Vec<Arc<Block<E>>> {
        let Some(front) = self.blocks.front() else {
            return Vec::new();
        };
        if self
            .laggard
            .as_ref()
            .is_some_and(|laggard| laggard.position() < front.end())
        {
            return Vec::new();
        }
        self.laggard = self
            .places
            .values()
            .min_by_key(|place| place.position())
            .cloned();
        let passed = self
            .laggard
            .as_ref()
            .map_or(self.tail, |place| place.position());
        let count = self.blocks.partition_point(|block| block.end() <= passed);
        self.blocks.drain(..count).collect()
    }

    pub(super) fn find(&self, position: u64) -> Option<&Arc<Block<E>>> {
        let index = self.blocks.partition_point(|block| block.end() <= position);
        self.blocks.get(index).filter(|block| block.holds(position))
    }

    /// Lists `place` as asleep, unless it has something to read.
    pub(super) fn sleep(&mut self, place: &Arc<Place<E>>) -> bool {
        if place.is_closed() {
            return true;
        }
        if place.position() < self.tail || place.next_return().is_some() {
            return false;
        }
        if !place.listed.swap(true, Ordering::Relaxed) {
            self.sleepers.push(Arc::clone(place));
        }
        true
    }

    /// Takes the list of those who sleep; they are rung outside the lock.
    pub(super) fn wake(&mut self) -> Vec<Arc<Place<E>>> {
        if self.sleepers.is_empty() {
            return Vec::new();
        }
        for place in &self.sleepers {
            place.listed.store(false, Ordering::Relaxed);
        }
        let spare = std::mem::take(&mut self.spare);
        std::mem::replace(&mut self.sleepers, spare)
    }

    pub(super) fn keep_spare(&mut self, emptied: Vec<Arc<Place<E>>>) {
        if emptied.capacity() > self.spare.capacity() {
            self.spare = emptied;
        }
    }

    pub(super) fn row(&self, name: &'static str) -> TopicRow {
        TopicRow::new(name.to_owned(), self.published, self.tail, self.unheard)
    }

    pub(super) fn delivery_rows(&mut self, rows: &mut Vec<DeliveryRow>) {
        self.archive_ended();
        let mut merged = self.archive.clone();
        for place in self.places.values().chain(&self.ending) {
            merge(&mut merged, place, self.tail);
        }
        rows.extend(merged.into_values());
    }

    /// Sums up the rows of places that have ended and hold nothing, so that services which come
    /// and go leave one row and not thousands.
    fn archive_ended(&mut self) {
        let (tail, archive) = (self.tail, &mut self.archive);
        self.ending.retain(|place| {
            let row = place.row(tail);
            let holds = row.in_flight + row.deferred + row.queued > 0;
            if !holds {
                merge(archive, place, tail);
            }
            holds
        });
    }
}

fn merge<E>(rows: &mut BTreeMap<Arc<str>, DeliveryRow>, place: &Place<E>, tail: u64) {
    let row = place.row(tail);
    match rows.get_mut(&place.terms.service) {
        Some(sum) => sum.add(&row),
        None => {
            rows.insert(Arc::clone(&place.terms.service), row);
        }
    }
}
