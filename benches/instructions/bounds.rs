//! How many instructions each workload takes, and by how much that may change.
//!
//! The judge reads it; who makes something faster lowers its figure here.
//!
//! Invariant: each workload that is counted has a line.
//!
//! The figures are of this very program: with more workloads in it the compiler inlines otherwise,
//! and the same takes up to 4 % more or less. And they are of one machine (x86-64, Rust 1.95);
//! others may differ a little, as their C library chooses other ways to copy memory.

/// How far from its figure a count may lie: 1 % between runs, some more between machines.
pub(crate) const SLACK: f64 = 0.08;

/// Events in a burst: half of what a subscription may lag behind by default.
pub(crate) const EVENTS: u64 = 512;
/// Events that are handled one by one.
pub(crate) const APART: u64 = 256;
/// Messages in a burst.
pub(crate) const TOLD: u64 = 512;
/// Questions, each answered before the next.
pub(crate) const ASKS: u64 = 256;
/// Failing events, each with an answer after it.
pub(crate) const RESTARTS: u64 = 64;
/// Services started.
pub(crate) const STARTED: u64 = 200;

pub(crate) struct Bound {
    /// The name of the function that is counted, and of its case.
    pub(crate) workload: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    /// Operations in the workload.
    pub(crate) operations: u64,
    /// Instructions of one operation.
    pub(crate) instructions: f64,
}

#[rustfmt::skip]
pub(crate) const BOUNDS: [Bound; 14] = [
    bound("publish.to_1", "delivery", EVENTS, 637.0),
    bound("publish.to_10", "delivery", EVENTS * 10, 134.0),
    bound("publish.to_100", "delivery", EVENTS * 100, 82.0),
    bound("publish_all.to_10", "delivery", EVENTS * 10, 112.0),
    bound("publish_apart.to_1", "event published, handled and settled", APART, 10_334.0),
    bound("publish_in_turn.to_10", "delivery", EVENTS * 10, 708.0),
    bound("publish_in_turn.to_100", "delivery", EVENTS * 100, 656.0),
    bound("publish_under.timeout", "delivery", EVENTS, 1_364.0),
    bound("publish_under.breaker", "delivery", EVENTS, 1_577.0),
    bound("publish_under.rate_limit", "delivery", EVENTS, 1_399.0),
    bound("tell.here", "message", TOLD, 431.0),
    bound("ask.here", "answer", ASKS, 4_632.0),
    bound("start.here", "service", STARTED, 26_564.0),
    bound("restart.here", "restart", RESTARTS, 60_552.0),
];

const fn bound(
    workload: &'static str,
    operation: &'static str,
    operations: u64,
    instructions: f64,
) -> Bound {
    Bound {
        workload,
        operation,
        operations,
        instructions,
    }
}
