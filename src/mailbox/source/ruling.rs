//! What becomes of an event after an attempt that did not succeed: its verdict, carried out.
//!
//! Lives and hosts report attempts, the admission those that it does not make. It asks the verdict.
//!
//! Invariant: whatever the verdict says, the event is settled and counted, or waits and is counted.
//!
//! It decides nothing, and touches no worker.

use std::any::TypeId;
use std::time::Duration;

use tokio::time::Instant;

use super::{Source, key_of};
use crate::clock::deadline;
use crate::dead_letter::{DeadLetter, FailedAttempt, Obituary};
use crate::event::{Event, EventId, Key};
use crate::failure::{BreakerOpen, Failure, Overdue};
use crate::mailbox::held::{Held, Sentence};
use crate::policy::{
    Attempt, EventVerdict, Manner, OnFailure, Reason, Report, Trouble, Verdict, WorkerVerdict,
    decide, give_up,
};
use crate::sync::Arc;
use crate::topic::settlement::{Ending, Fate};
use crate::topic::tally::Count;

/// An attempt that did not succeed, as the host saw it.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) trouble: Trouble,
    pub(crate) failure: Failure,
    pub(crate) now: Instant,
    /// `now`, counted from the board's start.
    pub(crate) at: Duration,
    pub(crate) jitter: f64,
}

/// What came of a setback.
#[derive(Debug)]
pub(crate) struct Ruling {
    pub(crate) verdict: Verdict,
    pub(crate) trouble: Trouble,
    pub(crate) failure: Failure,
    pub(crate) event: &'static str,
    pub(crate) event_id: EventId,
    pub(crate) attempt: u32,
    /// Still in flight: it is settled once it is on the shelf.
    pub(crate) dead: Option<(DeadLetter, Ending)>,
    /// It is given up, but what is to follow comes first: the event is still held.
    pub(crate) is_pending: bool,
}

impl<E: Event> Source<E> {
    /// Judges what is in flight after an attempt that did not succeed, and settles it or lets it
    /// wait.
    pub(super) fn judge(&mut self, setback: Setback) -> Option<Ruling> {
        let Setback {
            trouble,
            failure,
            now,
            at,
            jitter,
        } = setback;
        let mut held = self.begun(now)?;
        held.due = now;
        if held.sentence.is_some() && self.is_keyed {
            // There is no instance to follow it up, and there would be none the next time.
            self.current = Some(Box::new(held));
            return self.settle_condemned(Some(Reason::NotFollowedUp));
        }
        if held.sentence.is_some() {
            // Its life ended while it was being followed up: that is done again.
            self.wait(held, now);
            return None;
        }
        let ticket = held.ticket.take();
        let report = ticket.as_ref().map(|it| it.judge(trouble, &failure));
        self.hear(ticket, report.unwrap_or(Report::Void));
        let number = held.next_attempt();
        let age = now.saturating_duration_since(held.first.unwrap_or(now));
        let attempt = Attempt::new(trouble, &failure, number, age, jitter)
            .left(self.rules.left(held.accepted, || at))
            .later(held.is_later);
        let mut verdict = decide(&attempt, &self.rules);
        if verdict.event.is_retry() && !self.may_retry(at) {
            verdict = decide(&attempt.broke(true), &self.rules);
        }
        held.attempts.push(FailedAttempt {
            number,
            trouble,
            failure: failure.clone(),
            at,
        });
        let ruling = self.ruling(&held, verdict, trouble, failure, number);
        if let Some(slot) = held.event.slot() {
            self.cursor.place.note_failed(slot, number);
        }
        Some(self.carry_out(held, ruling))
    }

    fn bury(&self, held: Held<E>, reason: Reason) -> DeadLetter {
        DeadLetter::new(Obituary {
            tries: held.tries(),
            topic: Arc::clone(&self.cursor.topic),
            place: Arc::clone(&self.cursor.place),
            event: held.event,
            attempts: held.attempts,
            reason,
            redriven: held.redriven,
        })
    }

    /// Gives up an event that may not be tried (again), because its deadline has passed.
    pub(super) fn rule_overdue(&mut self, held: Held<E>) -> Ruling {
        let limit = self.rules.deadline.unwrap_or_default();
        let failure = Failure::from(Overdue { limit });
        self.rule_untried(held, Trouble::TimedOut, failure, Reason::DeadlinePassed)
    }

    /// Gives up an event that may not be tried (again), because the breaker is open.
    pub(super) fn rule_refused(&mut self, held: Held<E>) -> Ruling {
        let failure = Failure::from(BreakerOpen);
        self.rule_untried(held, Trouble::Failed, failure, Reason::BreakerOpen)
    }

    fn rule_untried(
        &mut self,
        held: Held<E>,
        trouble: Trouble,
        failure: Failure,
        reason: Reason,
    ) -> Ruling {
        let verdict = give_up(&failure, &self.rules, WorkerVerdict::Keep, reason);
        let attempt = held.counted();
        let ruling = self.ruling(&held, verdict, trouble, failure, attempt);
        self.carry_out(held, ruling)
    }

    /// The dead letters of dead letters are let go, or one broken mourner would mourn itself.
    fn ruling(
        &self,
        held: &Held<E>,
        mut verdict: Verdict,
        trouble: Trouble,
        failure: Failure,
        attempt: u32,
    ) -> Ruling {
        let is_letter = TypeId::of::<E>() == TypeId::of::<DeadLetter>();
        if is_letter && verdict.event == EventVerdict::DeadLetter {
            verdict.event = EventVerdict::Discard;
        }
        Ruling {
            verdict,
            trouble,
            failure,
            event: self.cursor.topic.name,
            event_id: EventId::new(held.number()),
            attempt,
            dead: None,
            is_pending: false,
        }
    }

    /// Lets an event in flight wait, or settles it, as the verdict says.
    fn carry_out(&mut self, held: Held<E>, mut ruling: Ruling) -> Ruling {
        let now = held.due;
        match ruling.verdict.event {
            EventVerdict::RetryNow => self.wait(held, now),
            EventVerdict::RetryAfter(delay) => self.wait(held, deadline(now, delay)),
            EventVerdict::StepAside(delay) => self.step_aside(held, deadline(now, delay)),
            _ if self.is_followed(self.rules.on_failure(&ruling.failure)) => {
                ruling.is_pending = true;
                self.condemn(held, &ruling);
            }
            _ => ruling.dead = self.settle_given_up(held, &ruling.verdict),
        }
        ruling
    }

    /// Whether something is to follow when an event of this type is given up.
    fn is_followed(&self, then: &OnFailure) -> bool {
        let event = TypeId::of::<E>();
        let letter = then.waited && !then.discards && event != TypeId::of::<DeadLetter>();
        letter || then.steps.iter().any(|step| step.event == event)
    }

    /// Lets an event in flight wait in place, or where it has waited before.
    pub(super) fn wait(&mut self, mut held: Held<E>, due: Instant) {
        held.due = due;
        held.is_later = false;
        self.hear(held.ticket.take(), Report::Void);
        // Of several that fail in later work while there is no room aside only one waits in place.
        held.is_aside |= self.held.is_some();
        if held.is_aside {
            self.aside.put(held);
        } else {
            self.held = Some(Box::new(held));
        }
        self.shift(Count::InFlight, Count::Deferred);
    }

    /// Lets an event in flight wait aside, if there is room.
    fn step_aside(&mut self, mut held: Held<E>, due: Instant) {
        let is_parked = self.rules.retry.manner() == Manner::Parked;
        if !held.is_aside && !self.is_full() {
            held.is_aside = true;
            if is_parked && let Some(slot) = held.event.slot() {
                let key = key_of(&slot.event);
                held.line =
                    (key != Key::None && self.aside.begin_line(&key, held.number())).then_some(key);
            }
        }
        self.wait(held, due);
    }

    /// Holds an event that is given up until what is to follow has been done.
    fn condemn(&mut self, mut held: Held<E>, ruling: &Ruling) {
        let mut verdict = ruling.verdict;
        if ruling.trouble.ends_the_life() && verdict.worker == WorkerVerdict::Restart {
            // That is about to happen: the life that follows the event up is another one.
            verdict.worker = WorkerVerdict::Keep;
        }
        held.sentence = Some(Box::new(Sentence {
            verdict,
            failure: ruling.failure.clone(),
        }));
        let now = held.due;
        self.wait(held, now);
    }

    /// Settles what was taken up after what had to follow, followed or not.
    pub(super) fn settle_condemned(&mut self, reason: Option<Reason>) -> Option<Ruling> {
        let mut held = *self.current.take()?;
        let Sentence {
            mut verdict,
            failure,
        } = *held.sentence.take()?;
        if reason.is_some() {
            verdict.reason = reason;
            verdict.event = EventVerdict::DeadLetter;
        }
        let last = held.attempts.last();
        let trouble = last.map_or(Trouble::TimedOut, |attempt| attempt.trouble);
        let attempt = held.counted();
        let mut ruling = self.ruling(&held, verdict, trouble, failure, attempt);
        ruling.dead = self.settle_given_up(held, &ruling.verdict);
        Some(ruling)
    }

    /// Settles an event that will not be tried again, unless it is a dead letter: that is returned.
    fn settle_given_up(
        &mut self,
        mut held: Held<E>,
        verdict: &Verdict,
    ) -> Option<(DeadLetter, Ending)> {
        let (count, fate) = match verdict.event {
            EventVerdict::Acknowledge => (Count::Done, Fate::Acknowledged),
            EventVerdict::Discard => (Count::Discarded, Fate::Discarded),
            _ => (Count::DeadLettered, Fate::DeadLettered),
        };
        let reason = verdict.reason.unwrap_or(Reason::NotRetried);
        let ending = Ending::after(held.counted(), fate).because(reason);
        let (line, due) = (held.line.take(), held.due);
        self.move_up(line, due);
        if fate == Fate::DeadLettered {
            return Some((self.bury(held, reason), ending));
        }
        self.settle(&held.event, count, ending);
        None
    }
}
