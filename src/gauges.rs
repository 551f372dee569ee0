//! What may be read of all guards of a board, by path and event.
//!
//! Subscriptions enlist here; the wall asks what open breakers hold, `inspect` how guards stand.
//!
//! Invariant: what is read of a subscription ends with it.
//!
//! It keeps no guard.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::ledger::{DeliveryRow, Ledger, LetterRow};
use crate::mailbox::gauge::{Gauge, Guarded};
use crate::sync::{Arc, Mutex, Weak, lock};

#[derive(Default)]
pub(crate) struct Gauges(Mutex<BTreeMap<(Arc<str>, &'static str), Enlisted>>);

struct Enlisted {
    /// Whom the ledger counts it under.
    service: Arc<str>,
    gauge: Weak<Gauge>,
}

/// What open breakers hold at one moment.
#[derive(Debug)]
pub(crate) struct HeldBack {
    /// By path, the events, and whether all of the mailbox waits with them.
    held: BTreeMap<Arc<str>, BTreeMap<&'static str, bool>>,
    /// The services that have workers: those are looked at one by one.
    wholes: BTreeSet<Arc<str>>,
}

impl Gauges {
    pub(crate) fn enlist(&self, path: &Arc<str>, service: &Arc<str>, gauge: &Arc<Gauge>) {
        let enlisted = Enlisted {
            service: Arc::clone(service),
            gauge: Arc::downgrade(gauge),
        };
        lock(&self.0).insert((Arc::clone(path), gauge.event), enlisted);
    }

    /// The subscription of this one has ended; another may have been made since.
    pub(crate) fn delist(&self, path: &Arc<str>, gauge: &Arc<Gauge>) {
        let mut all = lock(&self.0);
        let key = (Arc::clone(path), gauge.event);
        if let Some(one) = all.get(&key)
            && one.gauge.as_ptr() == Arc::as_ptr(gauge)
        {
            all.remove(&key);
        }
    }

    /// Forgets those at the paths of which this is said.
    pub(crate) fn forget(&self, of: impl Fn(&str) -> bool) {
        lock(&self.0).retain(|(path, _), _| !of(path));
    }

    /// How the guards of the service at this path stand, by event.
    pub(crate) fn read(&self, path: &Arc<str>, now: Duration) -> Vec<Guarded> {
        let theirs = self.at(path);
        theirs.iter().map(|gauge| gauge.read(now)).collect()
    }

    /// The guards of the service at this path will be asked anew.
    pub(crate) fn let_go(&self, path: &Arc<str>) {
        self.at(path).iter().for_each(|gauge| gauge.note(None));
    }

    fn at(&self, path: &Arc<str>) -> Vec<Arc<Gauge>> {
        let all = lock(&self.0);
        let from = (Arc::clone(path), "");
        let theirs = all.range(from..).take_while(|((one, _), _)| one == path);
        theirs.filter_map(|(_, one)| one.gauge.upgrade()).collect()
    }

    /// Whether no subscription has a guard.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// What open breakers hold, if any does.
    pub(crate) fn held_back(&self, now: Duration) -> Option<HeldBack> {
        let mut held: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        let mut wholes = BTreeSet::new();
        for ((path, event), one) in &*lock(&self.0) {
            let Some(gauge) = one.gauge.upgrade() else {
                continue;
            };
            if one.service != *path {
                wholes.insert(Arc::clone(&one.service));
            }
            if let Some(in_place) = gauge.held_in_place(now) {
                let events = held.entry(Arc::clone(path)).or_default();
                events.insert(*event, in_place);
            }
        }
        (!held.is_empty()).then_some(HeldBack { held, wholes })
    }
}

impl HeldBack {
    /// The subscriptions by name, if all that is open in this ledger, which tells of workers as
    /// well, is held, or belongs to a service that is suspended.
    pub(crate) fn all(
        &self,
        ledger: &Ledger,
        suspended: &BTreeSet<Arc<str>>,
    ) -> Option<Vec<String>> {
        let rests = |row: &LetterRow| {
            row.in_flight == 0 && (row.queued == 0 || suspended.contains(&*row.service))
        };
        let mut events = ledger.deliveries.iter();
        let all = events.all(|row| self.rests(row, suspended)) && ledger.letters.iter().all(rests);
        let named = self.held.iter().flat_map(|(path, events)| {
            let events = events.keys();
            events.map(move |event| format!("{path} on {event}"))
        });
        all.then(|| named.collect())
    }

    /// Whether nothing of this moves by itself while breakers are open.
    fn rests(&self, row: &DeliveryRow, suspended: &BTreeSet<Arc<str>>) -> bool {
        let service = &*row.service;
        if row.queued + row.in_flight + row.deferred == 0 || self.wholes.contains(service) {
            return true;
        }
        if row.in_flight > 0 || suspended.contains(service) {
            return row.in_flight == 0;
        }
        let Some(held) = self.held.get(service) else {
            return false;
        };
        let in_place = held.values().any(|in_place| *in_place);
        (row.queued == 0 || in_place) && (row.deferred == 0 || held.contains_key(&*row.event))
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gauges({})", lock(&self.0).len())
    }
}
