//! Changing how many workers a service has, while they work.
//!
//! The actor that stands for the service hands the request over; the crew says from when on the
//! new number counts, and when all that came before is settled.
//!
//! Invariant: a worker that is added has started before anything is its own, and one that goes has
//! settled all that was. A change that fails has changed nothing.
//!
//! It makes one change at a time.

use std::collections::BTreeMap;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::sync::oneshot;

use super::Child;
use super::Kind;
use super::actor::SupervisorActor;
use super::desk::refuse;
use super::family::{ChildId, Input};
use super::request::{Answer, ChildError};
use super::seat::Seat;
use crate::crew::Crew;
use crate::host::{Problem, number_problem};
use crate::sync::Arc;
use crate::vitals::State;
use crate::waits::Waiter;

type Heard = oneshot::Receiver<Result<String, ChildError>>;

/// A change of the number of workers, and who waits for it.
struct Scaling {
    from: usize,
    to: usize,
    crew: Arc<Crew>,
    answer: Answer,
}

impl SupervisorActor {
    pub(super) fn scale(&mut self, to: usize, answer: Answer, context: &mut Context<Self>) {
        let path = self.path().to_string();
        let Some(troupe) = &self.troupe else {
            return refuse(answer, ChildError::NoWorkers { path });
        };
        if let Some(text) = number_problem(to) {
            let event = None;
            let problems = vec![Problem { path, event, text }];
            return refuse(answer, ChildError::Refused { problems });
        }
        if self.is_scaling {
            return refuse(answer, ChildError::Scaling { path });
        }
        if !self.risen {
            return refuse(answer, ChildError::NotRunning { path });
        }
        let crew = Arc::clone(troupe.crew());
        let scaling = Scaling {
            from: crew.workers(),
            to,
            crew,
            answer,
        };
        self.is_scaling = true;
        self.hire(scaling, context);
    }

    /// Starts the workers that are missing, and goes on when all have started.
    fn hire(&mut self, scaling: Scaling, context: &mut Context<Self>) {
        let mut starts = Vec::new();
        for index in scaling.from..scaling.to {
            match self.hire_one(index, context) {
                Ok(heard) => starts.push(heard),
                Err(error) => return self.undo(scaling, error, context),
            }
        }
        let starting = async move {
            for start in starts {
                // Without a word, the service has stopped meanwhile.
                match start.await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Some(Some(error)),
                    Err(_) => return Some(None),
                }
            }
            None
        };
        let started = starting.into_actor(self).map(|failed, actor, context| {
            let path = actor.path().to_string();
            match failed {
                None => actor.change(scaling, context),
                Some(error) => {
                    let error = error.unwrap_or(ChildError::Stopping { path });
                    actor.undo(scaling, error, context);
                }
            }
        });
        context.spawn(started);
    }

    fn hire_one(&mut self, index: usize, context: &mut Context<Self>) -> Result<Heard, ChildError> {
        let (answer, heard) = oneshot::channel();
        if self.find(&index.to_string()).is_some() {
            // One that was let go has still to close.
            let path = self.path().to_string();
            return Err(ChildError::Scaling { path });
        }
        let Some(troupe) = &self.troupe else {
            let path = self.path().to_string();
            return Err(ChildError::NoWorkers { path });
        };
        let worker = Child(Kind::Service(troupe.worker(index)));
        let id = self.next_child();
        let opened = self.grounds.child(worker, id, &self.lot);
        let opened = opened.map_err(ChildError::Threads)?;
        let (member, vitals) = (opened.member.clone(), Arc::clone(&opened.node.vitals));
        let own = context.address().recipient();
        let wall = Arc::clone(&self.grounds.wall);
        self.seat(opened, own).await_start(answer, &wall);
        // Once it can be found, and before it begins a life.
        wall.suspend_like(&self.node.vitals, &vitals);
        self.step(Input::Add { child: id, member }, context);
        Ok(heard)
    }

    /// From now on the new number counts; it is in force when all that came before is settled.
    fn change(&mut self, scaling: Scaling, context: &mut Context<Self>) {
        let crew = Arc::clone(&scaling.crew);
        let waits = &self.grounds.wall.waits;
        let gate = waits.waiter(&format!("{}/scale", self.path()).into());
        let workers = self.workers();
        let pulse = &self.grounds.wall.pulse;
        // Whoever asks a worker from now on waits for those who have not settled what came before.
        let change = crew.scale(scaling.to, pulse, Some((gate, &workers)));
        let open = async move { crew.until_open(change).await };
        let opened = open.into_actor(self).map(move |(), actor, context| {
            let to = scaling.to;
            actor.dismiss(to, context, move |actor| {
                tracing::info!(
                    target: "callboard::supervision",
                    service = &**actor.path(), workers = to,
                    "the number of workers has changed"
                );
                let _ = scaling.answer.send(Ok(actor.path().to_string()));
            });
        });
        context.spawn(opened);
    }

    /// The workers that are there, by index, as ones that may be waited for.
    fn workers(&self) -> BTreeMap<usize, Waiter> {
        let waits = &self.grounds.wall.waits;
        let index = |seat: &Seat| seat.node.name().parse().ok();
        let worker = |seat: &Seat| Some((index(seat)?, waits.waiter(seat.node.path())));
        self.seats.values().filter_map(worker).collect()
    }

    fn undo(&mut self, scaling: Scaling, error: ChildError, context: &mut Context<Self>) {
        let answer = scaling.answer;
        self.dismiss(scaling.from, context, move |_| refuse(answer, error));
    }

    /// Lets go of the workers from this one on, then ends the change.
    fn dismiss(
        &mut self,
        from: usize,
        context: &mut Context<Self>,
        then: impl FnOnce(&Self) + 'static,
    ) {
        let index = |name: &str| name.parse::<usize>().ok();
        let named = self.names.iter();
        let surplus = named.filter(|(name, _)| index(name).is_some_and(|index| index >= from));
        let surplus: Vec<ChildId> = surplus.map(|(_, child)| *child).collect();
        let mut ends: Vec<Heard> = Vec::new();
        for child in &surplus {
            ends.push(self.terminate_one(*child, context));
        }
        let ending = async move {
            for end in ends {
                let _ = end.await;
            }
        };
        let ended = ending.into_actor(self).map(move |(), actor, context| {
            for child in surplus {
                actor.step(Input::Delete { child }, context);
            }
            actor.is_scaling = false;
            then(actor);
        });
        context.spawn(ended);
    }

    fn terminate_one(&mut self, child: ChildId, context: &mut Context<Self>) -> Heard {
        let (answer, heard) = oneshot::channel();
        let closed = self.family.standing(child) == Some(State::Closed);
        if let Some(seat) = self.seats.get_mut(&child) {
            seat.await_end(answer);
            if closed && !seat.closing {
                seat.answer_ends();
            }
        }
        self.step(Input::Dismiss { child }, context);
        heard
    }
}
