//! Where a supervisor's actor takes requests while it runs.
//!
//! The actor hands each request over; it is checked here and put to the family as an input.
//!
//! Invariant: a request that is refused has changed nothing.
//!
//! The recipe is the user's: the actor calls this where what blocks is refused as in a handler.
//! It answers what is refused at once; what is begun is answered by the actor when it is done.

use actix::{AsyncContext, Context};

use super::Child;
use super::actor::SupervisorActor;
use super::family::{ChildId, Input};
use super::recipe::Argument;
use super::request::{Answer, Ask, ChildError, Request};
use crate::host::Order;
use crate::service::control::Kill;
use crate::sync::Arc;
use crate::vitals::State;

impl SupervisorActor {
    pub(super) fn take_in(&mut self, request: Request, context: &mut Context<Self>) {
        let Request { ask, answer } = request;
        if self.family.is_ending() {
            let path = self.path().to_string();
            return refuse(answer, ChildError::Stopping { path });
        }
        if self.troupe.is_some() && ask.is_of_children() {
            let path = self.path().to_string();
            return refuse(answer, ChildError::Workers { path });
        }
        match ask {
            Ask::Scale(workers) => self.scale(workers, answer, context),
            Ask::Start(child) => self.add_given(*child, answer, context),
            Ask::StartFrom(argument) => self.add_made(argument, answer, context),
            Ask::Terminate(name) => self.terminate(&name, answer, context),
            Ask::Restart(name) => self.restart(&name, answer, context),
            Ask::Delete(name) => self.delete(&name, answer, context),
            Ask::Renew(name) => self.renew(&name, answer, context),
            Ask::Kill(name) => self.kill_child(&name, answer),
        }
    }

    fn add_given(&mut self, child: Child, answer: Answer, context: &mut Context<Self>) {
        if self.recipe.is_some() {
            let path = self.path().to_string();
            return refuse(answer, ChildError::Dynamic { path });
        }
        self.add(child, answer, context);
    }

    fn add_made(&mut self, argument: Argument, answer: Answer, context: &mut Context<Self>) {
        let path = self.path().to_string();
        let Some(recipe) = &mut self.recipe else {
            return refuse(answer, ChildError::NotDynamic { path });
        };
        match recipe.make(argument) {
            Ok(child) => self.add(child, answer, context),
            Err(spoiled) => refuse(answer, ChildError::spoiled(&path, spoiled)),
        }
    }

    fn add(&mut self, child: Child, answer: Answer, context: &mut Context<Self>) {
        let path = format!("{}/{}", self.path(), child.name());
        if self.find(child.name()).is_some() {
            return refuse(answer, ChildError::AlreadyExists { path });
        }
        let problems = self.grounds.check(&child, &path, &self.plan, &self.lot);
        if !problems.is_empty() {
            return refuse(answer, ChildError::Refused { problems });
        }
        let id = self.next_child();
        match self.grounds.child(child, id, &self.lot) {
            Ok(opened) => {
                let member = opened.member.clone();
                let own = context.address().recipient();
                let wall = Arc::clone(&self.grounds.wall);
                self.seat(opened, own).await_start(answer, &wall);
                self.step(Input::Add { child: id, member }, context);
            }
            Err(error) => refuse(answer, ChildError::Threads(error)),
        }
    }

    fn terminate(&mut self, name: &str, answer: Answer, context: &mut Context<Self>) {
        let Some((child, answer)) = self.named(name, answer) else {
            return;
        };
        let closed = self.family.standing(child) == Some(State::Closed);
        let Some(seat) = self.seats.get_mut(&child) else {
            return;
        };
        seat.await_end(answer);
        if closed && !seat.closing {
            return seat.answer_ends();
        }
        self.step(Input::Terminate { child }, context);
    }

    fn restart(&mut self, name: &str, answer: Answer, context: &mut Context<Self>) {
        let Some((child, answer)) = self.named(name, answer) else {
            return;
        };
        let closed = self.family.standing(child) == Some(State::Closed);
        match self.seats.get_mut(&child) {
            Some(seat) if closed && !seat.leaving => {
                seat.await_start(answer, &self.grounds.wall);
            }
            _ => {
                let path = format!("{}/{name}", self.path());
                return refuse(answer, ChildError::Running { path });
            }
        }
        self.step(Input::Restart { child }, context);
    }

    fn delete(&mut self, name: &str, answer: Answer, context: &mut Context<Self>) {
        let Some((child, answer)) = self.named(name, answer) else {
            return;
        };
        let closed = self.family.standing(child) == Some(State::Closed);
        match self.seats.get_mut(&child) {
            Some(seat) if closed || seat.leaving => seat.await_end(answer),
            _ => {
                let path = format!("{}/{name}", self.path());
                return refuse(answer, ChildError::Running { path });
            }
        }
        self.step(Input::Delete { child }, context);
    }

    /// Renews a child that lives, or starts one that has ended for good.
    fn renew(&mut self, name: &str, answer: Answer, context: &mut Context<Self>) {
        let Some((child, answer)) = self.named(name, answer) else {
            return;
        };
        match self.family.standing(child) {
            Some(State::Closed) => return self.restart(name, answer, context),
            // A worker that is let go is not to come back.
            Some(State::Stopping) if self.is_scaling => {
                let path = self.path().to_string();
                return refuse(answer, ChildError::Scaling { path });
            }
            // It has ended and is forgotten: its place is only being cleared.
            None if self.seats.get(&child).is_some_and(|seat| seat.leaving) => {
                let error = self.grounds.registry.no_child(self.path(), name);
                return refuse(answer, ChildError::Lookup(error));
            }
            _ => {}
        }
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.disappoint_ends();
            seat.await_start(answer, &self.grounds.wall);
        }
        self.step(Input::Renew { child }, context);
    }

    fn kill_child(&self, name: &str, answer: Answer) {
        let Some((child, answer)) = self.named_alive(name, answer) else {
            return;
        };
        let Some(seat) = self.seats.get(&child) else {
            return;
        };
        seat.order(Order::Kill {
            generation: seat.generation,
            why: Kill::Asked,
        });
        let _ = answer.send(Ok(seat.node.path().to_string()));
    }

    /// The child of this name; the asker hears at once if there is none.
    fn named(&self, name: &str, answer: Answer) -> Option<(ChildId, Answer)> {
        if let Some(child) = self.find(name) {
            return Some((child, answer));
        }
        let unknown = self.grounds.registry.no_child(self.path(), name);
        refuse(answer, ChildError::Lookup(unknown));
        None
    }

    /// As `named`, for what makes sense only before the child has ended for good.
    fn named_alive(&self, name: &str, answer: Answer) -> Option<(ChildId, Answer)> {
        let (child, answer) = self.named(name, answer)?;
        match self.family.standing(child) {
            Some(State::Closed) | None => {
                let path = format!("{}/{name}", self.path());
                refuse(answer, ChildError::NotRunning { path });
                None
            }
            Some(_) => Some((child, answer)),
        }
    }
}

pub(super) fn refuse(answer: Answer, error: ChildError) {
    // Whoever has gone away hears nothing.
    let _ = answer.send(Err(error));
}
