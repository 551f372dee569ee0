//! What is published while a log is read. What is about one case has the case as its key.

use callboard::{Event, Key};
use csv::ByteRecord;
use time::{Duration, OffsetDateTime};

/// A row of the log, not yet looked at.
pub(crate) struct Row {
    /// Where it begins in the file; the header is in line 1.
    pub(crate) line: u64,
    pub(crate) cells: Result<ByteRecord, &'static str>,
}

/// The last row has been published.
pub(crate) struct LogRead;

/// Something was done for a case.
pub(crate) struct Step {
    pub(crate) case: String,
    pub(crate) activity: String,
    pub(crate) at: OffsetDateTime,
}

/// No step of this case will follow.
pub(crate) struct CaseClosed {
    pub(crate) case: String,
}

/// All there is to say of a case.
#[derive(Debug, PartialEq)]
pub(crate) struct CaseFiled {
    pub(crate) case: String,
    /// What was done, in the order of its times.
    pub(crate) path: Vec<String>,
    /// How long after the one before it each was done; one fewer than the path has.
    pub(crate) waits: Vec<Duration>,
    pub(crate) first: OffsetDateTime,
    pub(crate) last: OffsetDateTime,
    /// Where the longest wait in the path ended, if that was too long.
    pub(crate) stalled: Option<usize>,
}

impl Event for Row {
    const NAME: &'static str = "log.row";
}

impl Event for LogRead {
    const NAME: &'static str = "log.read";
}

impl Event for Step {
    const NAME: &'static str = "case.step";
    fn key(&self) -> Key {
        self.case.as_str().into()
    }
}

impl Event for CaseClosed {
    const NAME: &'static str = "case.closed";
    fn key(&self) -> Key {
        self.case.as_str().into()
    }
}

impl Event for CaseFiled {
    const NAME: &'static str = "case.filed";
    fn key(&self) -> Key {
        self.case.as_str().into()
    }
}
