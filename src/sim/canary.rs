//! Faults on purpose: each is planted in the engine or played by the disk, and has to be found under the name of a rule it
//! breaks within a few seeds. A judge that misses one of them is broken, whatever it says of the real broker.

use super::history::Rule;
use super::nemesis::Kind;
use super::scenario::{Profile, Wish, run, run_and_explain};
use crate::runtime::sim::{Bug, DiskLies};

/// Seeds a canary may need.
const SEEDS: u64 = 40;

/// Large enough for every canary to sing early.
const PROFILE: Profile = Profile::Medium;

/// Runs seeds until one breaks a rule; that must be one of `rules`.
fn found(name: &str, wish: &Wish, rules: &[Rule]) {
    let wish = Wish {
        blind: !rules.contains(&Rule::StateInOrder),
        ..wish.clone()
    };
    for seed in 0..SEEDS {
        if let Err(failure) = run(seed, PROFILE, &wish) {
            let rule = failure.violation.rule;
            if !rules.contains(&rule) {
                let told = run_and_explain(seed, PROFILE, &wish).expect_err("a run is the same again");
                panic!("{name} was found as something else: {told}");
            }
            eprintln!(
                "canary {name:?}: seed {seed} breaks {rule:?}: {}",
                failure.violation.witness
            );
            return;
        }
    }
    panic!("nobody noticed that the broker {name}");
}

/// What clients see of a loss.
const LOSSES: [Rule; 8] = [
    Rule::AckedIsThere,
    // A hole in the middle.
    Rule::AllIsReadable,
    Rule::SeenStays,
    Rule::EndAdvances,
    Rule::OneRecordPerOffset,
    Rule::SequenceContinues,
    // What was lost comes again, elsewhere.
    Rule::OnceOnly,
    Rule::ProducerOrder,
];

const POWER: Option<&[Kind]> = Some(&[Kind::PowerCut]);

#[test]
fn a_broker_that_acks_before_its_writes_are_durable_is_found() {
    let wish = Wish {
        early_acks: true,
        kinds: POWER,
        ..Wish::default()
    };
    found("acks before durable", &wish, &LOSSES);
}

#[test]
fn a_disk_that_lies_about_durable_writes_is_found() {
    let wish = Wish {
        lies: DiskLies {
            dsync_is_volatile: true,
            ..DiskLies::default()
        },
        kinds: POWER,
        ..Wish::default()
    };
    found("trusts a lying disk", &wish, &LOSSES);
}

#[test]
fn a_broker_that_forgets_the_sync_before_it_trusts_is_found() {
    let wish = Wish {
        lies: DiskLies {
            forget_recovery_syncs: true,
            ..DiskLies::default()
        },
        kinds: Some(&[Kind::Kill, Kind::PowerCut]),
        ..Wish::default()
    };
    found("forgets the sync before trusting", &wish, &LOSSES);
}

#[test]
fn a_broker_that_forgets_to_sync_directories_is_found() {
    let wish = Wish {
        lies: DiskLies {
            forget_directory_syncs: true,
            ..DiskLies::default()
        },
        kinds: POWER,
        ..Wish::default()
    };
    let rules = [LOSSES.as_slice(), &[Rule::Liveness, Rule::AnswersMakeSense]].concat();
    found("forgets to sync directories", &wish, &rules);
}

fn planted(bug: Bug) -> Wish {
    Wish {
        bug: Some(bug),
        ..Wish::default()
    }
}

#[test]
fn a_broker_that_gives_an_offset_twice_is_found() {
    let rules = [Rule::OneRecordPerOffset, Rule::RealTimeOrder, Rule::EndAdvances];
    found("reuses an offset", &planted(Bug::ReusesOffset), &rules);
}

#[test]
fn a_broker_that_shows_what_is_not_durable_is_found() {
    let rules = [Rule::StateInOrder];
    found(
        "serves above the durable end",
        &planted(Bug::ServesAboveDurable),
        &rules,
    );
}

#[test]
fn a_broker_that_forgets_sequences_is_found() {
    let rules = [Rule::OnceOnly, Rule::ProducerOrder];
    found("forgets sequences", &planted(Bug::ForgetsSequences), &rules);
}
