//! One child as its supervisor's actor keeps it: where to send orders, and who waits for it.
//!
//! The actor seats a child when it is opened and removes it when its spec is gone.
//!
//! Invariant: whoever waits for a start or an end is answered when it comes, or dropped with the
//! seat, which is an answer as well.
//!
//! It does not know where the child stands: the family does.

use actix::Recipient;

use super::actor::{Parent, SupervisorActor};
use super::family::Member;
use super::node::Node;
use super::open::{Grounds, OpenedChild, OpenedKind};
use super::request::{Answer, ChildError};
use crate::exit::Exit;
use crate::host::{ChildReport, Home, Host, Order};
use crate::sync::Arc;
use crate::vitals::State;
use crate::waits::{Awaited, Waiting};
use crate::wall::Wall;

pub(super) struct Seat {
    pub(super) member: Member,
    pub(super) node: Arc<Node>,
    /// The thread that was made for it.
    pub(super) own_home: Option<Box<Home>>,
    /// The life that it was last told to begin, as its supervisor's present life counts them.
    pub(super) generation: u64,
    /// It has been told to close, and has not said that it has.
    pub(super) closing: bool,
    /// Its spec is gone: the seat goes as soon as it has closed.
    pub(super) leaving: bool,
    actor: Recipient<Order>,
    /// It waits for its supervisor: for its turn to start.
    turn: Option<Waiting>,
    /// A box: few children are waited for by name.
    callers: Option<Box<Callers>>,
}

/// Who waits for a child.
#[derive(Default)]
struct Callers {
    starts: Vec<Answer>,
    /// While there are any of those.
    awaited: Option<Awaited>,
    ends: Vec<Answer>,
}

impl Seat {
    /// Starts the child's actor, which begins no life by itself.
    pub(super) fn new(
        opened: OpenedChild,
        grounds: &Arc<Grounds>,
        parent: Arc<Recipient<ChildReport>>,
    ) -> Self {
        let OpenedChild {
            id: child,
            member,
            node,
            home,
            owns_home,
            turn,
            kind,
        } = opened;
        let actor = match kind {
            OpenedKind::Service { shutdown, stage } => {
                let (wall, vitals) = (Arc::clone(&grounds.wall), Arc::clone(&node.vitals));
                let make = move || Host {
                    wall,
                    stage: stage(),
                    child,
                    parent,
                    shutdown,
                    vitals,
                    now: None,
                };
                home.start(make).recipient()
            }
            OpenedKind::Supervisor(opened) => {
                let parent = Parent::Supervisor {
                    address: parent,
                    child,
                };
                let grounds = Arc::clone(grounds);
                let make = move || SupervisorActor::new(*opened, parent, grounds);
                home.start(make).recipient()
            }
        };
        Seat {
            member,
            node,
            own_home: owns_home.then(|| Box::new(home)),
            generation: 0,
            closing: false,
            leaving: false,
            actor,
            turn,
            callers: None,
        }
    }

    pub(super) fn order(&self, order: Order) {
        self.actor.do_send(order);
    }

    /// The child enters a state, in which it may wait for its turn to start, and so for its
    /// supervisor.
    pub(super) fn enter(&mut self, state: State, waits_for_turn: bool, wall: &Wall) {
        self.node.vitals.enter(state);
        if !waits_for_turn {
            self.turn = None;
        } else if self.turn.is_none() {
            self.turn = wall.waits.waiter(self.node.path()).note_turn();
        }
    }

    /// Comes before the start that is waited for.
    pub(super) fn await_start(&mut self, answer: Answer, wall: &Wall) {
        let callers = self.callers.get_or_insert_default();
        callers.starts.push(answer);
        let waits = &wall.waits;
        let note = || waits.waiter(self.node.path()).await_start();
        callers.awaited.get_or_insert_with(note);
    }

    pub(super) fn await_end(&mut self, answer: Answer) {
        self.callers.get_or_insert_default().ends.push(answer);
    }

    /// Tells whoever waits for its start how it went.
    pub(super) fn answer_starts(&mut self, result: &Result<(), Exit>) {
        let Some(callers) = &mut self.callers else {
            return;
        };
        callers.awaited = None;
        for answer in callers.starts.drain(..) {
            let path = self.node.path().to_string();
            let told = match result {
                Ok(()) => Ok(path),
                Err(exit) => Err(ChildError::Failed {
                    path,
                    exit: exit.clone(),
                }),
            };
            // Whoever has gone away hears nothing.
            let _ = answer.send(told);
        }
    }

    /// Tells whoever waits for its end.
    pub(super) fn answer_ends(&mut self) {
        let Some(callers) = &mut self.callers else {
            return;
        };
        for answer in callers.ends.drain(..) {
            let _ = answer.send(Ok(self.node.path().to_string()));
        }
    }

    /// It comes back, so whoever waits for its end waits in vain.
    pub(super) fn disappoint_ends(&mut self) {
        let Some(callers) = &mut self.callers else {
            return;
        };
        for answer in callers.ends.drain(..) {
            let path = self.node.path().to_string();
            let _ = answer.send(Err(ChildError::Running { path }));
        }
    }

    /// The supervisor ends: nobody is answered any more.
    pub(super) fn disappoint(&mut self) {
        self.callers = None;
    }
}
