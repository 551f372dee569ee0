//! How does the cost of a delivery change with the size of the board?
//!
//! Unit: nanoseconds per delivery, and how many times the first row of its table. Prints Markdown:
//!
//! - subscribers, 1 to 1,000, of one topic;
//! - topics, 1 to 16, each with one subscriber, published in turn: one burst over all of them, so
//!   that there is a wake-up for ever fewer events, and a burst for each;
//! - services, 10 to 100,000, all subscribed to one topic: beyond some 1,000 out of the caches;
//! - arbiters, 1 and 2, with 100 subscribers spread over them, and a publisher elsewhere;
//! - bytes of an event, 8 to 65,536, to 10 subscribers.
//!
//! All but the arbiters on one thread. Medians of some rounds in which the rows take turns.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench"
)]

mod common;

use std::hint::black_box;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Child, Publisher};

use common::elsewhere::Elsewhere;
use common::ground::Ground;
use common::readers::{Tick, reader, root};
use common::rounds::{Work, median, take_turns};
use common::works::publishing;

/// Events in a burst: half of what a subscription may lag behind by default.
const BURST: u64 = 512;
/// Events to very many: less would be the cost of a wake-up, more would take long.
const SHORT_BURST: u64 = 64;
const TURN: Duration = Duration::from_millis(20);
/// Odd, so that the median is a round that was measured.
const ROUNDS: usize = 7;

fn to_arbiters(count: usize) -> Work<'static> {
    let spread = |index| reader(index).arbiter(index % count);
    let tree = (0..100).fold(root(), |root, index| root.child(spread(index)));
    let board = Elsewhere::new(count, tree);
    let ticks = board.publisher::<Tick>();
    Work::new(BURST * 100, move || {
        for number in 0..BURST {
            ticks.publish_blocking(Tick(number)).unwrap();
        }
        board.settle_blocking().unwrap();
    })
}

struct Sized<const N: usize>([u8; N]);
impl<const N: usize> Event for Sized<N> {
    const NAME: &'static str = "sized";
}

/// Has some of what it is told.
#[derive(Default)]
struct Taster(u8);
impl Service for Taster {}
impl<const N: usize> Handle<Sized<N>> for Taster {
    async fn handle(&mut self, sized: &Sized<N>, _: &mut Context<Self>) -> Outcome {
        self.0 = black_box(self.0.wrapping_add(sized.0[N / 2]));
        Ok(())
    }
}

fn of_bytes<const N: usize>() -> Work<'static> {
    let ground = Ground::new();
    let taster = |index| service(format!("taster{index}"), Taster::default).on::<Sized<N>>();
    let board = ground.board((0..10).fold(root(), |root, index| root.child(taster(index))));
    let events = board.publisher::<Sized<N>>();
    Work::new(BURST * 10, move || {
        ground.run(async {
            for number in 0..BURST {
                let event = Sized([number as u8; N]);
                events.publish(event).await.unwrap();
            }
            board.settle().await.unwrap();
        });
    })
}

/// One of some topics.
struct News<const N: usize>(u64);
impl<const N: usize> Event for News<N> {
    const NAME: &'static str = "abcdefghijklmnop".split_at(N).1;
}
impl<const N: usize> Handle<News<N>> for Taster {
    async fn handle(&mut self, news: &News<N>, _: &mut Context<Self>) -> Outcome {
        self.0 = black_box(self.0.wrapping_add(news.0 as u8));
        Ok(())
    }
}

/// Publishes a number.
type Press = Box<dyn Fn(u64)>;

/// A subscriber of one topic, and what publishes there.
struct Desk {
    child: Child,
    press: fn(&Board) -> Press,
}

fn desk<const N: usize>() -> Desk {
    let taster = service(format!("taster{N}"), Taster::default);
    Desk {
        child: taster.on::<News<N>>().into(),
        press: |board| {
            let news: Publisher<News<N>> = board.publisher();
            Box::new(move |number| {
                news.try_publish(News(number)).unwrap();
            })
        },
    }
}

/// The compiler makes a topic, and the loop of its subscriber, for each: more would take it long.
const DESKS: [fn() -> Desk; 16] = [
    desk::<0>, desk::<1>, desk::<2>, desk::<3>, desk::<4>, desk::<5>, desk::<6>, desk::<7>,
    desk::<8>, desk::<9>, desk::<10>, desk::<11>, desk::<12>, desk::<13>, desk::<14>, desk::<15>,
];

/// So many events in turn to some topics.
fn to_topics(count: usize, events: u64) -> Work<'static> {
    let ground = Ground::new();
    let (mut root, mut presses) = (root(), Vec::new());
    for desk in DESKS.into_iter().take(count) {
        let desk = desk();
        root = root.child(desk.child);
        presses.push(desk.press);
    }
    let board = ground.board(root);
    let presses: Vec<_> = presses.iter().map(|press| press(&board)).collect();
    Work::new(events, move || {
        ground.run(async {
            for number in 0..events {
                presses[number as usize % presses.len()](number);
            }
            board.settle().await.unwrap();
        });
    })
}

/// Measures the rows of one table and prints it.
fn table(what: &str, rounds: usize, rows: Vec<(usize, Work<'static>)>) {
    let (sizes, mut works): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let taken = take_turns(rounds, TURN, &mut works);
    let first = median(&taken[0]);
    println!("| {what} | ns per delivery | of the first |");
    println!("|---:|---:|---:|");
    for (size, times) in sizes.iter().zip(&taken) {
        let time = median(times);
        println!("| {size} | {time:.1} | {:.2} |", time / first);
    }
    println!();
}

fn main() {
    let rows = |sizes: &[usize], work: &dyn Fn(usize) -> Work<'static>| {
        sizes.iter().map(|size| (*size, work(*size))).collect()
    };
    let readers = |count| publishing(count, BURST);
    table("subscribers", ROUNDS, rows(&[1, 10, 100, 1_000], &readers));
    let shared = |count| to_topics(count, BURST);
    table("topics, one burst", ROUNDS, rows(&[1, 4, 16], &shared));
    let each = |count| to_topics(count, BURST * count as u64);
    table("topics, a burst each", ROUNDS, rows(&[1, 4, 16], &each));
    let many = |count| publishing(count, SHORT_BURST);
    // A turn of the last takes a second.
    table(
        "services",
        3,
        rows(&[10, 100, 1_000, 10_000, 100_000], &many),
    );
    table("arbiters", ROUNDS, rows(&[1, 2], &to_arbiters));
    let sizes = vec![
        (8, of_bytes::<8>()),
        (64, of_bytes::<64>()),
        (1_024, of_bytes::<1_024>()),
        (8_192, of_bytes::<8_192>()),
        (65_536, of_bytes::<65_536>()),
    ];
    table("bytes", ROUNDS, sizes);
}
