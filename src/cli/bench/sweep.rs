//! `corelog bench sweep`: runs at one rate after another until the objective breaks, and the knee.

use clap::Args;

use super::load::{LoadArgs, judge, run_once, save};
use super::show;
use crate::bench::result::{SCHEMA_VERSION, SWEEP_FILE, Sweep};
use crate::bench::spec::{Kind, Objective, Rate};
use crate::bench::sweep::{RateRange, Search, knee, met, step};
use crate::bench::text::{count, latency};
use crate::cli::args::OutputFormat;
use crate::cli::{CliError, Streams};

/// `bench sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// The lowest and the highest rate, such as 50k..2M
    #[arg(long, value_name = "LOW..HIGH")]
    pub rate: RateRange,
    /// Most runs: a ladder of equal ratios, then closing in on the rung that broke
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub steps: u32,
    /// What must hold, such as p99.9<2ms; a valid run if not given
    #[arg(long, value_name = "PERCENTILE<TIME")]
    pub slo: Option<Objective>,
    /// Producers only, instead of end to end
    #[arg(long)]
    pub produce_only: bool,
    /// How to drive each run.
    #[command(flatten)]
    pub load: LoadArgs,
}

pub(super) fn run(args: &SweepArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let load = &args.load;
    let door = load.door()?;
    let kind = if args.produce_only {
        Kind::Produce
    } else {
        Kind::E2e
    };
    let mut search = Search::new(args.rate, args.steps);
    let mut sweep = Sweep {
        schema: SCHEMA_VERSION,
        name: load.name.clone().unwrap_or_else(|| "sweep".to_owned()),
        protocol: door.name().to_owned(),
        objective: args.slo.as_ref().map_or_else(String::new, ToString::to_string),
        objective_ns: args.slo.as_ref().map_or(0, |slo| slo.limit_ns),
        durability: load.durability.clone(),
        ..Sweep::default()
    };
    while let Some(rate) = search.next() {
        let mut spec = load.spec(kind, Rate::new(rate));
        spec.name = format!("{} {}/s", sweep.name, count(rate));
        let outcome = run_once(&spec, load, &door, streams)?;
        let met = met(&outcome.result, args.slo.as_ref());
        search.tell(rate, met);
        let word = if met { "kept" } else { "BROKEN" };
        writeln!(streams.err, "{}/s: {word}", count(rate))?;
        if load.output == OutputFormat::Json {
            show::run(&outcome.result, load.output, streams.out)?;
        }
        if let Some(out) = &load.out {
            // Ten digits hold every rate, so that directories sort by it.
            save(&outcome, &out.join(format!("{:010.0}", rate)))?;
        }
        sweep.environment.clone_from(&outcome.result.environment);
        sweep.steps.push(step(&outcome.result, met));
        sweep
            .steps
            .sort_by(|one, other| one.target_rate.total_cmp(&other.target_rate));
        sweep.knee = knee(&sweep.steps);
    }
    if let Some(out) = &load.out {
        sweep.write(out).map_err(CliError::failed)?;
        show::files(Some(out), &[SWEEP_FILE], streams.err)?;
    }
    match load.output {
        OutputFormat::Json => writeln!(streams.out, "{}", serde_json::json!(sweep))?,
        OutputFormat::Table => table(&sweep, streams)?,
    }
    judge(load, sweep.knee.is_none())
}

fn table(sweep: &Sweep, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let heads = ["rate", "achieved", "p50", "p99", "p99.9", "max"].map(|head| format!("{head:>10}"));
    writeln!(streams.out, "{}  client  broker", heads.join(""))?;
    for (number, step) in sweep.steps.iter().enumerate() {
        let found = step.latency.get("e2e").or_else(|| step.latency.get("response"));
        let values = found
            .map_or([0; 4], |one| [one.p50, one.p99, one.p999, one.max])
            .map(latency);
        let rates = [step.target_rate, step.achieved_rate].map(count);
        let cells: String = rates
            .iter()
            .chain(&values)
            .map(|cell| format!("{cell:>10}"))
            .collect();
        let broker = step
            .broker_cpu
            .map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
        let note = match (sweep.knee == Some(number), step.met) {
            (true, _) => "  <- knee".to_owned(),
            (false, true) => String::new(),
            (false, false) => format!("  broken {}", step.verdict.invalid.join("; ")),
        };
        writeln!(
            streams.out,
            "{cells}  {:>5.0}%  {broker:>6}{note}",
            step.client_cpu * 100.0
        )?;
    }
    let objective = if sweep.objective.is_empty() {
        "a valid run"
    } else {
        &sweep.objective
    };
    match sweep.knee.and_then(|knee| sweep.steps.get(knee)) {
        Some(step) => writeln!(
            streams.out,
            "{objective} holds up to {}/s",
            count(step.achieved_rate)
        )?,
        None => writeln!(streams.out, "{objective} does not hold even at the lowest rate")?,
    }
    Ok(())
}
