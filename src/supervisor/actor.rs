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

use actix::{Actor, AsyncContext, Context, Handler, Recipient};

use super::family::{Action, ChildId, Family, Input, Plan};
use super::node::Node;
use super::open::{Grounds, Lot, OpenedChild, OpenedSupervisor};
use super::recipe::Recipe;
use super::request::Request;
use super::seat::Seat;
use super::term::Ending;
use crate::host::{ChildReport, News, Order, Troupe};
use crate::insider::InsideOf;
use crate::lifecycle::Change;
use crate::panic::guard;
use crate::policy::Backoff;
use crate::service::control::Kill;
use crate::shutdown::Shutdown;
use crate::sync::Arc;
use crate::vitals::{State, Vitals};
use crate::waits::{Waiter, Waiting};

/// To whom a supervisor reports.
pub(crate) enum Parent {
    Supervisor {
        address: Arc<Recipient<ChildReport>>,
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
    /// The workers, if it stands for a service that has some, and whether their number is being
    /// changed.
    pub(super) troupe: Option<Box<dyn Troupe>>,
    pub(super) is_scaling: bool,
    pub(super) family: Family,
    pub(super) seats: BTreeMap<ChildId, Seat>,
    pub(super) node: Arc<Node>,
    pub(super) parent: Parent,
    pub(super) backoff: Option<Backoff>,
    pub(super) shutdown: Option<Shutdown>,
    /// What is to be seated when this actor starts; empty afterwards.
    pub(super) opened: Vec<OpenedChild>,
    pub(super) names: BTreeMap<Arc<str>, ChildId>,
    pub(super) next: ChildId,
    /// The first child that is not of the spec.
    pub(super) added_from: ChildId,
    pub(super) dice: fastrand::Rng,
    /// The life of this supervisor that its parent knows, and whether it has reported a start.
    pub(super) generation: u64,
    pub(super) risen: bool,
    /// As one that may be waited for.
    pub(super) waiter: Waiter,
    /// Its own supervisor waits for that start.
    pub(super) rising: Option<Waiting>,
    /// What it is told to do when it ends.
    pub(super) ending: Ending,
    /// Children that have still to close before this one has.
    pub(super) closing: Option<BTreeSet<ChildId>>,
}

impl SupervisorActor {
    pub(crate) fn new(opened: OpenedSupervisor, parent: Parent, grounds: Arc<Grounds>) -> Self {
        let OpenedSupervisor {
            node,
            plan,
            backoff,
            shutdown,
            recipe,
            troupe,
            lot,
            children,
        } = opened;
        let added_from = children.last().map_or(0, |last| last.id + 1);
        let dice = grounds.wall.pulse.dice.fork(&plan.path);
        let waiter = grounds.wall.waits.waiter(&plan.path);
        let members = children
            .iter()
            .map(|child| (child.id, child.member.clone()));
        SupervisorActor {
            family: Family::new(plan.clone(), members),
            grounds,
            plan,
            lot,
            recipe,
            troupe,
            is_scaling: false,
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
            waiter,
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

    pub(super) fn announce(&self, vitals: &Vitals, change: Change) {
        self.grounds.wall.announce(vitals, change);
    }

    pub(super) fn vitals(&self, child: ChildId) -> Option<&Arc<Vitals>> {
        self.seats.get(&child).map(|seat| &seat.node.vitals)
    }

    pub(super) fn order(&self, child: ChildId, order: Order) {
        if let Some(seat) = self.seats.get(&child) {
            seat.order(order);
        }
    }

    pub(super) fn step(&mut self, input: Input, context: &mut Context<Self>) {
        let now = self.grounds.wall.pulse.clock.since_start();
        let was_ending = self.family.is_ending();
        for action in self.family.step(input, now) {
            self.act(action, context);
        }
        if !was_ending && let Some(last) = self.family.last_word() {
            self.note_fall(last);
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
                let why = self.ending.overdue();
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
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.node.vitals.note_thread();
        if let Some(branch) = self.node.branch() {
            // An actor is started once.
            let _ = branch.desk.set(context.address().recipient());
        }
        let own = Arc::new(context.address().recipient());
        let opened = std::mem::take(&mut self.opened);
        self.seat_all(opened, &own);
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
            Order::Kill { generation, why }
                if generation == self.generation && !self.family.is_new() =>
            {
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
        // A child that is forgotten is dropped there, with the policies and the failure of its
        // last life, which is the user's code: it must not block this thread.
        let _inside = InsideOf::enter(self.grounds.wall.id());
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
            // Only the root says so, to its board.
            News::Falling(_) => {}
            News::Closed => self.child_closed(child),
        }
    }
}

impl Handler<Request> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, request: Request, context: &mut Self::Context) {
        // A child, or an argument, that is refused is dropped there, which is the user's code: it
        // must not end this actor, nor block its thread.
        let _inside = InsideOf::enter(self.grounds.wall.id());
        let _ = guard(|| self.take_in(request, context));
    }
}

impl fmt::Debug for SupervisorActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SupervisorActor({})", self.path())
    }
}
