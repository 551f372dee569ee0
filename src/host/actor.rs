//! The host's actor: an ordinary actix actor that carries control and nothing else.
//!
//! Its supervisor's actor orders; lives report to it, and it reports on.
//!
//! Invariant: each life that was ordered ends in exactly one report of its exit, and reports
//! about a life that is over are dropped.
//!
//! Its hooks are empty of user code: actix would abort the process if that panicked there.

use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture};
use tokio::time::Instant;

use crate::exit::Exit;
use crate::host::Stage;
use crate::host::guard::Guarded;
use crate::service::control::Control;
use crate::sync::Arc;
use crate::wall::Wall;

/// What a life that is told to stop gets at least, though the board's deadline has passed: enough
/// for one that only rests to end in order, and far less than the board waits before it ends all.
const LAST_TURN: Duration = Duration::from_millis(10);

/// What a supervisor tells a child's actor, host or supervisor alike.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Begin the life with this generation.
    Start { generation: u64 },
    /// Stop it in order; whatever its own time allows, not beyond the deadline.
    Stop {
        generation: u64,
        deadline: Option<Instant>,
    },
    /// End it now.
    Kill { generation: u64 },
    /// It has ended for good: close its subscriptions. The answer is [`News::Closed`].
    Close,
}

/// What a child's actor tells its supervisor's.
#[derive(Debug)]
pub(crate) struct ChildReport {
    pub(crate) child: usize,
    pub(crate) generation: u64,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    Started(Result<(), Exit>),
    Exited(Exit),
    /// All subscriptions of and below this child have ended.
    Closed,
}

impl actix::Message for Order {
    type Result = ();
}

impl actix::Message for ChildReport {
    type Result = ();
}

/// A life says that it has started, or is over.
#[derive(Debug)]
struct LifeNews {
    generation: u64,
    exit: Option<Exit>,
}

impl actix::Message for LifeNews {
    type Result = ();
}

pub(crate) struct Host {
    pub(crate) path: Arc<str>,
    pub(crate) wall: Arc<Wall>,
    pub(crate) stage: Box<dyn Stage>,
    pub(crate) child: usize,
    pub(crate) parent: Recipient<ChildReport>,
    /// How long an orderly stop may take.
    pub(crate) grace: Duration,
    pub(crate) now: Option<Running>,
}

/// The life that is under way.
pub(crate) struct Running {
    generation: u64,
    control: Rc<Control>,
    started: bool,
    killer: Option<SpawnHandle>,
}

impl Actor for Host {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // Orders are few, and none may be lost: the bound of an actix mailbox is no bound.
        context.set_mailbox_capacity(1_024);
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
        tracing::debug!(target: "callboard::host", service = &*self.path, generation, "starting");
        let control = Rc::new(Control::default());
        let host = context.address();
        let up = {
            let host = host.clone();
            Box::new(move || {
                host.do_send(LifeNews {
                    generation,
                    exit: None,
                })
            })
        };
        let life = self.stage.begin(Rc::clone(&control), up);
        let guarded = Guarded::new(
            life,
            Rc::clone(&control),
            self.wall.waits.waiter(&self.path),
        );
        actix_rt::spawn(async move {
            let exit = guarded.await;
            host.do_send(LifeNews {
                generation,
                exit: Some(exit),
            });
        });
        self.now = Some(Running {
            generation,
            control,
            started: false,
            killer: None,
        });
    }

    fn stop(&mut self, generation: u64, until: Option<Instant>, context: &mut Context<Self>) {
        let clock = &self.wall.pulse.clock;
        let Some(running) = self.now.as_ref().filter(|now| now.generation == generation) else {
            return;
        };
        if !running.started {
            // Nothing has been promised yet.
            running.control.kill();
            return;
        }
        running.control.stop();
        let left = until.map(|until| until.saturating_duration_since(clock.now()));
        let grace = left.map_or(self.grace, |left| left.max(LAST_TURN).min(self.grace));
        let sleep = clock.sleep_until(crate::clock::deadline(clock.now(), grace));
        let control = Rc::clone(&running.control);
        let path = Arc::clone(&self.path);
        let killer = async move {
            sleep.await;
            tracing::warn!(
                target: "callboard::supervision",
                service = &*path, ?grace,
                "did not stop in its time, and is killed"
            );
            control.kill();
        };
        let killer = context.spawn(killer.into_actor(self));
        if let Some(running) = &mut self.now {
            running.killer = Some(killer);
        }
    }

    fn kill(&self, generation: u64) {
        if let Some(running) = self.now.as_ref().filter(|now| now.generation == generation) {
            running.control.kill();
        }
    }

    fn life_over(&mut self, generation: u64, exit: Exit, context: &mut Context<Self>) {
        let Some(running) = self.now.take_if(|now| now.generation == generation) else {
            return;
        };
        if let Some(killer) = running.killer {
            context.cancel_future(killer);
        }
        self.stage.after(&exit);
        self.note_exit(&exit);
        let news = if running.started {
            News::Exited(exit)
        } else {
            News::Started(Err(exit))
        };
        self.report(generation, news);
    }

    fn note_exit(&self, exit: &Exit) {
        let service = &*self.path;
        if exit.is_abnormal() {
            tracing::error!(target: "callboard::supervision", service, %exit, "a life ended");
        } else {
            tracing::debug!(target: "callboard::supervision", service, %exit, "a life ended");
        }
    }
}

impl Handler<Order> for Host {
    type Result = ();

    fn handle(&mut self, order: Order, context: &mut Self::Context) {
        match order {
            Order::Start { generation } => self.start(generation, context),
            Order::Stop {
                generation,
                deadline,
            } => self.stop(generation, deadline, context),
            Order::Kill { generation } => self.kill(generation),
            Order::Close => {
                for unread in self.stage.close() {
                    self.wall
                        .note_undelivered(&self.path, unread.event, unread.numbers);
                }
                self.report(0, News::Closed);
            }
        }
    }
}

impl Handler<LifeNews> for Host {
    type Result = ();

    fn handle(&mut self, news: LifeNews, context: &mut Self::Context) {
        if let Some(exit) = news.exit {
            return self.life_over(news.generation, exit, context);
        }
        let Some(running) = self
            .now
            .as_mut()
            .filter(|now| now.generation == news.generation)
        else {
            return;
        };
        running.started = true;
        self.report(news.generation, News::Started(Ok(())));
    }
}
