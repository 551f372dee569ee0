//! The supervisor's actor: an ordinary actix actor that carries out what the family decides.
//!
//! Its own supervisor orders, or the board if it is the root; its children report.
//!
//! Invariant: every order to start is answered by a start or its failure, every life that has
//! started by one exit. What happens to a child is announced here and nowhere else.
//!
//! It decides nothing: the family does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture,
};
use tokio::time::Instant;

use super::family::{Action, ChildId, Family, Input, Plan, Standing, Why};
use super::node::Node;
use super::open::{Grounds, Lot, OpenedChild, OpenedSupervisor};
use super::recipe::Recipe;
use super::request::Request;
use super::seat::Seat;
use super::strategy::Strategy;
use crate::clock::deadline;
use crate::exit::Exit;
use crate::host::{After, ChildReport, News, Order};
use crate::lifecycle::Change;
use crate::policy::Backoff;
use crate::service::control::Kill;
use crate::shutdown::Shutdown;
use crate::sync::Arc;
use crate::vitals::{State, Vitals};
use crate::waits::Waiting;

/// To whom a supervisor reports.
pub(crate) enum Parent {
    Supervisor {
        address: Recipient<ChildReport>,
        child: ChildId,
    },
    /// It is the root.
    Board(Box<dyn Fn(News) + Send>),
}

pub(crate) struct SupervisorActor {
    pub(super) grounds: Arc<Grounds>,
    pub(super) plan: Plan,
    pub(super) lot: Lot,
    pub(super) recipe: Option<Recipe>,
    pub(super) family: Family,
    pub(super) seats: BTreeMap<ChildId, Seat>,
    node: Arc<Node>,
    parent: Parent,
    backoff: Option<Backoff>,
    shutdown: Option<Shutdown>,
    /// What is to be seated when this actor starts; empty afterwards.
    opened: Vec<OpenedChild>,
    names: BTreeMap<Arc<str>, ChildId>,
    next: ChildId,
    /// The first child that is not of the spec.
    added_from: ChildId,
    dice: fastrand::Rng,
    /// The life of this supervisor that its parent knows, and whether it has reported a start.
    generation: u64,
    risen: bool,
    /// Its own supervisor waits for that start.
    rising: Option<Waiting>,
    /// What it is told to do when it ends.
    ending: Ending,
    /// Children that have still to close before this one has.
    closing: Option<BTreeSet<ChildId>>,
}

/// How a supervisor was told to end.
struct Ending {
    /// Until when an orderly stop may take.
    deadline: Option<Instant>,
    /// What follows. One that gives up does not know; its mailboxes are kept then.
    after: After,
    /// Somebody asked for its kill.
    killed: bool,
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
    pub(crate) fn new(opened: OpenedSupervisor, parent: Parent, grounds: Arc<Grounds>) -> Self {
        let OpenedSupervisor {
            node,
            plan,
            backoff,
            shutdown,
            recipe,
            lot,
            children,
        } = opened;
        let added_from = children.last().map_or(0, |last| last.id + 1);
        let dice = grounds.wall.pulse.dice.fork(&plan.path);
        SupervisorActor {
            family: Family::new(plan.clone(), []),
            grounds,
            plan,
            lot,
            recipe,
            seats: BTreeMap::new(),
            node,
            parent,
            backoff,
            shutdown,
            next: added_from,
            added_from,
            opened: children,
            names: BTreeMap::new(),
            dice,
            generation: 0,
            risen: false,
            rising: None,
            ending: Ending::default(),
            closing: None,
        }
    }

    pub(super) fn path(&self) -> &Arc<str> {
        &self.plan.path
    }

    pub(super) fn find(&self, name: &str) -> Option<ChildId> {
        self.names.get(name).copied()
    }

    pub(super) fn next_child(&mut self) -> ChildId {
        self.next += 1;
        self.next - 1
    }

    /// Starts the actor of a child that was opened.
    pub(super) fn seat(&mut self, opened: OpenedChild, context: &mut Context<Self>) -> &mut Seat {
        let (child, name) = (opened.id, Arc::clone(&opened.member.name));
        if let Some(branch) = self.node.branch() {
            branch.add(child, Arc::clone(&opened.node));
        }
        self.names.insert(name, child);
        let seat = Seat::new(opened, &self.grounds, context.address().recipient());
        self.seats.remove(&child);
        self.seats.entry(child).or_insert(seat)
    }

    /// The child's spec is gone, and it has closed.
    fn remove(&mut self, child: ChildId) {
        let Some(mut seat) = self.seats.remove(&child) else {
            return;
        };
        seat.order(Order::Leave);
        self.names.remove(&seat.member.name);
        if let Some(branch) = self.node.branch() {
            branch.remove(child);
        }
        // Those of the spec are few; those added later may come and go for ever.
        let into = (child >= self.added_from).then(|| format!("{}/*", self.path()).into());
        let own_home = seat.own_home.as_ref();
        self.grounds.forget(&seat.node, own_home, into.as_ref());
        seat.answer_ends();
    }

    fn announce(&self, vitals: &Vitals, change: Change) {
        self.grounds.wall.announce(vitals, change);
    }

    fn vitals(&self, child: ChildId) -> Option<&Arc<Vitals>> {
        self.seats.get(&child).map(|seat| &seat.node.vitals)
    }

    fn order(&self, child: ChildId, order: Order) {
        if let Some(seat) = self.seats.get(&child) {
            seat.order(order);
        }
    }

    /// A child enters a state, and whoever listens is told, unless it is there already.
    fn enter(&mut self, child: ChildId, state: State, change: Change) {
        if self
            .vitals(child)
            .is_some_and(|vitals| vitals.state() == state)
        {
            return;
        }
        self.settle_in(child, state);
        if let Some(vitals) = self.vitals(child) {
            self.announce(vitals, change);
        }
    }

    /// A child enters a state that is nobody's news.
    fn settle_in(&mut self, child: ChildId, state: State) {
        // One of a family that is down waits for the next start of the whole.
        let in_order = !self.risen || self.plan.strategy != Strategy::OneForOne;
        let in_turn = self.family.is_ending() || (in_order && !self.plan.dynamic);
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.node.vitals.enter(state);
            seat.note_turn(in_turn && state == State::Waiting, &self.grounds.wall);
        }
    }

    pub(super) fn step(&mut self, input: Input, context: &mut Context<Self>) {
        let now = self.grounds.wall.pulse.clock.since_start();
        for action in self.family.step(input, now) {
            self.act(action, context);
        }
    }

    fn act(&mut self, action: Action, context: &mut Context<Self>) {
        match action {
            Action::Start { child, generation } => self.start_child(child, generation),
            Action::Stop {
                child,
                generation,
                why,
            } => self.stop_child(child, generation, why),
            Action::Kill { child, generation } => {
                self.enter(child, State::Stopping, Change::Stopping);
                let why = match self.ending.after {
                    After::Again => Kill::Restarted,
                    After::Nothing { .. } => Kill::Overdue,
                };
                self.order(child, Order::Kill { generation, why });
            }
            Action::BackOff {
                child,
                generation,
                restart,
            } => self.back_off(child, generation, restart, context),
            Action::Close { child } => self.close_child(child),
            Action::Forget { child } => self.forget_child(child),
            Action::Refused { child, exit } => {
                if let Some(seat) = self.seats.get_mut(&child) {
                    seat.answer_starts(&Err(exit));
                }
            }
            last => self.end(last),
        }
    }

    /// What concerns the whole family.
    fn end(&mut self, action: Action) {
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
                    supervisor = &**self.path(), %exit, "the budget of restarts is spent"
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

    fn start_child(&mut self, child: ChildId, generation: u64) {
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.generation = generation;
            seat.node.vitals.begin_life();
        }
        self.enter(child, State::Starting, Change::Starting);
        self.order(child, Order::Start { generation });
    }

    fn stop_child(&mut self, child: ChildId, generation: u64, why: Why) {
        let after = match why {
            _ if self.family.is_ending() => self.ending.after,
            Why::Again => After::Again,
            Why::ForGood => After::Nothing { drain: false },
        };
        self.enter(child, State::Stopping, Change::Stopping);
        self.order(
            child,
            Order::Stop {
                generation,
                deadline: self.ending.deadline,
                after,
            },
        );
    }

    fn back_off(
        &mut self,
        child: ChildId,
        generation: u64,
        restart: u32,
        context: &mut Context<Self>,
    ) {
        let jitter = self.dice.f64();
        let delay = self.backoff.map(|backoff| backoff.delay(restart, jitter));
        let delay = delay.unwrap_or_default();
        self.enter(child, State::BackingOff, Change::BackingOff(delay));
        let clock = &self.grounds.wall.pulse.clock;
        let sleep = clock.sleep_until(deadline(clock.now(), delay));
        let woken = sleep.into_actor(self).map(move |(), actor, context| {
            actor.step(Input::BackedOff { child, generation }, context);
        });
        let backoff = context.spawn(woken);
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.backoff = Some(backoff);
        }
    }

    fn close_child(&mut self, child: ChildId) {
        // What a family closes on its way out may be started again with it.
        if self.family.is_ending() {
            return self.settle_in(child, State::Waiting);
        }
        self.close_seat(child);
    }

    fn close_seat(&mut self, child: ChildId) {
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.closing = true;
            seat.order(Order::Close);
            // Whoever waits for a restart that a stop has overtaken.
            seat.answer_starts(&Err(Exit::Shutdown));
        }
        self.enter(child, State::Closed, Change::Closed);
    }

    fn forget_child(&mut self, child: ChildId) {
        let state = self.vitals(child).map(|vitals| vitals.state());
        if state.is_some_and(|state| state != State::Closed) {
            // The family ends, but this one does not come back with it.
            self.close_seat(child);
        }
        let Some(seat) = self.seats.get_mut(&child) else {
            return;
        };
        seat.leaving = true;
        if !seat.closing {
            self.remove(child);
        }
    }

    fn child_path(&self, child: ChildId) -> String {
        let seat = self.seats.get(&child);
        seat.map_or_else(String::new, |seat| seat.node.path().to_string())
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

    fn start(&mut self, generation: u64, context: &mut Context<Self>) {
        self.generation = generation;
        self.risen = false;
        self.ending = Ending::default();
        self.closing = None;
        self.forget_backoffs(context);
        if matches!(self.parent, Parent::Board(_)) {
            self.node.vitals.begin_life();
            self.enter_root(State::Starting, Change::Starting);
        }
        let stay = self.seats.iter().filter(|(_, seat)| !seat.leaving);
        let members = stay.map(|(child, seat)| (*child, seat.member.clone()));
        self.family = Family::new(self.plan.clone(), members);
        self.rising = self.grounds.wall.waits.start_of(&self.plan.path);
        // Before anybody starts: each waits for its turn.
        for child in self.seats.keys().copied().collect::<Vec<_>>() {
            self.settle_in(child, State::Waiting);
        }
        self.step(Input::Start, context);
    }

    /// Generations of children begin anew with each life of their supervisor, so the end of a
    /// backoff in the last one would pass for that of a backoff in this one.
    fn forget_backoffs(&mut self, context: &mut Context<Self>) {
        for seat in self.seats.values_mut() {
            if let Some(backoff) = seat.backoff.take() {
                context.cancel_future(backoff);
            }
        }
    }

    fn stop(&mut self, until: Option<Instant>, after: After, context: &mut Context<Self>) {
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

    fn close(&mut self) {
        let children: Vec<ChildId> = self.seats.keys().rev().copied().collect();
        self.closing = Some(children.iter().copied().collect());
        for child in children {
            self.close_seat(child);
        }
        self.report_closed();
    }

    fn child_closed(&mut self, child: ChildId) {
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.closing = false;
            if seat.leaving {
                self.remove(child);
            } else {
                seat.answer_ends();
            }
        }
        if let Some(closing) = &mut self.closing {
            closing.remove(&child);
            self.report_closed();
        }
    }

    fn report_closed(&mut self) {
        if self.closing.as_ref().is_some_and(BTreeSet::is_empty) {
            self.closing = None;
            self.report(News::Closed);
        }
    }

    /// Its spec is gone: the actors below go too.
    fn leave(&self, context: &mut Context<Self>) {
        for seat in self.seats.values() {
            seat.order(Order::Leave);
            self.grounds.release(seat.own_home.as_ref());
        }
        context.stop();
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.node.vitals.note_thread();
        if let Some(branch) = self.node.branch() {
            // An actor is started once.
            let _ = branch.desk.set(context.address().recipient());
        }
        for opened in std::mem::take(&mut self.opened) {
            self.seat(opened, context);
        }
    }
}

impl Handler<Order> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, order: Order, context: &mut Self::Context) {
        match order {
            Order::Start { generation } => self.start(generation, context),
            Order::Stop {
                generation,
                deadline,
                after,
            } if generation == self.generation => self.stop(deadline, after, context),
            Order::Kill { generation, why } if generation == self.generation => {
                self.ending.killed |= why == Kill::Asked;
                self.step(Input::Kill, context);
            }
            Order::Stop { .. } | Order::Kill { .. } => {}
            Order::Close => self.close(),
            Order::Leave => self.leave(context),
        }
    }
}

impl Handler<ChildReport> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, report: ChildReport, context: &mut Self::Context) {
        let ChildReport {
            child,
            generation,
            news,
        } = report;
        match news {
            News::Started(result) => self.child_started(child, generation, result, context),
            News::Exited(exit) => {
                self.note_exit(child, generation, &exit);
                self.step(
                    Input::Exited {
                        child,
                        generation,
                        exit,
                    },
                    context,
                );
            }
            News::Closed => self.child_closed(child),
        }
    }
}

impl Handler<Request> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, request: Request, context: &mut Self::Context) {
        self.take_in(request, context);
    }
}

impl SupervisorActor {
    fn child_started(
        &mut self,
        child: ChildId,
        generation: u64,
        result: Result<(), Exit>,
        context: &mut Context<Self>,
    ) {
        // A life that is to be stopped already is not the one that anybody waits for.
        let awaited = self.family.standing(child) == Some(Standing::Starting);
        match &result {
            // One that is told to stop already stays so.
            Ok(()) => {
                let starting = self.vitals(child).map(|vitals| vitals.state());
                if starting == Some(State::Starting) {
                    self.enter(child, State::Running, Change::Started);
                }
            }
            Err(exit) => self.note_exit(child, generation, exit),
        }
        if let Some(seat) = self.seats.get_mut(&child).filter(|_| awaited) {
            seat.answer_starts(&result);
        }
        self.step(
            Input::Started {
                child,
                generation,
                result,
            },
            context,
        );
    }

    fn note_exit(&mut self, child: ChildId, generation: u64, exit: &Exit) {
        let known = self.seats.get(&child);
        let Some(seat) = known.filter(|seat| seat.generation == generation) else {
            return;
        };
        seat.node.vitals.note_exit(exit);
        self.enter(child, State::Waiting, Change::Ended(exit.clone()));
        if exit.is_abnormal() {
            tracing::warn!(
                target: "callboard::supervision",
                supervisor = &**self.path(),
                child = &*self.child_path(child),
                %exit,
                "a child ended abnormally"
            );
        }
    }
}

impl fmt::Debug for SupervisorActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SupervisorActor({})", self.path())
    }
}
