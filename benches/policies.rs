//! What does each policy cost while it has nothing to do?
//!
//! Unit: nanoseconds per event, and how many more than with no policy at all. One service on this
//! thread handles bursts of events; every event is new, every handler succeeds, and no guard holds
//! anything up. All take turns, round by round; medians of the rounds, as a Markdown table.
//! `a follow-up event` publishes one event more for each, to nobody.
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
use callboard::{Breaker, Dedupe, Key, RateLimit, RetryBudget};

use common::ground::Ground;
use common::readers::root;
use common::rounds::{Work, median, take_turns};

/// Events in a burst: half of what a subscription may lag behind by default.
const BURST: u64 = 512;
const TURN: Duration = Duration::from_millis(5);
/// Odd, so that the median is a round that was measured.
const ROUNDS: usize = 15;

struct Order(u64);
impl Event for Order {
    const NAME: &'static str = "order";

    fn key(&self) -> Key {
        self.0.into()
    }
}

struct Done;
impl Event for Done {
    const NAME: &'static str = "done";
}

#[derive(Default)]
struct Clerk(u64);
impl Service for Clerk {}
impl Handle<Order> for Clerk {
    async fn handle(&mut self, order: &Order, _: &mut Context<Self>) -> Outcome {
        self.0 = black_box(self.0.wrapping_add(order.0));
        Ok(())
    }
}

/// No retry, and nothing kept of what fails.
fn none() -> Policy {
    Policy::new()
        .retry(Retry::never())
        .failure(OnFailure::discard())
}

fn follow_up() -> OnSuccess {
    OnSuccess::acknowledge().publish(|_: &Clerk, _: &Order| Done)
}

/// Far away, so that it is never met.
const HOUR: Duration = secs(3_600);

fn policies() -> Vec<(&'static str, Policy)> {
    let some = || Retry::exponential(millis(50)).attempts(4);
    let rate = RateLimit::per_second(1_000_000_000);
    vec![
        ("none at all", none()),
        ("default", Policy::new()),
        (
            "retry in place, within 30 s",
            none().retry(some().within(secs(30))),
        ),
        ("retry deferred", none().retry(some().deferred())),
        ("retry parked", none().retry(some().parked())),
        (
            "retry by a function",
            none().retry(Retry::with(|_| Some(millis(50)))),
        ),
        ("timeout", none().timeout(HOUR)),
        ("deadline", none().deadline(HOUR)),
        ("time to live", none().time_to_live(HOUR)),
        ("dedupe by key", none().dedupe(Dedupe::by_key(secs(1)))),
        ("dedupe by cause", none().dedupe(Dedupe::by_cause(secs(1)))),
        ("rate limit", none().rate_limit(rate.burst(1_000_000_000))),
        ("breaker", none().breaker(Breaker::new())),
        (
            "retry budget",
            none().retry(some()).retry_budget(RetryBudget::new(0.2)),
        ),
        ("a follow-up event", none().success(follow_up())),
        (
            "a follow-up event, waited for",
            none().success(follow_up().waited()),
        ),
    ]
}

fn under(policy: Policy) -> Work<'static> {
    let ground = Ground::new();
    let clerk = service("clerk", Clerk::default).on::<Order>();
    let board = ground.board(root().child(clerk.policy(policy)));
    let orders = board.publisher::<Order>();
    let mut next = 0;
    Work::new(BURST, move || {
        ground.run(async {
            for _ in 0..BURST {
                next += 1;
                orders.publish(Order(next)).await.unwrap();
            }
            board.settle().await.unwrap();
        });
        // Neither held up nor discarded.
        let ledger = board.ledger();
        let row = ledger.delivery("bench/clerk", "order").unwrap();
        assert_eq!(row.acknowledged, next);
    })
}

fn main() {
    let (names, policies): (Vec<_>, Vec<_>) = policies().into_iter().unzip();
    let mut works: Vec<_> = policies.into_iter().map(under).collect();
    let taken = take_turns(ROUNDS, TURN, &mut works);
    println!("| policy                        |  ns per event | more than none |");
    println!("|---|---:|---:|");
    for (name, times) in names.iter().zip(&taken) {
        let more: Vec<f64> = times.iter().zip(&taken[0]).map(|(a, b)| a - b).collect();
        let (time, more) = (median(times), median(&more));
        println!("| {name:<29} | {time:>13.1} | {more:>+14.1} |");
    }
}
