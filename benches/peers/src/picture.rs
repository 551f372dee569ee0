//! The results as a picture: a row per workload, a dot per contender, time on a logarithmic axis.
//!
//! The main program writes it beside the table.
//!
//! Invariant: what is not a time is not in it; the line through a dot is its spread.
//!
//! It shows no words: what has no figure is in the table only.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::results::{Cell, Results};
use crate::workload::Workload;

const WIDTH: u32 = 1_200;
const ROW: u32 = 44;
const MARGINS: u32 = 110;
const DOT: i32 = 5;
const FONT: &str = "sans-serif";

const COLOURS: [RGBColor; 9] = [
    RGBColor(214, 39, 40),
    RGBColor(31, 119, 180),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(140, 86, 75),
    RGBColor(23, 190, 207),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
];

/// A dot with its spread: row, least, median, most.
type Mark = (f64, f64, f64, f64);

/// Writes the picture, if there is a time to show.
pub fn draw(path: &Path, results: &Results) -> Result<(), Box<dyn Error>> {
    let rows = rows(results);
    if rows.is_empty() {
        return Ok(());
    }
    let (least, most) = range(results, &rows);
    let height = MARGINS + ROW * rows.len() as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("nanoseconds, median and spread", (FONT, 18))
        .margin(12)
        .margin_right(48)
        .x_label_area_size(32)
        .y_label_area_size(330)
        .build_cartesian_2d((least..most).log_scale(), 0.0..rows.len() as f64)?;
    let title = |y: &f64| label(&rows, *y);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(2 * rows.len() + 1)
        .y_label_formatter(&title)
        .x_label_formatter(&|x| format!("{x}"))
        .label_style((FONT, 14))
        .draw()?;
    let lines = (1..rows.len()).map(|row| {
        let ends = vec![(least, row as f64), (most, row as f64)];
        PathElement::new(ends, BLACK.mix(0.25))
    });
    chart.draw_series(lines)?;
    for (index, name) in results.contenders.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let marks = marks(results, &rows, index);
        let lines = marks.iter().map(|&(y, least, _, most)| {
            PathElement::new(vec![(least, y), (most, y)], colour.stroke_width(2))
        });
        chart.draw_series(lines)?;
        let dots = marks
            .iter()
            .map(|&(y, _, median, _)| Circle::new((median, y), DOT, colour.filled()));
        chart
            .draw_series(dots)?
            .label(*name)
            .legend(move |(x, y)| Circle::new((x + 8, y), DOT, colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 14))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The workloads that have a time, from bottom to top.
fn rows(results: &Results) -> Vec<Workload> {
    let timed = |workload: &&Workload| {
        let mut contenders = results.contenders.iter();
        workload.is_time()
            && contenders.any(|name| results.cell(**workload, name).median().is_some())
    };
    let workloads = results.workloads.iter().filter(timed);
    workloads.rev().copied().collect()
}

/// Round numbers around all figures, with room for the legend on the right.
fn range(results: &Results, rows: &[Workload]) -> (f64, f64) {
    let (mut least, mut most) = (f64::MAX, f64::MIN);
    for &row in rows {
        for name in &results.contenders {
            if let Some(median) = results.cell(row, name).median() {
                (least, most) = (least.min(median), most.max(median));
            }
        }
    }
    let below = 10_f64.powf(least.log10().floor());
    let above = 10_f64.powf(most.log10().ceil() + 1.0);
    (below, above)
}

/// Within each row the contenders are one below the other, so that dots do not hide each other.
fn marks(results: &Results, rows: &[Workload], contender: usize) -> Vec<Mark> {
    let offset = (contender + 1) as f64 / (results.contenders.len() + 1) as f64;
    let mark = |(row, workload): (usize, &Workload)| match results
        .cell(*workload, results.contenders[contender])
    {
        Cell::Figure {
            median,
            least,
            most,
            ..
        } => Some((row as f64 + 1.0 - offset, least, median, most)),
        _ => None,
    };
    rows.iter().enumerate().filter_map(mark).collect()
}

/// A row is named at its middle.
fn label(rows: &[Workload], y: f64) -> String {
    let is_middle = (y.fract() - 0.5).abs() < 0.01;
    let row = rows.get(y.floor() as usize);
    match row {
        Some(row) if is_middle => row
            .title()
            .replace(": ns per delivery", "")
            .replace(": ns", ""),
        _ => String::new(),
    }
}
