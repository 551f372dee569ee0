//! A service has room for so many letters, whoever sends them, and from however many threads.
//!
//! What is accepted is answered once, in the order of its sender; what is refused comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use callboard::prelude::*;
use callboard::{LetterRow, TellError};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::support_events::{gate, shop};

/// Threads of each kind: those that try again, and those that wait for room.
const THREADS: u64 = 2;
/// Each with an address of its own.
const SENDERS: u64 = 8;
/// So many in a row, so that there are several of one sender in the queue.
const ROW: u64 = 10;
const EACH: u64 = if cfg!(debug_assertions) { 100 } else { 1_000 };
const LETTERS: u64 = 2 * THREADS * SENDERS * EACH;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Letter {
    sender: u64,
    number: u64,
}
impl Message for Letter {
    type Reply = ();
}

/// Writes down what it answers; it does not come to the end of the first one until it is let go.
struct Reader {
    answered: Arc<Mutex<Vec<Letter>>>,
    begun: mpsc::Sender<()>,
    gate: Arc<Semaphore>,
}
impl Service for Reader {}
impl Answer<Letter> for Reader {
    async fn answer(&mut self, letter: Letter, _: &mut Context<Self>) -> Outcome {
        let before = self.answered.lock().unwrap().len();
        self.answered.lock().unwrap().push(letter);
        if before == 0 {
            self.begun.send(())?;
            self.gate.acquire().await?.forget();
        }
        Ok(())
    }
}

/// What the senders of all threads have met.
#[derive(Default)]
struct Met {
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Met {
    /// Notes how a letter fared. If it was refused, it is back.
    fn note(&self, letter: Letter, told: Result<(), TellError<Letter>>) -> bool {
        self.sent.fetch_add(1, Ordering::SeqCst);
        match told {
            Ok(()) => {
                self.accepted.fetch_add(1, Ordering::SeqCst);
                true
            }
            Err(TellError::Full(back)) => {
                assert_eq!(back, letter);
                self.refused.fetch_add(1, Ordering::SeqCst);
                false
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// The senders of one thread, in turn; each sends its next letter when the one before is accepted.
fn send_until_accepted(senders: &[(u64, Address<Reader>)], met: &Met) {
    for row in 0..EACH / ROW {
        for (sender, address) in senders {
            for number in row * ROW..(row + 1) * ROW {
                let sender = *sender;
                let letter = Letter { sender, number };
                while !met.note(letter, address.try_tell(letter)) {
                    thread::yield_now();
                }
            }
        }
    }
}

/// The senders of one thread, all of them at once, and all of them waiting for room.
fn send_and_wait(senders: &[(u64, Address<Reader>)], met: &Met) {
    let sending = senders.iter().map(async |(sender, address)| {
        let sender = *sender;
        for number in 0..EACH {
            let letter = Letter { sender, number };
            // Refused only if there was no room for 5 s: a machine may be that slow.
            while !met.note(letter, address.tell(letter).await) {}
        }
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(join_all(sending));
}

fn letters(board: &Board) -> LetterRow {
    let ledger = board.ledger();
    ledger.letter("shop/reader").cloned().unwrap_or_default()
}

/// What was seen of the letters while they were sent.
#[derive(Debug, Default)]
struct Looks {
    count: u64,
    most_queued: u64,
    most_between: u64,
    gaps: u64,
}

impl Looks {
    fn look(&mut self, board: &Board) {
        let row = letters(board);
        self.count += 1;
        self.most_queued = self.most_queued.max(row.queued);
        self.most_between = self.most_between.max(row.accepted - row.taken);
        self.gaps += row.gap().unsigned_abs();
    }
}

/// Has all of them sent while somebody looks, from when the reader is stuck over the first one.
fn looks(board: &Board, address: &Address<Reader>, met: &Met, stuck: impl FnOnce()) -> Looks {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending: Vec<_> = (0..2 * THREADS)
            .map(|thread| {
                let numbers = thread * SENDERS..(thread + 1) * SENDERS;
                let senders: Vec<_> = numbers.map(|sender| (sender, address.clone())).collect();
                scope.spawn(move || match thread % 2 {
                    0 => send_until_accepted(&senders, met),
                    _ => send_and_wait(&senders, met),
                })
            })
            .collect();
        stuck();
        let looking = scope.spawn(|| {
            let mut looks = Looks::default();
            while !done.load(Ordering::Relaxed) {
                looks.look(board);
            }
            looks
        });
        let sent: Vec<_> = sending.into_iter().map(|one| one.join()).collect();
        done.store(true, Ordering::Relaxed);
        sent.into_iter().for_each(|one| one.unwrap());
        looking.join().unwrap()
    })
}

fn the_bound_holds(capacity: u64) {
    let (answered, gate, met) = (Arc::<Mutex<Vec<_>>>::default(), gate(), Met::default());
    let (begun, begins) = mpsc::channel();
    let (kept, key) = (Arc::clone(&answered), Arc::clone(&gate));
    let reader = service("reader", move || Reader {
        answered: Arc::clone(&kept),
        begun: begun.clone(),
        gate: Arc::clone(&key),
    });
    let reader = reader.letters(usize::try_from(capacity).unwrap());
    let address = reader.address();
    let board = Board::start(shop().child(reader.dedicated())).unwrap();
    let looks = looks(&board, &address, &met, || {
        begins.recv().unwrap();
        // Whoever is refused from now on finds the queue full while nothing is taken from it.
        let refused = met.refused.load(Ordering::SeqCst);
        while met.refused.load(Ordering::SeqCst) == refused {
            thread::yield_now();
        }
        let row = letters(&board);
        gate.add_permits(1);
        assert_eq!((row.in_flight, row.queued), (1, capacity));
    });
    board.settle_blocking().unwrap();
    println!("{looks:?}");
    assert!(looks.count > 0 && looks.gaps == 0, "{looks:?}");
    assert!(looks.most_queued <= capacity, "{looks:?}");
    assert!(looks.most_between <= capacity, "{looks:?}");
    let [sent, accepted, refused] = [&met.sent, &met.accepted, &met.refused];
    let [sent, accepted, refused] = [sent, accepted, refused].map(|it| it.load(Ordering::SeqCst));
    assert_eq!((accepted, accepted + refused), (LETTERS, sent));
    let answered = answered.lock().unwrap();
    for sender in 0..2 * THREADS * SENDERS {
        let theirs = answered.iter().filter(|letter| letter.sender == sender);
        let numbers = theirs.map(|letter| letter.number);
        assert!(numbers.eq(0..EACH), "of sender {sender}");
    }
    let report = board.shutdown_blocking(secs(5));
    let row = report.ledger.letter("shop/reader").unwrap();
    assert_eq!(
        (row.accepted, row.taken, row.answered),
        (LETTERS, LETTERS, LETTERS)
    );
    assert_eq!((report.ledger.gap(), report.drained), (0, true));
}

#[test]
fn there_is_never_more_than_one_letter_where_there_is_room_for_one() {
    the_bound_holds(1);
}

#[test]
fn there_are_never_more_letters_than_there_is_room_for() {
    the_bound_holds(8);
}
