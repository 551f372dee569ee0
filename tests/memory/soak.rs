use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::prelude::*;
use tokio::time::{Instant, sleep_until};

use crate::stage::{Stage, root};

const HOUR: Duration = secs(60 * 60);
const SERVICES: usize = 100;
/// One in this many panics now and then in a timer, and another one over an event.
const PANICS: usize = 20;
/// How long such a life lasts, and how many events it hears. All have panicked, and all that is
/// kept of it was allocated, before anything is measured.
const LIFE: Duration = secs(25 * 60);
const LIFE_BEATS: u64 = if cfg!(debug_assertions) { 125 } else { 750 };
/// A tenth of all ticks publish something to everybody.
const TICKS: u64 = 10;
const SLOWER: u64 = if cfg!(debug_assertions) { 6 } else { 1 };

/// A block of events, where there was none.
const SLACK_BYTES: i64 = 10 * 1_024;

struct Beat;
impl Event for Beat {
    const NAME: &'static str = "beat";
}

#[derive(Default)]
struct Counts {
    lives: AtomicU64,
    ticks: AtomicU64,
    beats: AtomicU64,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

/// Ticks, and hears the beats of the others.
struct Metronome {
    number: usize,
    counts: Arc<Counts>,
    born: Instant,
    beats: u64,
}

/// Any of these fits a whole number of times into an hour.
fn interval(number: usize) -> Duration {
    secs([10, 15, 20, 30][number % 4] * SLOWER)
}

fn boom() -> ! {
    resume_unwind(Box::new("on purpose"))
}

impl Service for Metronome {
    async fn started(&mut self, cx: &mut Context<Self>) -> Outcome {
        self.born = cx.now();
        count(&self.counts.lives);
        cx.every(interval(self.number), async |metronome: &mut Self, cx| {
            metronome.tick(cx).await
        });
        Ok(())
    }
}

impl Metronome {
    async fn tick(&mut self, cx: &mut Context<Self>) -> Outcome {
        if self.number % PANICS == 1 && cx.now() - self.born >= LIFE {
            boom();
        }
        if count(&self.counts.ticks).is_multiple_of(TICKS) {
            cx.publish(Beat).await?;
        }
        Ok(())
    }
}

impl Handle<Beat> for Metronome {
    async fn handle(&mut self, _: &Beat, cx: &mut Context<Self>) -> Outcome {
        self.beats += 1;
        if self.number % PANICS == 2 && self.beats >= LIFE_BEATS && cx.attempt() == 1 {
            boom();
        }
        count(&self.counts.beats);
        Ok(())
    }
}

fn metronomes() -> (Supervisor, Vec<Arc<Counts>>) {
    let counts: Vec<Arc<Counts>> = (0..SERVICES).map(|_| Arc::default()).collect();
    let specs = counts.iter().enumerate().map(|(number, counts)| {
        let counts = Arc::clone(counts);
        let recipe = move || Metronome {
            number,
            counts: Arc::clone(&counts),
            born: Instant::now(),
            beats: 0,
        };
        service(format!("metronome{number}"), recipe).on::<Beat>()
    });
    let root = root().max_restarts(100, HOUR);
    (specs.fold(root, Supervisor::child), counts)
}

/// Every service that was never restarted has ticked as often as there were intervals.
fn nobody_drifts(counts: &[Arc<Counts>], hours: u64) {
    for (number, counts) in counts.iter().enumerate() {
        let [lives, ticks] = [&counts.lives, &counts.ticks].map(|it| it.load(Ordering::Relaxed));
        if matches!(number % PANICS, 1 | 2) {
            assert!(lives > 2 * hours, "{number} had {lives} lives");
        } else {
            let expected = hours * HOUR.as_secs() / interval(number).as_secs();
            assert_eq!((lives, ticks), (1, expected), "{number}");
        }
    }
}

#[test]
fn memory_does_not_grow_in_a_day_and_no_timer_drifts() {
    let stage = Stage::new();
    let (root, counts) = metronomes();
    let began = stage.run(async { Instant::now() });
    let board = stage.board(root);
    // Shortly after the hour, so that all that was due then has been done.
    let reach = |hours: u64| sleep_until(began + HOUR * u32::try_from(hours).unwrap() + secs(1));
    stage.run(async { reach(2).await });
    nobody_drifts(&counts, 2);
    let info = stage.measure(async { reach(24).await });
    println!("from hour 2 to hour 24: {info:?}");
    let ledger = board.ledger();
    nobody_drifts(&counts, 24);
    assert!(info.bytes_current <= SLACK_BYTES, "it grows: {info:?}");
    assert!(ledger.gap() == 0 && ledger.is_settled(), "{ledger}");
    let published = ledger.topic("beat").unwrap().published;
    let beats = counts.iter().map(|one| one.beats.load(Ordering::Relaxed));
    assert_eq!(beats.sum::<u64>(), published * SERVICES as u64);
}
