//! The casework example keeps its word to whoever runs it: numbers, complaints, exit codes.
//!
//! It is run as a user runs it, as a process of its own. What it has to say of the log that comes
//! with it was counted by `count.py` beside that log, in another language and another way.

use std::process::Output;

use serde_json::Value;

use crate::support_example::{built, example, finish, text};

fn run(arguments: &[&str], input: &[u8]) -> Output {
    finish(&mut example("casework", built(), arguments), input)
}

/// What it said, for one that ended well: nothing is complained of, and nothing lost.
#[track_caller]
fn told(arguments: &[&str], input: &[u8]) -> String {
    let out = run(arguments, input);
    let (said, complained) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{said}{complained}");
    assert_eq!(complained, "", "no bar where there is no terminal");
    said
}

#[track_caller]
fn told_json(arguments: &[&str], input: &[u8]) -> Value {
    let said = told(&[arguments, &["--json"]].concat(), input);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What it said of itself, for one that ended with an error.
#[track_caller]
fn refused(arguments: &[&str], input: &[u8], code: i32) -> String {
    let out = run(arguments, input);
    let complained = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{complained}");
    assert_eq!(text(&out.stdout), "");
    assert!(!complained.contains("panicked at"), "{complained}");
    complained
}

/// Equal, but for the last digits of what was added up in another order.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * b.abs()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut both = a.iter().zip(b);
            a.len() == b.len() && both.all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        }
        (a, b) => a == b,
    }
}

const PERMITS: &str = "examples/casework/permits.csv";
const DAMAGED: &str = "examples/casework/damaged.csv";

#[test]
fn the_numbers_are_those_of_an_independent_count() {
    let counted = include_str!("../../examples/casework/permits.json");
    let counted: Value = serde_json::from_str(counted).unwrap();
    assert_eq!(counted["rows"], 88, "the count was made of that log");
    let found = told_json(&[PERMITS], b"");
    assert!(same(&found, &counted), "{found:#}");
}

#[test]
fn the_tables_say_it_in_words_and_end_with_the_balance() {
    let said = told(&[PERMITS, "--stalled", "12h", "--top", "1"], b"");
    for part in [
        "16 cases, 88 events\n",
        "\n  Check papers       18  ",
        "\n5 different paths\n",
        "\n      8  50.0%  Apply > Check papers > Review > Decide > Send permit\n",
        "  and 4 more\n",
        "\n15 cases that waited longer than 12:00:00\n",
        "\n  permit-08  Ask for papers  Withdraw  85d 03:33:30\n  and 14 more\n",
        "\n  Check papers        3           3        0\n",
        "\n0 rows rejected\n",
        "\ncasework/cases   case.step                    88            88     0       0\n",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let end = "\n88 rows = 88 in 16 cases + 0 rejected; gap: 0\n";
    assert!(said.ends_with(end) && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn the_same_log_gives_the_same_report() {
    assert_eq!(told(&[PERMITS], b""), told(&[PERMITS], b""));
}

#[test]
fn bad_rows_are_dead_letters_with_their_lines_and_the_others_go_on() {
    let said = told(&[DAMAGED], b"");
    let table = "\n8 rows rejected
  line  reason
  3     `soon` is no time such as 2011-10-11 13:45:40+02:00
  4     it has 2 columns, and the header 4
  5     the case is empty
  6     the activity is empty
  7     the activity is no UTF-8
  11    it opens a quote that is never closed
  13    `2024-02-30 09:00:00+01:00` is no time such as 2011-10-11 13:45:40+02:00
  14    it has 5 columns, and the header 4

";
    assert!(said.contains(table), "{said}");
    let end = "\n12 rows = 4 in 2 cases + 8 rejected; gap: 0\n";
    assert!(said.ends_with(end), "{said}");
    let found = told_json(&[DAMAGED, "--top", "2"], b"");
    assert_eq!(found["rejected_rows"], 8);
    assert_eq!(found["rejected"][1]["line"], 4);
    assert_eq!(found["rejected"].as_array().unwrap().len(), 2);
}

#[test]
fn many_bad_rows_are_all_counted() {
    let bad = "c,a,soon\n".repeat(5_000);
    let log = format!("case,activity,time\n{bad}c,a,2024-03-01\n");
    let found = told_json(&["-"], log.as_bytes());
    assert_eq!(
        (&found["rows"], &found["rejected_rows"]),
        (&5_001.into(), &5_000.into())
    );
    assert_eq!(found["rejected"][9]["line"], 11);
}

#[test]
fn what_a_log_says_does_not_control_a_terminal() {
    let said = told(
        &["-"],
        b"case,activity,time\nc,\x1b[2J,2024-03-01\nc,\x1b[2J,\x1b\n",
    );
    assert!(
        said.contains("   [2J ") && !said.contains('\u{1b}'),
        "{said}"
    );
}

#[test]
fn a_log_with_a_header_alone_has_no_cases() {
    let found = told_json(&["-"], b"case,activity,time\n\n");
    assert_eq!((&found["rows"], &found["cases"]), (&0.into(), &0.into()));
    assert_eq!(found["case_s"], Value::Null);
    let said = told(&["-"], b"case,activity,time");
    assert!(said.starts_with("0 cases, 0 events\n"), "{said}");
}

#[test]
fn columns_and_delimiter_can_be_named() {
    let log = "when\tWHO\twhat\n2024-03-02\tx\tb\n2024-03-01\tx\ta\n";
    let named = "- --delimiter tab --case who --activity what --time when";
    let named: Vec<&str> = named.split(' ').collect();
    let found = told_json(&named, log.as_bytes());
    assert_eq!(found["paths"][0]["path"], serde_json::json!(["a", "b"]));
    assert_eq!(found["case_s"]["max"], 86_400.0);
}

#[test]
fn what_cannot_be_used_is_one_clear_error() {
    let no_file = refused(&["no/such.csv"], b"", 1);
    assert!(
        no_file.starts_with("error: cannot read no/such.csv: "),
        "{no_file}"
    );
    let folder = refused(&["examples"], b"", 1);
    assert_eq!(folder, "error: cannot read examples: it is a folder\n");
    let empty = refused(&["-"], b"\n\n", 1);
    assert_eq!(empty, "error: - is empty: there is no header\n");
    let unnamed = refused(&["-"], b"case;activity;time\na;b;2024-03-01\n", 1);
    let expected = "error: no column case:concept:name or case_id or case id or caseid or case \
                    for the case: there are case;activity;time; --case names another\n";
    assert_eq!(unnamed, expected);
    let unknown = refused(&[PERMITS, "--time", "when"], b"", 1);
    let expected = "error: no column when for the time: there are Case ID, Activity, Timestamp, \
                    Clerk; --time names another\n";
    assert_eq!(unknown, expected);
}

#[test]
fn a_mistyped_option_is_told_what_it_may_be() {
    let stalled = refused(&[PERMITS, "--stalled", "soon"], b"", 2);
    assert!(
        stalled.contains("a number and a unit, such as 90m"),
        "{stalled}"
    );
    let delimiter = refused(&[PERMITS, "--delimiter", "ab"], b"", 2);
    assert!(
        delimiter.contains("one ASCII character, or `tab`"),
        "{delimiter}"
    );
    refused(&[], b"", 2);
}
