//! Reading off what a shutdown has to report: what is open, stuck, or left behind.
//!
//! Shutdown asks for it at the end, and from inside when it begins.
//!
//! Invariant: it reads what anybody may read, so a blocked thread does not hold it up.
//!
//! It ends nothing.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Inner;
use super::report::{LeftBehind, ShutdownReport, Stuck, Undelivered};
use crate::event::{Event, EventId};
use crate::ledger::{DeliveryRow, Ledger};
use crate::lifecycle::Lifecycle;
use crate::works::Work;

impl Inner {
    /// What is open now.
    pub(super) fn report(&self, began: Instant, drained: bool) -> ShutdownReport {
        let ledger = self.wall.ledger();
        let clock = &self.wall.pulse.clock;
        ShutdownReport {
            drained,
            undelivered: self.undelivered(&ledger),
            not_due: self.wall.pulse.agenda.called_off(),
            killed: self.wall.killed().iter().map(ToString::to_string).collect(),
            stuck: Vec::new(),
            left_behind: self.left_behind(),
            over: true,
            took: clock.now().saturating_duration_since(began),
            ledger,
        }
    }

    fn undelivered(&self, ledger: &Ledger) -> Vec<Undelivered> {
        let mut rows: BTreeMap<(String, String), Undelivered> = BTreeMap::new();
        for ((service, event), left) in self.wall.undelivered() {
            let (service, event) = (service.to_string(), event.to_owned());
            let (count, event_ids) = (left.count, left.numbers);
            let key = (service.clone(), event.clone());
            rows.insert(
                key,
                Undelivered {
                    service,
                    event,
                    count,
                    event_ids,
                },
            );
        }
        // What the board tells of its own end is nobody's event; the ledger has it.
        rows.retain(|(_, event), _| event != Lifecycle::NAME);
        let others = |row: &&DeliveryRow| row.event != Lifecycle::NAME;
        for row in ledger.deliveries.iter().filter(others) {
            let open = row.queued + row.in_flight + row.deferred;
            if open > 0 {
                let key = (row.service.clone(), row.event.clone());
                let entry = rows.entry(key.clone()).or_insert_with(|| Undelivered {
                    service: key.0,
                    event: key.1,
                    count: 0,
                    event_ids: Vec::new(),
                });
                entry.count += open;
            }
        }
        rows.into_values().collect()
    }

    pub(super) fn left_behind(&self) -> Vec<LeftBehind> {
        let now = self.wall.pulse.clock.since_start();
        let works = self.wall.works.left_behind().into_iter();
        let row = |work: Work| LeftBehind {
            service: work.service.to_string(),
            event_id: work.event.map(EventId::number),
            age: now.saturating_sub(work.since),
        };
        works.map(row).collect()
    }

    /// The services that did not let go, with what they hold and whom they hold up.
    pub(super) fn stuck(&self) -> Vec<Stuck> {
        let ledger = self.wall.detailed_ledger();
        let now = self.wall.pulse.clock.since_start();
        let services = self.node.subtree().into_iter();
        let stuck = services.filter_map(|node| {
            let (doing, blocks) = node.vitals.doing(true)?;
            let age = now.saturating_sub(doing.since);
            let neighbours = if blocks {
                self.neighbours(&node)
            } else {
                Vec::new()
            };
            Some(Stuck {
                service: node.path().to_string(),
                event: ledger
                    .event_of(node.path(), doing.event)
                    .map(ToOwned::to_owned),
                age,
                blocks,
                neighbours,
            })
        });
        let mut stuck: Vec<Stuck> = stuck.collect();
        stuck.sort_by(|a, b| a.service.cmp(&b.service));
        stuck
    }
}
