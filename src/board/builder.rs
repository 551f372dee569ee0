//! Starting a board: on threads of its own, or on the caller's.
//!
//! `Board::start` and `Board::builder` lead here.
//!
//! Invariant: a start that fails leaves nothing running, and says what failed and why.
//!
//! It does not outlive the start.

use std::any::Any;
use std::io;
use std::time::Duration;

use tokio::runtime::Handle;

use super::house::{House, OneThread, Rooms};
use super::shutdown::Root;
use super::watchdog::Watchdog;
use super::{Board, Inner};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::defaults;
use crate::dice::Dice;
use crate::exit::Exit;
use crate::host::{News, Order, Problem};
use crate::insider::current_board;
use crate::names::EventNames;
use crate::panic::guard;
use crate::park::block_on;
use crate::pulse::Pulse;
use crate::service::Placement;
use crate::supervisor::{Grounds, Parent, Supervisor, SupervisorActor, Threads, check};
use crate::sync::{Arc, Mutex};
use crate::waits::Cycles;
use crate::wall::Wall;

/// Why a board was not started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The tree is invalid; nothing was started.
    #[error("invalid supervisor tree: {}", list(problems))]
    #[non_exhaustive]
    Refused {
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
    },
    /// A child did not start; those before it have been stopped again.
    #[error("{path} did not start: it {exit}")]
    #[non_exhaustive]
    Failed {
        /// The path of the child.
        path: String,
        /// Why it did not start.
        exit: Exit,
    },
    /// The system could not provide a thread or runtime.
    #[error("no thread for the board")]
    Threads(#[source] io::Error),
    /// `on_this_thread` was used outside a tokio `LocalSet`.
    #[error("on_this_thread needs a tokio runtime and a LocalSet around the call")]
    NoLocalSet,
    /// `on_this_thread` was used in a runtime without timers.
    #[error("on_this_thread needs a tokio runtime with timers: build it with `enable_all()`")]
    NoTimers,
    /// `start` was called on a thread of a board, which it would block.
    #[error("a board cannot be started on a thread of a board, which it would block")]
    Blocking,
}

fn list(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

/// The settings of a board: threads, limits, watchdog, seed. `Board::builder()` makes one.
#[derive(Clone, Debug)]
#[must_use]
pub struct BoardBuilder {
    arbiters: Option<usize>,
    seed: Option<u64>,
    shelf: usize,
    cycles: Cycles,
    blocking_threads: usize,
    shutdown_limit: Duration,
    watchdog: Option<Watchdog>,
    spin: Duration,
}

/// A board that will run on the caller's own thread; see [`BoardBuilder::on_this_thread`].
#[derive(Clone, Debug)]
#[must_use]
pub struct LocalBoardBuilder(BoardBuilder);

impl BoardBuilder {
    pub(crate) fn new() -> Self {
        BoardBuilder {
            arbiters: None,
            seed: None,
            shelf: defaults::SHELF,
            cycles: Cycles::default(),
            blocking_threads: defaults::BLOCKING_THREADS,
            shutdown_limit: defaults::BOARD_SHUTDOWN_WAIT,
            watchdog: None,
            spin: Duration::ZERO,
        }
    }

    /// How many threads services share, at least 1; one per core by default.
    pub fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = Some(count);
        self
    }

    /// For how long an arbiter that has run out of work stays awake before it parks, counted from
    /// the last time a service ran on it; not at all by default.
    ///
    /// Waking a parked thread takes 40 to 100 µs on many virtual machines, far more than a message
    /// does. Within this time, work from another thread is taken up in a few microseconds, but each
    /// arbiter keeps a core busy: less than a millisecond is usual, with no more arbiters than
    /// cores. A board on this thread does not spin.
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// The seed of all randomness (jitter). By default another one for each board, so that the
    /// copies of a program do not all retry at the same moment, logged at its start at level debug;
    /// for a board on this thread 0, so that each run of a test goes the same way.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// How many dead letters the shelf keeps before it drops the oldest; 1,024 by default. With 0
    /// it keeps none: only who subscribes to [`DeadLetter`](crate::DeadLetter) sees them.
    pub fn shelf(mut self, most: usize) -> Self {
        self.shelf = most;
        self
    }

    /// What happens to a wait that would close a cycle of services waiting for each other; refused
    /// by default. See [the tour](crate#waiting-in-a-circle).
    pub fn cycles(mut self, cycles: Cycles) -> Self {
        self.cycles = cycles;
        self
    }

    /// How many threads may do [blocking work](crate::Context::blocking) at a time, at least 1; 512
    /// by default. A board on this thread uses those of the caller's runtime instead.
    pub fn blocking_threads(mut self, most: usize) -> Self {
        self.blocking_threads = most;
        self
    }

    /// The time limit for a shutdown that was not requested from outside: one begun by a service
    /// with [`Context::stop_board`](crate::Context::stop_board), or by a root supervisor that gives
    /// up or has done its work. 5 s by default.
    pub fn shutdown_limit(mut self, limit: Duration) -> Self {
        self.shutdown_limit = limit;
        self
    }

    /// When a handler counts as stuck; by default when it blocks its thread for 1 s, or waits for
    /// 30 s. A board on this thread has a watchdog only if it is set here.
    pub fn watchdog(mut self, watchdog: Watchdog) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Runs the whole board on this thread, inside the caller's `LocalSet`: one thread, so that
    /// tokio's paused clock and the seed govern everything. For tests. Placement is ignored.
    ///
    /// Until it has ended the thread is one of a board: a `_blocking` verb on it is refused, since
    /// nothing could run meanwhile.
    pub fn on_this_thread(mut self) -> LocalBoardBuilder {
        self.seed.get_or_insert(0);
        LocalBoardBuilder(self)
    }

    /// Starts the tree: every child in order, each one up before the next. Blocks the thread until
    /// all are up, at most 30 s for each.
    ///
    /// In an async program, whose other tasks go on meanwhile, hand it to a thread that may block:
    /// `tokio::task::spawn_blocking(move || Board::start(tree)).await??`. It has to be so where a
    /// `started` hook waits for something on the caller's own runtime.
    ///
    /// # Errors
    /// [`StartError`]: the tree is invalid, a child did not start, or there are no threads.
    pub fn start(self, root: Supervisor) -> Result<Board, StartError> {
        if current_board().is_some() {
            return Err(StartError::Blocking);
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let arbiters = self.arbiters.unwrap_or_else(cores);
        let names = self.refuse(&root, arbiters, self.blocking_threads)?;
        let house = House::raise(arbiters, self.blocking_threads).map_err(StartError::Threads)?;
        let clock = Clock::new(house.time.clone()).driven_by(house.driver.clone());
        let house = Arc::new(Mutex::new(house));
        let rooms = Rooms::new(Arc::clone(&house), clock.clone(), self.spin);
        // Without a board the house is dropped, and its threads end.
        let board = self
            .open(root, names, clock, arbiters, Box::new(rooms))
            .map_err(StartError::Threads)?;
        board.inner.watch(self.watchdog.unwrap_or_default());
        let _ = board.inner.house.set(house);
        if let Err(error) = block_on(board.rise()) {
            block_on(board.inner.take_down());
            return Err(error);
        }
        Ok(board)
    }

    /// Everything that is impossible about the tree and these settings; else its event names.
    fn refuse(
        &self,
        root: &Supervisor,
        arbiters: usize,
        blocking: usize,
    ) -> Result<EventNames, StartError> {
        let (names, mut problems) = check(root, arbiters.max(1));
        let watchdog = self.watchdog.and_then(Watchdog::problem);
        let none = [
            (arbiters, "a board needs at least one arbiter"),
            (
                blocking,
                "a board needs at least one thread for blocking work",
            ),
        ];
        let none = none.into_iter().filter(|(count, _)| *count == 0);
        let texts = none.map(|(_, text)| text).chain(watchdog);
        problems.extend(texts.map(|text| Problem {
            path: "board".to_owned(),
            event: None,
            text: text.to_owned(),
        }));
        if problems.is_empty() {
            Ok(names)
        } else {
            Err(StartError::Refused { problems })
        }
    }

    /// Takes every place on the board and makes the actors; nothing is started yet.
    fn open(
        &self,
        root: Supervisor,
        names: EventNames,
        clock: Clock,
        arbiters: usize,
        threads: Box<dyn Threads>,
    ) -> io::Result<Board> {
        let time = clock.handle();
        let dice = self.seed.map_or_else(Dice::any, Dice::new);
        let pulse = Pulse::new(clock, dice);
        let wall = Wall::new(pulse, self.shelf, self.cycles);
        let home = threads.place(Placement::Together)?;
        let grounds = Arc::new(Grounds::new(Arc::clone(&wall), arbiters, threads));
        grounds.name_events(names);
        let opened = grounds.root(root, home.clone())?;
        let node = Arc::clone(&opened.node);
        let root = &**node.path();
        tracing::debug!(target: "callboard::board", root, seed = dice.seed(), "a board starts");
        let inner = Arc::new(Inner::new(Arc::clone(&grounds), node, time));
        let (ending, limit) = (Arc::downgrade(&inner), self.shutdown_limit);
        let owner = Arc::clone(&inner) as Arc<dyn Any + Send + Sync>;
        wall.belongs_to(Arc::downgrade(&owner));
        wall.ends_by(move || {
            if let Some(inner) = ending.upgrade() {
                Board { inner }.begin_shutdown(limit);
            }
        });
        // The root's actor keeps the board, which so goes on when the last handle is dropped. The
        // actor itself ends with its arbiter.
        let board = Arc::clone(&inner);
        let parent = Parent::Board(Box::new(move |news| {
            if let News::Falling(_) = &news {
                let inner = Arc::clone(&board);
                Board { inner }.limit_fall(limit);
            }
            board.hear(news);
        }));
        let broker = Broker::new(wall);
        let _ = inner.broker.set(home.start(move || broker));
        let root = home.start(move || SupervisorActor::new(opened, parent, grounds));
        let _ = inner.root.set(root.recipient());
        Ok(Board { inner })
    }
}

/// Placement means nothing where there is one thread: a tree for many arbiters runs there too.
const ANY_ARBITER: usize = usize::MAX;

impl LocalBoardBuilder {
    /// Starts the tree on this thread; see [`BoardBuilder::start`].
    ///
    /// # Errors
    /// [`StartError`]: the tree is invalid, a child did not start, or there is no `LocalSet`, or
    /// no timers.
    ///
    /// # Cancel safety
    /// Dropping the future begins the shutdown of what has been started, within
    /// [`BoardBuilder::shutdown_limit`].
    pub async fn start(self, root: Supervisor) -> Result<Board, StartError> {
        let names = self.0.refuse(&root, ANY_ARBITER, 1)?;
        let time = Handle::try_current().map_err(|_| StartError::NoLocalSet)?;
        // tokio offers no way to ask, and a panic of our own would be no answer.
        guard(|| drop(actix_rt::spawn(async {}))).map_err(|_| StartError::NoLocalSet)?;
        let (clock, thread) = (Clock::new(time), Box::new(OneThread));
        guard(|| drop(clock.sleep_until(clock.now()))).map_err(|_| StartError::NoTimers)?;
        let board = self.0.open(root, names, clock, ANY_ARBITER, thread);
        let board = board.map_err(StartError::Threads)?;
        board.inner.stay_here();
        if let Some(watchdog) = self.0.watchdog {
            board.inner.watch(watchdog);
        }
        let mut rising = Rising {
            board,
            limit: self.0.shutdown_limit,
            given_up: true,
        };
        let risen = rising.board.rise().await;
        rising.given_up = false;
        risen.map(|()| rising.board.clone())
    }
}

/// A start on this thread. Dropped half-way it ends the board, which nobody would hold.
struct Rising {
    board: Board,
    limit: Duration,
    given_up: bool,
}

impl Drop for Rising {
    fn drop(&mut self) {
        if self.given_up {
            self.board.begin_shutdown(self.limit);
        }
    }
}

impl Board {
    /// Starts the root and waits until it is up, or has come down again.
    async fn rise(&self) -> Result<(), StartError> {
        let mut root = self.inner.root_state.subscribe();
        self.inner.order(Order::Start { generation: 1 });
        let is_over = |root: &Root| root.started.is_some() || root.closed;
        let risen = root.wait_for(is_over).await;
        let started = risen.ok().and_then(|root| {
            // Without a word a child blocks its thread, and the board has ended without it.
            let given_up = || Err(root.falling.clone().unwrap_or(Exit::Killed));
            root.started.clone().or_else(|| root.closed.then(given_up))
        });
        let Some(Err(exit)) = started else {
            return Ok(());
        };
        let _ = root.wait_for(|root| root.closed).await;
        let (path, exit) = innermost(self.inner.path(), exit);
        Err(StartError::Failed { path, exit })
    }
}

/// Whose failure it was that reached the root.
fn innermost(path: &str, exit: Exit) -> (String, Exit) {
    match exit {
        Exit::Escalated { path, cause } => innermost(&path, *cause),
        exit => (path.to_owned(), exit),
    }
}
