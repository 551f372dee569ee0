//! The workers of one service: which of them handles what, also while their number changes.
//!
//! Topics and cursors ask whose an event is, addresses whose a letter is; the workers say how far
//! they have come; the supervisor of the workers changes their number.
//!
//! Invariant: whose something is depends on its number and its lane alone, and never changes. Of
//! what lies beyond a change nobody handles anything before all that lies below it is settled, so
//! what is about one thing keeps its order when it moves to another worker.
//!
//! It knows neither events nor letters, and starts nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tokio::sync::Notify;

use crate::event::Key;
use crate::pulse::Pulse;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crate::waits::{Waiter, Waiting};

/// Makes a worker look up before its next delivery.
type Call = Arc<dyn Fn() + Send + Sync>;

/// The workers of one service.
pub(crate) struct Crew {
    /// Raised before anything changes: whoever sees what was published after a change sees this.
    version: AtomicU64,
    /// Nobody handles what has a number from this on; `u64::MAX` unless a change is under way.
    limit: AtomicU64,
    state: Mutex<State>,
    opened: Notify,
}

struct State {
    /// The oldest first, never empty. All but the first have still to open.
    shifts: Vec<Shift>,
    members: BTreeMap<usize, Call>,
    /// The workers that have not settled what lies below the limit.
    awaited: BTreeSet<usize>,
    /// What waits for those workers, as one that may be waited for: the change that is under way.
    gate: Option<Gate>,
}

/// A change that is under way, among those who wait for each other.
struct Gate {
    waiter: Waiter,
    /// Its waits for those who are awaited.
    waits: BTreeMap<usize, Waiting>,
}

/// From which number on there are how many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shift {
    from: u64,
    workers: u64,
}

/// What one worker has of what its service hears.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) crew: Arc<Crew>,
    /// Which of the workers it is, counted from 0.
    pub(crate) index: usize,
    /// The path of the service: what the ledger counts under.
    pub(crate) service: Arc<str>,
    /// The path of the worker: who waits and is waited for.
    pub(crate) path: Arc<str>,
}

/// A share as one reader keeps it: it asks nobody as long as nothing changes.
#[derive(Debug)]
pub(crate) struct Portion {
    share: Arc<Share>,
    version: u64,
    shifts: Vec<Shift>,
    limit: u64,
}

/// What decides who handles something: equal for equal keys, `None` for what has no key. The same
/// in every process and version: a hash that is drawn by lot would not be.
pub(crate) fn lane(key: &Key) -> Option<u64> {
    match key {
        Key::None => None,
        Key::Number(number) => Some(mix(*number)),
        Key::Text(text) => {
            // FNV-1a.
            let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            Some(mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)))
        }
    }
}

/// The finish of splitmix64: keys in a row, or a stride apart, fall on all workers alike.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn owner(shifts: &[Shift], number: u64, lane: u64) -> usize {
    let shift = shifts.iter().rev().find(|shift| shift.from <= number);
    let workers = shift.or(shifts.first()).map_or(1, |shift| shift.workers);
    share_out(lane, usize::try_from(workers).unwrap_or(usize::MAX))
}

/// Which of so many workers has this lane.
pub(crate) fn share_out(lane: u64, workers: usize) -> usize {
    usize::try_from(lane % workers.max(1) as u64).unwrap_or_default()
}

impl Crew {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        let first = Shift {
            from: 0,
            workers: workers as u64,
        };
        Arc::new(Crew {
            version: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            state: Mutex::new(State {
                shifts: vec![first],
                members: BTreeMap::new(),
                awaited: BTreeSet::new(),
                gate: None,
            }),
            opened: Notify::new(),
        })
    }

    /// A worker takes its place; `call` makes it look up.
    pub(crate) fn join(&self, index: usize, call: impl Fn() + Send + Sync + 'static) {
        lock(&self.state).members.insert(index, Arc::new(call));
    }

    /// A worker has ended for good, and nobody waits for it.
    pub(crate) fn leave(&self, index: usize) {
        let mut state = lock(&self.state);
        state.members.remove(&index);
        state.settle(index);
        let called = self.open(&mut state);
        drop(state);
        call(called);
    }

    /// How many workers share what is published or sent now.
    pub(crate) fn workers(&self) -> usize {
        lock(&self.state).workers()
    }

    /// Nobody handles what has a number from this on.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::SeqCst)
    }

    /// Differs after every change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Whose the event is that has this number.
    pub(crate) fn owner(&self, number: u64, lane: u64) -> usize {
        owner(&lock(&self.state).shifts, number, lane)
    }

    /// Sends something while the number of workers, which is given, does not change. What is sent
    /// takes its number meanwhile. No user code may run in it.
    pub(crate) fn post<R>(&self, send: impl FnOnce(usize) -> R) -> R {
        let state = lock(&self.state);
        send(state.workers())
    }

    /// From now on there are so many workers, all of which have joined. Returns the number of the
    /// change: what has a higher one is shared by the new number. `change` waits for those who have
    /// still to settle what has a lower one.
    pub(crate) fn scale(
        &self,
        workers: usize,
        pulse: &Pulse,
        change: Option<(Waiter, &BTreeMap<usize, Waiter>)>,
    ) -> u64 {
        let mut state = lock(&self.state);
        let is_first = state.shifts.len() == 1;
        if is_first {
            // Before the version: whoever has seen that has seen a limit no later than the change.
            self.limit.store(pulse.numbers_given(), Ordering::SeqCst);
        }
        // Before the number: whoever sees one beyond the change is to see that there was one, and
        // then waits for this lock.
        self.version.fetch_add(1, Ordering::SeqCst);
        let from = pulse.next_number();
        state.shifts.push(Shift {
            from,
            workers: workers as u64,
        });
        if is_first {
            self.limit.store(from, Ordering::SeqCst);
            state.await_all();
            state.gate = change.map(|(waiter, all)| state.gate(waiter, all));
        }
        let mut called = self.open(&mut state);
        called.extend(state.members.values().cloned());
        drop(state);
        call(called);
        from
    }

    /// A worker has settled all that lies below this limit.
    pub(crate) fn finish(&self, index: usize, limit: u64) {
        let mut state = lock(&self.state);
        if self.limit() != limit || !state.settle(index) {
            return;
        }
        let called = self.open(&mut state);
        drop(state);
        call(called);
    }

    /// Whom everybody waits for, too, who asks a worker now: the change that is under way.
    pub(crate) fn gate(&self) -> Option<Waiter> {
        if self.limit() == u64::MAX {
            return None;
        }
        let state = lock(&self.state);
        state.gate.as_ref().map(|gate| gate.waiter.clone())
    }

    /// Whether this worker is waited for.
    pub(crate) fn awaits(&self, index: usize) -> bool {
        lock(&self.state).awaited.contains(&index)
    }

    /// Waits until all that lies below this change is settled.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the waiting.
    pub(crate) async fn until_open(&self, change: u64) {
        loop {
            let mut opened = std::pin::pin!(self.opened.notified());
            opened.as_mut().enable();
            if self.limit() > change {
                return;
            }
            opened.await;
        }
    }

    /// Lets everybody beyond the limit if nobody is awaited. Returns who is to be called.
    fn open(&self, state: &mut State) -> Vec<Call> {
        let mut opened = false;
        while state.shifts.len() > 1 && state.awaited.is_empty() {
            // Nobody looks at what lies below any more.
            state.shifts.remove(0);
            let next = state.shifts.get(1);
            let limit = next.map_or(u64::MAX, |shift| shift.from);
            self.version.fetch_add(1, Ordering::SeqCst);
            self.limit.store(limit, Ordering::SeqCst);
            if next.is_some() {
                state.await_all();
            }
            state.gate = None;
            opened = true;
        }
        if !opened {
            return Vec::new();
        }
        self.opened.notify_waiters();
        state.members.values().cloned().collect()
    }
}

impl State {
    fn workers(&self) -> usize {
        let last = self.shifts.last().map_or(1, |shift| shift.workers);
        usize::try_from(last).unwrap_or(usize::MAX)
    }

    /// A worker is awaited no more. False if it was not.
    fn settle(&mut self, index: usize) -> bool {
        if let Some(gate) = &mut self.gate {
            gate.waits.remove(&index);
        }
        self.awaited.remove(&index)
    }

    fn gate(&self, waiter: Waiter, all: &BTreeMap<usize, Waiter>) -> Gate {
        let awaited = all.iter().filter(|(index, _)| self.awaited.contains(index));
        let waits = awaited.map(|(index, worker)| (*index, waiter.hold(worker.clone())));
        let waits = waits.collect();
        Gate { waiter, waits }
    }

    fn await_all(&mut self) {
        self.awaited = self.members.keys().copied().collect();
    }
}

fn call(called: Vec<Call>) {
    for call in called {
        call();
    }
}

impl Share {
    /// Whether the event is this worker's.
    pub(crate) fn owns(&self, number: u64, lane: u64) -> bool {
        self.crew.owner(number, lane) == self.index
    }
}

impl Portion {
    pub(crate) fn new(share: Arc<Share>) -> Self {
        Portion {
            share,
            version: u64::MAX,
            shifts: Vec::new(),
            limit: u64::MAX,
        }
    }

    /// Whether the event is this worker's.
    pub(crate) fn owns(&mut self, number: u64, lane: u64) -> bool {
        self.look();
        owner(&self.shifts, number, lane) == self.share.index
    }

    /// Whether the event is this worker's, and its turn has come.
    pub(crate) fn may_take(&mut self, number: u64, lane: u64) -> bool {
        self.owns(number, lane) && number < self.limit
    }

    fn look(&mut self) {
        let crew = &self.share.crew;
        if crew.version() == self.version {
            return;
        }
        let state = lock(&crew.state);
        self.version = crew.version();
        self.limit = crew.limit();
        self.shifts.clone_from(&state.shifts);
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Crew")
            .field("shifts", &state.shifts)
            .field("awaited", &state.awaited)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = Key> {
        let numbers = (0..1_000_u64).map(|number| Key::from(number * 64));
        let texts = (0..1_000).map(|number| Key::from(format!("account-{number}")));
        numbers.chain(texts)
    }

    #[test]
    fn keys_in_a_row_fall_on_all_workers_alike() {
        for workers in 1..=9 {
            let mut counts = vec![0_u32; workers];
            for key in keys() {
                let lane = lane(&key).unwrap();
                let shifts = [Shift {
                    from: 0,
                    workers: workers as u64,
                }];
                counts[owner(&shifts, 1, lane)] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most * 3 < least * 4, "{counts:?}");
        }
    }

    #[test]
    fn a_key_falls_on_the_same_worker_in_every_process() {
        let lanes = [Key::from(7), Key::from("ada")].map(|key| lane(&key));
        assert_eq!(lane(&Key::None), None);
        let expected = [1_346_066_267_577_507_604, 9_024_170_025_371_316_765];
        assert_eq!(lanes, expected.map(Some));
    }

    #[test]
    fn whose_an_event_is_depends_on_the_change_below_it() {
        let shift = |from, workers| Shift { from, workers };
        let shifts = [shift(0, 2), shift(10, 3), shift(20, 1)];
        let owners = [5, 9, 10, 19, 20, 99].map(|number| owner(&shifts, number, 5));
        assert_eq!(owners, [1, 1, 2, 2, 0, 0]);
    }
}
