//! What all cases together tell: sums that do not depend on the order in which cases come in.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::events::CaseFiled;

#[derive(Default)]
pub(crate) struct Tally {
    activities: BTreeMap<String, Sums>,
    paths: BTreeMap<Vec<String>, u64>,
    stalls: Vec<Stall>,
    took: Vec<Duration>,
    first: Option<OffsetDateTime>,
    last: Option<OffsetDateTime>,
}

#[derive(Default)]
struct Sums {
    count: u64,
    waits: Vec<Duration>,
    /// Cases that did it again, how often in all, and how often with nothing else between.
    again: (u64, u64, u64),
}

/// What is known when all cases are closed.
#[derive(Debug, Serialize)]
pub(crate) struct Sum {
    pub(crate) cases: u64,
    pub(crate) events: u64,
    #[serde(serialize_with = "moment")]
    pub(crate) first: Option<OffsetDateTime>,
    #[serde(serialize_with = "moment")]
    pub(crate) last: Option<OffsetDateTime>,
    /// From the first to the last event of a case.
    pub(crate) case_s: Option<Spread>,
    /// The most frequent first.
    pub(crate) activities: Vec<Activity>,
    pub(crate) different_paths: usize,
    /// The most common first, as many as were asked for.
    pub(crate) paths: Vec<Path>,
    pub(crate) stalled_cases: usize,
    /// Those that stalled longest first, as many as were asked for.
    pub(crate) stalled: Vec<Stall>,
    /// What was done again most often first.
    pub(crate) rework: Vec<Rework>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Activity {
    pub(crate) activity: String,
    pub(crate) count: u64,
    /// How long after the step before it in its case; nothing for what only begins cases.
    pub(crate) wait_s: Option<Spread>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Path {
    pub(crate) cases: u64,
    pub(crate) share: f64,
    pub(crate) path: Vec<String>,
}

/// The longest wait of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Stall {
    pub(crate) case: String,
    #[serde(serialize_with = "seconds")]
    pub(crate) wait_s: Duration,
    pub(crate) after: String,
    pub(crate) before: String,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Rework {
    pub(crate) activity: String,
    /// Cases in which it was done again.
    pub(crate) cases: u64,
    /// How often it was done again, in all of them.
    pub(crate) again: u64,
    /// How often of these nothing else was done between.
    pub(crate) at_once: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    #[serde(serialize_with = "seconds")]
    pub(crate) median: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) mean: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) max: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, case: &CaseFiled) {
        self.count_steps(case);
        self.count_rework(&case.path);
        *self.paths.entry(case.path.clone()).or_default() += 1;
        self.stalls.extend(case.stalled.map(|place| Stall {
            case: case.case.clone(),
            wait_s: case.waits[place - 1],
            after: case.path[place - 1].clone(),
            before: case.path[place].clone(),
        }));
        self.took.push(case.last - case.first);
        self.first = Some(self.first.map_or(case.first, |first| first.min(case.first)));
        self.last = self.last.max(Some(case.last));
    }

    fn count_steps(&mut self, case: &CaseFiled) {
        for (place, activity) in case.path.iter().enumerate() {
            let sums = self.activities.entry(activity.clone()).or_default();
            sums.count += 1;
            // The first step waits for none.
            let wait = place
                .checked_sub(1)
                .and_then(|before| case.waits.get(before));
            sums.waits.extend(wait);
        }
    }

    fn count_rework(&mut self, path: &[String]) {
        let mut again: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (place, activity) in path.iter().enumerate() {
            let before = &path[..place];
            if before.contains(activity) {
                let (times, at_once) = again.entry(activity).or_default();
                *times += 1;
                *at_once += u64::from(before.last() == Some(activity));
            }
        }
        for (activity, (times, at_once)) in again {
            let (cases, all, direct) = &mut self
                .activities
                .entry(activity.to_owned())
                .or_default()
                .again;
            *cases += 1;
            *all += times;
            *direct += at_once;
        }
    }

    /// Adds it all up, with `top` paths and stalled cases.
    pub(crate) fn sum(&self, top: usize) -> Sum {
        let cases = self.took.len() as u64;
        Sum {
            cases,
            events: self.activities.values().map(|sums| sums.count).sum(),
            first: self.first,
            last: self.last,
            case_s: Spread::of(&self.took),
            activities: self.activities(),
            different_paths: self.paths.len(),
            paths: self.common(top, cases),
            stalled_cases: self.stalls.len(),
            stalled: self.longest(top),
            rework: self.rework(),
        }
    }

    fn activities(&self) -> Vec<Activity> {
        let rows = self.activities.iter().map(|(activity, sums)| Activity {
            activity: activity.clone(),
            count: sums.count,
            wait_s: Spread::of(&sums.waits),
        });
        // Stable, here and below: what is equal stays sorted by name.
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| Reverse(row.count));
        rows
    }

    fn common(&self, top: usize, cases: u64) -> Vec<Path> {
        let mut paths: Vec<_> = self.paths.iter().collect();
        paths.sort_by_key(|(_, count)| Reverse(**count));
        let common = paths.into_iter().take(top).map(|(path, count)| Path {
            cases: *count,
            share: *count as f64 / cases as f64,
            path: path.clone(),
        });
        common.collect()
    }

    fn longest(&self, top: usize) -> Vec<Stall> {
        let mut stalls = self.stalls.clone();
        stalls.sort_by(|a, b| (b.wait_s, &a.case).cmp(&(a.wait_s, &b.case)));
        stalls.truncate(top);
        stalls
    }

    fn rework(&self) -> Vec<Rework> {
        let rows = self.activities.iter().map(|(activity, sums)| Rework {
            activity: activity.clone(),
            cases: sums.again.0,
            again: sums.again.1,
            at_once: sums.again.2,
        });
        let mut rows: Vec<_> = rows.filter(|row| row.again > 0).collect();
        rows.sort_by_key(|row| Reverse(row.again));
        rows
    }
}

impl Spread {
    /// `None` of nothing. The median of an even number is the mean of the two in the middle.
    fn of(spans: &[Duration]) -> Option<Spread> {
        let mut sorted = spans.to_vec();
        sorted.sort_unstable();
        let (middle, max) = (sorted.len() / 2, *sorted.last()?);
        let below = sorted[(sorted.len() - 1) / 2];
        let sum: Duration = spans.iter().sum();
        Some(Spread {
            median: (below + sorted[middle]) / 2,
            mean: sum / spans.len() as f64,
            max,
        })
    }
}

fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_seconds_f64())
}

fn moment<S: Serializer>(at: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(written).serialize(serializer)
}

/// A time as ISO 8601 has it.
pub(crate) fn written(at: OffsetDateTime) -> String {
    // Years before 0 cannot be written so.
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case with a step each day.
    fn case(name: &str, path: &str, stalled: Option<usize>) -> CaseFiled {
        let path: Vec<_> = path.split(' ').map(str::to_owned).collect();
        let waits = vec![Duration::DAY; path.len() - 1];
        let first = OffsetDateTime::UNIX_EPOCH;
        CaseFiled {
            case: name.to_owned(),
            last: first + Duration::DAY * waits.len() as f64,
            first,
            path,
            waits,
            stalled,
        }
    }

    fn sum(cases: &[CaseFiled], top: usize) -> Sum {
        let mut tally = Tally::default();
        for case in cases {
            tally.add(case);
        }
        tally.sum(top)
    }

    #[test]
    fn paths_are_counted_and_those_of_one_count_go_by_name() {
        let paths = ["b", "a c", "a b", "b", "a b"];
        let sum = sum(&paths.map(|path| case("x", path, None)), 2);
        assert_eq!((sum.cases, sum.events, sum.different_paths), (5, 8, 3));
        let paths: Vec<_> = sum.paths.iter().map(|path| path.path.join(" ")).collect();
        assert_eq!(paths, ["a b", "b"]);
        assert_eq!((sum.paths[0].cases, sum.paths[0].share), (2, 0.4));
    }

    #[test]
    fn rework_is_what_was_done_before_in_the_same_case() {
        let sum = sum(&[case("x", "a b a a", None), case("y", "b a b", None)], 9);
        let row = |activity: &str, cases, again, at_once| Rework {
            activity: activity.to_owned(),
            cases,
            again,
            at_once,
        };
        assert_eq!(sum.rework, [row("a", 1, 2, 1), row("b", 1, 1, 0)]);
    }

    #[test]
    fn stalled_cases_go_by_their_wait_and_then_by_name() {
        let mut long = case("m", "a b", Some(1));
        long.waits[0] = Duration::days(9);
        let cases = [case("z", "a b", Some(1)), long, case("c", "a b c", Some(2))];
        let sum = sum(&cases, 2);
        assert_eq!(sum.stalled_cases, 3);
        let names: Vec<_> = sum
            .stalled
            .iter()
            .map(|stall| stall.case.as_str())
            .collect();
        assert_eq!(names, ["m", "c"]);
        assert_eq!(
            (&*sum.stalled[1].after, &*sum.stalled[1].before),
            ("b", "c")
        );
    }

    #[test]
    fn a_spread_has_the_middle_of_an_even_number_as_well() {
        let spread = |days: &[i64]| {
            let days: Vec<_> = days.iter().map(|day| Duration::days(*day)).collect();
            Spread::of(&days)
        };
        let found = spread(&[9, 1, 2, 4]).unwrap();
        assert_eq!(
            (found.median, found.mean),
            (Duration::days(3), Duration::days(4))
        );
        assert_eq!(spread(&[7, 1, 2]).unwrap().median, Duration::days(2));
        assert_eq!(spread(&[]), None);
    }
}
