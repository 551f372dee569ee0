//! What stands between the events of one subscription and their attempts, and what it has counted.
//!
//! A source asks before each attempt, and says how it went. It calls the guards of the policy.
//!
//! Invariant: every attempt that a breaker lets through is reported to that very breaker, once,
//! whatever becomes of the policy, the life or the event meanwhile.
//!
//! It moves no event: its source does.

use std::fmt;
use std::time::Duration;

use crate::failure::Failure;
use crate::mailbox::gauge::{Gauge, Pause, Watch};
use crate::policy::{
    Breaker, BreakerState, Circuit, Dedupe, Entry, GuardState, Identity, Memory, Opening, Pass,
    Purse, Rate, RateLimit, Report, RetryBudget, Rules, Trouble,
};
use crate::sync::Arc;

/// What the guards say of an attempt that is about to be made.
#[derive(Debug)]
pub(crate) enum Word {
    /// It may be made; how it went is to be reported.
    Go(Option<Ticket>),
    /// Not before this time since the board's start.
    Wait(Duration),
    /// It is not to be made at all.
    Refused,
}

/// A guard as its policy has it, and what it has counted.
type Kept<T, S> = Option<(T, S)>;

/// Whatever the policy does not have is `None`.
pub(crate) struct Guards {
    dedupe: Kept<Dedupe, Memory>,
    breaker: Option<Arc<Gate>>,
    rate: Kept<RateLimit, GuardState<Rate>>,
    budget: Kept<RetryBudget, GuardState<Purse>>,
    /// The event at the head, once it was found to be no copy: its number, and by what it is known.
    vetted: Option<(u64, Identity)>,
    /// That of the event which was taken last, while it is in no other custody.
    pub(crate) ticket: Option<Ticket>,
    is_paused: bool,
    gauge: Arc<Gauge>,
    watch: Arc<dyn Watch>,
}

/// A breaker, and whom it tells.
struct Gate {
    breaker: Breaker,
    circuit: GuardState<Circuit>,
    event: &'static str,
    watch: Arc<dyn Watch>,
}

/// An attempt that a breaker has let through.
#[derive(Debug)]
pub(crate) struct Ticket {
    pass: Pass,
    gate: Arc<Gate>,
}

impl Guards {
    /// None have counted anything yet.
    pub(crate) fn new(event: &'static str, rules: &Rules, watch: Arc<dyn Watch>) -> Self {
        let gauge = Gauge::new(event);
        watch.enlist(&gauge);
        let mut guards = Guards {
            dedupe: None,
            breaker: None,
            rate: None,
            budget: None,
            vetted: None,
            ticket: None,
            is_paused: false,
            gauge,
            watch,
        };
        guards.follow(rules);
        guards
    }

    /// Its subscription opens again after an end.
    pub(crate) fn enlist(&self) {
        self.watch.enlist(&self.gauge);
    }

    /// Its subscription has ended.
    pub(crate) fn delist(&self) {
        self.watch.delist(&self.gauge);
    }

    /// Follows other rules: a guard that they leave as it is keeps what it has counted.
    pub(crate) fn follow(&mut self, rules: &Rules) {
        let dedupe = rules.dedupe.as_ref();
        self.dedupe = keep(self.dedupe.take(), dedupe, Dedupe::is_like, Dedupe::state);
        let rate = rules.rate_limit.as_ref();
        self.rate = keep(self.rate.take(), rate, RateLimit::is_like, RateLimit::state);
        let budget = rules.retry_budget.as_ref();
        let kept = self.budget.take();
        self.budget = keep(kept, budget, RetryBudget::is_like, RetryBudget::state);
        let gate = self.breaker.take();
        self.breaker = rules.breaker.as_ref().map(|breaker| {
            let kept = gate.filter(|gate| gate.breaker.is_like(breaker));
            kept.unwrap_or_else(|| self.gate(breaker))
        });
        let circuit = self.breaker.as_ref().map(|gate| gate.circuit.clone());
        let purse = self.budget.as_ref().map(|(_, purse)| purse.clone());
        self.gauge.show(circuit, purse);
        self.is_paused = false;
        // What it is known by may be another thing.
        self.vetted = None;
    }

    fn gate(&self, breaker: &Breaker) -> Arc<Gate> {
        Arc::new(Gate {
            breaker: breaker.clone(),
            circuit: breaker.state(),
            event: self.gauge.event,
            watch: Arc::clone(&self.watch),
        })
    }

    /// Whether one of them tells copies.
    pub(crate) fn tell_copies(&self) -> bool {
        self.dedupe.is_some()
    }

    /// The guard that tells copies, unless it has been asked about the event with this number.
    pub(crate) fn dedupe(&self, number: u64) -> Option<&Dedupe> {
        let (dedupe, _) = self.dedupe.as_ref()?;
        let vetted = self.vetted.as_ref().map(|(vetted, _)| *vetted);
        (vetted != Some(number)).then_some(dedupe)
    }

    /// Whether the event at the head is no copy; asked once for each.
    pub(crate) fn vet(&mut self, number: u64, identity: Identity, now: Duration) -> bool {
        let Some((_, memory)) = &mut self.dedupe else {
            return true;
        };
        let is_first = memory.is_first(&identity, now);
        if is_first {
            self.vetted = Some((number, identity));
        } else {
            // Nothing else can become of it, and its attempt has published one more.
            memory.admit(identity, now);
        }
        is_first
    }

    /// The event at the head, which was found to be no copy, has been taken to be tried: from now
    /// on others are copies of it.
    pub(crate) fn remember(&mut self, now: Duration) {
        if let (Some((_, memory)), Some((_, identity))) = (&mut self.dedupe, self.vetted.take()) {
            memory.admit(identity, now);
        }
    }

    /// Asks for an attempt. `in_place` if all events of the mailbox are to wait for it.
    pub(crate) fn ask(&mut self, now: Duration, in_place: bool) -> Word {
        let (ticket, by_breaker, until) = match self.breaker.as_ref().map(|gate| gate.ask(now)) {
            Some(Word::Refused) => return Word::Refused,
            Some(Word::Wait(until)) => (None, true, Some(until)),
            Some(Word::Go(ticket)) => (ticket, false, None),
            None => (None, false, None),
        };
        let until = until.or_else(|| self.rate_wait(now));
        let Some(until) = until else {
            self.go_on();
            return Word::Go(ticket);
        };
        if let Some(ticket) = ticket {
            ticket.report(Report::Void, now);
        }
        self.is_paused = true;
        self.gauge.note(Some(Pause {
            until,
            by_breaker,
            in_place,
        }));
        Word::Wait(until)
    }

    fn rate_wait(&self, now: Duration) -> Option<Duration> {
        let (_, rate) = self.rate.as_ref()?;
        match rate.with(|rate| rate.admit(now)) {
            Opening::Now => None,
            Opening::At(until) => Some(until),
        }
    }

    /// Nothing is made to wait any more.
    pub(crate) fn go_on(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            self.gauge.note(None);
        }
    }

    /// The event that was taken last is about to be tried for the first time.
    pub(crate) fn begin_first(&mut self, ticket: Option<Ticket>, now: Duration) {
        self.ticket = ticket;
        if let Some((_, purse)) = &self.budget {
            purse.with(|purse| purse.deposit(now));
        }
    }

    /// Whether an event may be tried again; that is counted.
    pub(crate) fn withdraw(&self, now: Duration) -> bool {
        let purse = self.budget.as_ref();
        purse.is_none_or(|(_, purse)| purse.with(|purse| purse.withdraw(now)))
    }
}

/// What was kept, if it fits; else made anew.
fn keep<T: Clone, S>(
    kept: Kept<T, S>,
    wanted: Option<&T>,
    is_like: fn(&T, &T) -> bool,
    make: fn(&T) -> S,
) -> Kept<T, S> {
    let wanted = wanted?;
    let kept = kept.filter(|(one, _)| is_like(one, wanted));
    Some(kept.unwrap_or_else(|| (wanted.clone(), make(wanted))))
}

impl Gate {
    fn ask(self: &Arc<Self>, now: Duration) -> Word {
        let (entry, became) = self.circuit.with(|circuit| circuit.admit(now));
        self.tell(became);
        match entry {
            Entry::Pass(pass) => {
                let gate = Arc::clone(self);
                Word::Go(Some(Ticket { pass, gate }))
            }
            Entry::Wait(until) => Word::Wait(until),
            Entry::Refused => Word::Refused,
        }
    }

    fn tell(&self, became: Option<BreakerState>) {
        if let Some(state) = became {
            self.watch.turned(self.event, state);
        }
    }
}

impl Ticket {
    /// Says how the attempt went; true if the breaker has closed because of it.
    pub(crate) fn report(self, report: Report, now: Duration) -> bool {
        let Ticket { pass, gate } = self;
        let became = gate
            .circuit
            .with(|circuit| circuit.report(pass, report, now));
        gate.tell(became);
        became == Some(BreakerState::Closed)
    }

    /// What to report of an attempt that went wrong. User code runs here.
    pub(crate) fn judge(&self, trouble: Trouble, failure: &Failure) -> Report {
        if self.gate.breaker.counts(trouble, failure) {
            Report::Failed
        } else {
            Report::Void
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.breaker.fmt(f)
    }
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guards")
            .field("gauge", &self.gauge)
            .finish_non_exhaustive()
    }
}
