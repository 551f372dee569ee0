//! An event that one subscriber could not handle.
//!
//! The host makes one when the verdict says so; services may subscribe to it, and the board's
//! shelf keeps the last ones for `redrive`.
//!
//! Invariant: it pins its event, and no other, for as long as it is kept.
//!
//! It does not try the event again by itself.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::event::{Byline, Cause, Event, EventId, Key};
use crate::failure::Failure;
use crate::panic::guard;
use crate::policy::{Reason, Trouble};
use crate::sync::Arc;
use crate::topic::Topic;
use crate::topic::block::Pinned;
use crate::topic::place::Place;
use crate::topic::settlement::Ending;
use crate::topic::tally::Count;

/// One attempt that did not succeed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// 1 for the first.
    pub number: u32,
    /// Whether the handler failed, ran out of time, panicked or was killed.
    pub trouble: Trouble,
    /// Why.
    pub failure: Failure,
    /// When the attempt ended, counted from the board's start.
    pub at: Duration,
}

/// An event that was given up for one subscriber, with every attempt; itself an event.
///
/// The board keeps the last ones on a shelf: [`Board::dead_letters`](crate::Board::dead_letters),
/// [`Board::redrive`](crate::Board::redrive). Any service may subscribe to them. Such subscriptions
/// never make a publisher wait: they are always `Overflow::DropOldest`, and a dead letter whose own
/// handler fails is discarded, and makes no further dead letter. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetter(Arc<Inner>);

struct Inner {
    id: EventId,
    service: Arc<str>,
    attempts: Vec<FailedAttempt>,
    reason: Reason,
    byline: Option<Byline>,
    redriven: bool,
    grave: Box<dyn Grave>,
}

/// What is known of a delivery that is given up, before it becomes a letter.
pub(crate) struct Obituary<E> {
    pub(crate) topic: Arc<Topic<E>>,
    pub(crate) place: Arc<Place<E>>,
    pub(crate) event: Pinned<E>,
    pub(crate) attempts: Vec<FailedAttempt>,
    pub(crate) reason: Reason,
    pub(crate) redriven: bool,
    /// How often it has been begun in all, also before it was redriven.
    pub(crate) tries: u32,
}

impl Event for DeadLetter {
    const NAME: &'static str = "callboard.dead_letter";
}

impl DeadLetter {
    pub(crate) fn new<E: Event>(obituary: Obituary<E>) -> Self {
        let Obituary {
            topic,
            place,
            event,
            attempts,
            reason,
            redriven,
            tries,
        } = obituary;
        let (id, byline) = event
            .slot()
            .map_or((0, None), |slot| (slot.stamp.number, slot.stamp.byline));
        DeadLetter(Arc::new(Inner {
            id: EventId::new(id),
            service: Arc::clone(&place.terms.service),
            attempts,
            reason,
            byline,
            redriven,
            grave: Box::new(Buried {
                topic,
                place,
                event,
                tries,
            }),
        }))
    }

    /// The number under which the event was published.
    pub fn event_id(&self) -> EventId {
        self.0.id
    }

    /// The durable name of the event's type.
    pub fn event_name(&self) -> &'static str {
        self.0.grave.name()
    }

    /// What the event is about, by its own `key()`; `Key::None` if that panics.
    pub fn key(&self) -> Key {
        guard(|| self.0.grave.key()).unwrap_or_default()
    }

    /// The path of the subscriber that failed.
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Every attempt, the first one first.
    pub fn attempts(&self) -> &[FailedAttempt] {
        &self.0.attempts
    }

    /// The last attempt's failure.
    pub fn failure(&self) -> Option<&Failure> {
        self.0.attempts.last().map(|attempt| &attempt.failure)
    }

    /// Why it was given up.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The event or letter whose handler published the event; `None` if it came from outside.
    pub fn cause(&self) -> Option<Cause> {
        self.0.byline.map(Byline::cause)
    }

    /// The same, with whose attempt that was.
    pub(crate) fn byline(&self) -> Option<Byline> {
        self.0.byline
    }

    /// Whether the event had been redriven before it failed again.
    pub fn is_redriven(&self) -> bool {
        self.0.redriven
    }

    /// The event itself, if it is an `E`.
    pub fn downcast_ref<E: Event>(&self) -> Option<&E> {
        self.0.grave.event()?.downcast_ref()
    }

    /// Whether both are the same letter.
    pub(crate) fn is(&self, other: &DeadLetter) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Counts the event as a dead letter, and tells who waits for it. It is on the shelf by now:
    /// whoever hears of it finds it there. Called once, on its subscriber's thread.
    pub(crate) fn settle(&self, ending: Ending) {
        self.0.grave.settle(ending);
    }

    /// Gives the event back to the subscriber that failed it. `None` if that has ended.
    pub(crate) fn give_back(&self) -> Option<EventId> {
        self.0.grave.give_back()
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("event", &self.event_name())
            .field("event_id", &self.event_id())
            .field("service", &self.service())
            .field("attempts", &self.attempts().len())
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for DeadLetter {
    /// One line: `order.placed 17 for shop/payments, attempts used up (3): declined`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} for {}",
            self.event_name(),
            self.event_id(),
            self.service()
        )?;
        write!(f, ", {} ({})", self.reason(), self.attempts().len())?;
        self.failure()
            .map_or(Ok(()), |failure| write!(f, ": {}", failure.describe()))
    }
}

/// A buried event whose type is not known here.
trait Grave: Send + Sync {
    fn name(&self) -> &'static str;
    fn key(&self) -> Key;
    fn event(&self) -> Option<&dyn Any>;
    fn give_back(&self) -> Option<EventId>;
    fn settle(&self, ending: Ending);
}

struct Buried<E> {
    topic: Arc<Topic<E>>,
    place: Arc<Place<E>>,
    event: Pinned<E>,
    tries: u32,
}

impl<E: Event> Grave for Buried<E> {
    fn name(&self) -> &'static str {
        self.topic.name
    }

    fn key(&self) -> Key {
        self.event.slot().map_or(Key::None, |slot| slot.event.key())
    }

    fn event(&self) -> Option<&dyn Any> {
        self.event.slot().map(|slot| &slot.event as &dyn Any)
    }

    fn give_back(&self) -> Option<EventId> {
        let event = self.event.clone();
        self.topic.redrive(&self.place, event, self.tries)
    }

    fn settle(&self, ending: Ending) {
        self.place.tally.shift(Count::InFlight, Count::DeadLettered);
        if let Some(slot) = self.event.slot() {
            self.place.report(slot, ending);
        }
    }
}
