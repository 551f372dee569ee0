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
use crate::mailbox::source::{Ruling, Setback};
use crate::mailbox::{AsSource, Mailbox, Sources};
use crate::policy::{EventVerdict, Trouble, WorkerVerdict};
use crate::vitals::{LastFailure, Vitals};
use crate::wall::Wall;

/// What follows for the life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub(crate) fn carry_out<L: Sources, D: AsSource + ?Sized, T>(
    mailbox: &mut Mailbox<L, D, T>,
    setback: Setback,
    wall: &Wall,
    vitals: &Vitals,
) -> Consequence {
    let (trouble, failure, at) = (setback.trouble, setback.failure.clone(), setback.at);
    let source = mailbox.in_flight();
    let ruling = source
        .and_then(|source| mailbox.with(source, |one| one.rule(setback)))
        .flatten();
    mailbox.note_held();
    let Some(ruling) = ruling else {
        return if matches!(trouble, Trouble::Crashed | Trouble::Killed) {
            Consequence::End
        } else {
            Consequence::Live
        };
    };
    note(&ruling, &failure, at, vitals);
    tell(&ruling, trouble, &failure, &vitals.path);
    let worker = ruling.verdict.worker;
    if let Some(letter) = ruling.dead {
        wall.mourn(letter);
    }
    match worker {
        WorkerVerdict::Keep => Consequence::Live,
        WorkerVerdict::Stop => Consequence::Retire,
        WorkerVerdict::Restart => Consequence::End,
        WorkerVerdict::Escalate => Consequence::Escalate,
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

fn note(ruling: &Ruling, failure: &Failure, at: Duration, vitals: &Vitals) {
    vitals.note_failure(LastFailure {
        event: ruling.event,
        event_id: ruling.event_id.number(),
        attempt: ruling.attempt,
        failure: failure.clone(),
        at,
    });
}

fn tell(ruling: &Ruling, trouble: Trouble, failure: &Failure, service: &str) {
    let Ruling {
        verdict,
        event,
        event_id,
        attempt,
        ..
    } = ruling;
    let event_id = event_id.number();
    match verdict.event {
        EventVerdict::DeadLetter => tracing::error!(
            target: "callboard::policy",
            service, event, event_id, attempt, ?trouble, failure = failure.describe(),
            "given up: the event is a dead letter"
        ),
        then => tracing::warn!(
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
