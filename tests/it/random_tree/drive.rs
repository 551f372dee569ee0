//! One run: a tree is started, things are thrown at it, and after every step the books are
//! compared with the ledger.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use callboard::prelude::*;
use callboard::{AskError, PublishSettled, Settled};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::audit;
use super::book::Book;
use super::plan::{Act, Alarm, End, Mode, Plan, TOPICS};
use super::players::{Note, Player, Shared, Whim, note, open, tree, with_topic};

/// What can be said of a run that kept all promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) trace: u64,
    pub(crate) handled: u64,
    pub(crate) acknowledged: u64,
    pub(crate) dead: u64,
    pub(crate) shed: u64,
    pub(crate) undelivered: u64,
    pub(crate) retried: u64,
    pub(crate) redriven: u64,
    pub(crate) panicked: u64,
    pub(crate) timed_out: u64,
    pub(crate) expired: u64,
    pub(crate) restarted: u64,
    pub(crate) given_up: u64,
}

/// An event whose outcomes were waited for: who heard it, and what became of it there.
pub(crate) struct Watched {
    pub(crate) event: u64,
    pub(crate) heard: Vec<usize>,
    pub(crate) told: Vec<Settled>,
}

/// Plays one plan.
///
/// # Panics
/// If a promise is broken; the message starts with the plan's mode and seed.
pub(crate) fn run(seed: u64, mode: Mode) -> Summary {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let book = Arc::new(Mutex::new(Book::new(Plan::draw(seed, mode))));
    LocalSet::new().block_on(&runtime, Drive::new(book).play())
}

struct Drive {
    book: Shared,
    dice: fastrand::Rng,
    board: Option<Board>,
    players: Vec<Address<Player>>,
    asks: Vec<JoinHandle<()>>,
    watches: Vec<JoinHandle<Option<Watched>>>,
}

impl Drive {
    fn new(book: Shared) -> Self {
        let seed = open(&book).plan.seed;
        Drive {
            book,
            dice: fastrand::Rng::with_seed(seed ^ 0x5eed),
            board: None,
            players: Vec::new(),
            asks: Vec::new(),
            watches: Vec::new(),
        }
    }

    async fn play(mut self) -> Summary {
        let plan = open(&self.book).plan.clone();
        let (root, players) = tree(&plan, &self.book);
        let started = Board::builder()
            .seed(plan.seed)
            .on_this_thread()
            .start(root);
        let board = started.await.unwrap();
        self.players = players;
        self.board = Some(board.clone());
        for _ in 0..plan.steps {
            self.step(&board).await;
            audit::in_between(&self.book, &board.ledger());
        }
        if plan.mode != Mode::Abrupt {
            self.settle(&board).await;
            audit::settled(&self.book, &board.ledger());
        }
        open(&self.book).closing = true;
        let limit = match plan.mode {
            Mode::Abrupt => millis(self.dice.u64(0..100)),
            _ => secs(60),
        };
        let report = board.shutdown(limit).await;
        let ended = board.wait().await;
        for ask in self.asks {
            ask.await.unwrap();
        }
        let mut watched = Vec::new();
        for watch in self.watches {
            watched.extend(watch.await.unwrap());
        }
        open(&self.book).close();
        audit::over(&self.book, &board, &report, ended, &watched)
    }

    /// Waits until the board has settled; looks after faults meanwhile, as one may keep it busy.
    async fn settle(&self, board: &Board) {
        for _ in 0..1_000 {
            if matches!(timeout(secs(10), board.settle()).await, Ok(Ok(()))) {
                return;
            }
            audit::in_between(&self.book, &board.ledger());
        }
        audit::promise(&self.book, false, "the board settles");
    }

    async fn step(&mut self, board: &Board) {
        let topic = self.dice.usize(0..TOPICS);
        let service = self.dice.usize(0..self.players.len());
        match self.dice.u8(0..18) {
            0..3 => with_topic!(topic, at_once::<T>(&self.book, board)),
            3 | 4 => {
                for _ in 0..self.dice.u8(2..10) {
                    with_topic!(topic, at_once::<T>(&self.book, board));
                }
            }
            5..7 => with_topic!(topic, waiting::<T>(&self.book, board).await),
            7 => {
                let watch = with_topic!(topic, watched::<T>(&self.book, board).await);
                self.watches.extend(watch);
            }
            8 => self.tell(service),
            9 | 10 => self.ask(service),
            11 => redrive(&self.book, board, &mut self.dice).await,
            12..15 => sleep(millis(self.dice.u64(0..120))).await,
            _ => tokio::task::yield_now().await,
        }
    }

    fn whim(&mut self, told: bool) -> Whim {
        let act = match self.dice.u8(0..12) {
            0..3 => Act::Succeed,
            3 | 4 => Act::Nap(self.dice.u64(1..30)),
            5 => Act::Fail,
            6 => Act::Panic,
            7 => Act::Relay(self.dice.usize(0..TOPICS)),
            8 => Act::Timer(Alarm::Ring, self.dice.u64(0..80)),
            9 => Act::Subscribe,
            10 => Act::Unsubscribe,
            // Longer than an asker waits.
            _ => Act::Nap(6_000),
        };
        let id = open(&self.book).next_letter();
        Whim { id, told, act }
    }

    fn tell(&mut self, service: usize) {
        let whim = self.whim(true);
        if self.players[service].try_tell(whim).is_ok() {
            open(&self.book).casts[service].letters.accepted += 1;
        }
    }

    fn ask(&mut self, service: usize) {
        let whim = self.whim(false);
        let (book, player) = (Arc::clone(&self.book), self.players[service].clone());
        self.asks.push(spawn_local(async move {
            let (id, act) = (whim.id, whim.act);
            let began = Instant::now();
            let answer = player.ask(whim).await;
            let mut book = open(&book);
            let exact = book.is_exact() && !book.closing;
            let letters = &mut book.casts[service].letters;
            let begun = letters.begun.contains(&id);
            let fits = match &answer {
                Ok(twice) => *twice == id * 2 && !matches!(act, Act::Fail | Act::Panic),
                Err(AskError::Failed(_)) => act == Act::Fail,
                Err(AskError::Crashed) => begun && (act == Act::Panic || !exact),
                Err(AskError::TimedOut(_)) => began.elapsed() >= secs(5),
                Err(AskError::Undelivered) => !begun && !exact,
                Err(AskError::Full(_)) => !begun,
                Err(AskError::Stopped(_)) => !begun && !exact,
                Err(_) => false,
            };
            letters.given_up += u64::from(matches!(answer, Err(AskError::TimedOut(_))));
            let accepted = answer
                .as_ref()
                .err()
                .is_none_or(|error| !matches!(error, AskError::Full(_) | AskError::Stopped(_)));
            letters.accepted += u64::from(accepted);
            if !fits {
                book.fault(format!(
                    "{service} was asked to {act:?} and answered {answer:?}"
                ));
            }
        }));
    }
}

fn at_once<const T: usize>(book: &Shared, board: &Board)
where
    Note<T>: Event,
{
    let Some(id) = open(book).next_event() else {
        return;
    };
    let room = open(book).has_room(T);
    note(
        book,
        T,
        id,
        room,
        board.try_publish(Note::<T> { id }).map(drop),
    );
}

async fn waiting<const T: usize>(book: &Shared, board: &Board)
where
    Note<T>: Event,
{
    let Some(id) = open(book).next_event() else {
        return;
    };
    // Where there was none at first, there may be some when it is accepted.
    let room = open(book).has_room(T).filter(|room| *room);
    let offered = board.publish(Note::<T> { id }).await;
    note(book, T, id, room, offered.map(drop));
}

/// Publishes and goes on, while a task waits for all outcomes. Only where there is room, so that
/// it is accepted the first time it is polled.
async fn watched<const T: usize>(
    book: &Shared,
    board: &Board,
) -> Option<JoinHandle<Option<Watched>>>
where
    Note<T>: Event,
{
    if open(book).has_room(T) != Some(true) {
        return None;
    }
    let event = open(book).next_event()?;
    let mut settling: Pin<Box<PublishSettled<Note<T>>>> =
        Box::pin(board.publish(Note::<T> { id: event }).settled());
    let first = poll_fn(|cx| Poll::Ready(settling.as_mut().poll(cx))).await;
    open(book).accept(T, event, Some(true));
    let casts = &open(book).casts;
    let heard = (0..casts.len()).filter(|service| casts[*service].lanes[T].open);
    let heard: Vec<usize> = heard.collect();
    Some(spawn_local(async move {
        let told = match first {
            Poll::Ready(told) => told,
            Poll::Pending => settling.await,
        };
        let told = told.ok()?;
        Some(Watched { event, heard, told })
    }))
}

/// Gives one of the dead letters back.
async fn redrive(book: &Shared, board: &Board, dice: &mut fastrand::Rng) {
    let mut letters = board.dead_letters();
    if letters.is_empty() {
        return;
    }
    let letter = letters.swap_remove(dice.usize(0..letters.len()));
    let Some((service, topic, event)) = audit::of(book, &letter) else {
        return;
    };
    {
        let lane = &mut open(book).casts[service].lanes[topic];
        if !lane.open || lane.ending {
            return;
        }
        lane.accepted += 1;
        lane.returned.push_back(event);
    }
    let given = board.redrive(&letter).await;
    let mut book = open(book);
    book.redriven += u64::from(given.is_ok());
    if given.is_ok() {
        return;
    }
    let lane = &mut book.casts[service].lanes[topic];
    lane.accepted -= 1;
    match lane.returned.iter().rposition(|one| *one == event) {
        Some(index) => drop(lane.returned.remove(index)),
        None => lane.vague = true,
    }
}

/// How an attempt that is on a dead letter ended.
pub(crate) fn end_of(attempt: &callboard::FailedAttempt) -> End {
    match attempt.trouble {
        callboard::policy::Trouble::Crashed => End::Panicked,
        callboard::policy::Trouble::TimedOut => End::TimedOut,
        _ if attempt.failure.is_permanent() => End::Permanent,
        _ => End::Failed,
    }
}
