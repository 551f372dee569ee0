//! One life of a supervisor: how it is started, told to end, and what it reports.
//!
//! The actor calls it for the orders of the supervisor above, and for the family's last words.
//!
//! Invariant: a start is answered once, an end is reported once, and `Closed` once for each time
//! it was told to close.
//!
//! It knows of the children only that they are to be stopped, closed, or let go.

use std::collections::BTreeSet;

use actix::{ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::time::Instant;

use super::actor::{Parent, SupervisorActor};
use super::family::{Action, ChildId, Family, Input};
use super::seat::Seat;
use crate::clock::deadline;
use crate::exit::Exit;
use crate::host::{After, ChildReport, LAST_TURN, News, Order};
use crate::lifecycle::Change;
use crate::service::control::Kill;
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

impl Ending {
    /// Why those are killed that have not stopped in time.
    pub(super) fn overdue(&self) -> Kill {
        match self.after {
            After::Again => Kill::Restarted,
            After::Nothing { .. } => Kill::Overdue,
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
        if !self.family.is_new() {
            let stay = self.seats.iter().filter(|(_, seat)| !seat.leaving);
            let members = stay.map(|(child, seat)| (*child, seat.member.clone()));
            self.family = Family::new(self.plan.clone(), members);
        }
        self.waiter.start_apart(false);
        self.rising = self.waiter.note_start();
        for (child, seat) in &self.seats {
            self.family.count_on(*child, seat.node.vitals.life());
        }
        // Before anybody starts: each waits for its turn.
        for child in self.seats.keys().copied().collect::<Vec<_>>() {
            if self.family.standing(child) != Some(State::Closed) {
                self.settle_in(child, State::Waiting);
            }
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
        // It may be told twice: again when the one above comes to its own end meanwhile.
        let limits = [own, until, self.ending.deadline];
        self.ending.deadline = limits.into_iter().flatten().min();
        if let (After::Again, After::Nothing { drain: all }) = (self.ending.after, after) {
            let drain = all || drain;
            self.ending.after = After::Nothing { drain };
        }
        if self.shutdown == Some(Shutdown::Kill) {
            return self.step(Input::Kill, context);
        }
        let early = self.stopping();
        self.step(Input::Stop, context);
        self.hurry(early, context);
    }

    /// The lives that have been told to stop, and are not over.
    fn stopping(&self) -> Vec<(ChildId, u64)> {
        let seats = self.seats.iter();
        let stopping = seats.filter(|(_, seat)| seat.node.vitals.state() == State::Stopping);
        stopping
            .map(|(child, seat)| (*child, seat.generation))
            .collect()
    }

    /// Lets the deadline hold for those, too, that were told to stop when there was none, or a
    /// later one.
    fn hurry(&self, early: Vec<(ChildId, u64)>, context: &mut Context<Self>) {
        let Some(until) = self.ending.deadline else {
            return;
        };
        let (above, lives): (Vec<_>, Vec<_>) = early
            .into_iter()
            .partition(|(child, _)| self.has_children(*child));
        for (child, generation) in above {
            let (deadline, after) = (Some(until), self.ending.after);
            let order = Order::Stop {
                generation,
                deadline,
                after,
            };
            self.order(child, order);
        }
        if lives.is_empty() {
            return;
        }
        let clock = &self.grounds.wall.pulse.clock;
        let sleep = clock.sleep_until(until.max(deadline(clock.now(), LAST_TURN)));
        let overdue = sleep.into_actor(self).map(move |(), actor, _| {
            for (child, generation) in lives {
                actor.end_overdue(child, generation);
            }
        });
        context.spawn(overdue);
    }

    fn has_children(&self, child: ChildId) -> bool {
        let seat = self.seats.get(&child);
        seat.is_some_and(|seat| seat.node.branch().is_some())
    }

    /// Kills a life that is still stopping.
    fn end_overdue(&self, child: ChildId, generation: u64) {
        let found = self.seats.get(&child);
        let stopping = |seat: &&Seat| {
            seat.generation == generation && seat.node.vitals.state() == State::Stopping
        };
        if let Some(seat) = found.filter(stopping) {
            tracing::warn!(
                target: "callboard::supervision",
                supervisor = &**self.path(), child = &**seat.node.path(),
                life = seat.node.vitals.life(),
                "did not stop in its supervisor's time and is being killed"
            );
            let why = self.ending.overdue();
            seat.order(Order::Kill { generation, why });
        }
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
                self.waiter.start_apart(self.family.is_independent());
                self.report(News::Started(Ok(())));
            }
            Action::StartFailed { child, exit } => {
                let exit = self.failed_start(child, exit);
                self.report(News::Started(Err(exit)));
            }
            Action::Escalate(exit) => {
                tracing::error!(
                    target: "callboard::supervision",
                    supervisor = &**self.path(), %exit, "a supervisor gives up"
                );
                self.report(News::Exited(exit));
            }
            Action::Retired(exit) => {
                // As for a service that is one life: it had started before it ended for good.
                if !self.risen && matches!(exit, Exit::Retired(_)) {
                    self.risen = true;
                    self.report(News::Started(Ok(())));
                }
                self.report_end(exit);
            }
            Action::Completed => self.report_end(Exit::Shutdown),
            Action::Down if self.ending.killed => self.report_end(Exit::Killed),
            _ => self.report_end(Exit::Shutdown),
        }
    }

    /// If the root falls by itself, its board sees to it that this comes to an end, though a child
    /// may block its thread.
    pub(super) fn note_fall(&self, last: &Action) {
        let exit = match last {
            Action::StartFailed { child, exit } => self.failed_start(*child, exit.clone()),
            Action::Escalate(exit) | Action::Retired(exit) => exit.clone(),
            Action::Completed => Exit::Shutdown,
            _ => return,
        };
        if let Parent::Board(tell) = &self.parent {
            tell(News::Falling(exit));
        }
    }

    fn failed_start(&self, child: ChildId, exit: Exit) -> Exit {
        Exit::Escalated {
            path: self.child_path(child),
            cause: Box::new(exit),
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
            News::Falling(_) => return,
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
