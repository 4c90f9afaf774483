//! One HTML file that shows runs as people expect to see them, with nothing to load from anywhere.
//!
//! Charts are SVG written here; a few lines of script switch curves on and off, and without script everything is
//! there all the same. Colours follow the reader's light or dark setting. All text from results is escaped. What a run
//! did not measure has no chart: nothing is drawn that was not recorded.
//!
//! Pure functions of results, but for [`Report::read`]. Absent: any judgement of its own; verdicts come from the runs.

mod heat;
mod page;
mod percentile;
mod plot;
mod scale;
mod series;
mod stages;
mod sweep;
mod table;
mod words;

use std::path::{Path, PathBuf};

pub use percentile::{PercentilePoint, percentile_points};

use super::floor::{FLOOR_FILE, Floor};
use super::result::{
    BadHistogram, RESULT_FILE, ResultError, RunResult, SWEEP_FILE, Sweep, read_judged, read_runs,
};

/// The file a report is kept in.
pub const REPORT_FILE: &str = "report.html";
/// Runs a report shows: beyond that no one can tell the curves apart.
pub const RUNS_MAX: usize = 16;

/// What a report shows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Runs, overlaid in the charts in this order.
    pub runs: Vec<RunResult>,
    /// Sweeps, overlaid too.
    pub sweeps: Vec<Sweep>,
    /// What the machine does without a broker.
    pub floor: Option<Floor>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file could not be read.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// A histogram in a result is none.
    #[error(transparent)]
    Histogram(#[from] BadHistogram),
    /// Nothing to show.
    #[error("{} holds no {RESULT_FILE}, {SWEEP_FILE} or {FLOOR_FILE}", .0.display())]
    Nothing(PathBuf),
    /// Too much to show.
    #[error("{0} runs are too many for one report; at most {RUNS_MAX}")]
    TooMany(usize),
}

impl Report {
    /// Reads what lies in `directories`: runs (or their repeats), sweeps and floors.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn read(directories: &[PathBuf]) -> Result<Self, ReportError> {
        let mut report = Self::default();
        for directory in directories {
            report.add(directory)?;
        }
        match report.runs.len() {
            count if count > RUNS_MAX => Err(ReportError::TooMany(count)),
            _ => Ok(report),
        }
    }

    fn add(&mut self, directory: &Path) -> Result<(), ReportError> {
        let mut found = false;
        if directory.join(SWEEP_FILE).is_file() {
            self.sweeps.push(Sweep::read(directory)?);
            found = true;
        }
        let floor = directory.join(FLOOR_FILE);
        if floor.is_file() {
            self.floor = Some(read_judged(&floor)?);
            found = true;
        }
        match read_runs(directory) {
            Ok(runs) => self.runs.extend(runs),
            // The steps of a sweep need no results of their own beside it.
            Err(ResultError::Missing(_)) if found => {}
            Err(ResultError::Missing(path)) => return Err(ReportError::Nothing(path)),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The whole page.
    ///
    /// # Errors
    /// When a histogram of a run cannot be read.
    pub fn html(&self) -> Result<String, BadHistogram> {
        let mut body = String::new();
        body.push_str(&table::verdicts(self));
        body.push_str(&table::summary(&self.runs));
        body.push_str(&percentile::figures(&self.runs)?);
        body.push_str(&sweep::figures(&self.sweeps));
        body.push_str(&series::figures(&self.runs));
        body.push_str(&heat::figures(&self.runs)?);
        body.push_str(&stages::figures(&self.runs));
        if let Some(floor) = &self.floor {
            body.push_str(&table::floor(floor));
        }
        body.push_str(&table::settings(&self.runs));
        body.push_str(&table::environments(self));
        Ok(page::page(&self.title(), &body))
    }

    fn title(&self) -> String {
        let names = self.runs.iter().map(|run| run.name.as_str());
        let names: Vec<&str> = names
            .chain(self.sweeps.iter().map(|sweep| sweep.name.as_str()))
            .collect();
        match names.as_slice() {
            [] => "Machine floor".to_owned(),
            [first, rest @ ..] if rest.len() > 3 => format!("{first} and {} more", rest.len()),
            names => names.join(" · "),
        }
    }
}
