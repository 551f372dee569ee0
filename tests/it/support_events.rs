//! A board of clerks: services that write down what they see and then do what a script says.
//!
//! The modules about events, delivery, policies and the ledger share it.
//!
//! Invariant: a clerk writes an event down before it does anything else with it, so every attempt
//! is on the log whatever becomes of it.
//!
//! It asserts nothing but that boards start.

use std::future::Future;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use callboard::prelude::*;
use callboard::{Cause, DeliveryRow, EventId, ServiceSpec};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// The text of every panic that a test makes happen.
pub(crate) const ON_PURPOSE: &str = "on purpose";

pub(crate) struct Note(pub(crate) u64);
impl Event for Note {
    const NAME: &'static str = "note";
}

pub(crate) struct Memo(pub(crate) u64);
impl Event for Memo {
    const NAME: &'static str = "memo";
}

/// Asks a clerk how many attempts it has written down.
pub(crate) struct HowMany;
impl Message for HowMany {
    type Reply = usize;
}

/// One attempt at one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) number: EventId,
    pub(crate) attempt: u32,
    pub(crate) at: Instant,
    pub(crate) redriven: bool,
    pub(crate) cause: Option<Cause>,
    /// Which life of its service saw it; 1 is the first.
    pub(crate) life: u64,
}

/// What a clerk does with an event after it has written it down.
pub(crate) enum Step {
    Done,
    Fail(Failure),
    Panic,
    Sleep(Duration),
    /// Keeps its thread busy, without ever waiting.
    Spin(Duration),
    /// Waits for a permit and uses it up.
    Wait(Arc<Semaphore>),
}

/// What a clerk has written down.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Inner>);

#[derive(Default)]
struct Inner {
    seen: Mutex<Vec<Seen>>,
    bell: Notify,
    lives: AtomicU64,
    finished: AtomicU64,
}

impl Log {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.seen().iter().map(|seen| seen.id).collect()
    }

    pub(crate) fn attempts(&self) -> Vec<(u64, u32)> {
        let seen = self.seen();
        seen.iter().map(|seen| (seen.id, seen.attempt)).collect()
    }

    /// How long after the first attempt each further one came.
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        let seen = self.seen();
        let pairs = seen.windows(2);
        pairs.map(|pair| pair[1].at - pair[0].at).collect()
    }

    /// How many lives its clerk has had.
    pub(crate) fn lives(&self) -> u64 {
        self.0.lives.load(Ordering::SeqCst)
    }

    /// How many attempts came to the end of their step.
    pub(crate) fn finished(&self) -> u64 {
        self.0.finished.load(Ordering::SeqCst)
    }

    /// Waits until so many attempts are written down.
    pub(crate) async fn until(&self, count: usize) {
        loop {
            let rung = self.0.bell.notified();
            if self.0.seen.lock().unwrap().len() >= count {
                return;
            }
            rung.await;
        }
    }

    pub(crate) fn write(&self, seen: Seen) {
        self.0.seen.lock().unwrap().push(seen);
        self.0.bell.notify_waiters();
    }
}

type Script = Arc<dyn Fn(&Seen) -> Step + Send + Sync>;

pub(crate) struct Clerk {
    log: Log,
    script: Script,
    life: u64,
}

/// A clerk that does with each event what the script says, and its log.
pub(crate) fn clerk(
    name: &str,
    script: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (ServiceSpec<Clerk>, Log) {
    let (make, log) = clerks(script);
    (service(name, make), log)
}

/// A recipe for such clerks, all of whom write to one log.
pub(crate) fn clerks(
    script: impl Fn(&Seen) -> Step + Send + Sync + 'static,
) -> (impl Fn() -> Clerk + Clone + Send + Sync + 'static, Log) {
    be_quiet();
    let log = Log::default();
    let (kept, script): (Log, Script) = (log.clone(), Arc::new(script));
    let make = move || Clerk {
        log: kept.clone(),
        script: Arc::clone(&script),
        life: kept.0.lives.fetch_add(1, Ordering::SeqCst) + 1,
    };
    (make, log)
}

impl Clerk {
    pub(crate) async fn see(&self, id: u64, cx: &Context<Self>) -> Outcome {
        let seen = Seen {
            id,
            number: cx.event_id().unwrap(),
            attempt: cx.attempt(),
            at: cx.now(),
            redriven: cx.is_redriven(),
            cause: cx.cause(),
            life: self.life,
        };
        let step = (self.script)(&seen);
        self.log.write(seen);
        match step {
            Step::Done => {}
            Step::Fail(failure) => return Err(failure),
            Step::Panic => panic!("{ON_PURPOSE}"),
            Step::Sleep(time) => tokio::time::sleep(time).await,
            Step::Spin(time) => {
                let until = cx.now() + time;
                while cx.now() < until {
                    std::hint::spin_loop();
                }
            }
            Step::Wait(gate) => gate.acquire().await?.forget(),
        }
        self.log.0.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Service for Clerk {}
impl Handle<Note> for Clerk {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        self.see(note.0, cx).await
    }
}
impl Handle<Memo> for Clerk {
    async fn handle(&mut self, memo: &Memo, cx: &mut Context<Self>) -> Outcome {
        self.see(memo.0, cx).await
    }
}
impl Handle<DeadLetter> for Clerk {
    async fn handle(&mut self, letter: &DeadLetter, cx: &mut Context<Self>) -> Outcome {
        let id = letter.downcast_ref::<Note>().map_or(0, |note| note.0);
        self.see(id, cx).await
    }
}
impl Answer<HowMany> for Clerk {
    async fn answer(&mut self, _: HowMany, _: &mut Context<Self>) -> Outcome<usize> {
        Ok(self.log.seen().len())
    }
}

/// A gate that lets nobody pass yet.
pub(crate) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// A failure made on purpose.
pub(crate) fn failing() -> Step {
    Step::Fail(Failure::new(ON_PURPOSE))
}

/// Runs a future on one thread whose time is paused; a day of waiting is a hang.
pub(crate) fn paused<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let limit = secs(24 * 60 * 60);
    let run = async { tokio::time::timeout(limit, run).await.expect("it hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, run)
}

/// As [`paused`], on a thread of its own: one that is kept busy for ever fails, and holds up
/// nobody.
pub(crate) fn paused_elsewhere<F: Future<Output = ()>>(run: impl FnOnce() -> F + Send + 'static) {
    let (done, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // Told when it is dropped, too: the thread has panicked.
        let _done = done;
        paused(run());
    });
    let ended = ended.recv_timeout(secs(60));
    assert_eq!(
        ended,
        Err(RecvTimeoutError::Disconnected),
        "it is kept busy"
    );
    thread.join().unwrap();
}

/// A board on this thread.
pub(crate) async fn here(root: Supervisor) -> Board {
    be_quiet();
    Board::builder().on_this_thread().start(root).await.unwrap()
}

/// The root of most trees here.
pub(crate) fn shop() -> Supervisor {
    Supervisor::one_for_one("shop")
}

/// The row of a service that is there.
pub(crate) fn row(board: &Board, service: &str, event: &str) -> DeliveryRow {
    let ledger = board.ledger();
    assert_eq!(ledger.gap(), 0, "{ledger}");
    ledger.delivery(service, event).unwrap().clone()
}

/// Raises a flag when it goes, so that a test that fails does not leave its threads running.
pub(crate) struct Raise<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Panics made on purpose print nothing.
pub(crate) fn be_quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            if text != Some(ON_PURPOSE) {
                usual(info);
            }
        }));
    });
}
