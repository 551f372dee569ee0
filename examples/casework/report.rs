//! The report: as tables for people, and as JSON for programs.

use std::fmt::{self, Display, Formatter};

use callboard::{Event, Ledger};
use serde::Serialize;
use time::Duration;

use crate::desk::{Found, Reject};
use crate::events::Row;
use crate::span::shown;
use crate::table::Table;
use crate::tally::{Spread, Sum, written};

#[derive(Serialize)]
pub(crate) struct Report {
    /// Rows that were read, good and bad.
    rows: u64,
    rejected_rows: u64,
    rejected: Vec<Reject>,
    stalled_after_s: i64,
    #[serde(flatten)]
    sum: Sum,
    /// Of the ledger.
    gap: i64,
}

impl Report {
    /// Rows are counted by the ledger, and not by those who handled them.
    pub(crate) fn new(found: Found, patience: Duration, ledger: &Ledger) -> Self {
        let rows = ledger.delivery("casework/parser", Row::NAME);
        Report {
            rows: rows.map_or(0, |row| row.accepted),
            rejected_rows: rows.map_or(0, |row| row.dead_lettered),
            rejected: found.rejects,
            stalled_after_s: patience.whole_seconds(),
            sum: found.sum,
            gap: ledger.gap(),
        }
    }

    /// Whether every row is in a case or was rejected.
    pub(crate) fn is_balanced(&self) -> bool {
        self.gap == 0 && self.rows == self.sum.events + self.rejected_rows
    }

    pub(crate) fn balance(&self) -> String {
        let (rows, gap) = (self.rows, self.gap);
        let (events, cases, rejected) = (self.sum.events, self.sum.cases, self.rejected_rows);
        let sign = if self.is_balanced() { "=" } else { "IS NOT" };
        format!("{rows} rows {sign} {events} in {cases} cases + {rejected} rejected; gap: {gap}")
    }

    fn activities(&self) -> Table {
        let heads = ["activity", "count", "median wait", "mean", "longest"];
        let mut table = Table::new(1, &heads);
        for row in &self.sum.activities {
            let mut cells = vec![row.activity.clone(), row.count.to_string()];
            cells.extend(spread(row.wait_s));
            table.row(cells);
        }
        table
    }

    fn paths(&self) -> Table {
        let mut table = Table::new(0, &["cases", "share"]);
        for path in &self.sum.paths {
            let share = format!("{:.1}%", path.share * 100.0);
            table.row([path.cases.to_string(), share, path.path.join(" > ")]);
        }
        table
    }

    fn stalled(&self) -> Table {
        let mut table = Table::new(3, &["case", "after", "before", "wait"]);
        for stall in &self.sum.stalled {
            let (case, after, before) = (&stall.case, &stall.after, &stall.before);
            let texts = [case, after, before].map(String::clone);
            table.row(texts.into_iter().chain([shown(stall.wait_s)]));
        }
        table
    }

    fn rework(&self) -> Table {
        let mut table = Table::new(1, &["activity", "cases", "done again", "at once"]);
        for row in &self.sum.rework {
            let counts = [row.cases, row.again, row.at_once].map(|count| count.to_string());
            table.row([row.activity.clone()].into_iter().chain(counts));
        }
        table
    }

    fn rejected(&self) -> Table {
        let mut table = Table::new(2, &["line", "reason"]);
        for reject in &self.rejected {
            table.row([reject.line.to_string(), reject.reason.clone()]);
        }
        table
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sum = &self.sum;
        writeln!(f, "{} cases, {} events", sum.cases, sum.events)?;
        if let (Some(first), Some(last)) = (sum.first, sum.last) {
            writeln!(f, "from {} to {}", written(first), written(last))?;
        }
        if let Some(took) = sum.case_s {
            let [median, mean, max] = spread(Some(took));
            writeln!(
                f,
                "a case takes {median} (median), {mean} (mean), {max} (longest)"
            )?;
        }
        section(f, "activities", sum.activities.len(), &self.activities())?;
        section(f, "different paths", sum.different_paths, &self.paths())?;
        let limit = shown(Duration::seconds(self.stalled_after_s));
        let stalled = format!("cases that waited longer than {limit}");
        section(f, &stalled, sum.stalled_cases, &self.stalled())?;
        section(
            f,
            "activities done again in a case",
            sum.rework.len(),
            &self.rework(),
        )?;
        section(
            f,
            "rows rejected",
            self.rejected_rows as usize,
            &self.rejected(),
        )
    }
}

/// How many there are, and a table of some or all.
fn section(f: &mut Formatter<'_>, what: &str, count: usize, table: &Table) -> fmt::Result {
    writeln!(f, "\n{count} {what}")?;
    match table.len() {
        0 => Ok(()),
        shown if shown < count => writeln!(f, "{table}  and {} more", count - shown),
        _ => write!(f, "{table}"),
    }
}

fn spread(spread: Option<Spread>) -> [String; 3] {
    let cells = spread.map(|spread| [spread.median, spread.mean, spread.max].map(shown));
    cells.unwrap_or_else(|| ["-"; 3].map(str::to_owned))
}
