//! Nobody waits for ever: every ask ends within its limit, whatever becomes of who is asked.
//!
//! A seed decides what is asked of whom and in which way, how each answering goes, and when the
//! services are killed, restarted, stopped and started again, suspended and resumed, or the whole
//! board is shut down. The services write down what they begin; the reference is that, and who
//! troubled whom when. Each answer, and each reason why there is none, is held against it.
//!
//! A run that fails names its seed: add it to `KNOWN`, which is always run first.

mod book;

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callboard::AskError;
use callboard::defaults::ASK_WAIT;
use callboard::prelude::*;
use fastrand::Rng;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::support_lives::{boom, here, paused};
use book::{Asked, Book, Ends, Kind};

/// Runs that once failed, with what was wrong then.
const KNOWN: &[u64] = &[];

/// How many runs: a few seconds in release.
const RUNS: u64 = if cfg!(debug_assertions) { 100 } else { 400 };

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Few, so that mailboxes are full now and then.
const LETTERS: usize = 3;
const ASKERS: usize = 6;
const ASKS: usize = 40;
/// How long a service may take to stop.
const STOP: Duration = millis(100);

/// What a service does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Reply,
    Nap(Duration),
    Fail,
    Panic,
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Job {
    id: u64,
    deed: Deed,
}
impl Message for Job {
    type Reply = u64;
}

type Shared = Arc<Mutex<Book>>;

fn open(book: &Shared) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    number: usize,
    book: Shared,
}
impl Service for Worker {}
impl Answer<Job> for Worker {
    async fn answer(&mut self, job: Job, _: &mut Context<Self>) -> Outcome<u64> {
        open(&self.book).begin(self.number, job.id);
        match job.deed {
            Deed::Reply => {}
            Deed::Nap(time) => sleep(time).await,
            Deed::Fail => return Err(Failure::new("no")),
            Deed::Panic => {
                open(&self.book).trouble(self.number, Kind::Crash);
                boom()
            }
            Deed::Hang => pending().await,
        }
        Ok(job.id * 2)
    }
}

/// A team of three, of which one may take the others with it.
fn tree(seed: u64, book: &Shared) -> (Supervisor, Vec<Address<Worker>>) {
    let team = match seed % 3 {
        0 => Supervisor::one_for_one("team"),
        1 => Supervisor::one_for_all("team"),
        _ => Supervisor::rest_for_one("team"),
    };
    let mut team = team.max_restarts(1_000_000, secs(3_600));
    let mut addresses = Vec::new();
    for (number, name) in NAMES.into_iter().enumerate() {
        let book = Arc::clone(book);
        let make = move || Worker {
            number,
            book: Arc::clone(&book),
        };
        let spec = service(name, make).letters(LETTERS).shutdown(STOP);
        addresses.push(spec.address());
        team = team.child(spec);
    }
    (Supervisor::one_for_one("shop").child(team), addresses)
}

/// What askers and troublers share.
struct Drive {
    board: Board,
    book: Shared,
    addresses: Vec<Address<Worker>>,
    over: Cell<bool>,
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<u64, AskError<Job>>> + 'a>>;

/// Asks something of somebody in some way, and has the end judged.
async fn ask(book: &Shared, addresses: &[Address<Worker>], dice: &mut Rng) {
    let deed = match dice.u8(0..20) {
        0..9 => Deed::Reply,
        9..15 => Deed::Nap(millis(dice.u64(0..150))),
        15 | 16 => Deed::Fail,
        17 | 18 => Deed::Panic,
        _ => Deed::Hang,
    };
    let id = open(book).next_job();
    let (job, service) = (Job { id, deed }, dice.usize(0..addresses.len()));
    let to = &addresses[service];
    let way = dice.u8(0..3);
    let limit = match way {
        0 => millis(dice.u64(0..400)),
        _ => ASK_WAIT,
    };
    let began = Instant::now();
    let asking: Asking<'_> = match way {
        0 => Box::pin(to.ask_within(job, limit)),
        1 => Box::pin(to.ask(job)),
        _ => Box::pin(to.try_ask(job)),
    };
    // Longer than it may take, so that one that never ends is a fault, and hangs nothing.
    let end = timeout(limit + secs(10), asking).await;
    let asked = Asked {
        job,
        service,
        began,
        limit,
        waits_for_room: way < 2,
    };
    open(book).judge(&asked, end.ok());
}

async fn many_asks(drive: Rc<Drive>, mut dice: Rng) {
    for _ in 0..ASKS {
        ask(&drive.book, &drive.addresses, &mut dice).await;
        match dice.u8(0..3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => sleep(millis(dice.u64(0..60))).await,
        }
    }
}

/// Troubles a service as long as others ask. Whether each trouble is possible just now is decided
/// elsewhere: another one is under way at the same time.
async fn troubles(drive: Rc<Drive>, service: usize, mut dice: Rng) {
    let (board, book, name) = (&drive.board, &drive.book, NAMES[service]);
    let path = &*format!("shop/team/{name}");
    let note = |kind| open(book).trouble(service, kind);
    let team = board.supervisor("shop/team").unwrap();
    while !drive.over.get() {
        sleep(millis(dice.u64(0..600))).await;
        let pause = millis(dice.u64(0..200));
        let kind = dice.u8(0..8);
        let trouble = match kind {
            0..2 => note(Kind::Kill),
            2 | 3 => note(Kind::Restart),
            4 | 5 => note(Kind::Stop),
            _ => note(Kind::Suspend),
        };
        match kind {
            0..2 => drop(board.kill(path).await),
            2 | 3 => drop(board.restart(path).await),
            4 => {
                drop(board.stop(path).await);
                sleep(pause).await;
                drop(board.restart(path).await);
            }
            5 => {
                drop(team.terminate_child(name).await);
                sleep(pause).await;
                // If somebody else is starting it, this is over only when it has started.
                if team.restart_child(name).await.is_err() {
                    drop(board.restart(path).await);
                }
            }
            _ => {
                drop(board.suspend(path));
                sleep(pause).await;
                drop(board.resume(path));
            }
        }
        open(book).trouble_is_over(trouble);
    }
}

/// Brings everybody up again, which ends what hangs, and waits until all is settled.
async fn calm_down(board: &Board) {
    for name in NAMES {
        let path = format!("shop/team/{name}");
        board.resume(&path).unwrap();
        board.restart(&path).await.unwrap();
    }
    board.settle().await.unwrap();
}

async fn play(seed: u64, book: Shared) {
    let mut dice = Rng::with_seed(seed);
    let (root, addresses) = tree(seed, &book);
    // The board does not exist yet.
    ask(&book, &addresses, &mut dice).await;
    let drive = Rc::new(Drive {
        board: here(root).await,
        book: Arc::clone(&book),
        addresses,
        over: Cell::new(false),
    });
    let mut asking = Vec::new();
    for _ in 0..ASKERS {
        asking.push(spawn_local(many_asks(Rc::clone(&drive), dice.fork())));
    }
    let mut troubling = Vec::new();
    for service in (0..NAMES.len()).cycle().take(2 * NAMES.len()) {
        troubling.push(spawn_local(troubles(
            Rc::clone(&drive),
            service,
            dice.fork(),
        )));
    }
    let board = &drive.board;
    // In every fourth run the board ends in the middle of it all.
    if seed.is_multiple_of(4) {
        sleep(millis(dice.u64(0..4_000))).await;
        open(&book).end_all();
        board.shutdown(millis(dice.u64(0..300))).await;
    }
    for one in asking {
        one.await.unwrap();
    }
    drive.over.set(true);
    for one in troubling {
        one.await.unwrap();
    }
    if !seed.is_multiple_of(4) {
        calm_down(board).await;
    }
    open(&book).audit(&board.ledger());
    let report = board.shutdown(secs(60)).await;
    open(&book).end_all();
    ask(&book, &drive.addresses, &mut dice).await;
    open(&book).audit(&report.ledger);
}

/// Plays one run, and says how the asks ended.
///
/// # Panics
/// If a promise is broken; the message starts with the seed.
fn run(seed: u64) -> Ends {
    let book = Shared::new(Mutex::new(Book::new(
        seed,
        NAMES.map(|name| format!("shop/team/{name}")),
    )));
    let played = paused(async { timeout(secs(3_600), play(seed, Arc::clone(&book))).await });
    assert!(played.is_ok(), "seed {seed}: it does not end");
    let book = open(&book);
    assert!(book.faults.is_empty(), "seed {seed}: {:#?}", book.faults);
    book.ends.clone()
}

#[test]
fn every_ask_ends_within_its_limit_with_an_answer_or_the_reason_why_there_is_none() {
    let mut ends = Ends::new();
    for run in KNOWN.iter().copied().chain(0..RUNS).map(run) {
        for (end, count) in run {
            *ends.entry(end).or_default() += count;
        }
    }
    println!("{ends:?}");
    let asks = ASKERS * ASKS + 2;
    let all: u64 = ends.values().sum();
    assert!(all >= RUNS * asks as u64, "{ends:?}");
    let seen: Vec<_> = ends.keys().copied().collect();
    assert_eq!(seen, book::ALL_ENDS, "{ends:?}");
}
