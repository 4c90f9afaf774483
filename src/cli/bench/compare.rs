//! `corelog bench compare`: one side of runs against the other, and an exit code for scripts.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde_json::json;

use crate::bench::compare::{Better, Comparison, Row, Spread};
use crate::bench::result::read_runs;
use crate::cli::args::OutputFormat;
use crate::cli::output::Listing;
use crate::cli::{CliError, Streams};

/// `bench compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The side to compare to: a run's directory, or one whose directories are its repeats
    pub a: PathBuf,
    /// The side that may be better or worse
    pub b: PathBuf,
    /// Exit with 1 if B is worse by more than this in any metric, or a run is invalid
    #[arg(long, value_name = "PERCENT")]
    pub fail_over: Option<Percent>,
    /// How to print the comparison
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// A share, written `5%` or `5`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text);
        match number.trim().parse::<f64>() {
            Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(Self(percent / 100.0)),
            _ => Err("expected a percentage such as 5%".to_owned()),
        }
    }
}

/// Compares, prints, and fails over the limit.
pub(super) fn run(args: &CompareArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let a = read_runs(&args.a).map_err(CliError::failed)?;
    let b = read_runs(&args.b).map_err(CliError::failed)?;
    let comparison = Comparison::of(&a, &b).map_err(CliError::failed)?;
    match args.output {
        OutputFormat::Json => writeln!(streams.out, "{:#}", json!(comparison))?,
        OutputFormat::Table => table(&comparison, [a.len(), b.len()], streams)?,
    }
    judge(&comparison, args.fail_over)
}

fn table(comparison: &Comparison, runs: [usize; 2], streams: &mut Streams<'_>) -> Result<(), CliError> {
    for doubt in &comparison.doubts {
        writeln!(streams.out, "!! {doubt}")?;
    }
    for difference in &comparison.differences {
        let (a, b) = (plain(&difference.a), plain(&difference.b));
        writeln!(
            streams.out,
            "!! the machines differ: {}: {a} | {b}",
            difference.fact
        )?;
    }
    if !comparison.doubts.is_empty() || !comparison.differences.is_empty() {
        writeln!(streams.out)?;
    }
    writeln!(
        streams.out,
        "A: {} run(s), B: {} run(s); medians, B / A",
        runs[0], runs[1]
    )?;
    let columns = &[
        "metric", "a", "b", "ratio", "merged", "spread_a", "spread_b", "note",
    ];
    let mut listing = Listing::new(columns);
    for row in &comparison.rows {
        listing.push(shown(row));
    }
    listing.print(OutputFormat::Table, streams.out)
}

fn shown(row: &Row) -> [serde_json::Value; 8] {
    let figure = |spread: &Spread| match row.better {
        Better::Higher => json!(format!("{:.0}/s", spread.median)),
        Better::Lower => json!(format!("{:.1}us", spread.median / 1e3)),
    };
    let percent = |share: f64| json!(format!("{:.1}%", share * 100.0));
    let note = match (row.overlap, row.worse_by) {
        (true, _) => "within the spread",
        (false, worse) if worse > 0.0 => "worse",
        (false, worse) if worse < 0.0 => "better",
        (false, _) => "same",
    };
    [
        json!(row.metric),
        figure(&row.a),
        figure(&row.b),
        json!(format!("{:.3}", row.ratio)),
        row.merged_ratio
            .map_or(json!(null), |ratio| json!(format!("{ratio:.3}"))),
        percent(row.a.width()),
        percent(row.b.width()),
        json!(note),
    ]
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn judge(comparison: &Comparison, limit: Option<Percent>) -> Result<(), CliError> {
    let Some(Percent(limit)) = limit else {
        return Ok(());
    };
    if comparison.rows.is_empty() {
        return Err(CliError::Failed("the runs have no metric in common".to_owned()));
    }
    if !comparison.all_valid {
        return Err(CliError::Failed("an invalid run proves nothing".to_owned()));
    }
    let worse: Vec<String> = comparison
        .worse_than(limit)
        .map(|row| format!("{} by {:.1}%", row.metric, row.worse_by * 100.0))
        .collect();
    if worse.is_empty() {
        return Ok(());
    }
    Err(CliError::Failed(format!("B is worse: {}", worse.join(", "))))
}
