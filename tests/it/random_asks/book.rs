//! What services have begun, who was troubled when, and whether an ask may end as it did.

use std::collections::{BTreeMap, BTreeSet};

use callboard::prelude::*;
use callboard::{AskError, Ledger};
use tokio::time::Instant;

use super::{Deed, Job, NAMES, STOP};

/// How asks ended, and how often.
pub(super) type Ends = BTreeMap<&'static str, u64>;

/// In the order of the letters, as in [`Ends`].
pub(super) const ALL_ENDS: [&str; 9] = [
    "answered",
    "crashed",
    "failed",
    "full",
    "not started",
    "restarted",
    "stopped",
    "timed out",
    "undelivered",
];

/// What happens to a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Crash,
    Kill,
    Restart,
    /// Until it was started again.
    Stop,
    Suspend,
}

#[derive(Debug)]
struct Trouble {
    service: usize,
    kind: Kind,
    from: Instant,
    to: Option<Instant>,
}

/// One ask.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) job: Job,
    pub(super) service: usize,
    pub(super) began: Instant,
    pub(super) limit: Duration,
    pub(super) waits_for_room: bool,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) faults: Vec<String>,
    pub(super) ends: Ends,
    paths: Vec<String>,
    has_group: bool,
    jobs: u64,
    /// By service.
    begun: [BTreeSet<u64>; NAMES.len()],
    accepted: [u64; NAMES.len()],
    /// Of which was said that nobody has heard them.
    unheard: Vec<u64>,
    troubles: Vec<Trouble>,
}

impl Book {
    pub(super) fn new(seed: u64, paths: [String; NAMES.len()]) -> Self {
        Book {
            paths: paths.into(),
            has_group: !seed.is_multiple_of(3),
            ..Book::default()
        }
    }

    pub(super) fn next_job(&mut self) -> u64 {
        self.jobs += 1;
        self.jobs
    }

    /// A service begins to answer.
    pub(super) fn begin(&mut self, service: usize, job: u64) {
        if !self.begun[service].insert(job) {
            self.faults.push(format!("{job} was begun twice"));
        }
    }

    /// Notes trouble that begins now, and returns its place in the list.
    pub(super) fn trouble(&mut self, service: usize, kind: Kind) -> usize {
        self.troubles.push(Trouble {
            service,
            kind,
            from: Instant::now(),
            to: None,
        });
        self.troubles.len() - 1
    }

    /// All services are stopped for good.
    pub(super) fn end_all(&mut self) {
        for service in 0..NAMES.len() {
            self.trouble(service, Kind::Stop);
        }
    }

    pub(super) fn trouble_is_over(&mut self, trouble: usize) {
        self.troubles[trouble].to = Some(Instant::now());
    }

    /// Whether a service had trouble of this kind while it was asked.
    fn had(&self, asked: &Asked, kind: Kind) -> bool {
        let theirs = |one: &&Trouble| one.service == asked.service && one.kind == kind;
        let mut troubles = self.troubles.iter().filter(theirs);
        troubles.any(|one| one.to.is_none_or(|to| to >= asked.began))
    }

    /// Whether another one may have taken it with it.
    fn had_group(&self, asked: &Asked) -> bool {
        // All may be stopped, one by one, before they are started again.
        let longest = STOP * u32::try_from(2 * NAMES.len()).unwrap_or(u32::MAX);
        let others = |one: &&Trouble| one.service != asked.service;
        let mut ends = self.troubles.iter().filter(others).filter(|one| {
            matches!(one.kind, Kind::Crash | Kind::Kill) && one.from + longest >= asked.began
        });
        self.has_group && ends.next().is_some()
    }

    /// Notes how an ask has ended; `None` if it has not.
    pub(super) fn judge(&mut self, asked: &Asked, end: Option<Result<u64, AskError<Job>>>) {
        let took = asked.began.elapsed();
        let Some(end) = end.filter(|_| took <= asked.limit + millis(1)) else {
            self.faults
                .push(format!("no end after {took:?}: {asked:?}"));
            return;
        };
        let (name, fits) = self.fits(asked, &end, took);
        *self.ends.entry(name).or_default() += 1;
        let shown = format!("{asked:?} ended after {took:?}: {end:?}");
        let id = asked.job.id;
        let is_unheard = end.as_ref().is_err_and(AskError::is_unheard);
        let is_late = matches!(end, Err(AskError::TimedOut(_)));
        let back = end.err().map(AskError::into_message);
        let is_accepted = !matches!(back, Some(Some(_)));
        self.accepted[asked.service] += u64::from(is_accepted);
        self.unheard.extend(is_unheard.then_some(id));
        let was_begun = self.begun[asked.service].contains(&id);
        let comes_back = back.flatten().is_none_or(|back| back == asked.job);
        // One that is late may have been heard, or not.
        if !fits || !comes_back || (!is_late && is_unheard == was_begun) {
            self.faults.push(shown);
        }
    }

    /// The name of this end, and whether it may be.
    fn fits(
        &self,
        asked: &Asked,
        end: &Result<u64, AskError<Job>>,
        took: Duration,
    ) -> (&'static str, bool) {
        let deed = asked.job.deed;
        let was_stopped = self.had(asked, Kind::Stop);
        match end {
            Ok(reply) => {
                let replies = matches!(deed, Deed::Reply | Deed::Nap(_));
                ("answered", replies && *reply == asked.job.id * 2)
            }
            Err(AskError::Failed(_)) => ("failed", deed == Deed::Fail),
            Err(AskError::Crashed) => {
                let was_ended = was_stopped || self.had(asked, Kind::Kill);
                ("crashed", deed == Deed::Panic || was_ended)
            }
            Err(AskError::Restarted) => {
                // Whoever starts one again that another has started already restarts it.
                let was_restarted = was_stopped || self.had(asked, Kind::Restart);
                ("restarted", was_restarted || self.had_group(asked))
            }
            Err(AskError::TimedOut(limit)) => {
                ("timed out", *limit == asked.limit && took >= *limit)
            }
            Err(AskError::Undelivered) => ("undelivered", was_stopped),
            Err(AskError::Stopped(_)) => ("stopped", was_stopped),
            Err(AskError::Full(_)) if asked.waits_for_room => ("full", took >= asked.limit),
            Err(AskError::Full(_)) => ("full", took.is_zero()),
            Err(AskError::NotStarted(_)) => ("not started", self.jobs == 1 && took.is_zero()),
            Err(_) => ("something else", false),
        }
    }

    /// Holds a ledger in which all is settled against what was seen.
    pub(super) fn audit(&mut self, ledger: &Ledger) {
        let mut faults = Vec::new();
        if ledger.gap() != 0 || !ledger.is_settled() {
            faults.push(format!("a gap, or something on its way:\n{ledger}"));
        }
        for (service, path) in self.paths.iter().enumerate() {
            let row = ledger.letter(path).cloned().unwrap_or_default();
            let begun = self.begun[service].len() as u64;
            let expected = (self.accepted[service], begun);
            if (row.accepted, row.answered + row.failed) != expected {
                faults.push(format!("(accepted, begun) is {expected:?}: {row:?}"));
            }
        }
        let all = self.begun.iter().flatten();
        let heard: BTreeSet<_> = all.copied().collect();
        if self.unheard.iter().any(|id| heard.contains(id)) {
            faults.push("heard what was said to be unheard".into());
        }
        self.faults.extend(faults);
    }
}
