//! Everybody sees events of one type in one order, and causes before effects across types.
//!
//! A chain of relays alone would pass on broken code: mailboxes here are nearly empty, everybody
//! dawdles by chance, and every event carries what its publisher knew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use callboard::prelude::*;

use crate::support_events::{Memo, Note, Step, clerk, row, shop};

#[test]
fn all_subscribers_see_one_order() {
    const EACH: u64 = if cfg!(debug_assertions) {
        1_000
    } else {
        20_000
    };
    let clerks: Vec<_> = ["a", "b", "c"]
        .map(|name| clerk(name, |_| Step::Done))
        .into_iter()
        .collect();
    let mut root = shop();
    let mut logs = Vec::new();
    for (spec, log) in clerks {
        root = root.child(spec.on_with::<Note>(|on| on.capacity(64)).spread());
        logs.push(log);
    }
    let board = Board::builder().arbiters(2).start(root).unwrap();
    std::thread::scope(|scope| {
        for publisher in 0..4 {
            let publishing = board.publisher();
            scope.spawn(move || {
                for id in 0..EACH {
                    let note = Note(publisher * EACH + id);
                    publishing.publish_blocking(note).unwrap();
                }
            });
        }
    });
    board.settle_blocking().unwrap();
    let orders: Vec<_> = logs.iter().map(crate::support_events::Log::ids).collect();
    assert_eq!(orders[0].len() as u64, 4 * EACH);
    assert!(orders.iter().all(|order| *order == orders[0]));
    for publisher in 0..4 {
        let own = orders[0].iter().filter(|id| **id / EACH == publisher);
        assert!(own.is_sorted_by(|a, b| a < b));
    }
    assert!(logs[0].seen().is_sorted_by(|a, b| a.number < b.number));
    board.shutdown_blocking(secs(5));
}

#[test]
fn two_types_published_alternately_are_seen_alternately() {
    const PAIRS: u64 = if cfg!(debug_assertions) {
        2_000
    } else {
        50_000
    };
    let (spec, log) = clerk("clerk", |_| Step::Done);
    let board = Board::start(shop().child(spec.on::<Note>().on::<Memo>())).unwrap();
    for id in 0..PAIRS {
        board.publish_blocking(Note(2 * id)).unwrap();
        board.publish_blocking(Memo(2 * id + 1)).unwrap();
    }
    board.settle_blocking().unwrap();
    assert_eq!(log.ids(), (0..2 * PAIRS).collect::<Vec<_>>());
    assert_eq!(row(&board, "shop/clerk", "memo").acknowledged, PAIRS);
    board.shutdown_blocking(secs(5));
}

/// What a publisher of this kind has published, and who knew of what when.
const KINDS: usize = 3;

/// An event of one of several types, with how many of each its publisher had seen.
struct Fact<const KIND: usize> {
    knows: [u64; KINDS],
}
impl Event for Fact<0> {
    const NAME: &'static str = "fact.0";
}
impl Event for Fact<1> {
    const NAME: &'static str = "fact.1";
}
impl Event for Fact<2> {
    const NAME: &'static str = "fact.2";
}

#[derive(Default)]
struct Findings {
    heard: AtomicU64,
    violations: Mutex<Vec<String>>,
}

/// Hears all kinds, checks that it knew what their publishers knew, and may publish the next.
struct Gossip {
    knows: [u64; KINDS],
    dice: u64,
    dawdles: bool,
    /// Which kind it publishes, if it does.
    publishes: Option<usize>,
    findings: Arc<Findings>,
}

impl Service for Gossip {}

impl Gossip {
    fn throw(&mut self) -> u64 {
        // A linear congruential generator: chance enough, and the same in every run.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.dice >> 33
    }

    async fn dawdle(&mut self) {
        if self.dawdles {
            for _ in 0..self.throw() % 4 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn learn(&mut self, kind: usize, knows: &[u64; KINDS]) {
        for (other, known) in knows.iter().enumerate() {
            if self.knows[other] < *known {
                let text = format!("saw {knows:?} of kind {kind} knowing {:?}", self.knows);
                self.findings.violations.lock().unwrap().push(text);
            }
        }
        self.knows[kind] += 1;
        self.findings.heard.fetch_add(1, Ordering::Relaxed);
    }
}

macro_rules! gossips {
    ($($kind:literal),*) => { $(
        impl Handle<Fact<$kind>> for Gossip {
            async fn handle(&mut self, fact: &Fact<$kind>, cx: &mut Context<Self>) -> Outcome {
                self.dawdle().await;
                self.learn($kind, &fact.knows);
                self.dawdle().await;
                let next = ($kind + 1) % KINDS;
                if self.publishes != Some(next) || self.knows[next] >= self.knows[$kind] {
                    return Ok(());
                }
                let knows = self.knows;
                match next {
                    0 => drop(cx.publish(Fact::<0> { knows }).await?),
                    1 => drop(cx.publish(Fact::<1> { knows }).await?),
                    _ => drop(cx.publish(Fact::<2> { knows }).await?),
                }
                Ok(())
            }
        }
    )* };
}
gossips!(0, 1, 2);

#[test]
fn nobody_sees_an_effect_before_its_cause() {
    const ROUNDS: u64 = if cfg!(debug_assertions) { 300 } else { 6_000 };
    let findings = Arc::new(Findings::default());
    let mut root = Supervisor::one_for_one("town");
    for number in 0..6_usize {
        let findings = Arc::clone(&findings);
        // Two of them answer kind 0 with 1, and 1 with 2; the others only listen, some at once.
        let publishes = [Some(1), Some(2)].get(number).copied().flatten();
        let spec = service(format!("gossip-{number}"), move || Gossip {
            knows: [0; KINDS],
            dice: number as u64 + 1,
            dawdles: number % 3 != 2,
            publishes,
            findings: Arc::clone(&findings),
        });
        let spec = spec
            .on::<Fact<2>>()
            .on::<Fact<1>>()
            .on::<Fact<0>>()
            .spread();
        root = root.child(spec);
    }
    let board = Board::builder().arbiters(3).start(root).unwrap();
    for round in 0..ROUNDS {
        // One at a time, mostly: with full mailboxes nobody ever has to look twice.
        board
            .publish_blocking(Fact::<0> { knows: [0; KINDS] })
            .unwrap();
        if round % 4 != 0 {
            board.settle_blocking().unwrap();
        }
    }
    board.settle_blocking().unwrap();
    let violations = findings.violations.lock().unwrap();
    assert!(
        violations.is_empty(),
        "{} in all: {}",
        violations.len(),
        violations[0]
    );
    let topic = |name| board.ledger().topic(name).unwrap().published;
    assert_eq!(topic("fact.0"), ROUNDS);
    assert!(topic("fact.1") > ROUNDS / 2 && topic("fact.2") > ROUNDS / 4);
    assert_eq!(board.shutdown_blocking(secs(5)).ledger.gap(), 0);
}
