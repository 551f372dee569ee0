//! What a seed decides about the tree: its shape, and all that its specs say.

use callboard::prelude::*;
use callboard::{AutoShutdown, Backoff, Restart, Shutdown, Strategy};

/// Names a service or supervisor: its place in the reference.
pub(crate) type Id = usize;

/// Milliseconds: all times of a run are whole ones.
pub(crate) type Ms = u64;

pub(crate) const ROOT: Id = 0;

/// It writes down what happens to the others, and nothing is done to it.
pub(crate) const SCRIBE: Id = 1;

/// What the spec of a service or supervisor says.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) name: String,
    pub(crate) above: Option<Id>,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Service(Job),
    Supervisor(Rules),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// How long `started` and `stopping` take.
    pub(crate) start_ms: Ms,
    pub(crate) stop_ms: Ms,
    pub(crate) shutdown: Shutdown,
    /// How often an event is tried.
    pub(crate) attempts: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) strategy: Strategy,
    pub(crate) dynamic: bool,
    pub(crate) max_restarts: u32,
    pub(crate) window_ms: Ms,
    pub(crate) pause: Option<Pause>,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) auto_shutdown: AutoShutdown,
}

/// The delay before a restart: `first_ms`, doubled each time, at most `most_ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) first_ms: Ms,
    pub(crate) most_ms: Ms,
    pub(crate) stable_ms: Ms,
}

impl Pause {
    pub(crate) fn backoff(self) -> Backoff {
        Backoff::exponential(millis(self.first_ms))
            .at_most(millis(self.most_ms))
            .jitter(callboard::Jitter::None)
    }
}

impl Sketch {
    pub(crate) fn job(&self) -> Option<Job> {
        match self.kind {
            Kind::Service(job) => Some(job),
            Kind::Supervisor(_) => None,
        }
    }

    pub(crate) fn rules(&self) -> Option<Rules> {
        match self.kind {
            Kind::Service(_) => None,
            Kind::Supervisor(rules) => Some(rules),
        }
    }
}

/// Draws the specs of a tree, parents before children, siblings in order.
pub(crate) struct Gardener<'a> {
    pub(crate) dice: &'a mut fastrand::Rng,
    sketches: Vec<Sketch>,
    services: usize,
    dynamic: bool,
}

const SERVICES_MAX: usize = 12;
const LEVELS_MAX: usize = 4;

impl<'a> Gardener<'a> {
    pub(crate) fn new(dice: &'a mut fastrand::Rng) -> Self {
        Gardener {
            dice,
            sketches: Vec::new(),
            services: 0,
            dynamic: false,
        }
    }

    pub(crate) fn tree(mut self) -> Vec<Sketch> {
        let mut root = self.rules(false);
        root.auto_shutdown = AutoShutdown::Never;
        root.shutdown = None;
        self.sketches.push(Sketch {
            name: "root".into(),
            above: None,
            restart: Restart::Permanent,
            significant: false,
            kind: Kind::Supervisor(root),
        });
        self.sketches.push(Sketch {
            name: "scribe".into(),
            above: Some(ROOT),
            restart: Restart::Permanent,
            significant: false,
            kind: Kind::Service(Job {
                start_ms: 0,
                stop_ms: 0,
                shutdown: Shutdown::default(),
                attempts: 1,
            }),
        });
        let levels = self.dice.usize(1..=LEVELS_MAX);
        self.children(ROOT, levels);
        self.sketches
    }

    fn children(&mut self, above: Id, levels: usize) {
        let rules = self.sketches[above].rules().unwrap();
        if rules.dynamic {
            return;
        }
        for _ in 0..self.dice.usize(2..=4) {
            if levels > 1 && self.dice.u8(0..5) < 3 {
                let dynamic = !self.dynamic && self.dice.u8(0..6) == 0;
                self.dynamic |= dynamic;
                let rules = self.rules(dynamic);
                let child = self.push(above, "tree", Kind::Supervisor(rules));
                self.children(child, levels - 1);
            } else if self.services < SERVICES_MAX {
                self.services += 1;
                let job = self.job(rules.max_restarts);
                self.push(above, "service", Kind::Service(job));
            }
        }
    }

    fn push(&mut self, above: Id, word: &str, kind: Kind) -> Id {
        let id = self.sketches.len();
        let rules = self.sketches[above].rules().unwrap();
        let sketch = self.child(above, rules, format!("{word}{id}"), kind);
        self.sketches.push(sketch);
        id
    }

    /// A child of a supervisor with these rules.
    pub(crate) fn child(&mut self, above: Id, rules: Rules, name: String, kind: Kind) -> Sketch {
        let restart = match self.dice.u8(0..8) {
            0 | 1 => Restart::Transient,
            2 => Restart::Temporary,
            _ => Restart::Permanent,
        };
        let may = rules.auto_shutdown != AutoShutdown::Never && restart != Restart::Permanent;
        Sketch {
            name,
            above: Some(above),
            restart,
            significant: may && self.dice.bool(),
            kind,
        }
    }

    pub(crate) fn job(&mut self, max_restarts: u32) -> Job {
        let shutdown = match self.dice.u8(0..10) {
            0 => Shutdown::Kill,
            1 | 2 => Shutdown::Drain(millis(self.dice.u64(20..900))),
            3 | 4 => Shutdown::Graceful(millis(self.dice.u64(1..40))),
            _ => Shutdown::Graceful(millis(self.dice.u64(100..3_000))),
        };
        Job {
            start_ms: self.dice.u64(1..60),
            stop_ms: self.dice.u64(0..60),
            shutdown,
            attempts: self.dice.u32(1..=3).min(max_restarts),
        }
    }

    fn rules(&mut self, dynamic: bool) -> Rules {
        let strategies = [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ];
        let strategy = match dynamic {
            true => Strategy::OneForOne,
            false => strategies[self.dice.usize(0..3)],
        };
        let auto_shutdown = match self.dice.u8(0..8) {
            0 if !dynamic => AutoShutdown::AnySignificant,
            1 if !dynamic => AutoShutdown::AllSignificant,
            _ => AutoShutdown::Never,
        };
        let shutdown = match self.dice.u8(0..10) {
            0 => Some(Shutdown::Kill),
            1 => Some(Shutdown::Drain(millis(self.dice.u64(20..900)))),
            2 => Some(Shutdown::Graceful(millis(self.dice.u64(20..900)))),
            _ => None,
        };
        Rules {
            strategy,
            dynamic,
            max_restarts: self.dice.u32(1..6),
            window_ms: self.dice.u64(100..5_000),
            pause: self.dice.bool().then(|| self.pause()),
            shutdown,
            auto_shutdown,
        }
    }

    fn pause(&mut self) -> Pause {
        let first_ms = self.dice.u64(5..300);
        Pause {
            first_ms,
            most_ms: first_ms * self.dice.u64(1..8),
            stable_ms: self.dice.u64(50..2_000),
        }
    }
}
