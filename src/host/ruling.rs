//! Carrying out a verdict: on the event, on the worker, in the log.
//!
//! A life calls it after a fault, the host after a crash.
//!
//! Invariant: one verdict settles both, the event and the worker.
//!
//! It decides nothing itself.

use std::time::Duration;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::mailbox::bundle::AnyBundle;
use crate::mailbox::source::{Ruling, Setback};
use crate::mailbox::{AsSource, Mailbox, Sources};
use crate::policy::{EventVerdict, WorkerVerdict};
use crate::vitals::{LastFailure, Vitals};
use crate::wall::Wall;

/// What follows for the life.
#[derive(Clone, Debug)]
pub(crate) enum Consequence {
    Live,
    /// It ends abnormally; its supervisor restarts it.
    End,
    /// It ends, and no other follows.
    Retire,
    /// It ends, and its supervisor gives up.
    Escalate,
}

/// Judges what is in flight, if anything is, and does what the verdict says.
pub(crate) fn judge<L: Sources, D: AsSource + ?Sized, B: AnyBundle + ?Sized>(
    mailbox: &mut Mailbox<L, D, B>,
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
        None if trouble.ends_the_life() => Consequence::End,
        None => Consequence::Live,
    }
}

impl Consequence {
    /// How the life ends that this follows for; `plain` where no policy says otherwise.
    pub(crate) fn exit(self, failure: Failure, plain: impl FnOnce(Failure) -> Exit) -> Exit {
        match self {
            Self::Live | Self::End => plain(failure),
            Self::Retire => Exit::Retired(failure),
            Self::Escalate => Exit::Fatal(failure),
        }
    }
}

/// Does what a ruling says, which has been carried out on the event.
pub(crate) fn carry_out(ruling: Ruling, at: Duration, wall: &Wall, vitals: &Vitals) -> Consequence {
    note(&ruling, at, vitals);
    // Before anybody is told.
    if let Some((letter, ending)) = &ruling.dead {
        wall.mourn(letter);
        letter.settle(*ending);
    }
    tell(&ruling, &vitals.path);
    match ruling.verdict.worker {
        // What is to follow the event comes first, and then the worker's turn; but one that has
        // crashed does so in its next life.
        _ if ruling.is_pending && ruling.trouble.ends_the_life() => Consequence::End,
        _ if ruling.is_pending => Consequence::Live,
        WorkerVerdict::Keep => Consequence::Live,
        WorkerVerdict::Restart => Consequence::End,
        WorkerVerdict::Stop => Consequence::Retire,
        WorkerVerdict::Escalate => Consequence::Escalate,
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
            "given up: the event is discarded"
        ),
        (then, None) => tracing::warn!(
            target: "callboard::policy",
            service, event, event_id, attempt, ?trouble, failure = failure.describe(), %then,
            "an attempt did not succeed"
        ),
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_life_ends_as_its_policy_says_and_else_as_it_did() {
        for (consequence, expected) in [
            (Consequence::Live, "was killed"),
            (Consequence::End, "was killed"),
            (Consequence::Retire, "was retired: no disk"),
            (Consequence::Escalate, "failed fatally: no disk"),
        ] {
            let exit = consequence.exit(Failure::new("no disk"), |_| Exit::Killed);
            assert_eq!(exit.to_string(), expected);
        }
    }
}
