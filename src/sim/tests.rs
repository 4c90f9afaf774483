//! The runs of the simulator: seeds that once failed, a stretch of seeds for each profile, and one seed twice.
//!
//! `CORELOG_SIM_SEEDS`, `CORELOG_SIM_FROM` and `CORELOG_SIM_PROFILE` make the campaign longer (`scripts/simulate`);
//! `CORELOG_SIM_SEED` runs one seed with its diary.

use std::collections::BTreeMap;

use super::nemesis::Kind;
use super::scenario::{Failure, Outcome, Profile, Wish, run, run_and_explain};

/// Seeds that broke something once, with the profile that did.
const REGRESSIONS: [(u64, Profile); 11] = [
    // A failed write of the cleaner left a hole in its file, which the simulated disk did not know how to have.
    (10_012, Profile::Small),
    // A start trusted a checkpoint whose name a crash had left in the cache; when the power went, the log began earlier again.
    (1_000_091, Profile::Small),
    // What the scrub found damaged hid sound records behind it, up to the next entry of the index.
    (22, Profile::Rot),
    // A reader that met a rotten header was refused what is sound behind it, up to the next entry of the index.
    (30_033, Profile::Rot),
    // The same in the active segment; and where the damage itself lies below the start.
    (30_301, Profile::Rot),
    (30_329, Profile::Rot),
    // Behind a rotten header in the last block a reader got nothing, and no error, for ever.
    (32_268, Profile::Rot),
    // Retention moved the start before anything durable said so, and a power cut took it back.
    (30_495, Profile::Rot),
    // The last index that knew a producer went with its segment; after a crash what it repeated was taken for new.
    (103_358, Profile::Small),
    (100_493, Profile::Groups),
    // A start after a crash did not believe the index of the segment it scanned, though cleaned frames know no producers.
    (202_867, Profile::Small),
];

/// Seeds of an ordinary test run.
const SEEDS: u64 = 100;

/// Seeds of the profiles that are run beside the small one.
const FEW_SEEDS: u64 = 25;

/// Where the seeds of the second stretch of an ordinary run begin.
const SECOND_FROM: u64 = 1_000_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

fn profile() -> Profile {
    let name = std::env::var("CORELOG_SIM_PROFILE").unwrap_or_else(|_| "small".to_owned());
    Profile::parse(&name).unwrap_or_else(|| panic!("no profile is called {name}"))
}

/// Runs seeds and adds up what happened; the first that fails ends it.
fn campaign(from: u64, count: u64, profile: Profile) {
    let mut marks: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut acked, mut steps) = (0, 0);
    for seed in from..from + count {
        let outcome =
            run_and_explain(seed, profile, &Wish::default()).unwrap_or_else(|failure| panic!("{failure}"));
        acked += outcome.acked;
        steps += outcome.steps;
        for (mark, times) in outcome.marks {
            *marks.entry(mark).or_default() += times;
        }
    }
    eprintln!(
        "{count} seeds from {from} ({profile:?}): {acked} records acknowledged, {steps} steps, no rule broken"
    );
    for (mark, times) in marks {
        eprintln!("  {mark}: {times}");
    }
}

#[test]
fn a_campaign_of_seeds_breaks_no_rule() {
    if let Some(seed) = number("CORELOG_SIM_SEED") {
        let wish = Wish {
            diary: true,
            ..Wish::default()
        };
        match run(seed, profile(), &wish) {
            Ok(outcome) => eprintln!("seed {seed}: {outcome:#?}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let count = number("CORELOG_SIM_SEEDS").unwrap_or(SEEDS);
    campaign(number("CORELOG_SIM_FROM").unwrap_or(0), count, profile());
}

#[test]
fn another_stretch_of_seeds_breaks_no_rule() {
    if number("CORELOG_SIM_SEEDS").is_none() && number("CORELOG_SIM_SEED").is_none() {
        campaign(SECOND_FROM, SEEDS, Profile::Small);
    }
}

#[test]
fn seeds_with_groups_break_no_rule() {
    if number("CORELOG_SIM_SEEDS").is_none() && number("CORELOG_SIM_SEED").is_none() {
        campaign(0, FEW_SEEDS, Profile::Groups);
    }
}

#[test]
fn seeds_with_rot_break_no_rule() {
    if number("CORELOG_SIM_SEEDS").is_none() && number("CORELOG_SIM_SEED").is_none() {
        campaign(0, FEW_SEEDS, Profile::Rot);
        campaign(0, FEW_SEEDS, Profile::Stray);
    }
}

/// A fetch with time left looked again and again when the disk had failed under its log, and nobody else had a turn: such a
/// run does not end.
#[test]
fn a_fetch_that_waits_on_a_failed_disk_gives_way() {
    let wish = Wish {
        kinds: Some(&[Kind::FailingWrites, Kind::FailingSyncs]),
        ..Wish::default()
    };
    for seed in 0..FEW_SEEDS {
        run_and_explain(seed, Profile::Small, &wish).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    for (seed, profile) in REGRESSIONS {
        run_and_explain(seed, profile, &Wish::default())
            .unwrap_or_else(|failure: Failure| panic!("{failure}"));
    }
}

#[test]
fn one_seed_gives_one_run_to_the_last_step() {
    for seed in 0..3 {
        let [first, second]: [Outcome; 2] =
            std::array::from_fn(|_| run(seed, Profile::Medium, &Wish::default()).expect("a good run"));
        assert_eq!(first, second, "seed {seed}");
    }
}
