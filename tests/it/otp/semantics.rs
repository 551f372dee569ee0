//! The tables in the docs of `Supervisor`, read as data.

use callboard::{Restart, Strategy};

const DOCS: &str = include_str!("../../../src/supervisor/semantics.md");

/// What the docs say becomes of a child that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lot {
    Restarted,
    Ended,
    Forgotten,
}

/// One row of the table of strategies.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) strategy: Strategy,
    pub(super) ended: &'static str,
    pub(super) stopped: Vec<&'static str>,
    pub(super) started: Vec<&'static str>,
}

/// The cells of the rows below the header that begins with these words.
fn rows(header: &str) -> Vec<Vec<&'static str>> {
    let table = DOCS
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {header} |")));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.map(cells).collect()
}

fn lot(cell: &str) -> Lot {
    match cell {
        "restarted" => Lot::Restarted,
        "ended" => Lot::Ended,
        "forgotten" => Lot::Forgotten,
        other => panic!("the docs say {other}"),
    }
}

/// Each exit with each restart type, and what follows.
pub(super) fn exits() -> Vec<(&'static str, Restart, Lot)> {
    let types = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    let each = |row: Vec<&'static str>| {
        let lots: Vec<Lot> = row[2..].iter().map(|cell| lot(cell)).collect();
        let both = types.into_iter().zip(lots);
        both.map(move |(restart, lot)| (row[0], restart, lot))
    };
    rows("exit").into_iter().flat_map(each).collect()
}

pub(super) fn groups() -> Vec<Group> {
    let names = |cell: &'static str| -> Vec<&'static str> {
        let words = cell.split_whitespace();
        words.filter(|word| *word != "-").collect()
    };
    let group = |row: Vec<&'static str>| Group {
        strategy: match row[0] {
            "one_for_one" => Strategy::OneForOne,
            "one_for_all" => Strategy::OneForAll,
            "rest_for_one" => Strategy::RestForOne,
            other => panic!("the docs say {other}"),
        },
        ended: row[1],
        stopped: names(row[2]),
        started: names(row[3]),
    };
    rows("strategy").into_iter().map(group).collect()
}

#[test]
fn the_docs_have_a_row_for_every_exit_and_every_group() {
    assert_eq!((exits().len(), groups().len()), (7 * 3, 3 * 3));
    assert!(rows("here").len() > 10);
}
