//! One child in the care of its supervisor's actor: from its seat to the end of its spec.
//!
//! The actor calls it for what the family has decided about a child, and for what the child
//! reports.
//!
//! Invariant: whatever happens to a child is entered in its vitals and announced here, once.
//!
//! It decides nothing: the family does.

use actix::{ActorFutureExt, AsyncContext, Context, Recipient, WrapFuture};

use super::actor::SupervisorActor;
use super::family::{ChildId, Input, Why};
use super::open::OpenedChild;
use super::seat::Seat;
use super::strategy::Strategy;
use crate::clock::deadline;
use crate::exit::Exit;
use crate::host::{After, ChildReport, Order};
use crate::lifecycle::Change;
use crate::sync::Arc;
use crate::vitals::State;

impl SupervisorActor {
    /// Starts the actors of the children that were opened with this supervisor.
    pub(super) fn seat_all(&mut self, opened: Vec<OpenedChild>, own: &Arc<Recipient<ChildReport>>) {
        // Collected, and not inserted one by one: that leaves the nodes of the maps half empty, and
        // takes 190 bytes more for each child.
        let name = |opened: &OpenedChild| (Arc::clone(&opened.member.name), opened.id);
        self.names = opened.iter().map(name).collect();
        let grounds = &self.grounds;
        let seat = |opened: OpenedChild| (opened.id, Seat::new(opened, grounds, Arc::clone(own)));
        self.seats = opened.into_iter().map(seat).collect();
    }

    /// Starts the actor of a child that was opened while this supervisor runs, at this address.
    pub(super) fn seat(&mut self, opened: OpenedChild, own: Recipient<ChildReport>) -> &mut Seat {
        let (child, name) = (opened.id, Arc::clone(&opened.member.name));
        if let Some(branch) = self.node.branch() {
            branch.add(child, Arc::clone(&opened.node));
        }
        self.names.insert(name, child);
        let seat = Seat::new(opened, &self.grounds, Arc::new(own));
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
        let into = if self.troupe.is_some() {
            Some(Arc::clone(self.path()))
        } else {
            (child >= self.added_from).then(|| format!("{}/*", self.path()).into())
        };
        let own_home = seat.own_home.as_deref();
        self.grounds.forget(&seat.node, own_home, into.as_ref());
        seat.answer_ends();
    }

    /// A child enters a state, and whoever listens is told, unless it is there already.
    pub(super) fn enter(&mut self, child: ChildId, state: State, change: Change) {
        let waits = self.waits_for_its_turn(state);
        let Some(seat) = self.seats.get_mut(&child) else {
            return;
        };
        if seat.node.vitals.state() != state {
            let wall = &self.grounds.wall;
            seat.enter(state, waits, wall);
            wall.announce(&seat.node.vitals, change);
        }
    }

    /// A child enters a state that is nobody's news.
    pub(super) fn settle_in(&mut self, child: ChildId, state: State) {
        let waits = self.waits_for_its_turn(state);
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.enter(state, waits, &self.grounds.wall);
        }
    }

    /// Whether a child in this state waits for its turn to start.
    fn waits_for_its_turn(&self, state: State) -> bool {
        // One of a family that is down waits for the next start of the whole.
        let in_order = !self.risen || self.plan.strategy != Strategy::OneForOne;
        let in_turn = self.family.is_ending() || (in_order && !self.plan.dynamic);
        in_turn && state == State::Waiting
    }

    pub(super) fn start_child(&mut self, child: ChildId, generation: u64) {
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.generation = generation;
            seat.node.vitals.begin_life();
        }
        self.enter(child, State::Starting, Change::Starting);
        self.order(child, Order::Start { generation });
    }

    pub(super) fn stop_child(&mut self, child: ChildId, generation: u64, why: Why) {
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

    pub(super) fn back_off(
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
        context.spawn(woken);
    }

    pub(super) fn close_child(&mut self, child: ChildId) {
        // What a family closes on its way out may be started again with it.
        if self.family.is_ending() {
            return self.settle_in(child, State::Waiting);
        }
        self.close_seat(child);
    }

    pub(super) fn close_seat(&mut self, child: ChildId) {
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.closing = true;
            seat.order(Order::Close);
            // Whoever waits for a restart that a stop has overtaken.
            seat.answer_starts(&Err(Exit::Shutdown));
        }
        self.enter(child, State::Closed, Change::Closed);
    }

    pub(super) fn forget_child(&mut self, child: ChildId) {
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

    pub(super) fn child_closed(&mut self, child: ChildId) {
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

    pub(super) fn child_started(
        &mut self,
        child: ChildId,
        generation: u64,
        result: Result<(), Exit>,
        context: &mut Context<Self>,
    ) {
        // A life that is to be stopped already is not the one that anybody waits for.
        let awaited = self.family.standing(child) == Some(State::Starting);
        match &result {
            // One that is told to stop already stays so.
            Ok(()) => {
                let starting = self.vitals(child).map(|vitals| vitals.state());
                if starting == Some(State::Starting) {
                    self.note_recovery(child);
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

    /// Deaths are told as errors; whoever reads them wants to read of the recovery too.
    fn note_recovery(&self, child: ChildId) {
        let life = self.vitals(child).map_or(0, |vitals| vitals.life());
        if life > 1 {
            tracing::info!(
                target: "callboard::supervision",
                supervisor = &**self.path(),
                child = &*self.child_path(child),
                life,
                "a child is up again"
            );
        }
    }

    pub(super) fn note_exit(&mut self, child: ChildId, generation: u64, exit: &Exit) {
        let known = self.seats.get(&child);
        let Some(seat) = known.filter(|seat| seat.generation == generation) else {
            return;
        };
        seat.node.vitals.note_exit(exit);
        self.enter(child, State::Waiting, Change::Ended(exit.clone()));
        self.tell_exit(child, exit);
    }

    /// Here, and not where the life has run: so it comes before the recovery from it, and after
    /// that from the one before.
    fn tell_exit(&self, child: ChildId, exit: &Exit) {
        let (supervisor, path) = (&**self.path(), &*self.child_path(child));
        let life = self.vitals(child).map_or(0, |vitals| vitals.life());
        match exit {
            // A supervisor that gave up: the error was told where it was made.
            Exit::Escalated { .. } => tracing::warn!(
                target: "callboard::supervision",
                supervisor, child = path, life, %exit,
                "a child ended abnormally"
            ),
            exit if exit.is_abnormal() => tracing::error!(
                target: "callboard::supervision",
                supervisor, child = path, life, %exit,
                "a child ended abnormally"
            ),
            exit => tracing::debug!(
                target: "callboard::supervision",
                supervisor, child = path, life, %exit,
                "a child ended"
            ),
        }
    }

    pub(super) fn child_path(&self, child: ChildId) -> String {
        let seat = self.seats.get(&child);
        seat.map_or_else(String::new, |seat| seat.node.path().to_string())
    }
}
