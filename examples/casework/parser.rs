//! From rows to steps: a row that makes no sense is given up at once, as a dead letter that says
//! why and in which line.

use std::collections::BTreeSet;
use std::str;

use callboard::prelude::*;
use csv::ByteRecord;
use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use crate::columns::Columns;
use crate::events::{CaseClosed, LogRead, Row, Step};

/// What is wrong with a row.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum BadRow {
    #[error("it {0}")]
    Torn(&'static str),
    #[error("it has {found} columns, and the header {expected}")]
    Columns { found: usize, expected: usize },
    #[error("the {0} is no UTF-8")]
    Encoding(&'static str),
    #[error("the {0} is empty")]
    Empty(&'static str),
    #[error("`{0}` is no time such as 2011-10-11 13:45:40+02:00")]
    Time(String),
}

#[derive(Clone)]
pub(crate) struct Parser {
    columns: Columns,
    open: BTreeSet<String>,
}

impl Parser {
    pub(crate) fn new(columns: Columns) -> Self {
        Parser {
            columns,
            open: BTreeSet::new(),
        }
    }

    fn parse(&self, row: &Row) -> Result<Step, BadRow> {
        let cells = row.cells.as_ref().map_err(|flaw| BadRow::Torn(flaw))?;
        let columns = &self.columns;
        if cells.len() != columns.count {
            return Err(BadRow::Columns {
                found: cells.len(),
                expected: columns.count,
            });
        }
        let time = text(cells, columns.time, "time")?;
        Ok(Step {
            case: text(cells, columns.case, "case")?.to_owned(),
            activity: text(cells, columns.activity, "activity")?.to_owned(),
            at: moment(time).ok_or_else(|| BadRow::Time(time.to_owned()))?,
        })
    }
}

impl Service for Parser {}

impl Handle<Row> for Parser {
    async fn handle(&mut self, row: &Row, cx: &mut Context<Self>) -> Outcome {
        // Trying again would not help: permanent failures meet the dead letters at once.
        let step = self.parse(row).map_err(Failure::permanent)?;
        self.open.insert(step.case.clone());
        cx.publish_on_success(step);
        Ok(())
    }
}

impl Handle<LogRead> for Parser {
    async fn handle(&mut self, _: &LogRead, cx: &mut Context<Self>) -> Outcome {
        // If one is refused, the next attempt goes on with it.
        while let Some(case) = self.open.first().cloned() {
            cx.publish(CaseClosed { case: case.clone() }).await?;
            self.open.remove(&case);
        }
        Ok(())
    }
}

fn text<'a>(cells: &'a ByteRecord, column: usize, what: &'static str) -> Result<&'a str, BadRow> {
    let cell = cells.get(column).unwrap_or_default();
    match str::from_utf8(cell).map(str::trim) {
        Ok("") => Err(BadRow::Empty(what)),
        Ok(text) => Ok(text),
        Err(_) => Err(BadRow::Encoding(what)),
    }
}

/// Understands ISO 8601, also with a space for its `T`; without an offset it is UTC, and without
/// a time of day midnight. The result is in UTC, where it has to be within the years there are.
fn moment(text: &str) -> Option<OffsetDateTime> {
    let text = text.replacen(' ', "T", 1).replace(' ', "");
    let format = &Iso8601::PARSING;
    let utc = |text: &str| Some(PrimitiveDateTime::parse(text, format).ok()?.assume_utc());
    let midnight = |text: &str| {
        let date = Date::parse(text, format).ok()?;
        Some(date.with_time(Time::MIDNIGHT).assume_utc())
    };
    let exact = OffsetDateTime::parse(&text, format).ok();
    let found = exact.or_else(|| utc(&text)).or_else(|| midnight(&text));
    found.and_then(|at| at.checked_to_offset(UtcOffset::UTC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        moment(text).map(OffsetDateTime::unix_timestamp)
    }

    #[test]
    fn times_are_read_as_logs_write_them() {
        for text in [
            "2011-10-11 13:45:40.276000+02:00",
            "2011-10-11T13:45:40+02:00",
            "2011-10-11 13:45:40 +02:00",
            "2011-10-11T11:45:40.5Z",
            "2011-10-11 11:45:40",
            "20111011T114540Z",
        ] {
            assert_eq!(seconds(text), Some(1_318_333_540), "{text}");
        }
        assert_eq!(seconds("1970-01-02"), Some(86_400));
        for text in [
            "",
            "soon",
            "11.10.2011",
            "2011-13-01",
            "2011-02-30 10:00:00",
            "1318333540",
            "9999-12-31T23:59:59-23:59",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    fn parse(cells: &[&[u8]]) -> Result<Step, BadRow> {
        let parser = Parser::new(Columns {
            case: 0,
            activity: 1,
            time: 2,
            count: 3,
        });
        let row = Row {
            line: 2,
            cells: Ok(ByteRecord::from(cells.to_vec())),
        };
        parser.parse(&row)
    }

    #[test]
    fn a_bad_row_is_told_what_is_wrong_with_it() {
        let step = parse(&[b"c", "prüfen".as_bytes(), b"1970-01-01"]).unwrap();
        assert_eq!(
            (step.case.as_str(), step.activity.as_str()),
            ("c", "prüfen")
        );
        let wrong = |cells: &[&[u8]]| parse(cells).err();
        let columns = BadRow::Columns {
            found: 2,
            expected: 3,
        };
        assert_eq!(wrong(&[b"c", b"a"]), Some(columns));
        assert_eq!(
            wrong(&[b" ", b"a", b"1970-01-01"]),
            Some(BadRow::Empty("case"))
        );
        let latin: &[u8] = b"pr\xfcfen";
        assert_eq!(
            wrong(&[b"c", latin, b"1970-01-01"]),
            Some(BadRow::Encoding("activity"))
        );
        assert_eq!(
            wrong(&[b"c", b"a", b"soon"]),
            Some(BadRow::Time("soon".into()))
        );
    }
}
