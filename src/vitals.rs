//! What anybody may read of one service or supervisor while it runs.
//!
//! The supervisor above writes where it stands; its own thread writes what it is doing; `inspect`,
//! the tree and the watchdog read.
//!
//! Invariant: reading takes no answer from the service and no lock that its handlers hold, so it
//! works while a handler blocks its thread.
//!
//! It decides nothing. Its numbers are read one by one, so they may be an instant apart.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::thread::ThreadId;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::activity::{Activity, Doing, Moment};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::lifecycle::Lifecycle;
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, Mutex, OnceLock, Ordering, lock};

/// How many changes a monitor may lag behind before it misses the oldest.
const MONITOR_LAG: usize = 256;

/// How many changes are kept for monitors: those that the channel holds, and as many again for
/// those who tell them at the same instant.
const NEWS_KEPT: usize = 2 * MONITOR_LAG;

/// The state of a service or supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// Has no life; one begins when its turn comes.
    #[default]
    Waiting,
    /// Has no life; one begins when its backoff is over.
    BackingOff,
    /// `started` is running; for a supervisor: its children are being started.
    Starting,
    /// Is running.
    Running,
    /// Is being stopped.
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
#[derive(Clone, Debug, Serialize)]
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

#[derive(Debug, Default)]
struct Troubles {
    exit: Option<Exit>,
    failure: Option<LastFailure>,
}

/// Those of instances, by their numbers.
type Activities = BTreeMap<u64, Arc<Activity>>;

pub(crate) struct Vitals {
    pub(crate) path: Arc<str>,
    state: AtomicU8,
    life: AtomicU64,
    suspended: AtomicBool,
    /// What its life is doing. Shared with what runs there: a look at each delivery for where it
    /// is would cost 12 instructions.
    pub(crate) own: Arc<Activity>,
    /// What the instances of a per-key service are doing. A box, made on first use: most services
    /// have none.
    instances: OnceLock<Box<Mutex<Activities>>>,
    /// Since when it blocks its thread, as the watchdog has found.
    blocked_since: Moment,
    thread: OnceLock<ThreadId>,
    /// A box: most services never fail.
    troubles: Mutex<Option<Box<Troubles>>>,
    monitors: Mutex<Monitors>,
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
            own: Arc::default(),
            instances: OnceLock::new(),
            blocked_since: Moment::default(),
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

    /// An instance of a per-key service begins; its number is none of another one.
    pub(crate) fn add_instance(&self, number: u64) -> Arc<Activity> {
        let instances = self.instances.get_or_init(Box::default);
        let activity = Arc::<Activity>::default();
        lock(instances).insert(number, Arc::clone(&activity));
        activity
    }

    pub(crate) fn remove_instance(&self, number: u64) {
        if let Some(instances) = self.instances.get() {
            lock(instances).remove(&number);
        }
    }

    pub(crate) fn remove_all_instances(&self) {
        if let Some(instances) = self.instances.get() {
            lock(instances).clear();
        }
    }

    /// How many instances a per-key service has; 0 for any other.
    pub(crate) fn instances(&self) -> u64 {
        let instances = self.instances.get();
        instances.map_or(0, |instances| lock(instances).len() as u64)
    }

    /// Shows what the life is doing, as number 0, and what each instance is.
    pub(crate) fn each_activity(&self, mut visit: impl FnMut(u64, &Activity)) {
        visit(0, &self.own);
        if let Some(instances) = self.instances.get() {
            let instances = lock(instances);
            instances
                .iter()
                .for_each(|(number, one)| visit(*number, one));
        }
    }

    /// What has been under way for the longest, if anything is, and whether it is on its thread. If
    /// that is what matters, what is there comes first.
    pub(crate) fn doing(&self, is_stuck: bool) -> Option<(Doing, bool)> {
        let mut oldest: Option<(Doing, bool)> = None;
        self.each_activity(|_, activity| {
            let Some(doing) = activity.doing() else {
                return;
            };
            let is_on_thread = activity.is_on_thread();
            let rank = |doing: Doing, is_on_thread: bool| (is_stuck && !is_on_thread, doing.since);
            let found = rank(doing, is_on_thread);
            if oldest.is_none_or(|(before, was)| found < rank(before, was)) {
                oldest = Some((doing, is_on_thread));
            }
        });
        // What blocks may be later work, while its service rests.
        let blocking = |since| {
            let doing = Doing {
                number: 0,
                attempt: 0,
                event: None,
                since,
            };
            (doing, true)
        };
        oldest.or_else(|| self.blocked_since().map(blocking))
    }

    /// Since when it blocks its thread, counted from the board's start.
    pub(crate) fn note_blocked(&self, since_start: Option<Duration>) {
        self.blocked_since.set(since_start);
    }

    pub(crate) fn blocked_since(&self) -> Option<Duration> {
        self.blocked_since.get()
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
