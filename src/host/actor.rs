//! The host's actor: an ordinary actix actor that carries control and nothing else.
//!
//! Its supervisor's actor orders; it runs one life at a time in its own task, and reports.
//!
//! Invariant: each life that was ordered ends in exactly one report of its exit.
//!
//! Its hooks are empty of user code: actix would abort the process if that panicked there.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, Recipient, SpawnHandle,
    WrapFuture,
};
use tokio::time::Instant;

use crate::exit::Exit;
use crate::host::Stage;
use crate::host::guard::Guarded;
use crate::insider::InsideOf;
use crate::service::control::{Control, Kill};
use crate::shutdown::Shutdown;
use crate::sync::Arc;
use crate::vitals::Vitals;
use crate::wall::Wall;

/// What a life that is told to stop gets at least, though the board's deadline has passed: enough
/// for one that only rests to end in order, and far less than the board waits before it ends all.
pub(crate) const LAST_TURN: Duration = Duration::from_millis(10);

/// What a supervisor tells a child's actor, host or supervisor alike.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Begin the life with this generation.
    Start { generation: u64 },
    /// Stop it in order; whatever its own time allows, not beyond the deadline.
    Stop {
        generation: u64,
        deadline: Option<Instant>,
        after: After,
    },
    /// End it now.
    Kill { generation: u64, why: Kill },
    /// It has ended for good: close its subscriptions. The answer is [`News::Closed`].
    Close,
    /// Its spec is gone: the actor ends.
    Leave,
}

/// What follows a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Another life.
    Again,
    /// Nothing; whether all is to drain first, whatever the child itself says.
    Nothing { drain: bool },
}

/// What a child's actor tells its supervisor's.
#[derive(Debug)]
pub(crate) struct ChildReport {
    pub(crate) child: u64,
    pub(crate) generation: u64,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    Started(Result<(), Exit>),
    Exited(Exit),
    /// The root is on its way out by itself, for this reason; its exit follows when all are down.
    Falling(Exit),
    /// All subscriptions of and below this child have ended.
    Closed,
}

impl actix::Message for Order {
    type Result = ();
}

impl actix::Message for ChildReport {
    type Result = ();
}

pub(crate) struct Host {
    pub(crate) wall: Arc<Wall>,
    pub(crate) stage: Box<dyn Stage>,
    pub(crate) child: u64,
    pub(crate) parent: Arc<Recipient<ChildReport>>,
    /// How it is stopped.
    pub(crate) shutdown: Shutdown,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) now: Option<Running>,
}

/// The life that is under way.
pub(crate) struct Running {
    generation: u64,
    control: Rc<Control>,
    started: bool,
    killer: Option<SpawnHandle>,
}

/// A life in its guard. It runs in the task of its host, which hears of its start and end without
/// a message.
struct Living(Guarded);

impl ActorFuture<Host> for Living {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        host: &mut Host,
        context: &mut Context<Host>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let polled = Pin::new(&mut self.0).poll(task);
        host.note_risen();
        polled.map(|exit| host.life_over(exit, context))
    }
}

impl Actor for Host {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.vitals.note_thread();
    }
}

impl Host {
    fn report(&self, generation: u64, news: News) {
        self.parent.do_send(ChildReport {
            child: self.child,
            generation,
            news,
        });
    }

    fn start(&mut self, generation: u64, context: &mut Context<Self>) {
        let (service, life) = (&*self.vitals.path, self.vitals.life());
        tracing::debug!(target: "callboard::host", service, life, "starting");
        let Some(begun) = self.stage.begin(self.shutdown.farewell()) else {
            return self.report(generation, News::Started(Err(Exit::Killed)));
        };
        let control = Rc::clone(&begun.control);
        context.spawn(Living(Guarded::new(begun, Arc::clone(&self.vitals))));
        self.now = Some(Running {
            generation,
            control,
            started: false,
            killer: None,
        });
    }

    fn stop(
        &mut self,
        generation: u64,
        until: Option<Instant>,
        after: After,
        context: &mut Context<Self>,
    ) {
        let Some(running) = self.now.as_ref().filter(|now| now.generation == generation) else {
            return;
        };
        let overdue = match after {
            After::Again => Kill::Restarted,
            After::Nothing { .. } => Kill::Overdue,
        };
        if !running.started || self.shutdown == Shutdown::Kill {
            // What is starting has promised nothing yet.
            running.control.kill(overdue);
            return;
        }
        if self.drains(after) {
            running.control.drain(self.wall.pulse.numbers_given());
        } else {
            running.control.stop();
        }
        self.stage.call();
        let killer = self.killer(&running.control, until, overdue);
        let killer = context.spawn(killer.into_actor(self));
        if let Some(running) = &mut self.now {
            running.killer = Some(killer);
        }
    }

    fn drains(&self, after: After) -> bool {
        match after {
            After::Again => false,
            After::Nothing { drain } => drain || matches!(self.shutdown, Shutdown::Drain(_)),
        }
    }

    /// Kills the life when its time is over.
    fn killer(
        &self,
        control: &Rc<Control>,
        until: Option<Instant>,
        overdue: Kill,
    ) -> impl Future<Output = ()> + use<> {
        let clock = &self.wall.pulse.clock;
        let left = until.map(|until| until.saturating_duration_since(clock.now()));
        let usual = self.shutdown.time();
        let grace = left.map_or(usual, |left| left.max(LAST_TURN).min(usual));
        let sleep = clock.sleep_until(crate::clock::deadline(clock.now(), grace));
        let (control, path) = (Rc::clone(control), Arc::clone(&self.vitals.path));
        let life = self.vitals.life();
        async move {
            sleep.await;
            tracing::warn!(
                target: "callboard::supervision",
                service = &*path, life, ?grace,
                "did not stop in time and is being killed"
            );
            control.kill(overdue);
        }
    }

    fn kill(&self, generation: u64, why: Kill) {
        if let Some(running) = self.now.as_ref().filter(|now| now.generation == generation) {
            running.control.kill(why);
        }
    }

    /// Reports that the life has started, once.
    fn note_risen(&mut self) {
        let Some(running) = &mut self.now else {
            return;
        };
        if running.control.has_risen() && !std::mem::replace(&mut running.started, true) {
            let generation = running.generation;
            self.report(generation, News::Started(Ok(())));
        }
    }

    fn life_over(&mut self, exit: Exit, context: &mut Context<Self>) {
        let Some(running) = self.now.take() else {
            return;
        };
        running.control.end_start();
        // What was in flight is settled, and may be dropped.
        let _inside = InsideOf::enter(self.wall.id());
        if let Some(killer) = running.killer {
            context.cancel_future(killer);
        }
        if running.control.killed() == Some(Kill::Overdue) {
            self.wall.note_killed(&self.vitals.path);
        }
        let exit = self.stage.after(exit, running.control.killed());
        let exit = running.control.sealed().unwrap_or(exit);
        let news = if running.started {
            News::Exited(exit)
        } else {
            News::Started(Err(exit))
        };
        self.report(running.generation, news);
    }
}

impl Handler<Order> for Host {
    type Result = ();

    fn handle(&mut self, order: Order, context: &mut Self::Context) {
        // What is closed drops events and letters, which is the user's code.
        let _inside = InsideOf::enter(self.wall.id());
        match order {
            Order::Start { generation } => self.start(generation, context),
            Order::Stop {
                generation,
                deadline,
                after,
            } => self.stop(generation, deadline, after, context),
            Order::Kill { generation, why } => self.kill(generation, why),
            Order::Leave => context.stop(),
            Order::Close => {
                for unread in self.stage.close() {
                    let (service, event) = (&unread.service, unread.event);
                    self.wall.note_undelivered(service, event, unread.numbers);
                }
                self.report(0, News::Closed);
            }
        }
    }
}
