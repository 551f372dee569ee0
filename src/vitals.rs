//! What anybody may read of one service or supervisor while it runs.
//!
//! The supervisor above writes where it stands; its own thread writes what it is doing; `inspect`,
//! the tree and the watchdog read.
//!
//! Invariant: reading takes no answer from the service and no lock that its handlers hold, so it
//! works while a handler blocks its thread.
//!
//! It decides nothing. Its numbers are read one by one, so they may be an instant apart.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::thread::ThreadId;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::lifecycle::Lifecycle;
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, Mutex, OnceLock, Ordering, lock};

/// How many changes a monitor may lag behind before it misses the oldest.
const MONITOR_LAG: usize = 256;

/// How many changes are kept for monitors: those that the channel holds, and as many again for
/// those who tell them at the same instant.
const NEWS_KEPT: usize = 2 * MONITOR_LAG;

/// Where a service or supervisor stands between its first start and its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Has no life; one begins when it is its turn.
    #[default]
    Waiting,
    /// Has no life; one begins when its backoff is over.
    BackingOff,
    /// `started` is running; for a supervisor: its children are being started.
    Starting,
    /// Lives.
    Running,
    /// Has been told to stop.
    Stopping,
    /// Has ended for good, unless it is started again on request.
    Closed,
}

impl State {
    const ALL: [State; 6] = [
        State::Waiting,
        State::BackingOff,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Closed,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Waiting => "waiting",
            State::BackingOff => "backing off",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Closed => "closed",
        })
    }
}

/// An attempt of a service that did not succeed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LastFailure {
    /// The event's durable name.
    pub event: &'static str,
    /// The number of the event.
    pub event_id: u64,
    /// Which attempt at it.
    pub attempt: u32,
    /// What went wrong.
    pub failure: Failure,
    /// When, counted from the board's start.
    pub at: Duration,
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doing {
    /// The number of the event or letter; 0 in hooks and timers.
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    /// When it took up what it is busy with, counted from the board's start.
    pub(crate) since: Duration,
}

#[derive(Debug, Default)]
struct Troubles {
    exit: Option<Exit>,
    failure: Option<LastFailure>,
}

pub(crate) struct Vitals {
    pub(crate) path: Arc<str>,
    state: AtomicU8,
    life: AtomicU64,
    suspended: AtomicBool,
    /// How many instances a per-key service has.
    instances: AtomicU64,
    /// The watchdog has found that it blocks its thread.
    blocked: AtomicBool,
    /// Odd while the thread runs the service's code: counted up when a poll begins and ends.
    polls: AtomicU64,
    /// Microseconds since the board's start, plus one, at which the service last took up work;
    /// 0 while it rests.
    busy_since: AtomicU64,
    number: AtomicU64,
    attempt: AtomicU64,
    thread: OnceLock<ThreadId>,
    /// A box: most services never fail.
    troubles: Mutex<Option<Box<Troubles>>>,
    monitors: Mutex<Monitors>,
}

/// While it lives, the service's code runs on its thread.
#[must_use]
pub(crate) struct Polling<'a>(&'a Vitals);

impl<'a> Polling<'a> {
    pub(crate) fn begin(vitals: &'a Vitals) -> Self {
        vitals.note_poll();
        Polling(vitals)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.note_poll();
    }
}

/// Who hears of the changes.
#[derive(Default)]
enum Monitors {
    #[default]
    Nobody,
    Some(Box<Audience>),
    /// There will be no more changes.
    Over,
}

/// Those who hear of the changes, and what they may not have heard yet.
struct Audience {
    all: broadcast::Sender<Lifecycle>,
    /// What the channel holds, and more. A user's error may go with the oldest: kept here, it does
    /// not go under a lock of the channel when other news takes its place there.
    news: VecDeque<Lifecycle>,
}

impl Vitals {
    pub(crate) fn new(path: Arc<str>) -> Arc<Self> {
        Arc::new(Vitals {
            path,
            state: AtomicU8::new(State::Waiting as u8),
            life: AtomicU64::new(0),
            suspended: AtomicBool::new(false),
            instances: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            polls: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            number: AtomicU64::new(0),
            attempt: AtomicU64::new(0),
            thread: OnceLock::new(),
            troubles: Mutex::default(),
            monitors: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> State {
        let state = usize::from(self.state.load(Ordering::Acquire));
        State::ALL.get(state).copied().unwrap_or_default()
    }

    pub(crate) fn enter(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// How many lives it has had; 1 during the first.
    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    /// Counts a life. Its supervisor's own lives do not begin the count anew.
    pub(crate) fn begin_life(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::SeqCst)
    }

    /// Tells whether this changed anything: suspension is a state, not a count.
    pub(crate) fn suspend(&self, suspended: bool) -> bool {
        self.suspended.swap(suspended, Ordering::SeqCst) != suspended
    }

    pub(crate) fn note_instances(&self, count: usize) {
        self.instances.store(count as u64, Ordering::Relaxed);
    }

    /// How many instances a per-key service has; 0 for any other.
    pub(crate) fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    // One thread writes, so there is nothing to exchange.
    fn note_poll(&self) {
        let polls = self.polls.load(Ordering::Relaxed);
        self.polls.store(polls.wrapping_add(1), Ordering::Release);
    }

    /// How often the service's code has been entered and left; odd while it runs.
    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Acquire)
    }

    /// Whether the service's code runs on its thread, by its number of polls.
    pub(crate) fn is_on_thread(polls: u64) -> bool {
        polls % 2 == 1
    }

    pub(crate) fn note_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(crate) fn note_busy(&self, since_start: Duration) {
        let micros = u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX - 1);
        self.busy_since.store(micros + 1, Ordering::Relaxed);
    }

    pub(crate) fn note_rest(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
        self.number.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn note_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    pub(crate) fn note_doing(&self, number: u64, attempt: u32) {
        self.note_number(number);
        self.attempt.store(u64::from(attempt), Ordering::Relaxed);
    }

    /// What it is busy with, if anything.
    pub(crate) fn doing(&self) -> Option<Doing> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        let attempt = self.attempt.load(Ordering::Relaxed);
        Some(Doing {
            number: self.number.load(Ordering::Relaxed),
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            since: Duration::from_micros(since),
        })
    }

    /// The thread that it lives on.
    pub(crate) fn note_thread(&self) {
        let _ = self.thread.set(std::thread::current().id());
    }

    pub(crate) fn thread(&self) -> Option<ThreadId> {
        self.thread.get().copied()
    }

    pub(crate) fn note_exit(&self, exit: &Exit) {
        let before = self.with_troubles(|troubles| troubles.exit.replace(exit.clone()));
        // A user's error is dropped outside the lock.
        drop(before);
    }

    pub(crate) fn last_exit(&self) -> Option<Exit> {
        lock(&self.troubles).as_ref()?.exit.clone()
    }

    pub(crate) fn note_failure(&self, failure: LastFailure) {
        let before = self.with_troubles(|troubles| troubles.failure.replace(failure));
        drop(before);
    }

    pub(crate) fn last_failure(&self) -> Option<LastFailure> {
        lock(&self.troubles).as_ref()?.failure.clone()
    }

    fn with_troubles<R>(&self, act: impl FnOnce(&mut Troubles) -> R) -> R {
        act(lock(&self.troubles).get_or_insert_default())
    }

    /// Begins to monitor: hears of every change from now on.
    pub(crate) fn monitor(&self) -> broadcast::Receiver<Lifecycle> {
        let mut monitors = lock(&self.monitors);
        if let Monitors::Some(audience) = &*monitors {
            return audience.all.subscribe();
        }
        let all = broadcast::Sender::new(MONITOR_LAG);
        let monitor = all.subscribe();
        // Without a sender kept, it ends at once.
        if matches!(*monitors, Monitors::Nobody) {
            let news = VecDeque::new();
            *monitors = Monitors::Some(Box::new(Audience { all, news }));
        }
        monitor
    }

    pub(crate) fn has_monitors(&self) -> bool {
        matches!(*lock(&self.monitors), Monitors::Some(_))
    }

    /// Tells the monitors, if there are any. Never waits.
    pub(crate) fn tell(&self, news: &Lifecycle) {
        let Some((all, oldest)) = self.keep(news) else {
            return;
        };
        // Outside the lock, as whoever is woken may look here; so may a user's error that is
        // dropped.
        let is_heard = all.send(news.clone()).is_ok();
        drop(oldest);
        if !is_heard {
            self.dismiss_nobody();
        }
    }

    /// Keeps the news if there are monitors. Returns who tells them, and what is kept no longer.
    fn keep(&self, news: &Lifecycle) -> Option<(broadcast::Sender<Lifecycle>, Option<Lifecycle>)> {
        let mut monitors = lock(&self.monitors);
        let Monitors::Some(audience) = &mut *monitors else {
            return None;
        };
        audience.news.push_back(news.clone());
        let is_full = audience.news.len() > NEWS_KEPT;
        let oldest = is_full.then(|| audience.news.pop_front()).flatten();
        Some((audience.all.clone(), oldest))
    }

    /// Keeps no news any more if nobody listens.
    fn dismiss_nobody(&self) {
        let mut monitors = lock(&self.monitors);
        let is_alone = |audience: &Audience| audience.all.receiver_count() == 0;
        let before = match &*monitors {
            Monitors::Some(audience) if is_alone(audience) => mem::take(&mut *monitors),
            _ => Monitors::Nobody,
        };
        drop(monitors);
        drop(before);
    }

    /// Nothing will happen any more: monitors end.
    pub(crate) fn dismiss_monitors(&self) {
        let before = mem::replace(&mut *lock(&self.monitors), Monitors::Over);
        drop(before);
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals")
            .field("path", &self.path)
            .field("state", &self.state())
            .field("life", &self.life())
            .finish_non_exhaustive()
    }
}
