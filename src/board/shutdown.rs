//! Ending a board, in two phases, and waiting for its end.
//!
//! Users call it; it speaks to the root supervisor and to the house.
//!
//! Invariant: it ends by its deadline (and half a second), whatever handlers do, and names what
//! it had to leave.
//!
//! It does not end the process.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::report::{ShutdownReport, Stuck, Undelivered};
use super::{Board, Inner};
use crate::clock::{deadline, within};
use crate::exit::Exit;
use crate::host::{After, News, Order};
use crate::ledger::Ledger;
use crate::park::block_on;
use crate::pulse::Phase;
use crate::service::control::Kill;
use crate::service::current_board;

/// What happens after the deadline has to happen within this.
const LAST_MOMENT: Duration = Duration::from_millis(150);

/// What the root supervisor has said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Root {
    pub(crate) started: Option<Result<(), Exit>>,
    pub(crate) ended: Option<Exit>,
    pub(crate) closed: bool,
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
    /// First outsiders are refused, while what handlers still publish flows, until everything is
    /// settled or `limit` is over. Then children stop in reverse order, each within its own
    /// shutdown time, and not beyond `limit`. What was not handled is counted as undelivered and
    /// named in the report. A second call waits for the first and returns the same report.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the board where it is: refusing outsiders. Call it again.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        let mut report = self.inner.report.lock().await;
        if let Some(report) = &*report {
            return report.clone();
        }
        let made = self.inner.shut_down(limit).await;
        *report = Some(made.clone());
        made
    }

    /// As [`Board::shutdown`], for callers outside any runtime: blocks the thread.
    ///
    /// On one of the board's own threads, where blocking would stop what it waits for, it only
    /// begins the shutdown: the report then says what was open at that moment.
    pub fn shutdown_blocking(&self, limit: Duration) -> ShutdownReport {
        if current_board().is_some() {
            self.inner.wall.advance(Phase::Draining);
            return self
                .inner
                .report(self.inner.wall.pulse.clock.now(), false, false);
        }
        block_on(self.shutdown(limit))
    }

    /// Waits until the board has ended.
    ///
    /// # Errors
    /// [`BoardError`] if the root supervisor gave up, with the whole chain of reasons.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the waiting.
    pub async fn wait(&self) -> Result<(), BoardError> {
        let mut root = self.inner.root_state.subscribe();
        // The sender is held by the board itself, so it cannot have gone.
        let _ = root.wait_for(|root| root.closed).await;
        let ended = root.borrow().ended.clone();
        match ended {
            Some(exit) if exit.is_abnormal() => Err(BoardError {
                root: self.inner.path().to_owned(),
                exit,
            }),
            _ => Ok(()),
        }
    }

    /// As [`Board::wait`], for callers outside any runtime: blocks the thread. On a thread of a
    /// board it returns at once.
    ///
    /// # Errors
    /// As [`Board::wait`].
    pub fn wait_blocking(&self) -> Result<(), BoardError> {
        if current_board().is_some() {
            return Ok(());
        }
        block_on(self.wait())
    }

    /// Waits for Ctrl-C or the board's own end, then shuts down within `limit`.
    ///
    /// ```no_run
    /// # use callboard::prelude::*;
    /// # fn run(board: Board) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", board.run_until_ctrl_c(secs(5))?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`BoardError`] if the root supervisor gave up.
    pub fn run_until_ctrl_c(&self, limit: Duration) -> Result<ShutdownReport, BoardError> {
        let ended = self.wait();
        let (time, board) = (self.inner.time.clone(), self.clone());
        block_on(async move {
            // The signal is heard on the board's own runtime; this thread may have none.
            let heard = time.spawn(interrupt());
            let mut heard = std::pin::pin!(heard);
            let mut ended = std::pin::pin!(ended);
            std::future::poll_fn(|cx| {
                use std::future::Future;
                use std::task::Poll;
                if let Poll::Ready(end) = ended.as_mut().poll(cx) {
                    return Poll::Ready(end);
                }
                heard.as_mut().poll(cx).map(|_| Ok(()))
            })
            .await?;
            Ok(board.shutdown(limit).await)
        })
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
                self.root_state.send_modify(|root| root.closed = true);
                self.stop_arbiters();
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
        let running = self.root_state.borrow().ended.is_none();
        let drained = running
            && within(clock, Some(limit), self.wall.settle())
                .await
                .is_some_and(|settled| settled.is_ok());
        self.order(Order::Stop {
            generation: 1,
            deadline: Some(until),
            after: After::Nothing { drain: false },
        });
        let mut ended = self
            .reaches(until + LAST_MOMENT, |root| root.ended.is_some())
            .await;
        if !ended {
            self.order(Order::Kill {
                generation: 1,
                why: Kill::Overdue,
            });
            let last = clock.now() + LAST_MOMENT;
            ended = self.reaches(last, |root| root.ended.is_some()).await;
        }
        self.end();
        let last = clock.now() + LAST_MOMENT;
        let closed = self.reaches(last, |root| root.closed).await;
        self.take_down().await;
        self.report(began, drained, ended && closed)
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

    /// What is open now; `over` if every service has ended.
    fn report(&self, began: Instant, drained: bool, over: bool) -> ShutdownReport {
        let ledger = self.wall.ledger();
        let clock = &self.wall.pulse.clock;
        ShutdownReport {
            drained,
            undelivered: self.undelivered(&ledger),
            stuck: if over {
                Vec::new()
            } else {
                self.stuck(&ledger)
            },
            took: clock.now().saturating_duration_since(began),
            ledger,
        }
    }

    fn undelivered(&self, ledger: &Ledger) -> Vec<Undelivered> {
        let mut rows: BTreeMap<(String, String), Undelivered> = BTreeMap::new();
        for ((service, event), event_ids) in self.wall.undelivered() {
            let (service, event) = (service.to_string(), event.to_owned());
            let count = event_ids.len() as u64;
            let key = (service.clone(), event.clone());
            rows.insert(
                key,
                Undelivered {
                    service,
                    event,
                    count,
                    event_ids,
                },
            );
        }
        for row in &ledger.deliveries {
            let open = row.queued + row.in_flight + row.deferred;
            if open > 0 {
                let key = (row.service.clone(), row.event.clone());
                let entry = rows.entry(key.clone()).or_insert_with(|| Undelivered {
                    service: key.0,
                    event: key.1,
                    count: 0,
                    event_ids: Vec::new(),
                });
                entry.count += open;
            }
        }
        rows.into_values().collect()
    }

    fn stuck(&self, ledger: &Ledger) -> Vec<Stuck> {
        let now = self.wall.pulse.clock.since_start();
        let stuck = |(service, since): (String, Duration)| {
            let on =
                |row: &&crate::ledger::DeliveryRow| row.service == service && row.in_flight > 0;
            let event = ledger
                .deliveries
                .iter()
                .find(on)
                .map(|row| row.event.clone());
            Stuck {
                service,
                event,
                age: now.saturating_sub(since),
            }
        };
        let services = self.node.subtree().into_iter();
        let busy = services.filter_map(|node| {
            let doing = node.vitals.doing()?;
            Some((node.path().to_string(), doing.since))
        });
        let mut stuck: Vec<Stuck> = busy.map(stuck).collect();
        stuck.sort_by(|a, b| a.service.cmp(&b.service));
        stuck
    }
}

/// Waits for ctrl-c.
#[cfg(not(loom))]
async fn interrupt() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Under the model checker's flag tokio hears no signals; no model runs a board.
#[cfg(loom)]
async fn interrupt() -> std::io::Result<()> {
    std::future::pending().await
}
