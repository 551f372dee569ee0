//! Which columns hold what: by the names that are given, or else by those that are usual.

use std::str;

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
        let header = readable(header)?;
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

/// The names in a header, which are told to people.
fn readable(header: &ByteRecord) -> Result<Vec<&str>, String> {
    let names: Result<Vec<&str>, _> = header.iter().map(str::from_utf8).collect();
    let names = names.map_err(|_| "the header is no UTF-8".to_owned())?;
    if names.iter().any(|name| name.contains(char::is_control)) {
        return Err("the header has control characters: do its lines end in CR alone?".to_owned());
    }
    Ok(names)
}

/// The very name, or else the first that differs in upper and lower case alone.
fn place(header: &[&str], name: &str) -> Option<usize> {
    let very = header.iter().position(|column| *column == name);
    let lower = name.to_lowercase();
    very.or_else(|| {
        header
            .iter()
            .position(|column| column.to_lowercase() == lower)
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
        for (unreadable, why) in [
            (&b"case\rc-1"[..], "the header has control characters"),
            (b"\xff\xfec\0", "the header is no UTF-8"),
        ] {
            let header = ByteRecord::from(vec![unreadable]);
            let error = names(None).find(&header).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        let error = names(Some("id")).find(&header).unwrap_err();
        assert!(
            error.starts_with("no column id for the case: there are"),
            "{error}"
        );
    }
}
