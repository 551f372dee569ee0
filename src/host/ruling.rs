//! Carrying out a verdict: on the event, on the worker, in the log.
//!
//! A life calls it after a fault, the host after a crash.
//!
//! Invariant: one verdict settles both, the event and the worker.
//!
//! It decides nothing itself.

use std::time::Duration;

use crate::failure::Failure;
use crate::mailbox::source::{Ruling, Setback};
use crate::mailbox::{AsSource, Mailbox, Sources};
use crate::policy::{EventVerdict, Trouble, WorkerVerdict};
use crate::vitals::{LastFailure, Vitals};
use crate::wall::Wall;

/// What follows for the life.
#[derive(Clone, Debug)]
pub(crate) enum Consequence {
    Live,
    /// It ends abnormally; its supervisor restarts it.
    End,
    /// It ends for good.
    Retire(Failure),
    /// It ends, and its supervisor with it.
    Escalate(Failure),
}

/// Judges what is in flight, if anything is, and does what the verdict says.
pub(crate) fn judge<L: Sources, D: AsSource + ?Sized, T>(
    mailbox: &mut Mailbox<L, D, T>,
    setback: Setback,
    wall: &Wall,
    vitals: &Vitals,
) -> Consequence {
    let (trouble, at) = (setback.trouble, setback.at);
    let source = mailbox.in_flight();
    let ruling = source
        .and_then(|source| mailbox.with(source, |one| one.rule(setback)))
        .flatten();
    mailbox.note_waiting();
    match ruling {
        Some(ruling) => carry_out(ruling, at, wall, vitals),
        None if matches!(trouble, Trouble::Crashed | Trouble::Killed) => Consequence::End,
        None => Consequence::Live,
    }
}

/// Does what a ruling says, which has been carried out on the event.
pub(crate) fn carry_out(ruling: Ruling, at: Duration, wall: &Wall, vitals: &Vitals) -> Consequence {
    note(&ruling, at, vitals);
    tell(&ruling, &vitals.path);
    if let Some(letter) = ruling.dead {
        wall.mourn(letter);
    }
    match ruling.verdict.worker {
        // What is to follow the event comes first, and then the worker's turn; but one that has
        // crashed does so in its next life.
        _ if ruling.is_pending => match ruling.trouble {
            Trouble::Crashed | Trouble::Killed => Consequence::End,
            Trouble::Failed | Trouble::TimedOut => Consequence::Live,
        },
        WorkerVerdict::Keep => Consequence::Live,
        WorkerVerdict::Restart => Consequence::End,
        WorkerVerdict::Stop => Consequence::Retire(ruling.failure),
        WorkerVerdict::Escalate => Consequence::Escalate(ruling.failure),
    }
}

fn note(ruling: &Ruling, at: Duration, vitals: &Vitals) {
    vitals.note_failure(LastFailure {
        event: ruling.event,
        event_id: ruling.event_id.number(),
        attempt: ruling.attempt,
        failure: ruling.failure.clone(),
        at,
    });
}

fn tell(ruling: &Ruling, service: &str) {
    let Ruling {
        verdict,
        trouble,
        failure,
        event,
        event_id,
        attempt,
        ..
    } = ruling;
    let event_id = event_id.number();
    let reason = verdict.reason.filter(|_| !ruling.is_pending);
    match (verdict.event, reason) {
        (EventVerdict::DeadLetter, Some(reason)) => tracing::error!(
            target: "callboard::policy",
            service, event, event_id, attempt, ?trouble, failure = failure.describe(), %reason,
            "given up: the event is a dead letter"
        ),
        (then, Some(reason)) => tracing::warn!(
            target: "callboard::policy",
            service, event, event_id, attempt, ?trouble, failure = failure.describe(), %then,
            %reason,
            "given up: the event is let go"
        ),
        (then, None) => tracing::warn!(
            target: "callboard::policy",
            service, event, event_id, attempt, ?trouble, failure = failure.describe(), %then,
            "an attempt did not succeed"
        ),
    }
}
