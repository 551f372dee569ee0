//! What the counts say, beside their bounds.
//!
//! The program reads the runner's report with it, and prints what comes of it.
//!
//! Invariant: a workload without a bound and a bound without a workload are failures too, so that
//! none is lost from sight.
//!
//! It prints nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::bounds::{BOUNDS, Bound, SLACK};

/// What was found for one workload. Counts are instructions per operation.
pub(crate) enum Verdict {
    Kept(&'static Bound, f64),
    Broken(&'static Bound, f64),
    /// Far below its bound, which would let a later regression pass.
    Lower(&'static Bound, f64),
    Uncounted(&'static Bound),
    Unbound(String),
}

impl Verdict {
    pub(crate) fn fails(&self) -> bool {
        !matches!(self, Verdict::Kept(..) | Verdict::Lower(..))
    }
}

/// One verdict for each bound, in their order, and for each workload without one.
pub(crate) fn of(report: &str) -> Vec<Verdict> {
    let mut counts: BTreeMap<String, u64> = report.lines().filter_map(count).collect();
    let mut verdicts: Vec<Verdict> = BOUNDS
        .iter()
        .map(|bound| match counts.remove(bound.workload) {
            Some(count) => beside(bound, count as f64 / bound.operations as f64),
            None => Verdict::Uncounted(bound),
        })
        .collect();
    verdicts.extend(counts.into_keys().map(Verdict::Unbound));
    verdicts
}

fn beside(bound: &'static Bound, count: f64) -> Verdict {
    let ratio = count / bound.instructions;
    if ratio > 1.0 + SLACK {
        Verdict::Broken(bound, count)
    } else if ratio < 1.0 - SLACK {
        Verdict::Lower(bound, count)
    } else {
        Verdict::Kept(bound, count)
    }
}

/// The workload and its instructions, from one line of the report.
fn count(line: &str) -> Option<(String, u64)> {
    let report: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| report.get(name).and_then(Value::as_str);
    let workload = format!("{}.{}", text("function_name")?, text("id")?);
    let count = report.pointer("/profiles/0/data/total/metrics/Ir/values/new")?;
    Some((workload, count.as_u64()?))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, bound, count) = match self {
            Verdict::Kept(bound, count) => ("ok", bound, count),
            Verdict::Broken(bound, count) => ("BROKEN", bound, count),
            Verdict::Lower(bound, count) => ("lower the bound", bound, count),
            Verdict::Uncounted(bound) => {
                return write!(f, "| {} | | | | NOT COUNTED |", bound.workload);
            }
            Verdict::Unbound(workload) => return write!(f, "| {workload} | | | | NO BOUND |"),
        };
        let off = (count / bound.instructions - 1.0) * 100.0;
        write!(
            f,
            "| {:<24} | {count:>8.0} | {:>8.0} | {off:>+5.1} % | {word}, per {} |",
            bound.workload, bound.instructions, bound.operation
        )
    }
}
