//! The results as one page of Markdown.
//!
//! The main program prints it and writes it to a file.
//!
//! Invariant: every figure comes with its spread, and every contender with its version, its
//! configuration and what it does less or more.
//!
//! It judges no figure but by size: who is faster than callboard is listed, too.

use std::fmt::Write;

use crate::contender::{About, CONTENDERS};
use crate::results::{Cell, Results};
use crate::runner::Plan;
use crate::versions;
use crate::workload::Workload;

const OURS: &str = "callboard";

/// By less than this, one is not called faster: it is noise.
const NOISE: f64 = 1.2;

/// The whole page.
pub fn page(plan: &Plan, results: &Results) -> String {
    let mut page = String::from("# Callboard and its peers\n\n");
    page.push_str(&circumstances(plan));
    page.push_str(&table(results));
    page.push_str(&faster(results));
    page.push_str(&configurations(results));
    page
}

fn circumstances(plan: &Plan) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "Medians of {} rounds, least and most in brackets; each sample is {} ms of steady work in \
         a process of its own. {cores} cores, {arch}, {os}. Compare within a row; differences \
         under {:.0} % are noise.\n\n",
        plan.rounds,
        plan.clock.steady.as_millis(),
        (NOISE - 1.0) * 100.0,
    )
}

fn table(results: &Results) -> String {
    let mut table = format!("| | {} |\n", results.contenders.join(" | "));
    let _ = writeln!(table, "|---|{}", "---|".repeat(results.contenders.len()));
    for &workload in &results.workloads {
        let cells = results.contenders.iter();
        let cells: Vec<String> = cells
            .map(|contender| shown(&results.cell(workload, contender)))
            .collect();
        let _ = writeln!(table, "| {} | {} |", workload.title(), cells.join(" | "));
    }
    table.push('\n');
    table
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Figure {
            median,
            least,
            most,
            note,
        } => {
            let spread = format!("({}-{})", number(*least), number(*most));
            let text = format!("{} {spread} {note}", number(*median));
            text.trim_end().to_owned()
        }
        Cell::Words(words) => words.clone(),
        Cell::Failed(why) => format!("failed: {why}"),
        Cell::Empty => String::new(),
    }
}

/// With as many digits as mean something.
fn number(value: f64) -> String {
    if value < 20.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Who does what in less time, or memory, than callboard.
fn faster(results: &Results) -> String {
    let mut text = String::from("## Who takes less than callboard\n\n");
    let begun = text.len();
    for &workload in &results.workloads {
        let rivals = rivals(results, workload);
        if !rivals.is_empty() {
            let _ = writeln!(text, "- {}: {}", workload.title(), rivals.join(", "));
        }
    }
    if text.len() == begun {
        text.push_str("Nobody, by more than noise.\n");
    }
    text.push('\n');
    text
}

fn rivals(results: &Results, workload: Workload) -> Vec<String> {
    let Some(ours) = results.cell(workload, OURS).median() else {
        return Vec::new();
    };
    let others = results.contenders.iter().filter_map(|name| {
        let theirs = results.cell(workload, name).median()?;
        let ratio = ours / theirs;
        (ratio > NOISE).then(|| format!("{name} {ratio:.1}x"))
    });
    others.collect()
}

fn configurations(results: &Results) -> String {
    let mut text = String::from("## Who was compared, and how\n\n");
    text.push_str("| | versions | configuration | less or more than the others |\n");
    text.push_str("|---|---|---|---|\n");
    let abouts = CONTENDERS.map(|contender| contender.about());
    let shown = |about: &&About| results.contenders.contains(&about.name);
    for about in abouts.iter().filter(shown) {
        let versions = versions::of(about.packages);
        let (name, configuration) = (about.name, about.configuration);
        let _ = writeln!(
            text,
            "| {name} | {versions} | {configuration} | {} |",
            about.fairness
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(4.26), "4.3");
        assert_eq!(number(129.6), "130");
        assert_eq!(number(1_234.0), "1,234");
        assert_eq!(number(1_234_567.0), "1,234,567");
    }
}
