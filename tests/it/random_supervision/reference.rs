//! The specification of the tree's semantics, as a model that runs.
//!
//! It knows a tree's specs and what is done to it, and says of every moment where each service and
//! supervisor stands, in which life, with which events, and in which order all of it came about.
//! The runs compare a board with it.
//!
//! Invariant: it shares no code with the crate but the words of the specs. It looks at everybody
//! every time, keeps all it ever counted, and takes no shortcut.
//!
//! It does not say what happens first when two causes meet in one millisecond: it says that they
//! did, in [`Reference::tie`], and the run ends there.

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

// The specs.
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
        sketches.into_iter().for_each(|one| drop(made.push(one)));
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

// Time.
impl Reference {
    /// Starts the root and lets time pass until it is up, or over.
    pub(crate) fn start(&mut self) {
        self.nodes[ROOT].life = 1;
        self.show(ROOT, State::Starting, "is starting");
        self.begin_family(ROOT);
        self.listen();
        while self.over.is_none() && !self.is_up(ROOT) {
            let next = self.next_due().unwrap();
            self.pass(next);
        }
    }

    /// Lets time pass; nothing may be due at its very end.
    pub(crate) fn wait(&mut self, time: Ms) {
        let end = self.now + time;
        while let Some(next) = self.next_due().filter(|next| *next <= end) {
            self.tie |= next == end;
            self.pass(next);
        }
        self.now = end;
    }

    /// When something happens next by itself.
    pub(crate) fn next_due(&self) -> Option<Ms> {
        let due = self.nodes.iter().flat_map(|node| self.dues(node));
        due.min()
    }

    fn dues(&self, node: &Node) -> Vec<Ms> {
        let worker = &node.worker;
        let mut dues = Vec::new();
        dues.extend(worker.until);
        dues.extend(worker.killer);
        if worker.doing == Doing::Resting && !worker.suspended {
            dues.extend(worker.alarms.iter().map(|(at, _)| *at));
        }
        if let At::Pausing(until) = node.at {
            dues.push(until);
        }
        dues.into_iter().filter(|_| !node.gone).collect()
    }

    fn pass(&mut self, to: Ms) {
        self.now = to;
        let due = |id: &Id| self.dues(&self.nodes[*id]).contains(&to);
        let concerned: Vec<Id> = (0..self.nodes.len()).filter(due).collect();
        let causes = self.nodes.iter().flat_map(|node| self.dues(node));
        let is_kill = |id: &Id| self.nodes[*id].worker.killer == Some(to);
        let all_killed = concerned.iter().all(is_kill);
        let count = causes.filter(|at| *at == to).count();
        self.tie |= count > 1 && !(all_killed && count == concerned.len());
        for id in concerned {
            self.come_due(id);
        }
        self.listen();
    }

    fn come_due(&mut self, id: Id) {
        let now = self.now;
        let node = &mut self.nodes[id];
        if node.worker.killer == Some(now) {
            self.die(id, End::Killed, false);
        } else if node.worker.until == Some(now) {
            node.worker.until = None;
            self.be_done(id);
        } else if node.at == At::Pausing(now) {
            self.end_pause(id);
        } else {
            self.work(id);
        }
    }

    /// Supervisors hear what has happened to their children, until there is no more news.
    fn listen(&mut self) {
        while let Some(news) = self.news.pop_front() {
            match news {
                News::Started(child) => self.hear_start(child),
                News::Ended(child, end) => self.hear_end(child, end),
            }
        }
    }
}

// One life of a service.
impl Reference {
    /// A life begins: its recipe is called, then `started`.
    fn begin_life(&mut self, id: Id) {
        let job = self.nodes[id].sketch.job().unwrap();
        let now = self.now;
        let worker = &mut self.nodes[id].worker;
        // One that had ended for good hears what is published from now on.
        worker.open = true;
        (worker.doing, worker.stop, worker.drain) = (Doing::Starting, false, None);
        (worker.retires, worker.killer) = (false, None);
        if worker.recipes > 0 {
            worker.recipes -= 1;
            self.mark("a panic in a recipe");
            return self.die(id, End::Panicked, false);
        }
        worker.until = Some(now + job.start_ms);
        if job.start_ms == 0 {
            worker.until = None;
            self.be_done(id);
        }
    }

    /// What it was doing has taken its time.
    fn be_done(&mut self, id: Id) {
        match self.nodes[id].worker.doing {
            Doing::Starting => self.end_start(id),
            Doing::HangingStart => self.die(id, End::TimedOut, false),
            Doing::Handling => self.end_handling(id),
            Doing::Stopping => self.end_stop(id),
            Doing::Nothing | Doing::Resting => unreachable!(),
        }
    }

    fn end_start(&mut self, id: Id) {
        let job = self.nodes[id].sketch.job().unwrap();
        let worker = &mut self.nodes[id].worker;
        match worker.starts.pop_front() {
            Some(StartDeed::Fail) => self.die(id, End::Failed, false),
            Some(StartDeed::Panic) => self.die(id, End::Panicked, false),
            Some(StartDeed::Hang) => {
                worker.doing = Doing::HangingStart;
                worker.until = Some(self.now + START_WAIT - job.start_ms);
            }
            None => {
                worker.doing = Doing::Resting;
                self.news.push_back(News::Started(id));
                self.work(id);
            }
        }
    }

    /// It looks for what it has to do: orders first, then timers, then events in their order.
    fn work(&mut self, id: Id) {
        while self.nodes[id].worker.doing == Doing::Resting {
            let now = self.now;
            let worker = &mut self.nodes[id].worker;
            let ordered = worker.stop || (worker.drain.is_some() && worker.suspended);
            let next = worker.queue.front().copied();
            let below = worker.drain.unwrap_or(u64::MAX);
            let mut alarms = worker.alarms.clone();
            alarms.sort_unstable();
            if ordered {
                self.begin_stop(id, End::Shutdown);
            } else if worker.retires {
                self.begin_stop(id, End::Normal);
            } else if worker.suspended {
                return;
            } else if let Some((_, panics)) = alarms.first().filter(|(at, _)| *at <= now) {
                match panics {
                    true => self.die(id, End::Panicked, false),
                    false => self.begin_stop(id, End::Failed),
                }
            } else if let Some(item) = next.filter(|item| item.event < below) {
                self.handle(id, item);
            } else if worker.drain.is_some() {
                self.begin_stop(id, End::Shutdown);
            } else {
                return;
            }
        }
    }

    fn handle(&mut self, id: Id, item: Item) {
        let now = self.now;
        let worker = &mut self.nodes[id].worker;
        worker.handled.push((item.event, item.attempt));
        worker.doing = Doing::Handling;
        worker.until = match item.deed {
            Deed::Nap(time) => Some(now + time),
            Deed::Panic { fuse, times } if item.attempt <= times => Some(now + fuse),
            Deed::Hang { times } if item.attempt <= times => return,
            Deed::Stop { fuse } => Some(now + fuse),
            Deed::Alarm { fuse, panics } => {
                worker.alarms.push((now + fuse, panics));
                None
            }
            Deed::Nothing | Deed::Panic { .. } | Deed::Hang { .. } => None,
        };
        if worker.until.is_none() {
            self.end_handling(id);
        }
    }

    fn end_handling(&mut self, id: Id) {
        let worker = &mut self.nodes[id].worker;
        let item = *worker.queue.front().unwrap();
        match item.deed {
            Deed::Panic { times, .. } if item.attempt <= times => {
                return self.die(id, End::Panicked, true);
            }
            Deed::Stop { .. } => worker.retires = true,
            _ => {}
        }
        worker.queue.pop_front();
        worker.counts.acknowledged += 1;
        worker.doing = Doing::Resting;
        self.work(id);
    }

    fn begin_stop(&mut self, id: Id, end: End) {
        let job = self.nodes[id].sketch.job().unwrap();
        let worker = &mut self.nodes[id].worker;
        (worker.doing, worker.end) = (Doing::Stopping, end);
        worker.until = Some(self.now + job.stop_ms);
        if job.stop_ms == 0 {
            worker.until = None;
            self.end_stop(id);
        }
    }

    fn end_stop(&mut self, id: Id) {
        let worker = &mut self.nodes[id].worker;
        let end = worker.end.clone();
        match worker.stops.pop_front() {
            None => self.die(id, end, false),
            Some(StopDeed::Panic) => {
                self.mark("a crash in stopping");
                self.die(id, End::Panicked, false);
            }
            Some(StopDeed::Hang) => self.mark("a hang in stopping"),
        }
    }

    /// The life is over. An attempt counts only if the handler is to blame for it; else the event
    /// is in the mailbox again as if nobody had touched it.
    fn die(&mut self, id: Id, end: End, blames_event: bool) {
        let job = self.nodes[id].sketch.job().unwrap();
        let worker = &mut self.nodes[id].worker;
        if worker.doing == Doing::Nothing {
            return;
        }
        if worker.doing == Doing::Handling
            && blames_event
            && let Some(item) = worker.queue.front_mut()
        {
            item.attempt += 1;
            if item.attempt > job.attempts {
                worker.queue.pop_front();
                worker.counts.dead += 1;
            }
        }
        let in_start = matches!(worker.doing, Doing::Starting | Doing::HangingStart);
        worker.doing = Doing::Nothing;
        (worker.until, worker.killer) = (None, None);
        worker.alarms.clear();
        if in_start && end.is_abnormal() && end != End::Killed {
            self.mark("a crash in started");
        }
        self.news.push_back(News::Ended(id, end));
    }

    pub(crate) fn counts(&self, id: Id) -> Counts {
        let worker = &self.nodes[id].worker;
        let in_flight = u64::from(worker.doing == Doing::Handling);
        Counts {
            waiting: worker.queue.len() as u64 - in_flight,
            in_flight,
            ..worker.counts
        }
    }
}

// What is done to the tree.
impl Reference {
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Publish(to, deed) => self.publish(to, deed),
            Step::SpoilStart(id, deed) => self.nodes[id].worker.starts.push_back(deed),
            Step::SpoilStop(id, deed) => self.nodes[id].worker.stops.push_back(deed),
            Step::SpoilRecipe(id) => self.nodes[id].worker.recipes += 1,
            Step::Ask(ask) => self.ask(ask),
            Step::Suspend(id) => self.suspend(id, true),
            Step::Resume(id) => self.suspend(id, false),
        }
        self.listen();
    }

    /// Whoever has not ended for good hears it, in the order of publishing.
    fn publish(&mut self, to: Id, deed: Deed) {
        let event = self.events;
        self.events += 1;
        for id in 0..self.nodes.len() {
            let deed = if id == to { deed } else { Deed::Nothing };
            let node = &mut self.nodes[id];
            if id == SCRIBE || !node.worker.open || node.gone {
                continue;
            }
            node.worker.counts.accepted += 1;
            let attempt = 1;
            node.worker.queue.push_back(Item {
                event,
                attempt,
                deed,
            });
            self.work(id);
        }
    }

    fn suspend(&mut self, id: Id, suspended: bool) {
        let node = &mut self.nodes[id];
        if node.gone || node.worker.suspended == suspended {
            return;
        }
        node.worker.suspended = suspended;
        self.tell(
            id,
            if suspended {
                "is suspended"
            } else {
                "is resumed"
            },
        );
        self.work(id);
    }

    fn ask(&mut self, ask: Ask) {
        let call = self.answers.len();
        self.answers.push(None);
        self.asked_at.push(self.now);
        let (above, child) = match &ask {
            Ask::Add(sketch) => (sketch.above.unwrap(), None),
            Ask::Kill(id)
            | Ask::Stop(id)
            | Ask::Restart(id)
            | Ask::RestartChild(id)
            | Ask::Delete(id) => (self.nodes[*id].sketch.above.unwrap(), Some(*id)),
        };
        if self.nodes[above].gone || child.is_some_and(|child| self.nodes[child].gone) {
            return self.answer(call, "lookup");
        }
        if matches!(
            self.nodes[above].family.phase,
            Phase::Down | Phase::Ending(_)
        ) {
            return self.answer(call, "stopping");
        }
        let closed = child.is_some_and(|child| self.nodes[child].at == At::Closed);
        match ask {
            Ask::Kill(_) | Ask::Restart(_) if closed => self.answer(call, "not running"),
            Ask::RestartChild(_) | Ask::Delete(_) if !closed => self.answer(call, "running"),
            Ask::Kill(id) => {
                self.answer(call, "ok");
                self.kill(id);
            }
            Ask::Stop(_) if closed => self.answer(call, "ok"),
            Ask::Stop(id) => {
                self.nodes[id].ends.push(call);
                self.terminate(id);
            }
            Ask::Restart(id) => {
                self.nodes[id].starts.push(call);
                self.renew(id);
            }
            Ask::RestartChild(id) => {
                let node = &mut self.nodes[id];
                (node.at, node.streak) = (At::Waiting, 0);
                node.wish = Some(Wish::Restarted);
                node.starts.push(call);
            }
            Ask::Delete(id) => {
                self.nodes[id].ends.push(call);
                self.forget(id);
            }
            Ask::Add(sketch) => {
                let id = self.push(sketch);
                self.nodes[id].wish = Some(Wish::Added);
                self.nodes[id].starts.push(call);
            }
        }
        self.take_turns(above);
    }

    fn answer(&mut self, call: usize, text: &str) {
        let late = self.now > self.asked_at[call] + CONTROL_WAIT;
        let text = if late { "timed out" } else { text };
        self.answers[call].get_or_insert(text.to_owned());
    }

    fn answer_starts(&mut self, id: Id, text: &str) {
        for call in std::mem::take(&mut self.nodes[id].starts) {
            self.answer(call, text);
        }
    }

    fn answer_ends(&mut self, id: Id, text: &str) {
        for call in std::mem::take(&mut self.nodes[id].ends) {
            self.answer(call, text);
        }
    }

    /// Ends a life now, because of what it does.
    fn kill(&mut self, id: Id) {
        if self.is_service(id) {
            let doing = self.nodes[id].worker.doing;
            if doing != Doing::Nothing {
                self.mark("a kill on request");
                self.die(id, End::Killed, doing == Doing::Handling);
            }
        } else if self.nodes[id].family.phase != Phase::Down {
            self.mark("a supervisor killed on request");
            self.nodes[id].family.killed = true;
            self.kill_family(id);
        }
    }

    fn terminate(&mut self, id: Id) {
        match self.nodes[id].at {
            At::Waiting => self.close(id, End::Shutdown),
            At::Pausing(_) => {
                self.mark("a stop in backoff");
                self.close(id, End::Shutdown);
            }
            _ => self.send_off(id, Goal::EndsForGood),
        }
    }

    /// Neither counted nor delayed.
    fn renew(&mut self, id: Id) {
        match self.nodes[id].at {
            At::Waiting => return,
            At::Pausing(_) => self.nodes[id].at = At::Waiting,
            _ => self.send_off(id, Goal::ComesBack),
        }
        self.nodes[id].streak = 0;
    }
}

// One supervisor.
impl Reference {
    fn is_up(&self, of: Id) -> bool {
        self.nodes[of].family.phase == Phase::Up
    }

    fn is_ending(&self, of: Id) -> bool {
        matches!(self.nodes[of].family.phase, Phase::Ending(_))
    }

    /// A life of a supervisor begins: with all children whose specs are there, also those that
    /// had ended for good, and with a budget that nobody has used.
    fn begin_family(&mut self, of: Id) {
        self.nodes[of].family = Family {
            phase: Phase::Rising,
            ..Family::new()
        };
        for child in self.children(of) {
            let node = &mut self.nodes[child];
            (node.at, node.state, node.wish) = (At::Waiting, State::Waiting, None);
            node.goal = Goal::ComesBack;
            (node.has_risen, node.ready_at, node.streak) = (false, None, 0);
        }
        self.take_turns(of);
    }

    fn hear_start(&mut self, child: Id) {
        let now = self.now;
        if self.nodes[child].state == State::Starting {
            self.show(child, State::Running, "has started");
        }
        let node = &mut self.nodes[child];
        (node.has_risen, node.wish) = (true, None);
        node.ready_at.get_or_insert(now);
        // One that is to be gone stays so, and is not what anybody waits for.
        if node.at == At::Starting {
            node.at = At::Running;
            self.answer_starts(child, "ok");
        }
        self.take_turns(self.above(child));
    }

    fn hear_end(&mut self, child: Id, end: End) {
        let above = self.above(child);
        self.note_trouble(above, child, &end);
        self.nodes[child].last = Some(end.clone());
        self.show(child, State::Waiting, &end.to_string());
        if self.nodes[child].at == At::Starting {
            self.answer_starts(child, &format!("failed: {end}"));
        }
        self.end_row(above, child);
        self.follow(above, child, end);
        self.take_turns(above);
    }

    /// After a life that was stable a new row of restarts begins.
    fn end_row(&mut self, above: Id, child: Id) {
        let now = self.now;
        let node = &mut self.nodes[child];
        let ready_at = node.ready_at.take();
        if let Some(pause) = self.nodes[above].sketch.rules().unwrap().pause
            && ready_at.is_some_and(|ready_at| now - ready_at >= pause.stable_ms)
        {
            self.nodes[child].streak = 0;
        }
    }

    /// What follows the end of a life.
    fn follow(&mut self, above: Id, child: Id, end: End) {
        let node = &mut self.nodes[child];
        let restart = node.sketch.restart;
        let wanted = match (restart, node.at) {
            (Restart::Temporary, _) => false,
            // One that did not come up did not end by its own wish.
            (_, At::Starting) | (Restart::Permanent, _) => true,
            _ => end.is_abnormal(),
        };
        match node.at {
            At::Leaving { .. } if node.goal == Goal::ComesBack => node.at = At::Waiting,
            At::Leaving { .. } => self.close(child, end),
            // It fails whoever asked for it, and nobody else.
            _ if node.wish.is_some() => self.close(child, end),
            // The first start of all succeeds as a whole or not at all.
            _ if !node.has_risen => {
                node.at = At::Waiting;
                self.end_family(above, Last::StartFailed(child, end));
            }
            _ if wanted => self.fail(above, child, end),
            _ => self.end_of_own_accord(above, child, end),
        }
    }

    fn fail(&mut self, above: Id, child: Id, end: End) {
        let rules = self.rules(above);
        if let Some(pause) = rules.pause {
            let node = &mut self.nodes[child];
            node.streak += 1;
            node.fault = end;
            let doubled = pause.first_ms << (node.streak - 1).min(20);
            let time = doubled.min(pause.most_ms);
            node.at = At::Pausing(self.now + time);
            let text = format!("starts again in {:?}", millis(time));
            self.show(child, State::BackingOff, &text);
        } else {
            self.nodes[child].at = At::Waiting;
            if !self.count_restart(above, child, end) {
                return;
            }
        }
        for sibling in self.children(above) {
            let affected = match rules.strategy {
                Strategy::OneForAll => true,
                Strategy::RestForOne => sibling > child,
                _ => false,
            };
            let node = &self.nodes[sibling];
            if affected && matches!(node.at, At::Starting | At::Running) {
                // A temporary child does not come back, unless its first start is still owed.
                let spent = node.sketch.restart == Restart::Temporary && node.has_risen;
                let goal = [Goal::ComesBack, Goal::EndsForGood][usize::from(spent)];
                self.send_off(sibling, goal);
                self.mark("a bystander");
            }
        }
    }

    fn end_pause(&mut self, child: Id) {
        let above = self.above(child);
        self.nodes[child].at = At::Waiting;
        let fault = self.nodes[child].fault.clone();
        self.count_restart(above, child, fault);
        self.take_turns(above);
    }

    /// No window has more restarts than allowed, wherever it is laid; else the supervisor ends.
    fn count_restart(&mut self, above: Id, child: Id, end: End) -> bool {
        let (rules, now) = (self.rules(above), self.now);
        let family = &mut self.nodes[above].family;
        let recent = |at: &&Ms| now - **at <= rules.window_ms;
        let allowed = family.restarts.iter().filter(recent).count() < rules.max_restarts as usize;
        if allowed {
            family.restarts.push(now);
            self.mark("a restart");
        } else if family.phase == Phase::Rising {
            self.end_family(above, Last::StartFailed(child, end));
        } else {
            self.mark("an escalation");
            self.end_family(above, Last::GivesUp(child, end));
        }
        allowed
    }

    fn end_of_own_accord(&mut self, above: Id, child: Id, end: End) {
        let significant = self.nodes[child].sketch.significant;
        let left = |id: &Id| {
            let node = &self.nodes[*id];
            *id != child && node.sketch.significant && node.at != At::Closed
        };
        let completes = significant
            && match self.rules(above).auto_shutdown {
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children(above).iter().any(left),
                _ => false,
            };
        self.nodes[above].family.complete |= completes;
        self.close(child, end);
    }

    fn send_off(&mut self, child: Id, goal: Goal) {
        let node = &mut self.nodes[child];
        node.goal = goal;
        if matches!(node.at, At::Starting | At::Running) {
            let (told, killed) = (false, false);
            node.at = At::Leaving { told, killed };
        }
    }

    /// The child has ended for good, or for as long as its supervisor has.
    fn close(&mut self, child: Id, end: End) {
        let above = self.above(child);
        let node = &mut self.nodes[child];
        let wish = node.wish.take();
        if wish.is_some() {
            self.answer_starts(child, &format!("failed: {end}"));
        }
        let node = &mut self.nodes[child];
        node.at = At::Closed;
        let with_family = node.goal == Goal::EndsWithFamily;
        let passes = node.sketch.restart == Restart::Temporary || self.rules(above).dynamic;
        let forgotten = wish == Some(Wish::Added) || (passes && !with_family);
        let completes = self.is_up(above) && self.nodes[above].family.complete;
        if forgotten {
            self.shut(child);
            self.forget(child);
        } else if self.is_ending(above) || completes {
            // It may be started again with the family, so its mailbox is kept.
            self.nodes[child].state = State::Waiting;
        } else {
            self.shut(child);
        }
    }

    /// Subscriptions end, of all below as well: what was not read is undelivered.
    fn shut(&mut self, id: Id) {
        self.answer_starts(id, "failed: was shut down");
        self.show(id, State::Closed, "has ended for good");
        for child in self.children(id).into_iter().rev() {
            self.shut(child);
        }
        let worker = &mut self.nodes[id].worker;
        worker.open = false;
        worker.counts.undelivered += worker.queue.len() as u64;
        worker.queue.clear();
        self.answer_ends(id, "ok");
    }

    fn forget(&mut self, id: Id) {
        self.answer_ends(id, "ok");
        for child in self.children(id) {
            self.forget(child);
        }
        self.nodes[id].gone = true;
    }

    /// The supervisor ends; the first reason stands.
    fn end_family(&mut self, of: Id, last: Last) {
        if matches!(self.nodes[of].family.phase, Phase::Ending(_) | Phase::Down) {
            return;
        }
        self.note_end(of);
        self.nodes[of].family.phase = Phase::Ending(last);
        for child in self.children(of).into_iter().rev() {
            let node = &mut self.nodes[child];
            match node.at {
                At::Closed => {}
                // What was decided for one that leaves already stands.
                At::Leaving { .. } if node.goal == Goal::EndsForGood => {}
                At::Leaving { .. } => node.goal = Goal::EndsWithFamily,
                At::Starting | At::Running => self.send_off(child, Goal::EndsWithFamily),
                At::Waiting | At::Pausing(_) => {
                    node.goal = Goal::EndsWithFamily;
                    self.close(child, End::Shutdown);
                }
            }
        }
    }

    fn stop_family(&mut self, of: Id, until: Option<Ms>, after: After) {
        let how = self.rules(of).shutdown;
        let own = how.map(|how| self.now + time(how));
        let drains = matches!(how, Some(Shutdown::Drain(_)));
        if of == ROOT && !self.is_ending(ROOT) {
            self.show(ROOT, State::Stopping, "is stopping");
        }
        let family = &mut self.nodes[of].family;
        family.deadline = [own, until].into_iter().flatten().min();
        family.after = match after {
            After::Again => After::Again,
            After::Nothing { drain } => After::Nothing {
                drain: drain || drains,
            },
        };
        if how == Some(Shutdown::Kill) {
            return self.kill_family(of);
        }
        self.end_family(of, Last::Told);
        self.take_turns(of);
    }

    /// All below ends now; no event is to blame for it.
    fn kill_family(&mut self, of: Id) {
        self.end_family(of, Last::Told);
        for child in self.children(of).into_iter().rev() {
            let node = &mut self.nodes[child];
            if let At::Leaving {
                told,
                killed: false,
            } = node.at
            {
                node.at = At::Leaving { told, killed: true };
                self.show(child, State::Stopping, "is stopping");
                if self.is_service(child) {
                    self.die(child, End::Killed, false);
                } else {
                    self.kill_family(child);
                }
            }
        }
        self.take_turns(of);
    }

    /// Whose turn it is to stop or to start, and whether all are up, or gone.
    fn take_turns(&mut self, of: Id) {
        let settled = |node: &Node| matches!(node.at, At::Running | At::Closed);
        let all = |is: fn(&Node) -> bool, one: &Self| {
            one.children(of).iter().all(|id| is(&one.nodes[*id]))
        };
        if self.nodes[of].family.phase == Phase::Rising && all(settled, self) {
            self.nodes[of].family.phase = Phase::Up;
            self.rise(of);
        }
        if self.is_up(of) && self.nodes[of].family.complete {
            self.mark("a completion");
            self.end_family(of, Last::Completed);
        }
        self.stop_in_turn(of);
        self.start_in_turn(of);
        if let Phase::Ending(last) = self.nodes[of].family.phase.clone()
            && all(|node| node.at == At::Closed, self)
        {
            self.nodes[of].family.phase = Phase::Down;
            self.fall(of, last);
        }
    }

    /// Whether its children start and stop without regard to each other.
    fn is_independent(&self, of: Id) -> bool {
        let rules = self.rules(of);
        rules.dynamic || (rules.strategy == Strategy::OneForOne && self.is_up(of))
    }

    fn stop_in_turn(&mut self, of: Id) {
        let leaves = |id: &Id| matches!(self.nodes[*id].at, At::Leaving { .. });
        let leaving: Vec<Id> = self.children(of).into_iter().filter(leaves).collect();
        let those = if self.is_independent(of) {
            leaving.len()
        } else {
            1
        };
        for child in leaving.into_iter().rev().take(those) {
            if let At::Leaving {
                told: false,
                killed: false,
            } = self.nodes[child].at
            {
                let (told, killed) = (true, false);
                self.nodes[child].at = At::Leaving { told, killed };
                self.stop_child(of, child);
            }
        }
    }

    fn stop_child(&mut self, of: Id, child: Id) {
        let family = &self.nodes[of].family;
        let (until, ends) = (family.deadline, family.after);
        let after = match self.nodes[child].goal {
            _ if self.is_ending(of) => ends,
            Goal::ComesBack => After::Again,
            _ => After::Nothing { drain: false },
        };
        self.show(child, State::Stopping, "is stopping");
        let Some(job) = self.nodes[child].sketch.job() else {
            return self.stop_family(child, until, after);
        };
        let now = self.now;
        let events = self.events;
        let worker = &mut self.nodes[child].worker;
        if worker.doing == Doing::Nothing {
            return;
        }
        let starts = matches!(worker.doing, Doing::Starting | Doing::HangingStart);
        // What is starting has promised nothing yet.
        if starts || job.shutdown == Shutdown::Kill {
            return self.die(child, End::Killed, false);
        }
        let drains = matches!(job.shutdown, Shutdown::Drain(_));
        match after {
            After::Nothing { drain } if drain || drains => worker.drain = Some(events),
            _ => worker.stop = true,
        }
        let usual = time(job.shutdown);
        let left = until.map(|until| until.saturating_sub(now).max(LAST_TURN));
        worker.killer = Some(now + left.map_or(usual, |left| left.min(usual)));
        self.work(child);
    }

    fn start_in_turn(&mut self, of: Id) {
        if !matches!(self.nodes[of].family.phase, Phase::Rising | Phase::Up) {
            return;
        }
        let children = self.children(of);
        let at = |id: &Id| self.nodes[*id].at;
        let held = |id: &Id| matches!(at(id), At::Leaving { .. } | At::Pausing(_));
        let unsettled = |id: &Id| !matches!(at(id), At::Running | At::Closed);
        let first = children.iter().find(|id| unsettled(id)).copied();
        let in_turn = first.filter(|_| !children.iter().any(held));
        let free = self.is_independent(of);
        let begins = |id: &Id| at(id) == At::Waiting && (free || in_turn == Some(*id));
        let those: Vec<Id> = children.iter().copied().filter(begins).collect();
        for child in those {
            let node = &mut self.nodes[child];
            (node.at, node.life) = (At::Starting, node.life + 1);
            self.show(child, State::Starting, "is starting");
            if self.is_service(child) {
                self.begin_life(child);
            } else {
                self.begin_family(child);
            }
        }
    }

    fn rise(&mut self, of: Id) {
        if of == ROOT {
            self.show(ROOT, State::Running, "has started");
        } else {
            self.news.push_back(News::Started(of));
        }
    }

    fn fall(&mut self, of: Id, last: Last) {
        for child in self.children(of) {
            self.answer_starts(child, "stopping");
            self.answer_ends(child, "stopping");
        }
        let path = |id: Id| self.nodes[id].path.clone();
        let end = match last {
            Last::StartFailed(child, end) | Last::GivesUp(child, end) => {
                End::GaveUp(path(child), Box::new(end))
            }
            Last::Told if self.nodes[of].family.killed => End::Killed,
            Last::Told | Last::Completed => End::Shutdown,
        };
        if of == ROOT {
            self.end_board(end);
        } else {
            self.news.push_back(News::Ended(of, end));
        }
    }

    fn above(&self, child: Id) -> Id {
        self.nodes[child].sketch.above.unwrap()
    }
}

// The board.
impl Reference {
    /// Whether a shutdown would find nothing to wait for.
    pub(crate) fn is_quiet(&self) -> bool {
        let busy = |node: &Node| match node.worker.doing {
            Doing::Starting | Doing::HangingStart | Doing::Stopping | Doing::Handling => true,
            Doing::Nothing | Doing::Resting => {
                !node.worker.queue.is_empty() && !node.worker.suspended
            }
        };
        // What the scribe has still to read is read while it runs.
        self.nodes[SCRIBE].worker.doing == Doing::Resting && !self.nodes.iter().any(busy)
    }

    /// Ends the board: either nothing is to be waited for, or nothing happens before the limit.
    pub(crate) fn shut_down(&mut self, limit: Ms) {
        let until = self.now + limit;
        if !self.is_quiet() {
            self.wait(limit);
        }
        let drain = false;
        self.stop_family(ROOT, Some(until), After::Nothing { drain });
        self.listen();
        while self.over.is_none() {
            let last = until + LAST_MOMENT;
            match self.next_due().filter(|next| *next <= last) {
                Some(next) => {
                    self.tie |= next == last;
                    self.pass(next);
                }
                None => {
                    self.now = last;
                    self.mark("a board out of time");
                    self.kill_family(ROOT);
                    self.listen();
                }
            }
        }
    }

    fn end_board(&mut self, end: End) {
        self.nodes[ROOT].last = Some(end.clone());
        self.show(ROOT, State::Waiting, &end.to_string());
        self.shut(ROOT);
        self.over = Some(end);
    }
}

// What is seen.
impl Reference {
    fn show(&mut self, id: Id, state: State, change: &str) {
        if self.nodes[id].state != state {
            self.nodes[id].state = state;
            self.tell(id, change);
        }
    }

    fn tell(&mut self, id: Id, change: &str) {
        let node = &self.nodes[id];
        self.lines.push(Line {
            at: self.now,
            path: node.path.clone(),
            life: node.life,
            change: change.to_owned(),
        });
    }

    /// A crash at a bad moment.
    fn note_trouble(&mut self, above: Id, child: Id, end: &End) {
        if !end.is_abnormal() {
            return;
        }
        let me = self.nodes[child].clone();
        let siblings = self.children(above);
        let others = || siblings.iter().filter(|id| **id != child);
        let is_leaving = |id: &Id| matches!(self.nodes[*id].at, At::Leaving { .. });
        let comes_back = |id: &Id| is_leaving(id) && self.nodes[*id].goal == Goal::ComesBack;
        let pausing = others().any(|id| matches!(self.nodes[*id].at, At::Pausing(_)));
        let group = others().any(comes_back);
        let own_fault = *end != End::Killed;
        let lives = matches!(me.at, At::Starting | At::Running);
        let marks = [
            (
                "a crash during restart",
                me.at == At::Starting && me.has_risen,
            ),
            ("a crash in backoff", pausing && lives),
            (
                "a crash in a group restart",
                (group && (lives || own_fault)) || (comes_back(&child) && own_fault),
            ),
            ("a crash in shutdown", self.is_ending(above) && own_fault),
        ];
        for (mark, _) in marks.iter().filter(|(_, so)| *so) {
            self.mark(mark);
        }
    }

    /// An end at a bad moment.
    fn note_end(&mut self, of: Id) {
        let ats: Vec<(At, Goal)> = self
            .children(of)
            .iter()
            .map(|id| (self.nodes[*id].at, self.nodes[*id].goal))
            .collect();
        if ats.iter().any(|(at, _)| matches!(at, At::Pausing(_))) {
            self.mark("an end in backoff");
        }
        let group =
            |(at, goal): &(At, Goal)| matches!(at, At::Leaving { .. }) && *goal == Goal::ComesBack;
        if ats.iter().any(group) {
            self.mark("an end in a group restart");
        }
    }

    /// Who backs off, leaves or starts, for whoever looks for bad moments.
    pub(crate) fn is_in_trouble(&self, id: Id) -> bool {
        !self.nodes[id].gone && !matches!(self.nodes[id].at, At::Running | At::Closed)
    }

    pub(crate) fn is_alive(&self, id: Id) -> bool {
        let at = self.nodes[id].at;
        matches!(at, At::Starting | At::Running | At::Leaving { .. })
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
