//! The accounting of everything that was accepted, as plain data.
//!
//! The board fills it in from its counters; users read, store and print it. It calls nothing.
//!
//! Invariant: the two sides of a gap are counted in different places, so that it can fail.
//!
//! It counts nothing itself, and is not live: it is one moment, written down.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::event::word_of;

mod table;

/// One moment's accounting of a whole board. Its [`gap`](Ledger::gap) is 0 at every moment.
///
/// It prints as a table; columns that are 0 everywhere are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ledger {
    /// One row per subscription: a service and an event it hears.
    pub deliveries: Vec<DeliveryRow>,
    /// One row per service that takes letters.
    pub letters: Vec<LetterRow>,
    /// One row per event type.
    pub topics: Vec<TopicRow>,
}

/// What became of the events accepted for one subscription.
///
/// `accepted = acknowledged + dead_lettered + discarded + expired + shed + undelivered + queued +
/// in_flight + deferred`, where `queued = accepted - taken`. Trying again does not count twice; a
/// redriven dead letter is a new accepted delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeliveryRow {
    /// The path of the service.
    pub service: String,
    /// The name of the event.
    pub event: String,
    /// Events taken in for this subscription.
    pub accepted: u64,
    /// Handled. Final.
    pub acknowledged: u64,
    /// Given up and kept as a dead letter. Final.
    pub dead_lettered: u64,
    /// Given up and dropped by the failure policy, or a copy of an earlier event. Final.
    pub discarded: u64,
    /// Older than its time to live when its turn came. Final.
    pub expired: u64,
    /// Dropped, because the subscription drops the oldest when it is full. Final.
    pub shed: u64,
    /// Not handled when its service ended for good. Final.
    pub undelivered: u64,
    /// Waiting for its turn.
    pub queued: u64,
    /// Being handled, or open in later work.
    pub in_flight: u64,
    /// Waiting to be tried again, in place or aside, or behind an older event of their key.
    pub deferred: u64,
    /// A note, not a state: acknowledged, but over its timeout without ever having waited.
    pub late: u64,
    /// A note, not a state: attempts beyond the first.
    pub retried: u64,
    /// How many left the queue, redriven ones included: the other side of the gap.
    pub taken: u64,
}

/// What became of the letters accepted for one service.
///
/// `accepted = answered + failed + expired + undelivered + queued + in_flight`, where `queued =
/// accepted - taken`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterRow {
    /// The path of the service.
    pub service: String,
    /// Letters taken in.
    pub accepted: u64,
    /// Answered. Final.
    pub answered: u64,
    /// Answered with a failure, or consumed by a crash. Final.
    pub failed: u64,
    /// Dropped when its turn came, because nobody was waiting for the answer any more. Final.
    pub expired: u64,
    /// Not answered when its service ended for good. Final.
    pub undelivered: u64,
    /// Waiting for its turn.
    pub queued: u64,
    /// Being answered.
    pub in_flight: u64,
    /// How many left the queue: the other side of the gap.
    pub taken: u64,
}

/// What became of the events published under one name: `published = heard + unheard`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopicRow {
    /// The name of the event.
    pub event: String,
    /// Events published.
    pub published: u64,
    /// Those that had at least one subscriber.
    pub heard: u64,
    /// Those that had none.
    pub unheard: u64,
}

/// Takes what is kept for this path and all below it out of a map by path.
pub(crate) fn take_tree<K: Ord + Clone + Borrow<str>, T>(
    rows: &mut BTreeMap<K, T>,
    path: &str,
) -> Vec<T> {
    let below = format!("{path}/");
    let after = (Bound::Excluded(&*below), Bound::Unbounded);
    let inside = rows.range::<str, _>(after).map(|(key, _)| key);
    let inside = inside.take_while(|key| Borrow::<str>::borrow(*key).starts_with(&below));
    let inside: Vec<K> = inside.cloned().collect();
    let mut taken: Vec<T> = rows.remove(path).into_iter().collect();
    taken.extend(inside.iter().filter_map(|key| rows.remove(key.borrow())));
    taken
}

impl Ledger {
    /// Returns the sum of the sizes of all gaps, so that no two can cancel out. 0 at every moment.
    pub fn gap(&self) -> i64 {
        let deliveries = self.deliveries.iter().map(DeliveryRow::gap);
        let letters = self.letters.iter().map(LetterRow::gap);
        let topics = self.topics.iter().map(TopicRow::gap);
        let sizes = deliveries
            .chain(letters)
            .chain(topics)
            .map(i64::saturating_abs);
        sizes.fold(0, i64::saturating_add)
    }

    /// Tells whether nothing is queued, in flight or deferred.
    pub fn is_settled(&self) -> bool {
        let delivered = |row: &DeliveryRow| row.settled().is_some();
        let answered = |row: &LetterRow| row.settled().is_some();
        self.deliveries.iter().all(delivered) && self.letters.iter().all(answered)
    }

    /// Everything that was ever accepted: unchanged means that nothing was accepted since.
    pub(crate) fn accepted(&self) -> u64 {
        let deliveries = self.deliveries.iter().map(|row| row.accepted);
        deliveries
            .chain(self.letters.iter().map(|row| row.accepted))
            .sum()
    }

    /// The services with anything queued, in flight or deferred, and whether it is in flight.
    pub(crate) fn open_services(&self) -> BTreeMap<&str, bool> {
        let deliveries = self.deliveries.iter();
        let deliveries =
            deliveries.map(|row| (&*row.service, row.queued + row.deferred, row.in_flight));
        let letters = self.letters.iter();
        let letters = letters.map(|row| (&*row.service, row.queued, row.in_flight));
        let mut open = BTreeMap::new();
        for (service, waiting, in_flight) in deliveries.chain(letters) {
            if waiting + in_flight > 0 {
                *open.entry(service).or_default() |= in_flight > 0;
            }
        }
        open
    }

    /// Finds the row of the service at this path for the event of this name.
    pub fn delivery(&self, service: &str, event: &str) -> Option<&DeliveryRow> {
        self.deliveries
            .iter()
            .find(|row| row.service == service && row.event == event)
    }

    /// Finds an event of the service at this path by the [word](word_of) of its name; without one,
    /// an event that is in flight.
    pub(crate) fn event_of(&self, service: &str, word: Option<u64>) -> Option<&str> {
        let is_it = |row: &&DeliveryRow| match word {
            Some(word) => word_of(&row.event) == word,
            None => row.in_flight > 0,
        };
        let theirs = self.deliveries.iter().filter(|row| row.service == service);
        let row = { theirs }.find(is_it)?;
        Some(&row.event)
    }

    /// Finds the row of the letters to the service at this path.
    pub fn letter(&self, service: &str) -> Option<&LetterRow> {
        self.letters.iter().find(|row| row.service == service)
    }

    /// Finds the row of the event of this name.
    pub fn topic(&self, event: &str) -> Option<&TopicRow> {
        self.topics.iter().find(|row| row.event == event)
    }
}

impl DeliveryRow {
    pub(crate) fn new(service: String, event: String) -> Self {
        DeliveryRow {
            service,
            event,
            ..DeliveryRow::default()
        }
    }

    /// All that was accepted, if nothing of it is queued, in flight or deferred.
    pub(crate) fn settled(&self) -> Option<u64> {
        ((self.queued, self.in_flight, self.deferred) == (0, 0, 0)).then_some(self.accepted)
    }

    /// Adds the counts of another life of the same subscription.
    pub(crate) fn add(&mut self, other: &DeliveryRow) {
        for (to, from) in [
            (&mut self.accepted, other.accepted),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.dead_lettered, other.dead_lettered),
            (&mut self.discarded, other.discarded),
            (&mut self.expired, other.expired),
            (&mut self.shed, other.shed),
            (&mut self.undelivered, other.undelivered),
            (&mut self.queued, other.queued),
            (&mut self.in_flight, other.in_flight),
            (&mut self.deferred, other.deferred),
            (&mut self.late, other.late),
            (&mut self.retried, other.retried),
            (&mut self.taken, other.taken),
        ] {
            *to = to.saturating_add(from);
        }
    }

    /// Returns `taken - (acknowledged + dead_lettered + discarded + expired + shed + undelivered +
    /// in_flight + deferred)`: 0 unless something was lost (positive) or counted twice (negative).
    ///
    /// If that is 0, returns `accepted - queued - taken`: not 0 if the workers of a service took
    /// other events than those assigned to them.
    pub fn gap(&self) -> i64 {
        let finals = [
            self.acknowledged,
            self.dead_lettered,
            self.discarded,
            self.expired,
        ];
        let others = [self.shed, self.undelivered, self.in_flight, self.deferred];
        match difference(self.taken, finals.into_iter().chain(others)) {
            0 => difference(self.accepted, [self.queued, self.taken]),
            gap => gap,
        }
    }
}

impl LetterRow {
    pub(crate) fn new(service: String) -> Self {
        LetterRow {
            service,
            ..LetterRow::default()
        }
    }

    /// All that was accepted, if nothing of it is queued or in flight.
    pub(crate) fn settled(&self) -> Option<u64> {
        ((self.queued, self.in_flight) == (0, 0)).then_some(self.accepted)
    }

    /// Adds the counts of another service of the same kind.
    pub(crate) fn add(&mut self, other: &LetterRow) {
        for (to, from) in [
            (&mut self.accepted, other.accepted),
            (&mut self.answered, other.answered),
            (&mut self.failed, other.failed),
            (&mut self.expired, other.expired),
            (&mut self.undelivered, other.undelivered),
            (&mut self.queued, other.queued),
            (&mut self.in_flight, other.in_flight),
            (&mut self.taken, other.taken),
        ] {
            *to = to.saturating_add(from);
        }
    }

    /// Returns `taken - (answered + failed + expired + undelivered + in_flight)`: 0 unless
    /// something was lost (positive) or counted twice (negative).
    pub fn gap(&self) -> i64 {
        let states = [
            self.answered,
            self.failed,
            self.expired,
            self.undelivered,
            self.in_flight,
        ];
        difference(self.taken, states)
    }
}

impl TopicRow {
    pub(crate) fn new(event: String, published: u64, heard: u64, unheard: u64) -> Self {
        TopicRow {
            event,
            published,
            heard,
            unheard,
        }
    }

    /// Returns `published - heard - unheard`.
    pub fn gap(&self) -> i64 {
        difference(self.published, [self.heard, self.unheard])
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write(
            f,
            &self.deliveries,
            table::DELIVERY_NAMES,
            table::DELIVERY_COUNTS,
        )?;
        table::write(f, &self.letters, table::LETTER_NAMES, table::LETTER_COUNTS)?;
        table::write(f, &self.topics, table::TOPIC_NAMES, table::TOPIC_COUNTS)?;
        write!(f, "gap: {}", self.gap())
    }
}

// Wide enough for any counts: a ledger that was read from a file may say anything.
fn difference(whole: u64, parts: impl IntoIterator<Item = u64>) -> i64 {
    let parts: i128 = parts.into_iter().map(i128::from).sum();
    let gap = i128::from(whole) - parts;
    i64::try_from(gap).unwrap_or(if gap < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let accounts = DeliveryRow {
            service: "shop/accounts".into(),
            event: "order.placed".into(),
            accepted: 1_000,
            acknowledged: 990,
            dead_lettered: 2,
            queued: 7,
            in_flight: 1,
            retried: 4,
            taken: 993,
            ..DeliveryRow::default()
        };
        let mail = DeliveryRow {
            service: "shop/mail".into(),
            event: "paid".into(),
            accepted: 12,
            acknowledged: 12,
            taken: 12,
            ..DeliveryRow::default()
        };
        let letters = LetterRow {
            service: "shop/accounts".into(),
            accepted: 3,
            answered: 2,
            failed: 1,
            taken: 3,
            ..LetterRow::default()
        };
        let topic = |event: &str, published, heard| TopicRow {
            event: event.into(),
            published,
            heard,
            unheard: published - heard,
        };
        Ledger {
            deliveries: vec![accounts, mail],
            letters: vec![letters],
            topics: vec![topic("order.placed", 1_000, 1_000), topic("paid", 15, 12)],
        }
    }

    #[test]
    fn a_balanced_ledger_has_no_gap() {
        assert_eq!(ledger().gap(), 0);
        assert_eq!(Ledger::default().gap(), 0);
    }

    #[test]
    fn a_skipped_count_shows_as_a_gap_of_one() {
        let break_one: [fn(&mut Ledger); 5] = [
            |ledger| ledger.deliveries[0].acknowledged -= 1,
            |ledger| ledger.deliveries[1].deferred += 1,
            |ledger| ledger.letters[0].failed -= 1,
            |ledger| ledger.letters[0].taken -= 1,
            |ledger| ledger.topics[1].unheard -= 1,
        ];
        for skip in break_one {
            let mut broken = ledger();
            skip(&mut broken);
            assert_eq!(broken.gap(), 1);
        }
    }

    #[test]
    fn gaps_of_opposite_sign_do_not_cancel() {
        let mut broken = ledger();
        broken.deliveries[0].acknowledged -= 1;
        broken.deliveries[1].acknowledged += 1;
        assert_eq!(broken.gap(), 2);
    }

    #[test]
    fn absurd_counts_give_a_gap_without_overflow() {
        let mut broken = ledger();
        broken.deliveries[0].taken = u64::MAX;
        broken.letters[0].failed = u64::MAX;
        assert_eq!(broken.gap(), i64::MAX);
    }

    #[test]
    fn a_ledger_is_settled_when_nothing_is_on_its_way() {
        let mut ledger = ledger();
        assert!(!ledger.is_settled() && Ledger::default().is_settled());
        (ledger.deliveries[0].queued, ledger.deliveries[0].in_flight) = (0, 0);
        assert!(ledger.is_settled());
        ledger.letters[0].queued = 1;
        assert!(!ledger.is_settled());
    }

    #[test]
    fn rows_are_found_by_name() {
        let ledger = ledger();
        assert_eq!(ledger.delivery("shop/mail", "paid").unwrap().accepted, 12);
        assert!(ledger.delivery("shop/mail", "order.placed").is_none());
        assert_eq!(ledger.letter("shop/accounts").unwrap().answered, 2);
        assert_eq!(ledger.topic("paid").unwrap().unheard, 3);
    }

    #[test]
    fn a_ledger_survives_serialization() {
        let text = serde_json::to_string(&ledger()).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger());
    }

    #[test]
    fn a_ledger_prints_as_a_table() {
        let expected = "\
deliveries to  event         accepted  acknowledged  dead  queued  in flight  retried
shop/accounts  order.placed      1000           990     2       7          1        4
shop/mail      paid                12            12     0       0          0        0

letters to     accepted  answered  failed  queued
shop/accounts         3         2       1       0

topic         published  heard  unheard
order.placed       1000   1000        0
paid                 15     12        3

gap: 0";
        assert_eq!(ledger().to_string(), expected);
        assert_eq!(Ledger::default().to_string(), "gap: 0");
    }

    #[test]
    fn a_gap_is_shown_in_its_row() {
        let mut broken = ledger();
        broken.deliveries.clear();
        broken.letters.clear();
        broken.topics[1].heard += 1;
        let expected = "\
topic         published  heard  unheard  gap
order.placed       1000   1000        0    0
paid                 15     13        3   -1

gap: 1";
        assert_eq!(broken.to_string(), expected);
    }
}
