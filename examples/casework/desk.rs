//! Where closed cases and rejected rows are filed, and where the report is asked for.

use callboard::prelude::*;

use crate::events::{CaseFiled, Row};
use crate::tally::{Sum, Tally};

/// Rejected rows that are kept; the ledger counts them all.
const REJECTS_KEPT: usize = 1_000;

#[derive(Default)]
pub(crate) struct Desk {
    tally: Tally,
    rejects: Vec<Reject>,
}

/// A row that made no sense.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reject {
    pub(crate) line: u64,
    pub(crate) reason: String,
}

/// Asks for what has been found so far, with so many examples of each kind.
pub(crate) struct Findings {
    pub(crate) top: usize,
}

pub(crate) struct Found {
    pub(crate) sum: Sum,
    pub(crate) rejects: Vec<Reject>,
}

impl Message for Findings {
    type Reply = Found;
}

impl Service for Desk {}

impl Handle<CaseFiled> for Desk {
    async fn handle(&mut self, case: &CaseFiled, _: &mut Context<Self>) -> Outcome {
        self.tally.add(case);
        Ok(())
    }
}

impl Handle<DeadLetter> for Desk {
    async fn handle(&mut self, letter: &DeadLetter, _: &mut Context<Self>) -> Outcome {
        if let Some(row) = letter.downcast_ref::<Row>()
            && self.rejects.len() < REJECTS_KEPT
        {
            let reason = letter.failure().map(Failure::to_string);
            self.rejects.push(Reject {
                line: row.line,
                reason: reason.unwrap_or_default(),
            });
        }
        Ok(())
    }
}

impl Answer<Findings> for Desk {
    async fn answer(&mut self, wanted: Findings, _: &mut Context<Self>) -> Outcome<Found> {
        Ok(Found {
            sum: self.tally.sum(wanted.top),
            rejects: self.rejects.iter().take(wanted.top).cloned().collect(),
        })
    }
}
