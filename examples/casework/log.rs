//! The file: rows one by one, each with the line it begins in.
//!
//! It reads a line, and further lines only while a quoted cell is open; so one stray quote costs
//! one row, and not the rest of the file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, Terminator, Trim};
use indicatif::{ProgressBar, ProgressStyle};

use crate::events::Row;

/// Lines of one row at most, since a quoted cell may hold line ends.
const LINES_MAX: usize = 50;
/// Bytes of one line at most.
const LINE_MAX: u64 = 1 << 20;

pub(crate) struct Log {
    input: Box<dyn BufRead>,
    /// Bytes of the file, if it is one.
    size: Option<u64>,
    delimiter: u8,
    header: ByteRecord,
    /// The number of the next line.
    line: u64,
    bytes: u64,
    /// Lines that were read on behalf of a row that did not want them.
    ahead: VecDeque<Vec<u8>>,
}

impl Log {
    /// Opens a file, or standard input for `-`, and reads the header.
    pub(crate) fn open(path: &Path, delimiter: u8) -> Result<Self, String> {
        let name = path.display();
        let (input, size) = open(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        let mut log = Log::new(input, size, delimiter);
        let first = log
            .next()
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        let first = first.ok_or_else(|| format!("{name} is empty: there is no header"))?;
        log.header = first
            .cells
            .map_err(|flaw| format!("{name} has no header: its first row {flaw}"))?;
        Ok(log)
    }

    fn new(input: Box<dyn BufRead>, size: Option<u64>, delimiter: u8) -> Self {
        Log {
            input,
            size,
            delimiter,
            header: ByteRecord::new(),
            line: 1,
            bytes: 0,
            ahead: VecDeque::new(),
        }
    }

    pub(crate) fn header(&self) -> &ByteRecord {
        &self.header
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> u64 {
        self.bytes
    }

    /// Shown on a terminal only, and on standard error.
    pub(crate) fn bar(&self) -> ProgressBar {
        let (bar, template) = match self.size {
            Some(size) => (
                ProgressBar::new(size),
                "{bar:40} {bytes}/{total_bytes}, {elapsed}",
            ),
            None => (ProgressBar::no_length(), "{spinner} {bytes}, {elapsed}"),
        };
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }

    /// The next row; empty lines are none.
    pub(crate) fn next(&mut self) -> io::Result<Option<Row>> {
        while let Some(first) = self.next_line()? {
            let line = self.line;
            self.line += 1;
            if first.len() as u64 > LINE_MAX {
                let cells = Err("is longer than 1 MiB");
                return Ok(Some(Row { line, cells }));
            }
            if !first.trim_ascii().is_empty() {
                let cells = self.cells(first)?;
                return Ok(Some(Row { line, cells }));
            }
        }
        Ok(None)
    }

    fn cells(&mut self, first: Vec<u8>) -> io::Result<Result<ByteRecord, &'static str>> {
        let mut text = first;
        let mut more = VecDeque::new();
        loop {
            if let Some(cells) = whole(&text, self.delimiter)? {
                self.line += more.len() as u64;
                return Ok(Ok(cells));
            }
            let next = match more.len() + 1 < LINES_MAX {
                true => self.next_line()?,
                false => None,
            };
            let Some(next) = next else {
                // Those lines are rows of their own.
                more.append(&mut self.ahead);
                self.ahead = more;
                return Ok(Err("opens a quote that is never closed"));
            };
            text.extend_from_slice(&next);
            more.push_back(next);
        }
    }

    /// A line with its end; what is beyond the longest there may be is passed over.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let most = LINE_MAX + 1;
        if self
            .input
            .by_ref()
            .take(most)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(None);
        }
        self.bytes += line.len() as u64;
        if !line.ends_with(b"\n") {
            self.bytes += self.input.skip_until(b'\n')? as u64;
            line.push(b'\n');
        }
        Ok(Some(line))
    }
}

/// The cells of a row, unless the text ends within a quoted one.
fn whole(text: &[u8], delimiter: u8) -> io::Result<Option<ByteRecord>> {
    // Where no quote is open, the row ends with the text, and this is not read.
    let beyond = &b"beyond\n"[..];
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .terminator(Terminator::Any(b'\n'))
        .has_headers(false)
        .trim(Trim::All)
        .buffer_capacity(text.len() + beyond.len())
        .from_reader(text.chain(beyond));
    let mut cells = ByteRecord::new();
    reader.read_byte_record(&mut cells)?;
    let is_whole = reader.position().byte() <= text.len() as u64;
    Ok(is_whole.then_some(cells))
}

fn open(path: &Path) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(path)?;
    let known = file.metadata()?;
    if known.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    Ok((Box::new(BufReader::new(file)), Some(known.len())))
}

/// Understands `--delimiter`.
pub(crate) fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [b'"' | b'\n' | b'\r'] => Err("quotes and line ends have a meaning of their own".into()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("one ASCII character, or `tab`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and cells of each row, or what is wrong with it.
    fn rows(text: &str) -> Vec<(u64, String)> {
        let mut log = Log::new(Box::new(io::Cursor::new(text.to_owned())), None, b',');
        let mut rows = Vec::new();
        while let Some(row) = log.next().unwrap() {
            let cells = row.cells.map(|cells| {
                let cells: Vec<_> = cells.iter().map(String::from_utf8_lossy).collect();
                cells.join("|")
            });
            rows.push((row.line, cells.unwrap_or_else(str::to_owned)));
        }
        rows
    }

    #[track_caller]
    fn check(text: &str, expected: &[(u64, &str)]) {
        let rows = rows(text);
        let rows: Vec<_> = rows.iter().map(|(n, row)| (*n, row.as_str())).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn rows_know_their_lines_whatever_ends_them() {
        check(
            "\u{feff}a,b\r\n\r\n1,2\r\n3,4",
            &[(1, "a|b"), (3, "1|2"), (4, "3|4")],
        );
        check("a,b\n\n\n1, 2 \n", &[(1, "a|b"), (4, "1|2")]);
        check("", &[]);
    }

    #[test]
    fn a_quoted_cell_may_hold_line_ends() {
        check(
            "a,\"b\nc, \"\"d\"\"\"\ne,f\n",
            &[(1, "a|b\nc, \"d\""), (3, "e|f")],
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_its_own_row_alone() {
        let flaw = "opens a quote that is never closed";
        check("a,\"b\nc,d\ne,f\n", &[(1, flaw), (2, "c|d"), (3, "e|f")]);
        let many: String = (0..3 * LINES_MAX).map(|_| "c,d\n").collect();
        let found = rows(&format!("a,\"b\n{many}"));
        assert_eq!(found.len(), 3 * LINES_MAX + 1);
        assert_eq!(found[0].1, flaw);
        assert_eq!(
            found[3 * LINES_MAX],
            (3 * LINES_MAX as u64 + 1, "c|d".into())
        );
        // Within a cell that did not begin with it, a quote is a character like others.
        check("5\" pipe,b\nc,d\n", &[(1, "5\" pipe|b"), (2, "c|d")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_read() {
        let long = "x".repeat(2 * LINE_MAX as usize);
        check(
            &format!("{long}\nc,d\n"),
            &[(1, "is longer than 1 MiB"), (2, "c|d")],
        );
    }

    #[test]
    fn a_delimiter_is_one_plain_character() {
        assert_eq!(delimiter(";"), Ok(b';'));
        assert_eq!(delimiter("tab"), Ok(b'\t'));
        for wrong in ["", "ab", "é", "\"", "\n"] {
            assert!(delimiter(wrong).is_err(), "{wrong}");
        }
    }
}
