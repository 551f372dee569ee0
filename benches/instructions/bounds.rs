//! How many instructions each workload takes, and by how much that may change.
//!
//! The judge reads it; who makes something faster lowers its figure here.
//!
//! Invariant: each workload that is counted has a line.
//!
//! The figures are of one machine (x86-64, Rust 1.95); others may differ a little, as their
//! C library chooses other ways to copy memory.

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
pub(crate) const BOUNDS: [Bound; 10] = [
    bound("publish.to_1", "delivery", EVENTS, 653.0),
    bound("publish.to_10", "delivery", EVENTS * 10, 139.0),
    bound("publish.to_100", "delivery", EVENTS * 100, 87.0),
    bound("publish_all.to_10", "delivery", EVENTS * 10, 117.0),
    bound("publish_apart.to_1", "event published, handled and settled", APART, 16_946.0),
    bound("publish_in_turn.to_10", "delivery", EVENTS * 10, 722.0),
    bound("publish_in_turn.to_100", "delivery", EVENTS * 100, 672.0),
    bound("tell.here", "message", TOLD, 477.0),
    bound("ask.here", "answer", ASKS, 4_739.0),
    bound("start.here", "service", STARTED, 25_870.0),
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
