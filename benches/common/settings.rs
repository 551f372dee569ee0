//! How criterion measures here.
//!
//! Benches take it as their configuration.
//!
//! Invariant: the same for all, and short enough that all of them together are run.
//!
//! `--warm-up-time`, `--measurement-time` and the like of the command line come first.

use std::time::Duration;

use criterion::Criterion;

pub(crate) fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}
