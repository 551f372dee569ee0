//! The specification of the tree's semantics, as a model that runs.
//!
//! It knows a tree's specs and what is done to it, and says of every moment where each service and
//! supervisor stands, in which life, with which events, and in which order all of it came about.
//! The runs compare a board with it.
//!
//! Invariant: it shares no code with the crate but the words of the specs. It looks at everybody
//! every time, keeps all it ever counted, and takes no shortcut.
//!
//! What a supervisor decides is in `family` and `turns`, what a service does in `life`; `requests`
//! and `ending` are what is done to both, `clock` is when. It is read from top to bottom.
//!
//! It does not say what happens first when two causes meet in one millisecond: it says that they
//! did, in [`Reference::tie`], and the run ends there.

mod clock;
mod ending;
mod family;
mod life;
mod moments;
mod requests;
mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use callboard::prelude::*;
use callboard::{AutoShutdown, Restart, Shutdown, State, Strategy};

use super::plan::{Id, Ms, ROOT, Rules, SCRIBE, Sketch};

/// How long `started` may take.
const START_WAIT: Ms = 30_000;

/// What a service gets to stop in, though the time of its supervisor is over.
const LAST_TURN: Ms = 10;

/// What a root gets beyond the deadline of a shutdown, before all below it is killed.
const LAST_MOMENT: Ms = 150;

/// How long whoever asks for something waits for it.
const CONTROL_WAIT: Ms = 60_000;

/// How a life ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Normal,
    Shutdown,
    Failed,
    Panicked,
    TimedOut,
    Killed,
    GaveUp(String, Box<End>),
}

impl End {
    /// The end that began it all.
    pub(crate) fn first(&self) -> String {
        match self {
            End::GaveUp(path, end) => match **end {
                End::GaveUp(..) => end.first(),
                _ => format!("{path} {end}"),
            },
            _ => self.to_string(),
        }
    }

    fn is_abnormal(&self) -> bool {
        !matches!(self, End::Normal | End::Shutdown)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Normal => f.write_str("ended normally"),
            End::Shutdown => f.write_str("was shut down"),
            End::Failed => f.write_str("failed: no"),
            End::Panicked => f.write_str("panicked: boom"),
            End::TimedOut => f.write_str("timed out after 30s"),
            End::Killed => f.write_str("was killed"),
            End::GaveUp(path, end) => write!(f, "gave up: {path} {end}"),
        }
    }
}

/// What the handler of an event does, if the event is meant for it. Where there is a fuse it does
/// so after that time; where there are `times`, only in so many attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    Nothing,
    Nap(Ms),
    Panic { fuse: Ms, times: u32 },
    Hang { times: u32 },
    Stop { fuse: Ms },
    Alarm { fuse: Ms, panics: bool },
}

/// What `started` does at its end, once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum StartDeed {
    Fail,
    Panic,
    Hang,
}

/// What `stopping` does at its end, once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum StopDeed {
    Panic,
    Hang,
}

/// What is asked of the board.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Kill(Id),
    Stop(Id),
    Restart(Id),
    RestartChild(Id),
    Delete(Id),
    Add(Sketch),
}

/// One thing that is done to the tree.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An event for all, which means a deed for one.
    Publish(Id, Deed),
    SpoilStart(Id, StartDeed),
    SpoilStop(Id, StopDeed),
    SpoilRecipe(Id),
    Ask(Ask),
    Suspend(Id),
    Resume(Id),
}

/// Something that is told of one service or supervisor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) at: Ms,
    pub(crate) path: String,
    pub(crate) life: u64,
    pub(crate) change: String,
}

/// What its supervisor knows of a child.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// It has no life, and gets one when it is its turn.
    Waiting,
    /// As `Waiting`, but not before this time.
    Pausing(Ms),
    Starting,
    Running,
    /// It lives and is to be gone; `told` as soon as it was its turn.
    Leaving {
        told: bool,
        killed: bool,
    },
    Closed,
}

/// What becomes of a child that leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    ComesBack,
    EndsForGood,
    /// It ends because its supervisor does, and comes back if that does.
    EndsWithFamily,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish {
    Added,
    Restarted,
}

/// What a service does at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    /// It has no life.
    Nothing,
    Starting,
    /// In `started`, until its time is over.
    HangingStart,
    Resting,
    Handling,
    Stopping,
}

/// One event that a service has still to settle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    event: u64,
    attempt: u32,
    deed: Deed,
}

/// What becomes of the events of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) dead: u64,
    pub(crate) undelivered: u64,
    pub(crate) waiting: u64,
    pub(crate) in_flight: u64,
}

/// One service, and its present life.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    doing: Doing,
    /// When it is done with what it does; never, if it hangs.
    until: Option<Ms>,
    /// How the life ends that is in `stopping`.
    end: End,
    /// When `stopping` is cut off, if the life ends by itself, and whether that comes next.
    farewell: Option<Ms>,
    is_cut_off: bool,
    stop: bool,
    /// It may still handle events below this.
    drain: Option<u64>,
    /// It asked for its own end.
    retires: bool,
    killer: Option<Ms>,
    /// Timers that fail, and whether they panic.
    alarms: Vec<(Ms, bool)>,
    open: bool,
    pub(crate) suspended: bool,
    queue: VecDeque<Item>,
    pub(crate) starts: VecDeque<StartDeed>,
    pub(crate) stops: VecDeque<StopDeed>,
    pub(crate) recipes: u32,
    counts: Counts,
    /// Each event that a handler was called with, and which attempt it was.
    pub(crate) handled: Vec<(u64, u32)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// It has no life.
    Down,
    Rising,
    Up,
    Ending(Last),
}

/// Why a supervisor ends.
#[derive(Clone, Debug, PartialEq)]
enum Last {
    StartFailed(Id, End),
    GivesUp(Id, End),
    Completed,
    Told,
}

/// What follows a stop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Again,
    Nothing { drain: bool },
}

/// One supervisor, and its present life.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    phase: Phase,
    /// When it restarted anybody, in this life.
    restarts: Vec<Ms>,
    complete: bool,
    deadline: Option<Ms>,
    after: After,
    killed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) sketch: Sketch,
    pub(crate) path: String,
    /// Its spec is gone.
    pub(crate) gone: bool,
    pub(crate) state: State,
    pub(crate) life: u64,
    pub(crate) last: Option<End>,
    at: At,
    goal: Goal,
    wish: Option<Wish>,
    /// Whether it has come up once in the present life of its supervisor.
    has_risen: bool,
    ready_at: Option<Ms>,
    /// How many restarts in a row it has had.
    streak: u32,
    /// Why it pauses.
    fault: End,
    starts: Vec<usize>,
    ends: Vec<usize>,
    pub(crate) worker: Worker,
    family: Family,
}

/// What a life tells its supervisor.
#[derive(Clone, Debug)]
enum News {
    Started(Id),
    Ended(Id, End),
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) now: Ms,
    pub(crate) nodes: Vec<Node>,
    pub(crate) lines: Vec<Line>,
    /// What was answered to each ask.
    pub(crate) answers: Vec<Option<String>>,
    asked_at: Vec<Ms>,
    news: VecDeque<News>,
    events: u64,
    /// How the root ended.
    pub(crate) over: Option<End>,
    /// Two causes met.
    pub(crate) tie: bool,
    /// How often something worth a test has happened.
    pub(crate) marks: BTreeMap<&'static str, u32>,
}

impl Reference {
    pub(crate) fn new(sketches: Vec<Sketch>) -> Self {
        let mut made = Reference {
            now: 0,
            nodes: Vec::new(),
            lines: Vec::new(),
            answers: Vec::new(),
            asked_at: Vec::new(),
            news: VecDeque::new(),
            events: 0,
            over: None,
            tie: false,
            marks: BTreeMap::new(),
        };
        for sketch in sketches {
            made.push(sketch);
        }
        made
    }

    /// Takes a place on the board.
    fn push(&mut self, sketch: Sketch) -> Id {
        let above = sketch.above.map(|above| self.nodes[above].path.clone());
        let path = above.map_or_else(String::new, |path| path + "/") + &sketch.name;
        self.nodes.push(Node::new(sketch, path));
        self.nodes.len() - 1
    }

    pub(crate) fn children(&self, of: Id) -> Vec<Id> {
        let ids = 0..self.nodes.len();
        ids.filter(|id| !self.nodes[*id].gone && self.nodes[*id].sketch.above == Some(of))
            .collect()
    }

    pub(crate) fn rules(&self, of: Id) -> Rules {
        self.nodes[of].sketch.rules().unwrap()
    }

    pub(crate) fn is_service(&self, id: Id) -> bool {
        self.nodes[id].sketch.job().is_some()
    }

    fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
    }
}

fn time(how: Shutdown) -> Ms {
    match how {
        Shutdown::Drain(time) | Shutdown::Graceful(time) => time.as_millis() as Ms,
        _ => 0,
    }
}

impl Node {
    fn new(sketch: Sketch, path: String) -> Self {
        Node {
            worker: Worker::new(sketch.job().is_some()),
            sketch,
            path,
            gone: false,
            state: State::Waiting,
            life: 0,
            last: None,
            at: At::Waiting,
            goal: Goal::ComesBack,
            wish: None,
            has_risen: false,
            ready_at: None,
            streak: 0,
            fault: End::Normal,
            starts: Vec::new(),
            ends: Vec::new(),
            family: Family::new(),
        }
    }
}

impl Worker {
    fn new(open: bool) -> Self {
        Worker {
            doing: Doing::Nothing,
            until: None,
            end: End::Normal,
            stop: false,
            drain: None,
            retires: false,
            farewell: None,
            is_cut_off: false,
            killer: None,
            alarms: Vec::new(),
            open,
            suspended: false,
            queue: VecDeque::new(),
            starts: VecDeque::new(),
            stops: VecDeque::new(),
            recipes: 0,
            counts: Counts::default(),
            handled: Vec::new(),
        }
    }
}

impl Family {
    fn new() -> Self {
        Family {
            phase: Phase::Down,
            restarts: Vec::new(),
            complete: false,
            deadline: None,
            after: After::Again,
            killed: false,
        }
    }
}
