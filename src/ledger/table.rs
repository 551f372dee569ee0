//! A ledger as aligned text.
//!
//! The ledger's `Display` calls it; it calls nothing.
//!
//! Invariant: a count that is not 0 is always shown.
//!
//! It computes nothing but widths.

use std::fmt::{self, Formatter};

use super::{DeliveryRow, LetterRow, TopicRow};

/// A column of names: its head, and what it shows of a row.
pub(super) type Name<R> = (&'static str, fn(&R) -> &str);

/// A column of counts: its head, whether it is shown when all are 0, and what it shows of a row.
pub(super) type Count<R> = (&'static str, Zeros, fn(&R) -> i128);

/// What becomes of a column in which all counts are 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeros {
    Shown,
    LeftOut,
}

use Zeros::{LeftOut, Shown};

pub(super) const DELIVERY_NAMES: &[Name<DeliveryRow>] = &[
    ("deliveries to", |row| &row.service),
    ("event", |row| &row.event),
];

pub(super) const DELIVERY_COUNTS: &[Count<DeliveryRow>] = &[
    ("accepted", Shown, |row| row.accepted.into()),
    ("acknowledged", Shown, |row| row.acknowledged.into()),
    ("dead", Shown, |row| row.dead_lettered.into()),
    ("discarded", LeftOut, |row| row.discarded.into()),
    ("expired", LeftOut, |row| row.expired.into()),
    ("shed", LeftOut, |row| row.shed.into()),
    ("undelivered", LeftOut, |row| row.undelivered.into()),
    ("queued", Shown, |row| row.queued.into()),
    ("in flight", LeftOut, |row| row.in_flight.into()),
    ("deferred", LeftOut, |row| row.deferred.into()),
    ("late", LeftOut, |row| row.late.into()),
    ("retried", LeftOut, |row| row.retried.into()),
    ("gap", LeftOut, |row| row.gap().into()),
];

pub(super) const LETTER_NAMES: &[Name<LetterRow>] = &[("letters to", |row| &row.service)];

pub(super) const LETTER_COUNTS: &[Count<LetterRow>] = &[
    ("accepted", Shown, |row| row.accepted.into()),
    ("answered", Shown, |row| row.answered.into()),
    ("failed", Shown, |row| row.failed.into()),
    ("expired", LeftOut, |row| row.expired.into()),
    ("undelivered", LeftOut, |row| row.undelivered.into()),
    ("queued", Shown, |row| row.queued.into()),
    ("in flight", LeftOut, |row| row.in_flight.into()),
    ("gap", LeftOut, |row| row.gap().into()),
];

pub(super) const TOPIC_NAMES: &[Name<TopicRow>] = &[("topic", |row| &row.event)];

pub(super) const TOPIC_COUNTS: &[Count<TopicRow>] = &[
    ("published", Shown, |row| row.published.into()),
    ("heard", Shown, |row| row.heard.into()),
    ("unheard", Shown, |row| row.unheard.into()),
    ("gap", LeftOut, |row| row.gap().into()),
];

/// Writes one table and an empty line after it; nothing if there is no row.
pub(super) fn write<R>(
    f: &mut Formatter<'_>,
    rows: &[R],
    names: &[Name<R>],
    counts: &[Count<R>],
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let mut columns: Vec<Vec<String>> = Vec::new();
    for (head, shown) in names {
        let cells = rows.iter().map(|row| shown(row).to_owned());
        columns.push(padded(head, cells, |cell, width| format!("{cell:<width$}")));
    }
    for (head, zeros, shown) in counts {
        if *zeros == Shown || rows.iter().any(|row| shown(row) != 0) {
            let cells = rows.iter().map(|row| shown(row).to_string());
            columns.push(padded(head, cells, |cell, width| format!("{cell:>width$}")));
        }
    }
    for line in 0..=rows.len() {
        let cells: Vec<&str> = columns.iter().map(|column| column[line].as_str()).collect();
        writeln!(f, "{}", cells.join("  "))?;
    }
    writeln!(f)
}

fn padded(
    head: &str,
    cells: impl Iterator<Item = String>,
    pad: fn(&str, usize) -> String,
) -> Vec<String> {
    let column: Vec<String> = std::iter::once(head.to_owned()).chain(cells).collect();
    let width = column
        .iter()
        .map(|cell| cell.chars().count())
        .max()
        .unwrap_or(0);
    column.iter().map(|cell| pad(cell, width)).collect()
}
