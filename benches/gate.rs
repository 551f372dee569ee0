//! Has something become much slower?
//!
//! Unit: nanoseconds per operation, and their ratio to what a channel, or a bare log, takes for the
//! same in the same process. Both take turns, round by round; the medians of the rounds are
//! compared. The bounds are wide, so that only a real regression breaks one: `cargo bench --bench
//! gate`.
//!
//! A bound that is broken is tried once more, since machines are noisy; then the program fails.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use std::hint::black_box;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{broadcast as bus, mpsc as queue};
use tokio::task::spawn_local;

use common::actix_peer::CAPACITY;
use common::bare_log::Log;
use common::count::Count;
use common::elsewhere::{Elsewhere, caller, workers};
use common::ground::Ground;
use common::readers::{Add, Reader, Tick, Tock, readers, readers_of_two};
use common::rounds::{Work, median, take_turns};
use common::tokio_peer;
use common::works::publishing;

/// What of ours, beside what of theirs, and how many times their time ours may take. About twice
/// what was measured; whoever makes something faster lowers its bound.
#[rustfmt::skip]
const GATES: [Gate; 11] = [
    gate("publish to 1", publish::<1>, "crossbeam", crossbeam, 8.0),
    gate("publish to 1", publish::<1>, "tokio mpsc", mpsc, 2.5),
    gate("publish to 10", publish::<10>, "tokio broadcast", broadcast::<10>, 1.2),
    gate("publish to 100", publish::<100>, "tokio broadcast", broadcast::<100>, 0.9),
    gate("publish to 100", publish::<100>, "bare log", bare_log::<100>, 7.0),
    gate("publish all to 1", publish_all, "crossbeam", crossbeam, 6.0),
    gate("two topics to 100", two_topics, "tokio broadcast", broadcast::<100>, 6.0),
    gate("tell", tell, "crossbeam", crossbeam, 14.0),
    gate("tell", tell, "tokio mpsc", mpsc, 4.5),
    gate("tell across", tell_across, "tokio mpsc", mpsc_across, 4.0),
    gate("ask", ask, "tokio mpsc, oneshot", mpsc_and_oneshot, 6.5),
];

const fn gate(
    ours: &'static str,
    our_work: Stage,
    theirs: &'static str,
    their_work: Stage,
    bound: f64,
) -> Gate {
    Gate {
        ours,
        theirs,
        bound,
        pair: (our_work, their_work),
    }
}

/// For how long each of a pair runs in a round; longer than a burst of the slowest.
const TURN: Duration = Duration::from_millis(10);
/// Odd, so that the median is a round that was measured.
const ROUNDS: usize = 15;

/// Events in a burst: half of what a subscription may lag behind by default.
const BURST: u64 = 512;
/// Messages in a burst to another thread: enough to hide the one wake-up at its end.
const LONG_BURST: u64 = 20_000;

/// Makes what is measured.
type Stage = fn() -> Work<'static>;

struct Gate {
    ours: &'static str,
    theirs: &'static str,
    bound: f64,
    pair: (Stage, Stage),
}

/// Nanoseconds per operation.
struct Measured {
    ours: f64,
    theirs: f64,
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }
}

impl Gate {
    fn measure(&self) -> Measured {
        let mut works = [(self.pair.0)(), (self.pair.1)()];
        let taken = take_turns(ROUNDS, TURN, &mut works);
        Measured {
            ours: median(&taken[0]),
            theirs: median(&taken[1]),
        }
    }

    /// Whether it holds, at the second try if need be; and its row of the table.
    fn judge(&self) -> (bool, String) {
        let mut measured = self.measure();
        let mut verdict = "ok";
        if measured.ratio() > self.bound {
            measured = self.measure();
            verdict = "ok, at the second try";
        }
        let holds = measured.ratio() <= self.bound;
        if !holds {
            verdict = "BROKEN";
        }
        let row = format!(
            "| {:<17} | {:>7.1} | {:<19} | {:>7.1} | {:>5.2} | {:>5.2} | {verdict} |",
            self.ours,
            measured.ours,
            self.theirs,
            measured.theirs,
            measured.ratio(),
            self.bound
        );
        (holds, row)
    }
}

fn main() -> ExitCode {
    println!(
        "| callboard         |      ns | beside              |      ns | ratio | bound | verdict |"
    );
    println!("|---|---:|---|---:|---:|---:|---|");
    let mut broken = 0;
    for gate in &GATES {
        let (holds, row) = gate.judge();
        println!("{row}");
        broken += usize::from(!holds);
    }
    if broken > 0 {
        eprintln!(
            "error: {broken} of {} bounds broken, twice each",
            GATES.len()
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn publish<const N: usize>() -> Work<'static> {
    publishing(N, BURST)
}

fn publish_all() -> Work<'static> {
    let ground = Ground::new();
    let board = ground.board(readers(1));
    let ticks = board.publisher::<Tick>();
    Work::new(BURST, move || {
        ground.run(async {
            ticks.publish_all((0..BURST).map(Tick)).await.unwrap();
            board.settle().await.unwrap();
        });
    })
}

fn two_topics() -> Work<'static> {
    let ground = Ground::new();
    let board = ground.board(readers_of_two(100));
    let (ticks, tocks) = (board.publisher::<Tick>(), board.publisher::<Tock>());
    Work::new(BURST * 100, move || {
        ground.run(async {
            for number in 0..BURST / 2 {
                ticks.publish(Tick(number)).await.unwrap();
                tocks.publish(Tock(number)).await.unwrap();
            }
            board.settle().await.unwrap();
        });
    })
}

fn tell() -> Work<'static> {
    let ground = Ground::new();
    let board = ground.board(readers(1));
    let reader = board.service::<Reader>("bench/reader0").unwrap();
    Work::new(BURST, move || {
        ground.run(async {
            for number in 0..BURST {
                reader.tell(Add(number)).await.unwrap();
            }
            board.settle().await.unwrap();
        });
    })
}

fn ask() -> Work<'static> {
    let ground = Ground::new();
    let board = ground.board(readers(1));
    let reader = board.service::<Reader>("bench/reader0").unwrap();
    Work::new(BURST, move || {
        let _lives = &board;
        let reader = reader.clone();
        ground.run_as_task(async move {
            for number in 0..BURST {
                black_box(reader.ask(Add(number)).await.unwrap());
            }
        });
    })
}

/// To a service on a thread of its own; the sender waits for room.
fn tell_across() -> Work<'static> {
    let (caller, board) = (caller(), Elsewhere::new(1, readers(1)));
    let reader = board.service::<Reader>("bench/reader0").unwrap();
    Work::new(LONG_BURST, move || {
        let _ends_with_this = &board;
        caller.block_on(async {
            for number in 1..LONG_BURST {
                reader.tell(Add(number)).await.unwrap();
            }
            black_box(reader.ask(Add(0)).await.unwrap());
        });
    })
}

/// A channel and nothing else: put in and taken out again.
fn crossbeam() -> Work<'static> {
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    let mut sum = 0_u64;
    Work::new(BURST, move || {
        for number in 0..BURST {
            sender.try_send(Tick(number)).unwrap();
        }
        while let Ok(tick) = receiver.try_recv() {
            sum = black_box(sum.wrapping_add(tick.0));
        }
    })
}

fn mpsc() -> Work<'static> {
    let ground = Ground::new();
    let (sender, mut receiver) = queue::channel(CAPACITY);
    let count = Rc::new(Count::default());
    let counted = Rc::clone(&count);
    ground.run(async {
        spawn_local(async move {
            while let Some(Tick(number)) = receiver.recv().await {
                counted.take(number);
            }
        });
    });
    Work::new(BURST, move || {
        ground.run(async {
            for number in 0..BURST {
                sender.send(Tick(number)).await.unwrap();
            }
            count.reach(BURST).await;
        });
    })
}

/// What is sent is cloned for each receiver: a number, so that this costs nothing.
fn broadcast<const N: usize>() -> Work<'static> {
    let ground = Ground::new();
    let (sender, _) = bus::channel(CAPACITY);
    let count = Rc::new(Count::default());
    ground.run(async {
        for _ in 0..N {
            let (mut receiver, counted) = (sender.subscribe(), Rc::clone(&count));
            spawn_local(async move {
                while let Ok(number) = receiver.recv().await {
                    counted.take(number);
                }
            });
        }
    });
    Work::new(BURST * N as u64, move || {
        ground.run(async {
            for number in 0..BURST {
                sender.send(number).unwrap();
            }
            count.reach(BURST * N as u64).await;
        });
    })
}

/// Written once, read in place, and nothing else.
fn bare_log<const N: usize>() -> Work<'static> {
    let ground = Ground::new();
    let (log, count) = (Log::new(), Rc::new(Count::default()));
    for _ in 0..N {
        ground.spawn(log.read(&count));
    }
    Work::new(BURST * N as u64, move || {
        ground.run(async {
            for number in 0..BURST {
                log.publish(Tick(number));
            }
            count.reach(BURST * N as u64).await;
        });
    })
}

fn mpsc_and_oneshot() -> Work<'static> {
    let ground = Ground::new();
    let (reader, task) = tokio_peer::reader();
    ground.spawn(task);
    Work::new(BURST, move || {
        let reader = reader.clone();
        ground.run_as_task(async move {
            for number in 0..BURST {
                black_box(tokio_peer::ask(&reader, number).await);
            }
        });
    })
}

/// To a task on a thread of its own, which answers the last message of a burst.
fn mpsc_across() -> Work<'static> {
    let (caller, workers) = (caller(), workers(1));
    let (reader, task) = tokio_peer::reader();
    workers.spawn(task);
    Work::new(LONG_BURST, move || {
        let _ends_with_this = &workers;
        caller.block_on(tokio_peer::burst(&reader, LONG_BURST));
    })
}
