//! What was measured: one line per figure on the terminal, and one JSON object per figure in `perf/results.jsonl`.

use std::io::Write as _;
use std::process::Command;

/// One figure beside its floor or its limit.
#[derive(Debug)]
pub(crate) struct Figure {
    /// Stable name, for comparing runs.
    pub(crate) name: String,
    /// The broker's number.
    pub(crate) value: f64,
    /// What the machine gives, or the limit; `None` for a plain number.
    pub(crate) floor: Option<f64>,
    /// Of both.
    pub(crate) unit: &'static str,
    /// What the ratio, or where there is no floor the value, must be.
    pub(crate) goal: Goal,
    /// What an answer meant: `durable(dsync)`, `none` where nothing is written.
    pub(crate) durability: &'static str,
    /// Shape of the load, further percentiles.
    pub(crate) note: String,
}

/// Where a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Value over floor at least this.
    RatioAtLeast(f64),
    /// Value over floor at most this.
    RatioAtMost(f64),
    /// Nothing was promised.
    Known,
}

impl Figure {
    fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.value / floor)
    }

    fn verdict(&self) -> &'static str {
        let met = match (self.goal, self.ratio()) {
            (Goal::RatioAtLeast(goal), Some(ratio)) => ratio >= goal,
            (Goal::RatioAtMost(goal), Some(ratio)) => ratio <= goal,
            _ => return "",
        };
        if met { "met" } else { "MISSED" }
    }

    fn line(&self) -> String {
        let floor = self.floor.map_or_else(String::new, |floor| format!("{floor:.1}"));
        let ratio = self
            .ratio()
            .map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let goal = match self.goal {
            Goal::RatioAtLeast(goal) => format!(">= {goal}"),
            Goal::RatioAtMost(goal) => format!("<= {goal}"),
            Goal::Known => String::new(),
        };
        format!(
            "{:<44} {:>10.1} {:>10} {:<9} {:>7} {:<7} {:<6} {}",
            self.name,
            self.value,
            floor,
            self.unit,
            ratio,
            goal,
            self.verdict(),
            self.note
        )
    }
}

/// Collects the figures of one run.
#[derive(Debug)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    commit: String,
    kernel: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        let commit = said(Command::new("git").args(["describe", "--always", "--dirty"]));
        Self {
            figures: Vec::new(),
            commit: if commit.is_empty() {
                "unknown".to_owned()
            } else {
                commit
            },
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
        }
    }

    /// Prints and records one figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        println!("{}", figure.line());
        let line = serde_json::json!({
            "unix_ms": corelog::runtime::clock::wall_ms().get(),
            "commit": self.commit,
            "kernel": self.kernel,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "figure": figure.name,
            "value": figure.value,
            "floor": figure.floor,
            "unit": figure.unit,
            "ratio": figure.ratio(),
            "verdict": figure.verdict(),
            "durability": figure.durability,
            "note": figure.note,
        });
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/perf/results.jsonl");
        let written = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = written {
            println!("cannot record in {path}: {error}");
        }
        self.figures.push(figure);
    }

    pub(crate) fn print_summary(&self) {
        println!("\n{} on {}", self.commit, self.kernel);
        println!(
            "{:<44} {:>10} {:>10} {:<9} {:>7} {:<7}",
            "figure", "value", "floor", "unit", "ratio", "goal"
        );
        for figure in &self.figures {
            println!("{}", figure.line());
        }
    }
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
