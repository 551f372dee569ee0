//! One instance of a per-key service: a task beside the life it belongs to.
//!
//! A keyed life makes it, gives it errands and retires it; it reports each errand's end, and its
//! own.
//!
//! Invariant: one errand runs at a time; whatever ends the task is reported, unless the life has
//! ended with it.
//!
//! It settles nothing and knows no other key.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::time::Instant;

use crate::bell::Bell;
use crate::clock::{Clock, within};
use crate::defaults::START_WAIT;
use crate::event::Key;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::host::guard::Kept;
use crate::host::life::{ends_in_order, stopping};
use crate::panic::Panic;
use crate::service::errand::{Ended, Handed, finish_all};
use crate::service::inside::{Inside, Task};
use crate::service::{Context, Pace, Service, run_job};
use crate::sync::Arc;

/// What an instance tells its life.
pub(super) struct News {
    pub(super) key: Key,
    /// Which instance of this key, ever.
    pub(super) instance: u64,
    pub(super) what: What,
}

/// The number of an errand, and when it began, if that matters.
pub(super) type Current = (u64, Option<Instant>);

pub(super) enum What {
    /// An errand is over.
    Ended { current: Current, ended: Ended },
    /// It does nothing now: timers have run, or what it was made for was taken back.
    Free,
    /// The instance is.
    Gone(Result<(), Loss>),
}

/// Why an instance was lost.
pub(super) enum Loss {
    Panicked(Panic),
    Failed(Failure),
}

/// Where all instances of a life put their news.
pub(super) struct Board {
    news: RefCell<VecDeque<News>>,
    bell: Arc<Bell>,
    /// Whether the service is suspended: nothing new begins.
    is_paused: Cell<bool>,
}

impl Board {
    pub(super) fn new(bell: Arc<Bell>) -> Rc<Self> {
        Rc::new(Board {
            news: RefCell::default(),
            bell,
            is_paused: Cell::new(false),
        })
    }

    /// Whether this changes anything; whoever rests is to be woken then.
    pub(super) fn pause(&self, is_paused: bool) -> bool {
        self.is_paused.replace(is_paused) != is_paused
    }

    pub(super) fn take(&self) -> Option<News> {
        self.news.borrow_mut().pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.news.borrow().is_empty()
    }

    fn tell(&self, news: News) {
        self.news.borrow_mut().push_back(news);
        self.bell.ring();
    }
}

/// What an instance has to do.
pub(super) struct Orders<S: Service> {
    errands: RefCell<VecDeque<Handed<S>>>,
    /// The errand that runs.
    current: Cell<Option<Current>>,
    /// Whether it has ever begun one.
    has_begun: Cell<bool>,
    /// Whether `started` is over.
    has_started: Cell<bool>,
    /// Whether it is still to be heard what follows for it from what has ended last.
    awaits_verdict: Cell<bool>,
    stop: RefCell<Option<Exit>>,
    has_timers: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl<S: Service> Orders<S> {
    pub(super) fn new(errands: VecDeque<Handed<S>>) -> Rc<Self> {
        Rc::new(Orders {
            errands: RefCell::new(errands),
            current: Cell::new(None),
            has_begun: Cell::new(false),
            has_started: Cell::new(false),
            awaits_verdict: Cell::new(false),
            stop: RefCell::new(None),
            has_timers: Cell::new(false),
            task: RefCell::new(None),
        })
    }

    pub(super) fn add(&self, errand: Handed<S>) {
        self.errands.borrow_mut().push_back(errand);
        self.wake();
    }

    /// Ends the instance, once the errand that runs is over; in order, unless this or what it was
    /// told before says otherwise.
    pub(super) fn stop(&self, exit: Exit) {
        let mut stop = self.stop.borrow_mut();
        if stop.is_none() || !ends_in_order(&exit) {
            *stop = Some(exit);
        }
        drop(stop);
        self.wake();
    }

    /// What has ended last is judged: if the instance was not told to stop, it goes on.
    pub(super) fn note_verdict(&self) {
        if self.awaits_verdict.replace(false) {
            self.wake();
        }
    }

    /// What has not been begun.
    pub(super) fn take_all(&self) -> VecDeque<Handed<S>> {
        std::mem::take(&mut *self.errands.borrow_mut())
    }

    pub(super) fn current(&self) -> Option<Current> {
        self.current.get()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Whether it has nothing to do, now or at a later time.
    pub(super) fn is_idle(&self) -> bool {
        let is_busy = self.current.get().is_some() || self.awaits_verdict.get();
        let has_more = self.has_timers.get() || !self.errands.borrow().is_empty();
        self.has_started.get() && !is_busy && !has_more
    }

    fn note_timers(&self, cx: &Context<S>) {
        self.has_timers.set(cx.timers.next_due().is_some());
    }

    fn next(&self, clock: &Clock) -> Option<Handed<S>> {
        let next = self.errands.borrow_mut().pop_front()?;
        let began = next.is_timed.then(|| clock.now());
        self.current.set(Some((next.work, began)));
        self.has_begun.set(true);
        Some(next)
    }

    pub(super) fn wake(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }
}

/// What an instance is made of.
pub(super) struct Birth<S: Service> {
    pub(super) service: S,
    pub(super) cx: Context<S>,
    pub(super) key: Key,
    pub(super) instance: u64,
    pub(super) orders: Rc<Orders<S>>,
    pub(super) board: Rc<Board>,
}

/// Begins an instance; it ends in disorder when the task is dropped.
pub(super) fn begin<S: Service>(birth: Birth<S>) -> Task {
    let (board, key, instance) = (Rc::clone(&birth.board), birth.key.clone(), birth.instance);
    let (board_id, strand) = (birth.cx.wall.id(), birth.cx.strand().clone());
    let inside = Inside::new(board_id, strand, Box::pin(live(birth)));
    Task::begin(async move {
        let gone = match inside.await {
            Ok(done) => done.map_err(Loss::Failed),
            Err(panic) => Err(Loss::Panicked(panic)),
        };
        board.tell(News {
            key,
            instance,
            what: What::Gone(gone),
        });
    })
}

/// Lives until it is told to stop, stops by itself, or fails outside of an errand.
async fn live<S: Service>(birth: Birth<S>) -> Outcome {
    let Birth {
        service,
        cx,
        key,
        instance,
        orders,
        board,
    } = birth;
    let (mut service, mut cx) = (Kept::new(service), Kept::new(cx));
    let (service, cx) = (&mut *service, &mut *cx);
    let tell = |what| {
        let key = key.clone();
        board.tell(News {
            key,
            instance,
            what,
        });
    };
    start(service, cx).await?;
    orders.has_started.set(true);
    let mut pace = Pace::new(cx.now());
    pace.begin(cx.now());
    orders.note_timers(cx);
    if orders.is_idle() {
        tell(What::Free);
    }
    loop {
        hear_verdict(&orders, cx).await;
        let stop = orders.stop.borrow().clone();
        if let Some(exit) = stop.or_else(|| cx.is_stopping().then_some(Exit::Normal)) {
            fall(&exit, &key, service, cx).await;
            return Ok(());
        }
        if cx.vitals().is_suspended() {
            // Its life may not have looked yet; once it does, it has this go on.
            board.pause(true);
        }
        if board.is_paused.get() {
            rest(&orders, &board, None, cx).await;
            continue;
        }
        let has_run = run_timers(&mut pace, service, cx).await?;
        if has_run {
            orders.note_timers(cx);
            tell(What::Free);
            if cx.is_stopping() || cx.vitals().is_suspended() {
                continue;
            }
        }
        let Some(errand) = orders.next(&cx.wall.pulse.clock) else {
            if has_run {
                // What the timers have set may be due already, again and again.
                tokio::task::yield_now().await;
            }
            rest(&orders, &board, cx.timers.next_due(), cx).await;
            pace.begin(cx.now());
            continue;
        };
        let ended = errand.errand.run(service, cx).await;
        orders.note_timers(cx);
        orders.awaits_verdict.set(ended.is_judged());
        if let Some(current) = orders.current.take() {
            tell(What::Ended { current, ended });
        }
        take_turns(&mut pace, cx).await;
    }
}

async fn start<S: Service>(service: &mut S, cx: &mut Context<S>) -> Outcome {
    cx.begin_hook();
    let pulse = Arc::clone(&cx.wall.pulse);
    let _job = pulse.begin_job();
    let starting = async {
        service.started(cx).await?;
        finish_all(service, cx).await
    };
    let started = within(&pulse.clock, Some(START_WAIT), starting).await;
    started.unwrap_or_else(|| Err(Failure::new(format!("did not start within {START_WAIT:?}"))))
}

/// Tells the instance that it ends, if it ends in order. If it takes too long it is cut off, or its
/// key would wait for ever; but while the service is stopped, the time that counts is the
/// service's.
async fn fall<S: Service>(exit: &Exit, key: &Key, service: &mut S, cx: &mut Context<S>) {
    if !ends_in_order(exit) {
        return;
    }
    let grace = cx.control.grace();
    let limit = (!matches!(exit, Exit::Shutdown)).then_some(grace);
    let clock = cx.wall.pulse.clock.clone();
    let stopped = within(&clock, limit, stopping(exit, service, cx)).await;
    if stopped.is_none() {
        tracing::warn!(
            target: "callboard::host",
            service = cx.path(), %key, ?grace,
            "the instance of a key did not stop in its time, and is cut off"
        );
    }
}

/// Runs the timers that are due, and lets others have their turn now and then. Whether there was
/// one.
async fn run_timers<S: Service>(
    pace: &mut Pace,
    service: &mut S,
    cx: &mut Context<S>,
) -> Outcome<bool> {
    let Some(pass) = cx.timers.begin_pass(&cx.wall.pulse.clock) else {
        return Ok(false);
    };
    let mut has_run = false;
    while let Some((timer, at, job)) = cx.timers.take_due(&pass) {
        cx.begin_hook();
        let _job = cx.wall.pulse.begin_job();
        run_job(timer, at, job, service, cx).await?;
        finish_all(service, cx).await?;
        has_run = true;
        take_turns(pace, cx).await;
        if cx.vitals().is_suspended() || cx.is_stopping() {
            break;
        }
    }
    Ok(has_run)
}

/// Lets others have their turn, if this one is over.
async fn take_turns<S: Service>(pace: &mut Pace, cx: &Context<S>) {
    if !pace.step(&cx.wall.pulse.clock) {
        tokio::task::yield_now().await;
        pace.begin(cx.now());
    }
}

/// Waits until it is known what follows for this instance from what it has done last.
async fn hear_verdict<S: Service>(orders: &Orders<S>, cx: &Context<S>) {
    if !orders.awaits_verdict.get() {
        return;
    }
    cx.strand().note_rest();
    poll_fn(|task| {
        if !orders.awaits_verdict.get() {
            return Poll::Ready(());
        }
        *orders.task.borrow_mut() = Some(task.waker().clone());
        Poll::Pending
    })
    .await;
}

/// Waits for an errand, an order or a timer that is due then; or, while the service is suspended,
/// for that to end.
async fn rest<S: Service>(
    orders: &Orders<S>,
    board: &Board,
    due: Option<Instant>,
    cx: &Context<S>,
) {
    let clock = &cx.wall.pulse.clock;
    let mut sleep = pin!(due.map(|due| clock.sleep_until(due)));
    let was_paused = board.is_paused.get();
    cx.strand().note_rest();
    poll_fn(|task| {
        let is_paused = board.is_paused.get();
        let is_called = is_paused != was_paused || orders.is_stopping();
        if is_called || !is_paused && !orders.errands.borrow().is_empty() {
            return Poll::Ready(());
        }
        *orders.task.borrow_mut() = Some(task.waker().clone());
        let sleep = sleep.as_mut().as_pin_mut();
        sleep.map_or(Poll::Pending, |sleep| sleep.poll(task))
    })
    .await;
}
