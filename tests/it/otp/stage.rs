//! Three children of one supervisor, one of which ends as it is told.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use callboard::prelude::*;
use callboard::{AutoShutdown, Child, Restart, Shutdown, Strategy, service};
use tokio::sync::Semaphore;

use super::semantics::{Group, Lot};
use crate::support_lives::{Log, boom};

/// One combination, and what the docs say of it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) exit: &'static str,
    pub(super) restart: Restart,
    pub(super) lot: Lot,
    pub(super) group: Group,
    /// Whether the others have an event in flight that never ends in their first life.
    pub(super) busy: bool,
    pub(super) limit: Duration,
}

impl Case {
    /// Whether the child that ends is a supervisor with a service below it.
    pub(super) fn is_nested(&self) -> bool {
        matches!(self.exit, "escalated" | "shutdown")
    }

    /// Those of the names that have `Long` in flight when trouble comes.
    pub(super) fn is_busy(&self, name: &str) -> bool {
        if name == self.group.ended {
            self.is_nested()
        } else {
            self.busy
        }
    }

    /// What is said of the child that ended.
    pub(super) fn said(&self) -> String {
        let name = self.group.ended;
        match self.exit {
            "normal" => "ended normally".to_owned(),
            "shutdown" => "was shut down".to_owned(),
            "failure" => "failed: no".to_owned(),
            "panic" => "panicked: boom".to_owned(),
            "timeout" => format!("timed out after {:?}", self.limit),
            "killed" => "was killed".to_owned(),
            _ => format!("gave up: shop/{name}/fuse panicked: boom"),
        }
    }

    fn deed(&self) -> &'static str {
        match self.exit {
            "timeout" | "killed" => "hang",
            exit => exit,
        }
    }
}

/// For all three.
#[derive(Debug)]
pub(super) struct Work(pub(super) u64);
impl Event for Work {
    const NAME: &'static str = "work";
}

/// For the one that ends.
#[derive(Debug)]
pub(super) struct Task(&'static str);
impl Event for Task {
    const NAME: &'static str = "task";
}

/// Never ends in the first life, unless it is let go.
#[derive(Debug)]
pub(super) struct Long;
impl Event for Long {
    const NAME: &'static str = "long";
}

#[derive(Debug)]
pub(super) struct End(&'static str);
impl Message for End {
    type Reply = ();
}

pub(super) struct Player {
    name: &'static str,
    log: Log,
    gate: Arc<Semaphore>,
    start: Option<Arc<Semaphore>>,
    life: u32,
}

impl Player {
    fn say(&self, what: impl std::fmt::Display) {
        self.log.say(format!("{} {what}", self.name));
    }

    async fn perform(&self, deed: &str, cx: &mut Context<Self>) -> Outcome {
        match deed {
            "normal" | "shutdown" => cx.stop(),
            "failure" => {
                cx.after(Duration::ZERO, async |_, _| Err(Failure::new("no")));
            }
            "hang" => {
                self.say("hangs");
                pending().await
            }
            _ => boom(),
        }
        Ok(())
    }
}

impl Service for Player {
    async fn started(&mut self, _: &mut Context<Self>) -> Outcome {
        self.say(format_args!("up {}", self.life));
        Ok(())
    }
    async fn stopping(&mut self, _: &Exit, _: &mut Context<Self>) {
        self.say("stopping");
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.say("gone");
    }
}

impl Handle<Work> for Player {
    async fn handle(&mut self, work: &Work, cx: &mut Context<Self>) -> Outcome {
        assert_eq!(cx.attempt(), 1);
        if let Some(start) = &self.start {
            // Kept open: later ones pass.
            drop(start.acquire().await);
        }
        self.say(format_args!("did {}", work.0));
        Ok(())
    }
}

impl Handle<Task> for Player {
    async fn handle(&mut self, task: &Task, cx: &mut Context<Self>) -> Outcome {
        self.perform(task.0, cx).await
    }
}

impl Handle<Long> for Player {
    async fn handle(&mut self, _: &Long, cx: &mut Context<Self>) -> Outcome {
        self.say(format_args!("long, attempt {}", cx.attempt()));
        if self.life == 1 {
            let _ = self.gate.acquire().await;
        }
        self.say("long done");
        Ok(())
    }
}

impl Answer<End> for Player {
    async fn answer(&mut self, end: End, cx: &mut Context<Self>) -> Outcome {
        self.perform(end.0, cx).await
    }
}

/// The running board of one case.
pub(super) struct Stage {
    pub(super) case: Case,
    pub(super) log: Log,
    pub(super) gate: Arc<Semaphore>,
    /// Lets the child that ends go on with its work.
    start: Arc<Semaphore>,
    /// The three, by name; of a supervisor the service below it.
    pub(super) players: Vec<Address<Player>>,
    /// The service that ends a supervisor.
    fuse: Option<Address<Player>>,
}

pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];

fn root(strategy: Strategy) -> Supervisor {
    match strategy {
        Strategy::OneForAll => Supervisor::one_for_all("shop"),
        Strategy::RestForOne => Supervisor::rest_for_one("shop"),
        _ => Supervisor::one_for_one("shop"),
    }
}

impl Stage {
    pub(super) fn new(case: &Case) -> (Self, Supervisor) {
        let mut stage = Stage {
            case: case.clone(),
            log: Log::new(),
            gate: Arc::new(Semaphore::new(0)),
            start: Arc::new(Semaphore::new(0)),
            players: Vec::new(),
            fuse: None,
        };
        let once = Policy::new().retry(Retry::never());
        let mut root = root(case.group.strategy)
            .max_restarts(1, secs(3_600))
            .policy(once);
        for name in NAMES {
            let child = stage.child(name);
            root = root.child(child);
        }
        (stage, root)
    }

    fn recipe(&self, name: &'static str) -> impl FnMut() -> Player + Send + 'static {
        let (log, gate, lives) = (self.log.clone(), Arc::clone(&self.gate), AtomicU32::new(0));
        let start = (name == self.case.group.ended).then(|| Arc::clone(&self.start));
        move || Player {
            name,
            log: log.clone(),
            gate: Arc::clone(&gate),
            start: start.clone(),
            life: lives.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    fn child(&mut self, name: &'static str) -> Child {
        let is_busy = self.case.is_busy(name);
        let ends = name == self.case.group.ended;
        if ends && self.case.is_nested() {
            return self.nested(name).into();
        }
        let player = service(name, self.recipe(name)).on::<Work>();
        self.players.push(player.address());
        if ends {
            let policy = Policy::new().timeout(self.case.limit).timeout_restarts();
            let player = player.on::<Task>().restart(self.case.restart);
            let is_timed = self.case.exit == "timeout";
            return if is_timed {
                player.policy(policy)
            } else {
                player
            }
            .into();
        }
        if is_busy {
            return player.on::<Long>().shutdown(Shutdown::Kill).into();
        }
        player.into()
    }

    fn nested(&mut self, name: &'static str) -> Supervisor {
        let player = service("player", self.recipe(name))
            .on::<Work>()
            .on::<Long>()
            .restart(Restart::Temporary)
            .shutdown(Shutdown::Kill);
        self.players.push(player.address());
        let fuse = service("fuse", self.recipe("fuse"));
        self.fuse = Some(fuse.address());
        let below = Supervisor::one_for_one(name)
            .max_restarts(0, secs(3_600))
            .restart(self.case.restart)
            .child(player);
        if self.case.exit == "escalated" {
            return below.child(fuse);
        }
        below
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(fuse.restart(Restart::Transient).significant())
    }

    /// Lets the child end. Whatever comes after it in the mailboxes is there already.
    pub(super) async fn trouble(&self, board: &Board, after: &[u64]) {
        if self.fuse.is_none() {
            board.try_publish(Task(self.case.deed())).unwrap();
        }
        for id in after {
            board.try_publish(Work(*id)).unwrap();
        }
        self.start.add_permits(1);
        if let Some(fuse) = &self.fuse {
            fuse.try_tell(End(self.case.deed())).unwrap();
        }
        if self.case.exit == "killed" {
            let name = self.case.group.ended;
            self.log.wait_for(&format!("{name} hangs")).await;
            board.kill(&format!("shop/{name}")).await.unwrap();
        }
    }

    /// Lets a child end that was not told to before.
    pub(super) fn crash_another(&self) -> &'static str {
        let ended = self.case.group.ended;
        let other = NAMES.iter().position(|name| *name != ended).unwrap();
        self.players[other].try_tell(End("panic")).unwrap();
        NAMES[other]
    }
}

/// Gives everybody else a turn until it is so, on whatever threads they run.
pub(super) async fn eventually(mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < secs(50), "it never became so");
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}
