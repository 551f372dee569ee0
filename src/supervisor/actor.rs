//! The supervisor's actor: an ordinary actix actor that carries out what the family decides.
//!
//! Its own supervisor orders, or the board if it is the root; its children report.
//!
//! Invariant: every order to start is answered by a start or its failure, every life that has
//! started by one exit.
//!
//! It decides nothing: the family does.

use std::fmt;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient};
use tokio::time::Instant;

use super::family::{Action, ChildId, Family, Input, Member, Plan};
use super::open::{OpenedChild, OpenedKind, OpenedSupervisor};
use crate::exit::Exit;
use crate::host::{ChildReport, Home, Host, News, Order};
use crate::sync::Arc;
use crate::wall::Wall;

/// To whom a supervisor reports.
pub(crate) enum Parent {
    Supervisor {
        address: Recipient<ChildReport>,
        child: usize,
    },
    /// It is the root.
    Board(Box<dyn Fn(News) + Send>),
}

pub(crate) struct SupervisorActor {
    wall: Arc<Wall>,
    parent: Parent,
    /// What is to be started with this actor; empty afterwards.
    seeds: Vec<(Home, OpenedKind)>,
    path: Arc<str>,
    family: Family,
    make_family: Box<dyn Fn() -> Family + Send>,
    children: Vec<Recipient<Order>>,
    /// The life of this supervisor that its parent knows, and whether it has reported a start.
    generation: u64,
    risen: bool,
    /// Until when an orderly stop may take.
    deadline: Option<Instant>,
    /// Children that have still to close before this one has.
    closing: Option<usize>,
}

impl SupervisorActor {
    pub(crate) fn new(opened: OpenedSupervisor, parent: Parent, wall: Arc<Wall>) -> Self {
        let OpenedSupervisor {
            path,
            strategy,
            max_restarts,
            window,
            auto_shutdown,
            children,
        } = opened;
        let split = |child: OpenedChild| (child.member, (child.home, child.kind));
        let (members, seeds): (Vec<Member>, Vec<_>) = children.into_iter().map(split).unzip();
        let plan = Plan {
            path: Arc::clone(&path),
            strategy,
            max_restarts,
            window,
            stable_after: None,
            auto_shutdown,
            dynamic: false,
        };
        let make_family = Box::new(move || Family::new(plan.clone(), (0..).zip(members.clone())));
        SupervisorActor {
            wall,
            parent,
            seeds,
            path,
            family: make_family(),
            make_family,
            children: Vec::new(),
            generation: 0,
            risen: false,
            deadline: None,
            closing: None,
        }
    }

    fn start_child(
        &self,
        child: usize,
        (home, kind): (Home, OpenedKind),
        parent: Recipient<ChildReport>,
    ) -> Recipient<Order> {
        let wall = Arc::clone(&self.wall);
        match kind {
            OpenedKind::Service { path, grace, stage } => {
                let make = move || Host {
                    path,
                    wall,
                    stage: stage(),
                    child,
                    parent,
                    grace,
                    now: None,
                };
                home.start(make).recipient()
            }
            OpenedKind::Supervisor(opened) => {
                let parent = Parent::Supervisor {
                    address: parent,
                    child,
                };
                let make = move || SupervisorActor::new(opened, parent, wall);
                home.start(make).recipient()
            }
        }
    }

    fn order(&self, child: ChildId, order: Order) {
        let child = usize::try_from(child).unwrap_or(usize::MAX);
        if let Some(child) = self.children.get(child) {
            child.do_send(order);
        }
    }

    fn step(&mut self, input: Input) {
        let now = self.wall.pulse.clock.since_start();
        for action in self.family.step(input, now) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start { child, generation } => self.order(child, Order::Start { generation }),
            Action::Stop {
                child, generation, ..
            } => {
                self.order(
                    child,
                    Order::Stop {
                        generation,
                        deadline: self.deadline,
                    },
                );
            }
            Action::Kill { child, generation } => self.order(child, Order::Kill { generation }),
            // What a family closes on its way out may be started again with it.
            Action::Close { child } if !self.family.is_ending() => {
                self.order(child, Order::Close);
            }
            Action::Close { .. }
            | Action::Forget { .. }
            | Action::Refused { .. }
            | Action::BackOff { .. } => {}
            Action::Up => {
                self.risen = true;
                self.report(News::Started(Ok(())));
            }
            Action::StartFailed { child, exit } => {
                let path = format!("{}/{}", self.path, self.member_name(child));
                let exit = Exit::Escalated {
                    path,
                    cause: Box::new(exit),
                };
                self.report(News::Started(Err(exit)));
            }
            Action::Escalate(exit) => {
                tracing::error!(
                    target: "callboard::supervision",
                    supervisor = &*self.path, %exit, "the budget of restarts is spent"
                );
                self.report(News::Exited(exit));
            }
            Action::Down | Action::Completed => {
                let ended = Exit::Shutdown;
                let news = if self.risen {
                    News::Exited(ended)
                } else {
                    News::Started(Err(ended))
                };
                self.report(news);
            }
        }
    }

    fn member_name(&self, child: ChildId) -> &str {
        self.family.member(child).map_or("", |member| &member.name)
    }

    fn report(&self, news: News) {
        match &self.parent {
            Parent::Board(tell) => tell(news),
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

    fn start(&mut self, generation: u64) {
        self.generation = generation;
        self.risen = false;
        self.deadline = None;
        self.closing = None;
        self.family = (self.make_family)();
        self.step(Input::Start);
    }

    fn close(&mut self) {
        self.closing = Some(self.children.len());
        for child in (0..self.children.len() as ChildId).rev() {
            self.order(child, Order::Close);
        }
        self.closed(0);
    }

    /// So many more children have closed.
    fn closed(&mut self, more: usize) {
        let Some(left) = self.closing else { return };
        let left = left.saturating_sub(more);
        self.closing = Some(left);
        if left == 0 {
            self.closing = None;
            self.report(News::Closed);
        }
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let address: Addr<Self> = context.address();
        let seeds = std::mem::take(&mut self.seeds);
        self.children = seeds
            .into_iter()
            .enumerate()
            .map(|(child, seed)| self.start_child(child, seed, address.clone().recipient()))
            .collect();
    }
}

impl Handler<Order> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        match order {
            Order::Start { generation } => self.start(generation),
            Order::Stop {
                generation,
                deadline,
            } if generation == self.generation => {
                self.deadline = deadline;
                self.step(Input::Stop);
            }
            Order::Kill { generation } if generation == self.generation => {
                self.step(Input::Kill);
            }
            Order::Stop { .. } | Order::Kill { .. } => {}
            Order::Close => self.close(),
        }
    }
}

impl Handler<ChildReport> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, report: ChildReport, _: &mut Self::Context) {
        let ChildReport {
            child,
            generation,
            news,
        } = report;
        let child = child as ChildId;
        match news {
            News::Started(result) => self.step(Input::Started {
                child,
                generation,
                result,
            }),
            News::Exited(exit) => {
                self.note_exit(child, &exit);
                self.step(Input::Exited {
                    child,
                    generation,
                    exit,
                });
            }
            News::Closed => self.closed(1),
        }
    }
}

impl SupervisorActor {
    fn note_exit(&self, child: ChildId, exit: &Exit) {
        if exit.is_abnormal() {
            tracing::warn!(
                target: "callboard::supervision",
                supervisor = &*self.path,
                child = self.member_name(child),
                %exit,
                "a child ended abnormally"
            );
        }
    }
}

impl fmt::Debug for SupervisorActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SupervisorActor({})", self.path)
    }
}
