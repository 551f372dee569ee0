//! One life of a supervisor: how it is started, told to end, and what it reports.
//!
//! The actor calls it for the orders of the supervisor above, and for the family's last words.
//!
//! Invariant: a start is answered once, an end is reported once, and `Closed` once for each time
//! it was told to close.
//!
//! It knows of the children only that they are to be stopped, closed, or let go.

use std::collections::BTreeSet;

use actix::{ActorContext, Context};
use tokio::time::Instant;

use super::actor::{Parent, SupervisorActor};
use super::family::{Action, ChildId, Family, Input};
use crate::clock::deadline;
use crate::exit::Exit;
use crate::host::{After, ChildReport, News, Order};
use crate::lifecycle::Change;
use crate::shutdown::Shutdown;
use crate::vitals::State;

/// How a supervisor was told to end.
pub(super) struct Ending {
    /// Until when an orderly stop may take.
    pub(super) deadline: Option<Instant>,
    /// What follows. One that gives up does not know; its mailboxes are kept then.
    pub(super) after: After,
    /// Somebody asked for its kill.
    pub(super) killed: bool,
}

impl Default for Ending {
    fn default() -> Self {
        Ending {
            deadline: None,
            after: After::Again,
            killed: false,
        }
    }
}

impl SupervisorActor {
    pub(super) fn start(&mut self, generation: u64, context: &mut Context<Self>) {
        self.generation = generation;
        self.risen = false;
        self.ending = Ending::default();
        // Those below close before they start, but whoever waits for it is not told later.
        if self.closing.take().is_some() {
            self.report(News::Closed);
        }
        if matches!(self.parent, Parent::Board(_)) {
            self.node.vitals.begin_life();
            self.enter_root(State::Starting, Change::Starting);
        }
        let stay = self.seats.iter().filter(|(_, seat)| !seat.leaving);
        let members = stay.map(|(child, seat)| (*child, seat.member.clone()));
        self.family = Family::new(self.plan.clone(), members);
        let waiter = self.grounds.wall.waits.waiter(&self.plan.path);
        self.rising = waiter.note_start();
        for (child, seat) in &self.seats {
            self.family.count_on(*child, seat.node.vitals.life());
        }
        // Before anybody starts: each waits for its turn.
        for child in self.seats.keys().copied().collect::<Vec<_>>() {
            self.settle_in(child, State::Waiting);
        }
        self.step(Input::Start, context);
    }

    pub(super) fn stop(
        &mut self,
        until: Option<Instant>,
        after: After,
        context: &mut Context<Self>,
    ) {
        if matches!(self.parent, Parent::Board(_)) && !self.family.is_ending() {
            self.enter_root(State::Stopping, Change::Stopping);
        }
        let clock = &self.grounds.wall.pulse.clock;
        let own = self.shutdown.map(|how| deadline(clock.now(), how.time()));
        let drain = matches!(self.shutdown, Some(Shutdown::Drain(_)));
        self.ending.deadline = [own, until].into_iter().flatten().min();
        self.ending.after = match after {
            After::Nothing { drain: all } => After::Nothing {
                drain: all || drain,
            },
            After::Again => After::Again,
        };
        let input = if self.shutdown == Some(Shutdown::Kill) {
            Input::Kill
        } else {
            Input::Stop
        };
        self.step(input, context);
    }

    /// What concerns the whole family.
    pub(super) fn end(&mut self, action: Action) {
        self.rising = None;
        if !matches!(action, Action::Up) {
            // One that leaves ends as it was asked to, and says so when it has closed.
            for seat in self.seats.values_mut().filter(|seat| !seat.leaving) {
                seat.disappoint();
            }
        }
        match action {
            Action::Up => {
                self.risen = true;
                self.report(News::Started(Ok(())));
            }
            Action::StartFailed { child, exit } => {
                let exit = Exit::Escalated {
                    path: self.child_path(child),
                    cause: Box::new(exit),
                };
                self.report(News::Started(Err(exit)));
            }
            Action::Escalate(exit) => {
                tracing::error!(
                    target: "callboard::supervision",
                    supervisor = &**self.path(), %exit, "a supervisor gives up"
                );
                self.report(News::Exited(exit));
            }
            Action::Completed => self.report_end(Exit::Shutdown),
            Action::Down if self.ending.killed => self.report_end(Exit::Killed),
            _ => self.report_end(Exit::Shutdown),
        }
    }

    fn report_end(&self, exit: Exit) {
        let news = if self.risen {
            News::Exited(exit)
        } else {
            News::Started(Err(exit))
        };
        self.report(news);
    }

    fn report(&self, news: News) {
        match &self.parent {
            Parent::Board(tell) => {
                self.note_root(&news);
                tell(news);
            }
            Parent::Supervisor { address, child } => {
                let generation = self.generation;
                address.do_send(ChildReport {
                    child: *child,
                    generation,
                    news,
                });
            }
        }
    }

    fn enter_root(&self, state: State, change: Change) {
        self.node.vitals.enter(state);
        self.announce(&self.node.vitals, change);
    }

    /// The root has no supervisor that says where it stands.
    fn note_root(&self, news: &News) {
        let vitals = &self.node.vitals;
        let (state, change) = match news {
            News::Started(Ok(())) => (State::Running, Change::Started),
            News::Started(Err(exit)) | News::Exited(exit) => {
                vitals.note_exit(exit);
                (State::Waiting, Change::Ended(exit.clone()))
            }
            News::Closed => (State::Closed, Change::Closed),
        };
        self.enter_root(state, change);
    }

    pub(super) fn close(&mut self) {
        let children: Vec<ChildId> = self.seats.keys().rev().copied().collect();
        self.closing = Some(children.iter().copied().collect());
        for child in children {
            self.close_seat(child);
        }
        self.report_closed();
    }

    pub(super) fn report_closed(&mut self) {
        if self.closing.as_ref().is_some_and(BTreeSet::is_empty) {
            self.closing = None;
            self.report(News::Closed);
        }
    }

    /// Its spec is gone: the actors below go too.
    pub(super) fn leave(&self, context: &mut Context<Self>) {
        for seat in self.seats.values() {
            seat.order(Order::Leave);
            self.grounds.release(seat.own_home.as_deref());
        }
        context.stop();
    }
}
