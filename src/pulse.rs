//! What every topic and mailbox of one board shares: its numbers, its phase, its clock and agenda.
//!
//! Topics and letterboxes take a number for each thing they accept; hosts tell it when they
//! have run dry, so that `settle` can look again.
//!
//! Invariant: numbers only rise, and each is given once. A number is taken after all that its
//! taker has seen, so whatever caused an event has a smaller number than the event.
//!
//! It knows no event type, no service and no topic.

use crossbeam_utils::CachePadded;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::agenda::Agenda;
use crate::clock::Clock;
use crate::dice::Dice;
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// How far a board is on its way to its end. Later phases never go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Everybody may publish.
    Open,
    /// Outsiders are refused; what handlers publish still flows.
    Draining,
    /// Nothing is accepted any more.
    Closed,
}

/// The shared counters of one board.
#[derive(Debug)]
pub(crate) struct Pulse {
    numbers: CachePadded<AtomicU64>,
    phase: AtomicU8,
    settlers: AtomicUsize,
    /// Hooks and timers that are running: no delivery stands for them in the ledger.
    jobs: AtomicUsize,
    /// How many timers were ever set.
    timers: AtomicU64,
    quiet: Notify,
    /// The board has ended, and what is open stays open: a service is stuck.
    abandoned: AtomicBool,
    abandoning: Arc<Notify>,
    pub(crate) clock: Clock,
    pub(crate) dice: Dice,
    pub(crate) agenda: Arc<Agenda>,
}

impl Pulse {
    pub(crate) fn new(clock: Clock, dice: Dice) -> Self {
        Pulse {
            numbers: CachePadded::new(AtomicU64::new(1)),
            phase: AtomicU8::new(Phase::Open as u8),
            settlers: AtomicUsize::new(0),
            jobs: AtomicUsize::new(0),
            timers: AtomicU64::new(0),
            quiet: Notify::new(),
            abandoned: AtomicBool::new(false),
            abandoning: Arc::default(),
            agenda: Agenda::new(clock.clone()),
            clock,
            dice,
        }
    }

    /// Takes the next number. SeqCst, so that it is ordered with what the taker has seen.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// The number that will be given next: unchanged means that nothing accepted since has its
    /// number yet, so nothing has followed from it.
    pub(crate) fn numbers_given(&self) -> u64 {
        self.numbers.load(Ordering::SeqCst)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Closed,
        }
    }

    /// Moves on to `phase`; a board never goes back. What is not due by now never will be.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        if phase > Phase::Open {
            self.agenda.close();
        }
        self.quiet.notify_waiters();
    }

    /// Whether something offered by an `insider` (a handler of this board) or an outsider may
    /// be accepted now.
    pub(crate) fn accepts(&self, insider: bool) -> bool {
        match self.phase() {
            Phase::Open => true,
            Phase::Draining => insider,
            Phase::Closed => false,
        }
    }

    /// A hook or timer runs until what is returned is dropped.
    pub(crate) fn begin_job(self: &Arc<Self>) -> Job {
        self.jobs.fetch_add(1, Ordering::SeqCst);
        Job(Arc::clone(self))
    }

    /// Numbers a timer; no two of a board are alike, so that no life takes another's for its own.
    pub(crate) fn next_timer(&self) -> u64 {
        self.timers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn has_jobs(&self) -> bool {
        self.jobs.load(Ordering::SeqCst) > 0
    }

    /// Said by a host that has run dry, or has closed what it had not read.
    pub(crate) fn ran_dry(&self) {
        if self.settlers.load(Ordering::SeqCst) > 0 {
            self.quiet.notify_waiters();
        }
    }

    /// The board has ended and leaves something stuck behind: nothing that is open now will ever be
    /// settled.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.abandoning.notify_waiters();
        self.quiet.notify_waiters();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// A sign of that, if it comes after this call.
    pub(crate) fn abandoning(&self) -> OwnedNotified {
        Arc::clone(&self.abandoning).notified_owned()
    }

    /// Calls `settled` now and after every sign of quiet until it returns something.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the waiting.
    pub(crate) async fn until<T>(&self, mut settled: impl FnMut() -> Option<T>) -> T {
        self.settlers.fetch_add(1, Ordering::SeqCst);
        let _leave = Leave(self);
        loop {
            let mut sign = std::pin::pin!(self.quiet.notified());
            sign.as_mut().enable();
            if let Some(found) = settled() {
                return found;
            }
            sign.await;
        }
    }
}

/// A hook or timer that is running.
#[derive(Debug)]
pub(crate) struct Job(Arc<Pulse>);

impl Drop for Job {
    fn drop(&mut self) {
        self.0.jobs.fetch_sub(1, Ordering::SeqCst);
        self.0.ran_dry();
    }
}

struct Leave<'a>(&'a Pulse);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.settlers.fetch_sub(1, Ordering::SeqCst);
    }
}
