//! What all processes found out: per workload and contender, every sample.
//!
//! The runner fills it; table and picture read it.
//!
//! Invariant: a cell with a failed sample is a failed cell; figures are never made of the rest.
//!
//! It does not format.

use crate::sample::Sample;
use crate::workload::Workload;

/// What is known of one contender at one workload.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Figure {
        median: f64,
        least: f64,
        most: f64,
        note: String,
    },
    Words(String),
    Failed(String),
    /// It was not run.
    Empty,
}

impl Cell {
    pub fn median(&self) -> Option<f64> {
        match self {
            Cell::Figure { median, .. } => Some(*median),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub struct Results {
    pub workloads: Vec<Workload>,
    pub contenders: Vec<&'static str>,
    samples: Vec<(Workload, &'static str, Sample)>,
}

impl Results {
    pub fn new(workloads: Vec<Workload>, contenders: Vec<&'static str>) -> Self {
        let samples = Vec::new();
        Results {
            workloads,
            contenders,
            samples,
        }
    }

    pub fn add(&mut self, workload: Workload, contender: &'static str, sample: Sample) {
        self.samples.push((workload, contender, sample));
    }

    /// Whether another sample can tell more.
    pub fn is_open(&self, workload: Workload, contender: &str) -> bool {
        let mut samples = self.of(workload, contender);
        samples.all(|sample| matches!(sample, Sample::Number(..)))
    }

    pub fn cell(&self, workload: Workload, contender: &str) -> Cell {
        let samples: Vec<&Sample> = self.of(workload, contender).collect();
        cell(&samples)
    }

    fn of(&self, workload: Workload, contender: &str) -> impl Iterator<Item = &Sample> {
        let samples = self.samples.iter();
        samples
            .filter(move |(w, c, _)| (*w, *c) == (workload, contender))
            .map(|(_, _, sample)| sample)
    }
}

fn cell(samples: &[&Sample]) -> Cell {
    let (mut numbers, mut words) = (Vec::new(), String::new());
    for sample in samples {
        match sample {
            Sample::Failed(why) => return Cell::Failed(why.clone()),
            Sample::Words(text) => words.clone_from(text),
            Sample::Number(number, note) => {
                numbers.push(*number);
                words.clone_from(note);
            }
        }
    }
    numbers.sort_by(f64::total_cmp);
    match (numbers.first(), numbers.last()) {
        (Some(&least), Some(&most)) => Cell::Figure {
            median: median(&numbers),
            least,
            most,
            note: words,
        },
        _ if samples.is_empty() => Cell::Empty,
        _ => Cell::Words(words),
    }
}

/// Of numbers in order, at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 90.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 90.0]), 3.0);
    }

    #[test]
    fn one_failure_spoils_the_cell() {
        let number = Sample::Number(1.0, String::new());
        let failed = Sample::Failed("no time left".to_owned());
        assert_eq!(cell(&[&number, &number]).median(), Some(1.0));
        let spoiled = Cell::Failed("no time left".to_owned());
        assert_eq!(cell(&[&number, &failed]), spoiled);
        assert_eq!(cell(&[]), Cell::Empty);
    }
}
