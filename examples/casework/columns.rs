//! Which columns hold what: by the names that are given, or else by those that are usual.

use clap::Args;
use csv::ByteRecord;

/// Usual names, the first of which wins; upper and lower case are the same.
const CASE: &[&str] = &["case:concept:name", "case_id", "case id", "caseid", "case"];
const ACTIVITY: &[&str] = &["concept:name", "activity", "activity_name", "activity name"];
const TIME: &[&str] = &["time:timestamp", "timestamp", "time", "complete timestamp"];

#[derive(Args)]
pub(crate) struct Names {
    /// The column of case ids [default: case:concept:name, case_id or case]
    #[arg(long, value_name = "COLUMN")]
    case: Option<String>,
    /// The column of activities [default: concept:name or activity]
    #[arg(long, value_name = "COLUMN")]
    activity: Option<String>,
    /// The column of times [default: time:timestamp, timestamp or time]
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
}

/// Where in a row to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Columns {
    pub(crate) case: usize,
    pub(crate) activity: usize,
    pub(crate) time: usize,
    /// How many there are.
    pub(crate) count: usize,
}

impl Names {
    /// Finds the columns in the header of a log; the error lists those there are.
    pub(crate) fn find(&self, header: &ByteRecord) -> Result<Columns, String> {
        let header: Vec<_> = header.iter().map(String::from_utf8_lossy).collect();
        let find = |what: &str, given: &Option<String>, usual: &[&str]| {
            let names = given.as_deref().map_or(usual.to_vec(), |name| vec![name]);
            names
                .iter()
                .find_map(|name| place(&header, name))
                .ok_or_else(|| {
                    format!(
                        "no column {} for the {what}: there are {}; --{what} names another",
                        names.join(" or "),
                        header.join(", ")
                    )
                })
        };
        Ok(Columns {
            case: find("case", &self.case, CASE)?,
            activity: find("activity", &self.activity, ACTIVITY)?,
            time: find("time", &self.time, TIME)?,
            count: header.len(),
        })
    }
}

/// The very name, or else the first that differs in upper and lower case alone.
fn place(header: &[impl AsRef<str>], name: &str) -> Option<usize> {
    let very = header.iter().position(|column| column.as_ref() == name);
    let lower = name.to_lowercase();
    very.or_else(|| {
        header
            .iter()
            .position(|column| column.as_ref().to_lowercase() == lower)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(case: Option<&str>) -> Names {
        Names {
            case: case.map(str::to_owned),
            activity: None,
            time: None,
        }
    }

    #[test]
    fn columns_are_found_by_the_usual_names_or_by_those_given() {
        let header = ByteRecord::from(vec![
            "Case",
            "TIME",
            "Activity",
            "case_ID",
            "time:timestamp",
        ]);
        let found = names(None).find(&header).unwrap();
        let expected = Columns {
            case: 3,
            activity: 2,
            time: 4,
            count: 5,
        };
        assert_eq!(found, expected);
        assert_eq!(names(Some("case")).find(&header).unwrap().case, 0);
    }

    #[test]
    fn a_missing_column_is_an_error_that_lists_those_there_are() {
        let header = ByteRecord::from(vec!["case", "what", "when"]);
        let error = names(None).find(&header).unwrap_err();
        assert!(
            error.starts_with("no column concept:name or activity or"),
            "{error}"
        );
        assert!(error.ends_with("there are case, what, when; --activity names another"));
        let error = names(Some("id")).find(&header).unwrap_err();
        assert!(
            error.starts_with("no column id for the case: there are"),
            "{error}"
        );
    }
}
