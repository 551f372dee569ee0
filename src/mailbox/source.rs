//! One subscription as its reader keeps it: a cursor, and custody of what was taken.
//!
//! The mailbox merges sources; the host runs handlers on what they hold.
//!
//! Invariant: an event that was taken is in flight or held until a verdict settles it, whatever
//! becomes of the life that took it.
//!
//! It never runs a handler and does not decide: the verdict is a pure function.

use std::any::TypeId;
use std::time::Duration;

use tokio::time::Instant;

use crate::bell::Bell;
use crate::clock::deadline;
use crate::dead_letter::{DeadLetter, FailedAttempt, Obituary};
use crate::event::{Event, EventId};
use crate::failure::Failure;
use crate::policy::{Attempt, EventVerdict, Reason, Rules, Trouble, Verdict, decide};
use crate::sync::Arc;
use crate::topic::Topic;
use crate::topic::block::Pinned;
use crate::topic::cursor::Cursor;
use crate::topic::place::Terms;
use crate::topic::settlement::{Ending, Fate};
use crate::topic::tally::Count;

/// An attempt that did not succeed, as the host saw it.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) trouble: Trouble,
    pub(crate) failure: Failure,
    /// When the attempt began, to within a small batch.
    pub(crate) began: Instant,
    pub(crate) now: Instant,
    /// `now`, counted from the board's start.
    pub(crate) at: Duration,
    pub(crate) jitter: f64,
}

/// What came of a setback.
#[derive(Debug)]
pub(crate) struct Ruling {
    pub(crate) verdict: Verdict,
    pub(crate) event: &'static str,
    pub(crate) event_id: EventId,
    pub(crate) attempt: u32,
    pub(crate) dead: Option<DeadLetter>,
}

/// An event that waits to be tried again, or is being tried again.
#[derive(Debug)]
pub(crate) struct Held<E> {
    pub(crate) event: Pinned<E>,
    pub(crate) attempts: Vec<FailedAttempt>,
    pub(crate) due: Instant,
    pub(crate) redriven: bool,
    first: Option<Instant>,
}

impl<E> Held<E> {
    /// Which attempt the next one is; 1 for the first.
    pub(crate) fn next_attempt(&self) -> u32 {
        self.counted().saturating_add(1)
    }

    /// How many attempts have failed.
    fn counted(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
pub(crate) struct Source<E> {
    pub(crate) cursor: Cursor<E>,
    pub(crate) held: Option<Held<E>>,
    pub(crate) rules: Rules,
    terms: Terms,
    /// Found nothing when it last looked.
    dry: bool,
}

/// A source whose event type is not known here.
pub(crate) trait AnySource {
    /// Looks what is next: its number, if there is something.
    fn look(&mut self) -> Option<u64>;
    /// Whether the last look found nothing.
    fn is_dry(&self) -> bool;
    /// Whether an event given back is next. It becomes the held one if `number` is its.
    fn hold_returned(&mut self, number: u64, now: Instant) -> bool;
    /// When the held event is to be tried again, if one is held.
    fn due(&self) -> Option<Instant>;
    fn is_in_flight(&self) -> bool;
    /// Lists itself as asleep; false if there is something to read.
    fn sleep(&self) -> bool;
    fn announce_room(&self);
    /// Settles, or holds, what is in flight after an attempt that did not succeed.
    fn rule(&mut self, setback: Setback) -> Option<Ruling>;
    /// Holds what is in flight, to be taken up first, without counting an attempt.
    fn hand_back(&mut self, now: Instant);
    /// Ends the subscription; returns the numbers of what nobody will handle.
    fn close(&mut self) -> Vec<u64>;
    /// Subscribes anew after an end, from the topic's tail on.
    fn reopen(&mut self, bell: &Arc<Bell>);
    fn event_type(&self) -> TypeId;
    fn event_name(&self) -> &'static str;
}

impl<E: Event> Source<E> {
    pub(crate) fn open(topic: Arc<Topic<E>>, terms: Terms, bell: Arc<Bell>, rules: Rules) -> Self {
        let place = topic.subscribe(terms.clone(), bell);
        Source {
            cursor: Cursor::new(topic, place),
            held: None,
            rules,
            terms,
            dry: false,
        }
    }

    /// Begins another attempt at the held event.
    pub(crate) fn take_up_held(&mut self) {
        if let Some(held) = &self.held {
            let again = !held.attempts.is_empty();
            self.cursor.place.tally.change(|tally| {
                tally.take(Count::Deferred);
                tally.add(Count::InFlight, 1);
                if again {
                    tally.add(Count::Retried, 1);
                }
            });
        }
    }

    /// The held event was handled.
    pub(crate) fn settle_held(&mut self, late: bool) {
        let place = &self.cursor.place;
        place.settle_done(late);
        let held = self.held.take();
        if let Some((held, slot)) = held
            .as_ref()
            .and_then(|held| Some((held, held.event.slot()?)))
        {
            place.report(slot, Ending::after(held.next_attempt(), Fate::Acknowledged));
        }
    }

    /// What is in flight, ready to be held.
    fn in_custody(&mut self, began: Instant, now: Instant) -> Option<Held<E>> {
        self.held
            .take()
            .or_else(|| {
                let event = self.cursor.pin_taken()?;
                Some(Held {
                    event,
                    attempts: Vec::new(),
                    due: now,
                    redriven: false,
                    first: None,
                })
            })
            .map(|mut held| {
                held.first.get_or_insert(began);
                held
            })
    }

    fn bury(&mut self, held: Held<E>, reason: Reason) -> DeadLetter {
        DeadLetter::new(Obituary {
            topic: Arc::clone(&self.cursor.topic),
            place: Arc::clone(&self.cursor.place),
            event: held.event,
            attempts: held.attempts,
            reason,
            redriven: held.redriven,
        })
    }

    fn reason(&self, attempt: u32, failure: &Failure) -> Reason {
        if failure.is_permanent() {
            Reason::Permanent
        } else if attempt >= self.rules.retry.attempts_max() {
            Reason::AttemptsUsedUp
        } else {
            Reason::NotRetried
        }
    }
}

impl<E: Event> AnySource for Source<E> {
    fn look(&mut self) -> Option<u64> {
        let head = self.cursor.look();
        let returned = self.cursor.place.next_return();
        let next = match (head, returned) {
            (Some(head), Some(returned)) => Some(head.min(returned)),
            (head, returned) => head.or(returned),
        };
        self.dry = next.is_none();
        next
    }

    fn is_dry(&self) -> bool {
        self.dry
    }

    fn hold_returned(&mut self, number: u64, now: Instant) -> bool {
        if self.cursor.place.next_return() != Some(number) {
            return false;
        }
        let Some(returned) = self.cursor.place.take_return(Count::Deferred) else {
            return false;
        };
        self.held = Some(Held {
            event: returned.event,
            attempts: Vec::new(),
            due: now,
            redriven: true,
            first: None,
        });
        true
    }

    fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.due)
    }

    fn is_in_flight(&self) -> bool {
        self.cursor.place.tally.now(Count::InFlight) > 0
    }

    fn sleep(&self) -> bool {
        self.cursor.topic.sleep(&self.cursor.place)
    }

    fn announce_room(&self) {
        self.cursor.topic.announce_room();
    }

    fn rule(&mut self, setback: Setback) -> Option<Ruling> {
        let Setback {
            trouble,
            failure,
            began,
            now,
            at,
            jitter,
        } = setback;
        let mut held = self.in_custody(began, now)?;
        let event_id = EventId::new(held.event.slot().map_or(0, |slot| slot.stamp.number));
        let number = held.next_attempt();
        let age = now.saturating_duration_since(held.first.unwrap_or(now));
        let verdict = decide(
            &Attempt::new(trouble, &failure, number, age, jitter),
            &self.rules,
        );
        let reason = self.reason(number, &failure);
        held.attempts.push(FailedAttempt {
            number,
            trouble,
            failure,
            at,
        });
        let mut ruling = Ruling {
            verdict,
            event: self.cursor.topic.name,
            event_id,
            attempt: number,
            dead: None,
        };
        let delay = match verdict.event {
            EventVerdict::RetryNow => Duration::ZERO,
            EventVerdict::RetryAfter(delay) | EventVerdict::StepAside(delay) => delay,
            verdict => {
                ruling.dead = self.give_up(verdict, held, reason);
                return Some(ruling);
            }
        };
        held.due = deadline(now, delay);
        if let Some(slot) = held.event.slot() {
            self.cursor.place.note_failed(slot, number);
        }
        self.held = Some(held);
        self.cursor
            .place
            .tally
            .shift(Count::InFlight, Count::Deferred);
        Some(ruling)
    }

    fn hand_back(&mut self, now: Instant) {
        if !self.is_in_flight() {
            return;
        }
        if let Some(mut held) = self.in_custody(now, now) {
            held.due = now;
            self.held = Some(held);
            self.cursor
                .place
                .tally
                .shift(Count::InFlight, Count::Deferred);
        }
    }

    fn close(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let place = &self.cursor.place;
        if let Some(held) = self.held.take_if(|_| place.tally.now(Count::Deferred) > 0) {
            place.tally.shift(Count::Deferred, Count::Undelivered);
            if let Some(slot) = held.event.slot() {
                numbers.push(slot.stamp.number);
                place.report(slot, Ending::after(held.counted(), Fate::Undelivered));
            }
        }
        numbers.extend(self.cursor.topic.unsubscribe(place));
        numbers
    }

    fn reopen(&mut self, bell: &Arc<Bell>) {
        if self.cursor.place.is_closed() {
            let topic = Arc::clone(&self.cursor.topic);
            let place = topic.subscribe(self.terms.clone(), Arc::clone(bell));
            self.cursor = Cursor::new(topic, place);
        }
    }

    fn event_type(&self) -> TypeId {
        TypeId::of::<E>()
    }

    fn event_name(&self) -> &'static str {
        self.cursor.topic.name
    }
}

impl<E: Event> Source<E> {
    /// Settles an event that will not be tried again; a dead letter unless it is let go. The
    /// dead letters of dead letters are let go, or one broken mourner would mourn itself.
    fn give_up(
        &mut self,
        verdict: EventVerdict,
        held: Held<E>,
        reason: Reason,
    ) -> Option<DeadLetter> {
        let (count, fate) = match verdict {
            EventVerdict::Acknowledge => (Count::Done, Fate::Acknowledged),
            EventVerdict::Discard => (Count::Discarded, Fate::Discarded),
            _ if TypeId::of::<E>() == TypeId::of::<DeadLetter>() => {
                (Count::Discarded, Fate::Discarded)
            }
            _ => (Count::DeadLettered, Fate::DeadLettered),
        };
        let place = &self.cursor.place;
        place.tally.shift(Count::InFlight, count);
        if let Some(slot) = held.event.slot() {
            place.report(slot, Ending::after(held.counted(), fate).because(reason));
        }
        (fate == Fate::DeadLettered).then(|| self.bury(held, reason))
    }
}
