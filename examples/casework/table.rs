//! A table as aligned text: the first columns to the left, numbers to the right.

use std::fmt::{self, Display, Formatter};

pub(crate) struct Table {
    /// The heads first.
    rows: Vec<Vec<String>>,
    /// How many columns are texts.
    texts: usize,
}

impl Table {
    /// A table with these heads, the first `texts` of which are over texts.
    pub(crate) fn new(texts: usize, heads: &[&str]) -> Self {
        Table {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
            texts,
        }
    }

    /// Adds a row. Cells beyond the heads are not aligned. Control characters, which a terminal
    /// would obey, are left out: cells hold what somebody wrote into a log.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter();
        let plain = cells.map(|cell| cell.replace(char::is_control, " "));
        self.rows.push(plain.collect());
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len() - 1
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.rows[0].len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths.get(column).copied().unwrap_or(0);
                match column < self.texts {
                    true => format!("{cell:<width$}"),
                    false => format!("{cell:>width$}"),
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(f, "  {}", line.trim_end())?;
        }
        Ok(())
    }
}
