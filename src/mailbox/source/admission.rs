//! What stands before an attempt at an event: its age, copies, the line of its key, guards.
//!
//! Deliveries ask for the event at the head, and for those that wait. It calls the guards.
//!
//! Invariant: nothing is taken that has to wait, so whatever waits is where it was.
//!
//! It judges no attempt: that comes after it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Ruling, Source, key_of};
use crate::clock::{Look, deadline};
use crate::event::{Event, Key};
use crate::mailbox::guards::{Guards, Ticket, Word};
use crate::mailbox::held::Held;
use crate::policy::{Identity, Report, is_over};
use crate::topic::settlement::{Ending, Fate};
use crate::topic::tally::Count;

/// What becomes of the event at the head of a subscription.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is in flight.
    Taken,
    /// It was passed over, and counted, or lined up.
    Passed,
    /// It is given up without an attempt.
    Ruled(Box<Ruling>),
    /// Nothing is to be read now.
    Nothing,
}

/// The event at the head of a subscription, as it is looked at before it is taken.
struct Head {
    number: u64,
    accepted: Option<Duration>,
    /// The line that it belongs in.
    line: Option<Key>,
    /// By what it is known, if that is to be asked.
    identity: Option<Identity>,
}

impl<E: Event> Source<E> {
    /// Takes the event at the head, if its number is below `until` and nothing stands against it.
    pub(crate) fn admit(&mut self, until: u64, time: &mut Look<'_>) -> Admission {
        let tell_copies = |guards: &Guards| guards.tell_copies();
        let is_asked = self.guards.as_deref().is_some_and(tell_copies);
        if self.aside.has_lines() || is_asked || self.is_crowded() {
            return self.admit_known(until, time);
        }
        let Some((block, mut steps)) = self.cursor.split() else {
            return Admission::Nothing;
        };
        let slot = steps.position().and_then(|position| block.slot(position));
        let Some(slot) = slot.filter(|slot| slot.stamp.number < until) else {
            return Admission::Nothing;
        };
        if self.rules.needs_time() {
            let (at, accepted) = (time.since_start(), slot.stamp.accepted());
            if is_over(self.rules.time_to_live, accepted, at) {
                return self.pass_over(time.now(), Count::Expired, Fate::Expired);
            }
            if is_over(self.rules.deadline, accepted, at) {
                return self.give_up_head(time.now(), at, Self::rule_overdue);
            }
        }
        let Some(guards) = &mut self.guards else {
            return if steps.take() {
                Admission::Taken
            } else {
                Admission::Nothing
            };
        };
        let at = time.since_start();
        match guards.ask(at, true) {
            Word::Go(ticket) if steps.take() => {
                guards.begin_first(ticket, at);
                Admission::Taken
            }
            word => self.hold_back(word, time),
        }
    }

    /// As [`Source::admit`], where it depends on the event's key, or its cause.
    fn admit_known(&mut self, until: u64, time: &mut Look<'_>) -> Admission {
        let Some(head) = self.look_at_head(until) else {
            return Admission::Nothing;
        };
        // The user's code has said what its key is.
        time.forget();
        let (now, at) = (time.now(), time.since_start());
        if is_over(self.rules.time_to_live, head.accepted, at) {
            return self.pass_over(now, Count::Expired, Fate::Expired);
        }
        if self.is_copy(head.number, head.identity, at) {
            return self.pass_over(now, Count::Discarded, Fate::Discarded);
        }
        if let Some(key) = head.line {
            return self.admit_to_line(&key, now, at);
        }
        if is_over(self.rules.deadline, head.accepted, at) {
            return self.give_up_head(now, at, Self::rule_overdue);
        }
        if self.is_crowded() {
            return self.await_room(now);
        }
        match self.ask(at, true) {
            Word::Go(ticket) if self.let_through(at) => {
                self.begin_first(ticket, at);
                Admission::Taken
            }
            word => self.hold_back(word, time),
        }
    }

    /// Leaves the event at the head where it is, unless it is not to be tried at all.
    fn hold_back(&mut self, word: Word, time: &mut Look<'_>) -> Admission {
        match word {
            // It was shed in the meantime.
            Word::Go(ticket) => self.hear(ticket, Report::Void),
            Word::Wait(until) => {
                self.paused = Some(instant(time.now(), time.since_start(), until));
            }
            Word::Refused => {
                return self.give_up_head(time.now(), time.since_start(), Self::rule_refused);
            }
        }
        Admission::Nothing
    }

    /// Takes up the event that waits in place, or the one that is due first of those that wait
    /// aside, if nothing stands against another attempt.
    pub(crate) fn take_up(&mut self, is_aside: bool, time: &mut Look<'_>) -> Admission {
        let held = if is_aside {
            self.aside.take_first()
        } else {
            self.held.take().map(|held| *held)
        };
        let Some(mut held) = held else {
            return Admission::Nothing;
        };
        if !is_aside && held.sentence.is_none() && self.is_crowded() {
            // Until room is made: were it due with what waits aside, it would come first for ever.
            held.due = deadline(time.now(), Duration::MAX);
            held.is_put_off = true;
            self.held = Some(Box::new(held));
            return Admission::Nothing;
        }
        self.shift(Count::Deferred, Count::InFlight);
        if held.sentence.is_some() {
            self.current = Some(Box::new(held));
            return Admission::Taken;
        }
        held.due = time.now();
        held.is_put_off = false;
        let at = time.since_start();
        let is_late = held.is_new() && !held.redriven;
        if is_late && is_over(self.rules.time_to_live, held.accepted, at) {
            self.settle(&held.event, Count::Expired, Ending::after(0, Fate::Expired));
            self.move_up(held.line, held.due);
            return Admission::Passed;
        }
        if is_over(self.rules.deadline, held.accepted, at) {
            return Admission::Ruled(Box::new(self.rule_overdue(held)));
        }
        match self.ask(at, !is_aside) {
            Word::Go(ticket) => {
                self.begin_again(held, ticket, at);
                Admission::Taken
            }
            Word::Wait(until) => {
                let due = instant(held.due, at, until);
                held.is_put_off = true;
                self.wait(held, due);
                Admission::Nothing
            }
            Word::Refused => Admission::Ruled(Box::new(self.rule_refused(held))),
        }
    }

    /// Looks at the event at the head, if its number is below `until`.
    fn look_at_head(&mut self, until: u64) -> Option<Head> {
        let (aside, guards) = (&self.aside, &self.guards);
        let (block, steps) = self.cursor.split()?;
        let slot = block.slot(steps.position()?)?;
        let stamp = &slot.stamp;
        if stamp.number >= until {
            return None;
        }
        let line = aside.has_lines().then(|| key_of(&slot.event));
        let guards = guards.as_deref();
        let dedupe = guards.and_then(|guards| guards.dedupe(stamp.number));
        Some(Head {
            number: stamp.number,
            accepted: stamp.accepted(),
            line: line.filter(|key| aside.has_line(key)),
            identity: dedupe.map(|dedupe| dedupe.identity(&slot.event, stamp.byline)),
        })
    }

    /// Whether the event at the head is a copy of an earlier one.
    fn is_copy(&mut self, number: u64, identity: Option<Identity>, at: Duration) -> bool {
        let asked = self.guards.as_mut().zip(identity);
        asked.is_some_and(|(guards, identity)| !guards.vet(number, identity, at))
    }

    /// Asks for an attempt, for which all events of the mailbox wait if it is one `in_place`.
    fn ask(&mut self, at: Duration, in_place: bool) -> Word {
        match &mut self.guards {
            Some(guards) => guards.ask(at, in_place),
            None => Word::Go(None),
        }
    }

    /// What has just been taken is tried for the first time.
    fn begin_first(&mut self, ticket: Option<Ticket>, at: Duration) {
        if let Some(guards) = &mut self.guards {
            guards.begin_first(ticket, at);
        }
    }

    /// Settles the event at the head without an attempt.
    fn pass_over(&mut self, now: Instant, count: Count, fate: Fate) -> Admission {
        if !self.take_head() {
            return Admission::Nothing;
        }
        if let Some(held) = self.in_custody(now) {
            tracing::debug!(
                target: "callboard::policy",
                service = %self.cursor.place.terms.service, event = self.cursor.topic.name,
                event_id = held.number(), ?fate,
                "an event was dropped without an attempt"
            );
            self.settle(&held.event, count, Ending::after(0, fate));
        }
        Admission::Passed
    }

    /// Gives up the event at the head.
    fn give_up_head(
        &mut self,
        now: Instant,
        at: Duration,
        rule: fn(&mut Self, Held<E>) -> Ruling,
    ) -> Admission {
        if !self.let_through(at) {
            return Admission::Nothing;
        }
        match self.in_custody(now) {
            Some(held) => Admission::Ruled(Box::new(rule(self, held))),
            None => Admission::Nothing,
        }
    }

    /// Lets the event at the head wait behind another with its key, if there is room.
    fn admit_to_line(&mut self, key: &Key, now: Instant, at: Duration) -> Admission {
        if self.is_full() {
            return self.await_room(now);
        }
        if !self.let_through(at) {
            return Admission::Nothing;
        }
        self.begin_first(None, at);
        self.line_up(key, now);
        Admission::Passed
    }

    /// Leaves the event at the head where it is until there may be room aside.
    fn await_room(&mut self, now: Instant) -> Admission {
        // Whatever it waits behind is due then, and may make room; what is at work makes room when
        // it is done.
        let due = self.aside.due();
        self.paused = due.or_else(|| Some(deadline(now, Duration::MAX)));
        Admission::Nothing
    }

    /// Takes the event at the head, which is no copy: those like it are, from now on.
    fn let_through(&mut self, at: Duration) -> bool {
        let is_taken = self.take_head();
        if is_taken && let Some(guards) = &mut self.guards {
            guards.remember(at);
        }
        is_taken
    }

    fn take_head(&mut self) -> bool {
        let Some((_, mut steps)) = self.cursor.split() else {
            return false;
        };
        steps.position().is_some() && steps.take()
    }

    /// What has just been taken waits behind another with its key.
    fn line_up(&mut self, key: &Key, now: Instant) {
        if let Some(mut held) = self.in_custody(now) {
            held.is_aside = true;
            self.aside.line_up(key, held);
            self.shift(Count::InFlight, Count::Deferred);
        }
    }

    fn begin_again(&mut self, mut held: Held<E>, ticket: Option<Ticket>, at: Duration) {
        if held.redriven && held.is_new() {
            self.begin_first(None, at);
        }
        if !held.attempts.is_empty() {
            let tally = &self.cursor.place.tally;
            tally.change(|tally| tally.add(Count::Retried, 1));
        }
        held.ticket = ticket;
        self.current = Some(Box::new(held));
    }
}

/// The instant that is meant by a time since the board's start; `now` is `at`.
fn instant(now: Instant, at: Duration, until: Duration) -> Instant {
    deadline(now, until.saturating_sub(at))
}
