//! One case: its steps by the log's own time, and what they tell when it is closed.
//!
//! There is an instance for each case, so nothing here looks one up.

use callboard::prelude::*;
use time::OffsetDateTime;

use crate::events::{CaseClosed, CaseFiled, Step};

pub(crate) struct Case {
    /// Waiting longer than this for the next step is stalling.
    patience: time::Duration,
    /// By time; those of one time as the log has them.
    steps: Vec<(OffsetDateTime, String)>,
}

impl Case {
    pub(crate) fn new(patience: time::Duration) -> Self {
        Case {
            patience,
            steps: Vec::new(),
        }
    }

    /// Takes a step to its place: a log may have them in any order.
    fn add(&mut self, at: OffsetDateTime, activity: &str) {
        let place = self.steps.partition_point(|(known, _)| *known <= at);
        self.steps.insert(place, (at, activity.to_owned()));
    }

    /// `None` for a case without a step.
    fn file(&self, case: &str) -> Option<CaseFiled> {
        let (first, _) = self.steps.first()?;
        let (last, _) = self.steps.last()?;
        let pairs = self.steps.windows(2);
        let waits: Vec<_> = pairs.map(|pair| pair[1].0 - pair[0].0).collect();
        // The first of the longest, where several are.
        let longest = (0..waits.len()).rev().max_by_key(|place| waits[*place]);
        Some(CaseFiled {
            case: case.to_owned(),
            path: self.steps.iter().map(|(_, step)| step.clone()).collect(),
            stalled: longest
                .filter(|place| waits[*place] > self.patience)
                .map(|place| place + 1),
            waits,
            first: *first,
            last: *last,
        })
    }
}

impl Service for Case {}

impl Handle<Step> for Case {
    async fn handle(&mut self, step: &Step, _: &mut Context<Self>) -> Outcome {
        self.add(step.at, &step.activity);
        Ok(())
    }
}

impl Handle<CaseClosed> for Case {
    async fn handle(&mut self, closed: &CaseClosed, cx: &mut Context<Self>) -> Outcome {
        if let Some(filed) = self.file(&closed.case) {
            cx.publish_on_success(filed);
        }
        // This instance alone: the service goes on with the other cases.
        cx.stop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn filed(days: &[(i64, &str)]) -> CaseFiled {
        let mut case = Case::new(Duration::days(30));
        for (day, step) in days {
            case.add(OffsetDateTime::UNIX_EPOCH + Duration::days(*day), step);
        }
        case.file("c").unwrap()
    }

    #[test]
    fn steps_go_by_their_time_and_those_of_one_time_as_they_came() {
        let case = filed(&[(5, "c"), (1, "a"), (5, "d"), (3, "b")]);
        assert_eq!(case.path, ["a", "b", "c", "d"]);
        assert_eq!(case.waits, [2, 2, 0].map(Duration::days));
        assert_eq!(case.last - case.first, Duration::days(4));
    }

    #[test]
    fn a_case_stalls_where_it_waits_longest_and_longer_than_the_limit() {
        assert_eq!(filed(&[(0, "a"), (30, "b")]).stalled, None);
        assert_eq!(filed(&[(0, "a"), (31, "b")]).stalled, Some(1));
        let twice = filed(&[(0, "a"), (1, "b"), (41, "c"), (81, "d")]);
        assert_eq!(twice.stalled, Some(2));
    }

    #[test]
    fn a_single_step_waits_for_nothing() {
        let case = filed(&[(0, "a")]);
        assert_eq!((case.waits.len(), case.stalled), (0, None));
        assert_eq!(Case::new(Duration::ZERO).file("none"), None);
    }
}
