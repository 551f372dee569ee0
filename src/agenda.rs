//! What is to happen on one board at a later time, in the order of time.
//!
//! Scheduled events and series enter; a task on the board's own runtime, started with the first
//! of them, says when the time has come.
//!
//! Invariant: what was entered is told exactly once that it is due, or that it is called off,
//! unless it has been crossed out before; what is due at the same time is told in the order of
//! entry.
//!
//! It keeps nothing from settling, and ends when the board begins to.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, Sleep};

use crate::clock::Clock;
use crate::panic::guard;
use crate::sync::{Arc, Mutex, lock};

/// How many entries are told in one go before other tasks of the runtime have a turn.
const TOLD_AT_ONCE: usize = 128;

/// What waits for its time.
pub(crate) trait Entry: Send + Sync {
    /// The time has come. It must neither wait nor block.
    fn fall_due(self: Arc<Self>);
    /// The time will not come. True if an event has come to nothing.
    fn call_off(self: Arc<Self>) -> bool;
}

/// Where an entry stands: its time, and who came first.
pub(crate) type Spot = (Instant, u64);

pub(crate) struct Agenda {
    clock: Clock,
    state: Mutex<State>,
    /// The next entry is another, or there will be none.
    changed: Notify,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Spot, Arc<dyn Entry>>,
    entered: u64,
    /// Whether the task that keeps it has been started.
    kept: bool,
    closed: bool,
    /// How many events have come to nothing because of that.
    called_off: u64,
}

/// What there is to do.
enum Next {
    Tell(Arc<dyn Entry>),
    Sleep(Sleep),
    Wait,
    End,
}

impl Agenda {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Agenda {
            clock,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Enters something; `None` if it was called off at once, because the board is ending.
    pub(crate) fn enter(self: &Arc<Self>, due: Instant, entry: Arc<dyn Entry>) -> Option<Spot> {
        let (spot, start) = {
            let mut state = lock(&self.state);
            if state.closed {
                drop(state);
                entry.call_off();
                return None;
            }
            state.entered += 1;
            let spot = (due, state.entered);
            state.entries.insert(spot, entry);
            (spot, !std::mem::replace(&mut state.kept, true))
        };
        if start {
            let keeper = Keeper(Arc::clone(self));
            self.clock.handle().spawn(keeper.keep());
        } else {
            self.changed.notify_one();
        }
        Some(spot)
    }

    /// Takes out what stands there, untold.
    pub(crate) fn cross_out(&self, spot: Spot) {
        let entry = lock(&self.state).entries.remove(&spot);
        // So that nobody sleeps until a time at which nothing will happen.
        if entry.is_some() {
            self.changed.notify_one();
        }
    }

    /// Calls everything off, and whatever is entered from now on.
    pub(crate) fn close(&self) {
        let entries = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.entries)
        };
        let entries = entries.into_values();
        // Events may be dropped by it, if nobody wants them back.
        let events = entries.filter(|entry| {
            let entry = Arc::clone(entry);
            guard(|| entry.call_off()).unwrap_or(true)
        });
        let events = events.count() as u64;
        lock(&self.state).called_off += events;
        self.changed.notify_one();
    }

    /// An event was due, and has come to nothing because the board began to end.
    pub(crate) fn note_called_off(&self) {
        lock(&self.state).called_off += 1;
    }

    /// How many events came to nothing because the board began to end.
    pub(crate) fn called_off(&self) -> u64 {
        lock(&self.state).called_off
    }

    fn next(&self) -> Next {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        if state.closed {
            return Next::End;
        }
        let Some(first) = state.entries.first_entry() else {
            return Next::Wait;
        };
        let due = first.key().0;
        if due <= now {
            return Next::Tell(first.remove());
        }
        drop(state);
        Next::Sleep(self.clock.sleep_until(due))
    }
}

/// The task that keeps an agenda. Without it nothing falls due any more.
struct Keeper(Arc<Agenda>);

impl Keeper {
    async fn keep(self) {
        let mut told = 0;
        loop {
            match self.0.next() {
                Next::Tell(entry) => {
                    let _ = guard(|| entry.fall_due());
                    told += 1;
                    if told % TOLD_AT_ONCE == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Next::Sleep(sleep) => tokio::select! {
                    biased;
                    () = sleep => {}
                    () = self.0.changed.notified() => {}
                },
                Next::Wait => self.0.changed.notified().await,
                Next::End => return,
            }
        }
    }
}

impl Drop for Keeper {
    /// The board has begun to end, or its runtime has ended.
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Waits until a time on an agenda; false if that will not come. Dropping it crosses it out.
pub(crate) struct Alarm {
    agenda: Arc<Agenda>,
    spot: Option<Spot>,
    rung: oneshot::Receiver<()>,
}

struct Ring(Mutex<Option<oneshot::Sender<()>>>);

impl Alarm {
    pub(crate) fn set(agenda: &Arc<Agenda>, due: Instant) -> Self {
        let (ring, rung) = oneshot::channel();
        let ring = Arc::new(Ring(Mutex::new(Some(ring))));
        Alarm {
            agenda: Arc::clone(agenda),
            spot: agenda.enter(due, ring),
            rung,
        }
    }
}

impl Entry for Ring {
    fn fall_due(self: Arc<Self>) {
        let ring = lock(&self.0).take();
        if let Some(ring) = ring {
            let _ = ring.send(());
        }
    }

    fn call_off(self: Arc<Self>) -> bool {
        drop(lock(&self.0).take());
        false
    }
}

impl Future for Alarm {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let rung = Pin::new(&mut self.rung).poll(cx);
        rung.map(|rung| {
            self.spot = None;
            rung.is_ok()
        })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(spot) = self.spot.take() {
            self.agenda.cross_out(spot);
        }
    }
}

impl fmt::Debug for Agenda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Agenda")
            .field("entries", &state.entries.len())
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Seen {
        due: AtomicUsize,
        off: AtomicUsize,
    }

    impl Entry for Seen {
        fn fall_due(self: Arc<Self>) {
            self.due.fetch_add(1, Ordering::SeqCst);
        }

        fn call_off(self: Arc<Self>) -> bool {
            self.off.fetch_add(1, Ordering::SeqCst);
            true
        }
    }

    impl Seen {
        fn told(&self) -> (usize, usize) {
            let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
            (read(&self.due), read(&self.off))
        }
    }

    fn agenda() -> (Arc<Agenda>, Arc<Seen>) {
        let clock = Clock::new(tokio::runtime::Handle::current());
        (Agenda::new(clock), Arc::default())
    }

    fn after(agenda: &Agenda, millis: u64) -> Instant {
        agenda.clock.now() + Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_crossed_out_is_forgotten_and_told_nothing() {
        let (agenda, seen) = agenda();
        let enter = |millis| {
            let entry = Arc::clone(&seen) as Arc<dyn Entry>;
            agenda.enter(after(&agenda, millis), entry).unwrap()
        };
        let (first, _second, third) = (enter(5), enter(10), enter(5));
        agenda.cross_out(first);
        agenda.cross_out(third);
        assert_eq!(lock(&agenda.state).entries.len(), 1);
        agenda.clock.sleep_until(after(&agenda, 9)).await;
        assert_eq!(seen.told(), (0, 0));
        agenda.clock.sleep_until(after(&agenda, 2)).await;
        assert_eq!(seen.told(), (1, 0));
        let alarm = Alarm::set(&agenda, after(&agenda, 60_000));
        assert_eq!(lock(&agenda.state).entries.len(), 1);
        drop(alarm);
        assert_eq!(lock(&agenda.state).entries.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_entered_is_told_once_whatever_comes_first() {
        let (agenda, seen) = agenda();
        for millis in [1, 2, 50, 60] {
            let entry = Arc::clone(&seen) as Arc<dyn Entry>;
            agenda.enter(after(&agenda, millis), entry);
        }
        let alarm = Alarm::set(&agenda, after(&agenda, 70));
        agenda.clock.sleep_until(after(&agenda, 20)).await;
        agenda.close();
        agenda.close();
        assert_eq!((seen.told(), agenda.called_off()), ((2, 2), 2));
        assert!(!alarm.await);
        let late = Arc::clone(&seen) as Arc<dyn Entry>;
        assert!(agenda.enter(after(&agenda, 1), late).is_none());
        assert!(!Alarm::set(&agenda, after(&agenda, 1)).await);
        agenda.clock.sleep_until(after(&agenda, 99)).await;
        assert_eq!((seen.told(), agenda.called_off()), ((2, 3), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn others_have_a_turn_while_many_are_told() {
        let (agenda, seen) = agenda();
        for _ in 0..300 {
            agenda.enter(after(&agenda, 0), Arc::clone(&seen) as Arc<dyn Entry>);
        }
        let mut turns = vec![0];
        while turns.last() < Some(&300) {
            tokio::task::yield_now().await;
            turns.push(seen.told().0);
        }
        assert!(turns.contains(&128) && turns.contains(&256), "{turns:?}");
    }
}
