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
use super::block::{Block, Slot, Stamp};
use super::place::{Overflow, Place, Terms};
use super::settlement::{Ending, Fate, Settlement, Word};
use super::squad::Squad;
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
    blocks: VecDeque<Block<E>>,
    /// The open places.
    places: BTreeMap<u64, Arc<Place<E>>>,
    /// How often a place was opened or closed.
    version: u64,
    /// Closed places that still hold an event in flight or deferred.
    ending: Vec<Arc<Place<E>>>,
    next_place: u64,
    /// The places of services that have several workers.
    squads: Vec<Squad<E>>,
    /// Rows of places that have ended, by service.
    archive: BTreeMap<Arc<str>, DeliveryRow>,
    waits: BinaryHeap<Reverse<Limit<E>>>,
    sheds: BinaryHeap<Reverse<Limit<E>>>,
    sleepers: Vec<Arc<Place<E>>>,
    left: Leftovers<E>,
    /// An emptied list of sleepers, to be filled again: waking allocates nothing.
    spare: Vec<Arc<Place<E>>>,
    /// The place that was furthest behind when blocks were last freed.
    laggard: Option<Arc<Place<E>>>,
    /// How often readers have fallen asleep since blocks were last looked for.
    falls: usize,
    /// Events before this position may be watched.
    watched: u64,
}

/// What is left to be done after the lock has been let go.
pub(super) struct Leftovers<E> {
    /// Blocks that everybody has passed, to be dropped.
    pub(super) freed: Vec<Block<E>>,
    /// Those who slept and have what was written, to be rung.
    pub(super) woken: Vec<Arc<Place<E>>>,
    /// What publishers are to hear.
    pub(super) words: Vec<Word>,
    /// Those who have lost an event for the first time, of which the log is to tell.
    pub(super) shedding: Vec<Arc<Place<E>>>,
}

impl<E> Leftovers<E> {
    fn none() -> Self {
        Leftovers {
            freed: Vec::new(),
            woken: Vec::new(),
            words: Vec::new(),
            shedding: Vec::new(),
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        let has_words = !(self.words.is_empty() && self.shedding.is_empty());
        self.freed.is_empty() && self.woken.is_empty() && !has_words
    }
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
            version: 0,
            ending: Vec::new(),
            next_place: 0,
            squads: Vec::new(),
            archive: BTreeMap::new(),
            waits: BinaryHeap::new(),
            sheds: BinaryHeap::new(),
            sleepers: Vec::new(),
            left: Leftovers::none(),
            spare: Vec::new(),
            laggard: None,
            falls: 0,
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
        self.version += 1;
        let overflow = terms.overflow;
        let place = Arc::new(Place::new(id, event, terms, bell, self.tail));
        self.places.insert(id, Arc::clone(&place));
        Squad::enter(&mut self.squads, &place);
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

    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(super) fn open_places(&self) -> Vec<Arc<Place<E>>> {
        self.places.values().cloned().collect()
    }

    /// Closes a place; returns the numbers of what it had not read.
    pub(super) fn close(&mut self, place: &Arc<Place<E>>) -> Vec<u64> {
        if place.is_closed() {
            return Vec::new();
        }
        let unread = place.position()..self.tail;
        let own = unread.clone().filter(|at| self.is_own(place, *at));
        let own: Vec<u64> = own.collect();
        let reported = own
            .into_iter()
            .filter_map(|at| self.report(place, at, Fate::Undelivered));
        let mut numbers: Vec<u64> = reported.collect();
        let own = numbers.len() as u64;
        place.close(self.tail, unread.end - unread.start - own);
        while let Some(returned) = place.take_return(Count::Undelivered) {
            numbers.push(returned.number);
        }
        self.places.remove(&place.id);
        self.version += 1;
        Squad::leave(&mut self.squads, place);
        self.ending.push(Arc::clone(place));
        self.forget_limits();
        self.forget_sleepers();
        if self
            .laggard
            .as_ref()
            .is_some_and(|laggard| Arc::ptr_eq(laggard, place))
        {
            self.laggard = None;
        }
        self.archive_ended();
        if self.places.is_empty() {
            self.left.freed.extend(self.blocks.drain(..));
        }
        numbers
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

    /// As [`Writer::forget_limits`], for the sleepers: nobody wakes them while nothing is
    /// published.
    fn forget_sleepers(&mut self) {
        let open = self.places.len();
        if self.sleepers.len() > 2 * open + LIMITS_KEPT {
            self.sleepers.retain(|place| !place.is_closed());
        }
    }

    /// The first place from this one on, and round to it, that is not settled. What a worker has
    /// not read may be another's, so where there are workers it is not looked for.
    pub(super) fn open_from(&self, place: u64) -> Option<u64> {
        if self.is_shared() {
            return None;
        }
        let (before, after) = (self.places.range(..place), self.places.range(place..));
        let mut open = after
            .chain(before)
            .filter(|(_, one)| one.is_open(self.tail));
        open.next().map(|(id, _)| *id)
    }

    /// All that was ever accepted here, if it is settled; else the first place at which it is not.
    pub(super) fn settled(&self) -> Result<u64, u64> {
        let archived = self.archive.values().map(|row| row.accepted).sum();
        let ending = self.ending.iter().map(|place| (&place.id, place));
        let mut places = self.places.iter().chain(ending);
        places.try_fold(archived, |sum: u64, (id, place)| {
            let accepted = place.counts(self.tail).settled().ok_or(*id)?;
            Ok(sum.saturating_add(accepted))
        })
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
    fn report(&mut self, place: &Place<E>, position: u64, fate: Fate) -> Option<u64> {
        let slot = self.find(position)?.slot(position)?;
        let (number, word) = (
            slot.stamp.number,
            place.settle(slot, Ending::after(0, fate)),
        );
        self.left.words.extend(word);
        Some(number)
    }

    /// Checks that all places have room, and makes room where the oldest may go.
    #[inline]
    pub(super) fn admit(&mut self) -> Result<(), Refusal> {
        let tail = self.tail;
        let is_near = |limits: &BinaryHeap<Reverse<Limit<E>>>| {
            let first = limits.peek();
            first.is_some_and(|first| first.0.at <= tail)
        };
        if is_near(&self.waits) {
            self.admit_waits()?;
        }
        if is_near(&self.sheds) {
            self.shed();
        }
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
                    path: Arc::clone(place.terms.path()),
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
            let own = passed.clone().filter(|at| self.is_own(&limit.place, *at));
            let (own, all) = (own.count() as u64, passed.end - passed.start);
            if limit.place.count_shed(own, all - own) {
                self.left.shedding.push(Arc::clone(&limit.place));
            }
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

    /// The lane of the next event, if it has no key: workers take turns.
    pub(super) fn next_lane(&self) -> u64 {
        self.published
    }

    /// Counts the event with this number as published. False if nobody is there to hear it.
    pub(super) fn count_published(&mut self, number: u64, lane: u64) -> bool {
        self.published += 1;
        let heard = if self.squads.is_empty() {
            !self.places.is_empty()
        } else {
            self.is_heard(number, lane)
        };
        self.unheard += u64::from(!heard);
        heard
    }

    /// Whether a service without workers reads here, or a worker whose this is: of a service that
    /// just closes, or opens again, some are there before others.
    fn is_heard(&self, number: u64, lane: u64) -> bool {
        let shared: usize = self.squads.iter().map(|squad| squad.places().count()).sum();
        let owned = |squad: &Squad<E>| squad.owner(number, lane).is_some();
        shared < self.places.len() || self.squads.iter().any(owned)
    }

    /// The event with this number and lane is watched: all who have it are to settle it.
    pub(super) fn expect(&mut self, watch: &Arc<Settlement>, number: u64, lane: u64) {
        let readers = self.places.values();
        let readers = readers.filter(|place| place.has(number, lane));
        let word = watch.expect(readers.map(|place| (place.id, place.terms.reader())));
        self.left.words.extend(word);
        self.watched = self.tail + 1;
    }

    /// The paths of those who have a place.
    pub(super) fn readers(&self) -> Vec<Arc<str>> {
        let places = self.places.values();
        places.map(|place| Arc::clone(place.terms.path())).collect()
    }

    /// Another one whenever those who have a place are others.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether a service with several workers reads here.
    pub(super) fn is_shared(&self) -> bool {
        !self.squads.is_empty()
    }

    /// Counts the event with this number and lane as accepted by the workers whose it is.
    pub(super) fn accept(&self, number: u64, lane: u64) {
        for squad in &self.squads {
            if let Some(place) = squad.owner(number, lane) {
                place.count_accepted();
            }
        }
    }

    /// The place of the worker who has what has this number and lane; the given one, if its
    /// service has no others.
    pub(super) fn owner(&self, place: &Arc<Place<E>>, number: u64, lane: u64) -> Arc<Place<E>> {
        let squad = self.squads.iter().find(|squad| squad.is_of(place));
        let owner = squad.and_then(|squad| squad.owner(number, lane));
        Arc::clone(owner.unwrap_or(place))
    }

    /// Whether what is written there is this place's. Costs a search for shared places only.
    fn is_own(&self, place: &Place<E>, position: u64) -> bool {
        place.terms.share.is_none()
            || self
                .stamp(position)
                .is_none_or(|stamp| place.has(stamp.number, stamp.lane))
    }

    fn stamp(&self, position: u64) -> Option<&Stamp> {
        Some(&self.find(position)?.slot(position)?.stamp)
    }

    /// Whether there is nothing at or below this number that the place has still to read, or pass
    /// over, and nothing below it will come: numbers are taken under this lock.
    pub(super) fn is_past(&self, place: &Place<E>, limit: u64) -> bool {
        let read = place.position() >= self.tail
            || self
                .stamp(place.position())
                .is_some_and(|stamp| stamp.number >= limit);
        read && place.next_return().is_none_or(|number| number >= limit)
    }

    /// Writes what `make` returns at the tail.
    #[inline]
    pub(super) fn append(&mut self, make: impl FnOnce() -> Slot<E>) {
        if !self.blocks.back().is_some_and(|last| last.holds(self.tail)) {
            self.append_block();
        }
        if let Some(block) = self.blocks.back() {
            block.write(self.tail, make);
            self.tail += 1;
        }
    }

    #[cold]
    fn append_block(&mut self) {
        let before = self.blocks.back().map_or(0, Block::len);
        self.free_passed();
        self.blocks.push_back(Block::after(before, self.tail));
    }

    /// What is left to be done outside the lock: most events free nothing and wake nobody.
    #[inline]
    pub(super) fn leftovers(&mut self) -> Option<Leftovers<E>> {
        if self.left.is_empty() {
            return None;
        }
        let words = std::mem::take(&mut self.left.words);
        let shedding = std::mem::take(&mut self.left.shedding);
        let freed = std::mem::take(&mut self.left.freed);
        let woken = if self.left.woken.is_empty() {
            Vec::new()
        } else {
            std::mem::replace(&mut self.left.woken, std::mem::take(&mut self.spare))
        };
        Some(Leftovers {
            freed,
            woken,
            words,
            shedding,
        })
    }

    /// As [`Writer::free_passed`], for readers that fall asleep: nobody may append for long. The
    /// last block stays, because the next one grows from it.
    pub(super) fn free_read(&mut self) {
        if self.blocks.len() < 2 {
            return;
        }
        // The search goes through all places, so it is made for the last who falls asleep and else
        // once in as many times as there are places: for each, it would be quadratic.
        self.falls += 1;
        let is_quiet = self.sleepers.len() >= self.places.len();
        if !is_quiet && self.falls < self.places.len() {
            return;
        }
        self.falls = 0;
        let last = self.blocks.pop_back();
        self.free_passed();
        self.blocks.extend(last);
    }

    /// Takes from the front the blocks that every place has passed. The laggard of last
    /// time is asked first, so that a slow reader costs one look and not one per place.
    fn free_passed(&mut self) {
        let Some(front) = self.blocks.front() else {
            return;
        };
        if self
            .laggard
            .as_ref()
            .is_some_and(|laggard| laggard.position() < front.end())
        {
            return;
        }
        let positions = self.places.values().map(|place| (place.position(), place));
        let last = positions.min_by_key(|(position, _)| *position);
        // As it was compared: by now the last of them may have gone past the others.
        let passed = last.map_or(self.tail, |(position, _)| position);
        self.laggard = last.map(|(_, place)| Arc::clone(place));
        let count = self.blocks.partition_point(|block| block.end() <= passed);
        self.left.freed.extend(self.blocks.drain(..count));
    }

    pub(super) fn find(&self, position: u64) -> Option<&Block<E>> {
        let index = self.blocks.partition_point(|block| block.end() <= position);
        self.blocks.get(index).filter(|block| block.holds(position))
    }

    /// Lists `place` as asleep, unless it has something to read with a number below this.
    pub(super) fn sleep(&mut self, place: &Arc<Place<E>>, below: u64) -> bool {
        if place.is_closed() {
            return true;
        }
        let share = place.terms.share.as_ref();
        // Nor is what lies beyond the limit read before somebody calls.
        let limit = share.map_or(u64::MAX, |share| share.crew.limit());
        if !self.is_past(place, below.min(limit)) {
            return false;
        }
        if !place.listed.swap(true, Ordering::Relaxed) {
            self.sleepers.push(Arc::clone(place));
        }
        true
    }

    /// Wakes those who sleep and have what was written last.
    #[inline]
    pub(super) fn wake(&mut self) {
        if !self.sleepers.is_empty() {
            self.wake_sleepers();
        }
    }

    fn wake_sleepers(&mut self) {
        let first = self.left.woken.len();
        if self.is_shared() {
            self.wake_owners();
        } else {
            self.left.woken.append(&mut self.sleepers);
        }
        for place in self.left.woken.iter().skip(first) {
            place.listed.store(false, Ordering::Relaxed);
        }
    }

    /// Lets those sleep on whose the last event is not: the topic passes over it for them.
    fn wake_owners(&mut self) {
        let last = self.tail.saturating_sub(1);
        let stamp = self.stamp(last).map(|stamp| (stamp.number, stamp.lane));
        let has = |place: &Place<E>| stamp.is_none_or(|(number, lane)| place.has(number, lane));
        let sleepers = std::mem::take(&mut self.sleepers);
        let (owners, others): (Vec<_>, Vec<_>) = sleepers.into_iter().partition(|one| has(one));
        for place in &others {
            place.skip(last);
        }
        self.left.woken.extend(owners);
        self.sleepers = others;
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

    pub(super) fn worker_rows(&self, rows: &mut Vec<DeliveryRow>) {
        let places = self.squads.iter().flat_map(Squad::places);
        rows.extend(places.map(|place| {
            let mut row = place.row(self.tail);
            row.service = place.terms.path().to_string();
            row
        }));
    }

    /// Sums up the rows of places that have ended and hold nothing, so that services which come
    /// and go leave one row and not thousands.
    fn archive_ended(&mut self) {
        let (tail, archive) = (self.tail, &mut self.archive);
        self.ending.retain(|place| {
            let holds = place.counts(tail).settled().is_none();
            if !holds {
                merge(archive, place, tail);
            }
            holds
        });
    }
}

fn merge<E>(rows: &mut BTreeMap<Arc<str>, DeliveryRow>, place: &Place<E>, tail: u64) {
    match rows.get_mut(&place.terms.service) {
        Some(sum) => sum.add(&place.counts(tail)),
        None => {
            rows.insert(Arc::clone(&place.terms.service), place.row(tail));
        }
    }
}
