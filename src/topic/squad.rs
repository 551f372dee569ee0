//! The places in one topic of one service's workers.
//!
//! The topic keeps one for each service with workers that reads it, under its lock.
//!
//! Invariant: an event is accepted for a service once, for the worker whose it is: by the topic's
//! own reckoning, so that what the workers take can be compared with it.
//!
//! It does not say whose an event is: the crew does.

use std::collections::BTreeMap;

use super::place::Place;
use crate::crew::Crew;
use crate::sync::Arc;

pub(super) struct Squad<E> {
    crew: Arc<Crew>,
    members: BTreeMap<usize, Arc<Place<E>>>,
}

impl<E> Squad<E> {
    /// Enters a place that was opened, if it is a worker's.
    pub(super) fn enter(squads: &mut Vec<Self>, place: &Arc<Place<E>>) {
        let Some(share) = &place.terms.share else {
            return;
        };
        let known = squads.iter_mut().find(|squad| squad.is_of(place));
        if let Some(squad) = known {
            squad.members.insert(share.index, Arc::clone(place));
            return;
        }
        squads.push(Squad {
            crew: Arc::clone(&share.crew),
            members: BTreeMap::from([(share.index, Arc::clone(place))]),
        });
    }

    /// Removes a place that has been closed.
    pub(super) fn leave(squads: &mut Vec<Self>, place: &Arc<Place<E>>) {
        for squad in squads.iter_mut() {
            squad
                .members
                .retain(|_, member| !Arc::ptr_eq(member, place));
        }
        squads.retain(|squad| !squad.members.is_empty());
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Arc<Place<E>>> {
        self.members.values()
    }

    /// Whether this is the place of one of these workers.
    pub(super) fn is_of(&self, place: &Place<E>) -> bool {
        let share = place.terms.share.as_ref();
        share.is_some_and(|share| Arc::ptr_eq(&share.crew, &self.crew))
    }

    /// The place of the worker who has what has this number and lane.
    pub(super) fn owner(&self, number: u64, lane: u64) -> Option<&Arc<Place<E>>> {
        self.members.get(&self.crew.owner(number, lane))
    }
}
