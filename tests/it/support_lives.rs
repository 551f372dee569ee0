//! A service that does as it is told, and a log of what it did.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use callboard::prelude::*;
use callboard::{And, On, ServiceSpec, StartError};
use tokio::sync::watch;
use tokio::task::{LocalSet, yield_now};

/// Runs a test on one thread whose time moves on only when nothing else can.
pub(crate) fn paused<F: Future>(test: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

pub(crate) async fn here(root: Supervisor) -> Board {
    try_here(root).await.unwrap()
}

pub(crate) async fn try_here(root: Supervisor) -> Result<Board, StartError> {
    Board::builder().on_this_thread().start(root).await
}

/// Ends a board and checks its books.
pub(crate) async fn end(board: &Board) {
    let report = board.shutdown(secs(60)).await;
    assert_eq!(report.ledger.gap(), 0, "{report}");
    assert_eq!(report.stuck, []);
}

/// Gives everybody else a turn until it is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if so() {
            return;
        }
        yield_now().await;
    }
    panic!("it never became so");
}

/// Panics without the noise of a panic hook.
pub(crate) fn boom() -> ! {
    resume_unwind(Box::new("boom"))
}

/// What happened, one line each.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<watch::Sender<Vec<String>>>);

impl Log {
    pub(crate) fn new() -> Self {
        Log(Arc::new(watch::Sender::new(Vec::new())))
    }

    pub(crate) fn say(&self, line: impl Into<String>) {
        self.0.send_modify(|lines| lines.push(line.into()));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.0.borrow().iter().any(|said| said == line)
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.0.borrow().iter().filter(|said| *said == line).count()
    }

    /// Empties it.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut taken = Vec::new();
        self.0.send_modify(|lines| taken = std::mem::take(lines));
        taken
    }

    pub(crate) async fn wait_for(&self, line: &str) {
        let mut lines = self.0.subscribe();
        let found = lines.wait_for(|lines| lines.iter().any(|said| said == line));
        let found = tokio::time::timeout(secs(120), found).await.is_ok();
        assert!(found, "never said: {line}; only {:#?}", self.lines());
    }
}

/// What a probe is told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Deed {
    #[default]
    Nothing,
    Fail,
    /// Panics in the first attempt only.
    Panic,
    PanicAlways,
    Hang,
    Sleep(Duration),
    /// Ends the life normally.
    Stop,
    TimerFails,
    TimerPanics,
    /// Publishes notes with this number and those below it, one by one.
    Countdown(u64),
}

#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) id: u64,
    pub(crate) deed: Deed,
}

impl Event for Note {
    const NAME: &'static str = "note";
}

pub(crate) fn note(id: u64) -> Note {
    Note {
        id,
        deed: Deed::Nothing,
    }
}

/// A letter; the reply is the number of the life that answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Do(pub(crate) Deed);

impl Message for Do {
    type Reply = u32;
}

/// How many events this life has seen.
pub(crate) struct Seen;

impl Message for Seen {
    type Reply = usize;
}

/// How the hooks of a probe behave, by the number of its life.
pub(crate) type Hook = fn(u32) -> Deed;

pub(crate) struct Probe {
    name: String,
    log: Log,
    life: u32,
    seen: usize,
    hooks: (Hook, Hook),
}

pub(crate) fn probe(name: &str, log: &Log) -> ServiceSpec<Probe> {
    probe_with(name, log, |_| Deed::Nothing)
}

pub(crate) fn probe_with(name: &str, log: &Log, started: Hook) -> ServiceSpec<Probe> {
    probe_hooked(name, log, (started, |_| Deed::Nothing))
}

pub(crate) fn probe_hooked(name: &str, log: &Log, hooks: (Hook, Hook)) -> ServiceSpec<Probe> {
    let (name, log, lives) = (name.to_owned(), log.clone(), AtomicU32::new(0));
    service(name.clone(), move || {
        let life = lives.fetch_add(1, Ordering::Relaxed) + 1;
        Probe {
            name: name.clone(),
            log: log.clone(),
            life,
            seen: 0,
            hooks,
        }
    })
}

/// A probe that hears notes.
pub(crate) fn hearer(
    name: &str,
    log: &Log,
) -> ServiceSpec<Probe, And<On<Note>, callboard::Nothing>> {
    probe(name, log).on::<Note>()
}

impl Probe {
    fn say(&self, what: impl std::fmt::Display) {
        self.log.say(format!("{} {what}", self.name));
    }

    async fn perform(&self, deed: Deed, cx: &mut Context<Self>) -> Outcome {
        match deed {
            Deed::Nothing => {}
            Deed::Fail => return Err(Failure::new("no")),
            Deed::Panic if cx.attempt() > 1 => {}
            Deed::Panic | Deed::PanicAlways => boom(),
            Deed::Hang => pending().await,
            Deed::Sleep(time) => tokio::time::sleep(time).await,
            Deed::Stop => cx.stop(),
            Deed::TimerFails => {
                cx.after(Duration::ZERO, async |_, _| Err(Failure::new("late")));
            }
            Deed::TimerPanics => {
                cx.after(Duration::ZERO, async |_, _| boom());
            }
            Deed::Countdown(id) => {
                tokio::time::sleep(millis(10)).await;
                let deed = id.checked_sub(1).map(Deed::Countdown).unwrap_or_default();
                cx.publish(Note { id, deed }).await?;
            }
        }
        Ok(())
    }
}

impl Service for Probe {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        self.perform((self.hooks.0)(self.life), cx).await?;
        self.say(format_args!("started {}", self.life));
        Ok(())
    }

    async fn stopping(&mut self, exit: &Exit, cx: &mut Context<Self>) {
        self.say(format_args!("stopping: {exit}"));
        if self.perform((self.hooks.1)(self.life), cx).await.is_ok() {
            self.say("stopped");
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.say("dropped");
    }
}

impl Handle<Note> for Probe {
    async fn handle(&mut self, note: &Note, cx: &mut Context<Self>) -> Outcome {
        match cx.attempt() {
            1 => self.say(note.id),
            attempt => self.say(format_args!("{}, attempt {attempt}", note.id)),
        }
        self.perform(note.deed, cx).await?;
        self.seen += 1;
        Ok(())
    }
}

impl Handle<DeadLetter> for Probe {
    async fn handle(&mut self, letter: &DeadLetter, _: &mut Context<Self>) -> Outcome {
        self.say(letter);
        Ok(())
    }
}

impl Answer<Do> for Probe {
    async fn answer(&mut self, Do(deed): Do, cx: &mut Context<Self>) -> Outcome<u32> {
        self.say(format_args!("{deed:?}"));
        self.perform(deed, cx).await?;
        Ok(self.life)
    }
}

impl Answer<Seen> for Probe {
    async fn answer(&mut self, _: Seen, _: &mut Context<Self>) -> Outcome<usize> {
        Ok(self.seen)
    }
}
