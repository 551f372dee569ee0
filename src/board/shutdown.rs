//! Ending a board, in two phases, and waiting for its end.
//!
//! Users call it; it speaks to the root supervisor and to the house.
//!
//! Invariant: it ends by its deadline (and well under a second), whatever handlers do, and names
//! what it had to leave.
//!
//! It does not end the process.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::report::{LeftBehind, ShutdownReport};
use super::{Board, Inner};
use crate::clock::{deadline, within};
use crate::exit::Exit;
use crate::host::{After, News, Order};
use crate::insider::{Hosting, is_needed, serves};
use crate::park::block_on;
use crate::pulse::Phase;
use crate::service::control::Kill;
use crate::sync::Ordering;

/// What happens after the deadline has to happen within this.
const LAST_MOMENT: Duration = Duration::from_millis(150);

/// What the root supervisor has said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Root {
    pub(crate) started: Option<Result<(), Exit>>,
    /// Why it is on its way out, if that began by itself.
    pub(crate) falling: Option<Exit>,
    pub(crate) ended: Option<Exit>,
    pub(crate) closed: bool,
}

impl Root {
    /// Whether it will not run any more, or never did.
    fn is_over(&self) -> bool {
        self.ended.is_some() || matches!(self.started, Some(Err(_)))
    }
}

/// A board whose root supervisor gave up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{root} {exit}")]
#[non_exhaustive]
pub struct BoardError {
    /// The path of the root supervisor.
    pub root: String,
    /// Why it gave up: the whole chain.
    pub exit: Exit,
}

impl Board {
    /// Stops the board in two phases.
    ///
    /// First, callers outside the board are refused, while handlers may still publish, until
    /// everything is settled and no hook or timer is running, or until `limit` is over. Then
    /// children stop in reverse order, each within its own shutdown time, and not beyond `limit`
    /// (well under a second more if something is stuck). Events that were not handled are counted
    /// as undelivered and named in the report, as is blocking work that was left behind. A second
    /// call waits for the first, whatever its own limit, and returns the same report.
    ///
    /// A handler that does not end takes all of `limit`: the others then have some 10 ms each for
    /// their [`stopping`](crate::Service::stopping), and the report names those that were
    /// [killed](ShutdownReport::killed) over it. A [`timeout`](crate::Policy::timeout) shorter
    /// than `limit` keeps one event from that.
    ///
    /// **From inside** a service of this board (a handler, hook or timer, or the blocking work of
    /// one) it would wait for its own caller. There it only begins the shutdown and returns at
    /// once, as [`Context::stop_board`](crate::Context::stop_board) does: the report is not
    /// [over](ShutdownReport::over), and shows what is open at this moment. Call it again, or
    /// [`Board::wait`], from outside to see the end.
    ///
    /// # Cancel safety
    /// If the future is dropped, the board goes on refusing callers outside; call it again. A
    /// shutdown that was begun from inside continues.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        if serves(self.inner.wall.id()) {
            self.begin_shutdown(limit);
            return self.report_now();
        }
        self.shut_down_once(limit).await
    }

    /// As [`Board::shutdown`], for callers outside any runtime: blocks the thread.
    ///
    /// On a thread of any board, where blocking could stop what it waits for, and in blocking work
    /// of this board, it only begins the shutdown, as [`Board::shutdown`] does from inside.
    pub fn shutdown_blocking(&self, limit: Duration) -> ShutdownReport {
        if self.would_wait_for_itself() {
            self.begin_shutdown(limit);
            return self.report_now();
        }
        block_on(self.shut_down_once(limit))
    }

    /// Begins the shutdown, and leaves the rest to the board's own runtime: whoever calls may be
    /// what it has to wait for.
    pub(super) fn begin_shutdown(&self, limit: Duration) {
        self.inner.wall.advance(Phase::Draining);
        if self.inner.ending.swap(true, Ordering::AcqRel) {
            return;
        }
        let board = self.clone();
        self.inner.time.spawn(async move {
            board.shut_down_once(limit).await;
        });
    }

    /// The root falls by itself: if it is not down within the limit, because a service blocks its
    /// thread or takes longer to stop, the board ends without it.
    pub(super) fn limit_fall(&self, limit: Duration) {
        let board = self.clone();
        self.inner.time.spawn(async move {
            let until = deadline(board.inner.wall.pulse.clock.now(), limit);
            if !board.inner.reaches(until, |root| root.closed).await {
                board.shut_down_once(Duration::ZERO).await;
            }
        });
    }

    async fn shut_down_once(&self, limit: Duration) -> ShutdownReport {
        let mut report = self.inner.report.lock().await;
        if let Some(report) = &*report {
            return report.clone();
        }
        let made = self.inner.shut_down(limit).await;
        *report = Some(made.clone());
        made
    }

    /// The last report, or what is open now.
    pub(super) fn report_now(&self) -> ShutdownReport {
        let made = self.inner.report.try_lock().ok();
        if let Some(report) = made.and_then(|report| report.clone()) {
            return report;
        }
        let now = self.inner.wall.pulse.clock.now();
        ShutdownReport {
            over: false,
            ..self.inner.report(now, false)
        }
    }

    /// Whether blocking this thread may stop what a shutdown, or quiet, would have to wait for.
    pub(super) fn would_wait_for_itself(&self) -> bool {
        is_needed() || serves(self.inner.wall.id())
    }

    /// Blocking work that still runs though nobody waits for it: its handler was cancelled by a
    /// timeout, or its life has ended. By service, the oldest first.
    pub fn left_behind(&self) -> Vec<LeftBehind> {
        self.inner.left_behind()
    }

    /// Waits until the board has ended: by [`Board::shutdown`], by
    /// [`Context::stop_board`](crate::Context::stop_board), or because its root gave up. There is
    /// no time limit.
    ///
    /// **From inside** a service of this board it would wait for its own caller: there it logs a
    /// warning and returns at once. A service that is to know of the end does so in
    /// [`Service::stopping`](crate::Service::stopping).
    ///
    /// # Errors
    /// [`BoardError`] if the root supervisor gave up, with the whole chain of reasons.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the waiting.
    pub async fn wait(&self) -> Result<(), BoardError> {
        if serves(self.inner.wall.id()) {
            tracing::warn!(
                target: "callboard::board",
                "a service cannot wait for the end of its own board: it goes on at once"
            );
            return Ok(());
        }
        let mut root = self.inner.root_state.subscribe();
        // The sender is held by the board itself, so it cannot have gone.
        let _ = root.wait_for(|root| root.closed).await;
        let ended = {
            let root = root.borrow();
            // What is stuck keeps the root from saying how it ended.
            root.ended.clone().or_else(|| root.falling.clone())
        };
        match ended {
            Some(exit) if exit.is_abnormal() => Err(BoardError {
                root: self.inner.path().to_owned(),
                exit,
            }),
            _ => Ok(()),
        }
    }

    /// As [`Board::wait`], for callers outside any runtime: blocks the thread. On a thread of a
    /// board, and in its blocking work, it returns at once.
    ///
    /// # Errors
    /// As [`Board::wait`].
    pub fn wait_blocking(&self) -> Result<(), BoardError> {
        if self.would_wait_for_itself() {
            return Ok(());
        }
        block_on(self.wait())
    }
}

impl Inner {
    /// What the root supervisor's news mean for the board.
    pub(crate) fn hear(&self, news: News) {
        match news {
            News::Started(result) => {
                let failed = result.is_err();
                self.root_state
                    .send_modify(|root| root.started = Some(result));
                if failed {
                    self.end();
                }
            }
            News::Falling(exit) => {
                self.root_state
                    .send_modify(|root| root.falling = Some(exit));
            }
            News::Exited(exit) => {
                if exit.is_abnormal() {
                    tracing::error!(
                        target: "callboard::supervision",
                        root = self.path(), %exit, "the board ends: its root gave up"
                    );
                }
                self.root_state.send_modify(|root| root.ended = Some(exit));
                self.end();
            }
            News::Closed => {
                self.close();
                // Its actors go with the arbiters; on the caller's thread they are told to.
                if self.stop_arbiters().is_none() {
                    self.order(Order::Leave);
                }
            }
        }
    }

    /// Nothing is accepted any more, and every subscription ends.
    fn end(&self) {
        self.wall.advance(Phase::Closed);
        self.order(Order::Close);
    }

    pub(crate) fn order(&self, order: Order) {
        if let Some(root) = self.root.get() {
            root.do_send(order);
        }
    }

    async fn shut_down(&self, limit: Duration) -> ShutdownReport {
        let clock = &self.wall.pulse.clock;
        let began = clock.now();
        let until = deadline(began, limit);
        self.wall.advance(Phase::Draining);
        // A service may end the board while that is starting: what is half up cannot stop in order.
        self.reaches(until, |root| root.started.is_some()).await;
        let running = !self.root_state.borrow().is_over();
        let left = until.saturating_duration_since(clock.now());
        let drained = running
            && within(clock, Some(left), self.wall.drain())
                .await
                .is_some_and(|settled| settled.is_ok());
        self.order(Order::Stop {
            generation: 1,
            deadline: Some(until),
            after: After::Nothing { drain: false },
        });
        let mut ended = self.reaches(until + LAST_MOMENT, Root::is_over).await;
        if !ended {
            self.order(Order::Kill {
                generation: 1,
                why: Kill::Overdue,
            });
            let last = clock.now() + LAST_MOMENT;
            ended = self.reaches(last, Root::is_over).await;
        }
        self.end();
        let last = clock.now() + LAST_MOMENT;
        let closed = self.reaches(last, |root| root.closed).await;
        self.take_down().await;
        let mut report = self.report(began, drained);
        if !(ended && closed) {
            report.stuck = self.stuck();
            // What is stuck is left behind; whoever waits for the end, or for an event to be
            // settled, has waited for it.
            self.close();
            self.wall.pulse.abandon();
        }
        report
    }

    /// Marks this thread as the board's own, until the board has ended or whatever runs it here is
    /// dropped.
    pub(super) fn stay_here(&self) {
        let (hosting, mut root) = (Hosting::here(), self.root_state.subscribe());
        actix_rt::spawn(async move {
            let _ = root.wait_for(|root| root.closed).await;
            drop(hosting);
        });
    }

    /// Whoever waits for the end, or listens for changes, hears that nothing more will come.
    fn close(&self) {
        for node in self.node.subtree() {
            node.vitals.dismiss_monitors();
        }
        self.root_state.send_modify(|root| root.closed = true);
    }

    /// Waits until the root's state is as wanted, at most until then.
    async fn reaches(&self, until: Instant, wanted: fn(&Root) -> bool) -> bool {
        let mut root = self.root_state.subscribe();
        let clock = &self.wall.pulse.clock;
        let left = until.saturating_duration_since(clock.now());
        let waiting = async { root.wait_for(wanted).await.is_ok() };
        within(clock, Some(left), waiting).await.unwrap_or(false)
    }

    /// Stops the arbiters and waits a moment for their threads.
    pub(crate) async fn take_down(&self) {
        let Some(mut left) = self.stop_arbiters() else {
            return;
        };
        let waiting = async { left.wait_for(|left| *left == 0).await.is_ok() };
        let _ = within(&self.wall.pulse.clock, Some(LAST_MOMENT), waiting).await;
    }

    fn stop_arbiters(&self) -> Option<watch::Receiver<usize>> {
        let mut house = crate::sync::lock(self.house.get()?);
        house.take_down();
        Some(house.left.clone())
    }
}
