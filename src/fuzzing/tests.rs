//! Every target on the stable toolchain: what lies in its corpus, and seeded mutations of it.
//!
//! A failure names target, file, seed and mutation and prints the input; kept as a file in `fuzz/corpus/<target>`, named after
//! what it broke, it stays found. `CORELOG_TEST_SEED` starts elsewhere, `CORELOG_FUZZ_FACTOR` does so many times the work. The
//! corpora of the encoders are written anew with `CORELOG_UPDATE_CORPUS=1 cargo test --lib fuzzing::`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::seeds::seeds;
use super::{TARGETS, Target};

/// Mutations of a target's corpus in all, those that do I/O or compile something excepted.
const MUTATIONS: u64 = 6_000;

/// Targets whose input costs more, and how many mutations they get.
const COSTLY: [(&str, u64); 6] = [
    ("config", 600),
    ("frame_scan", 600),
    ("group_records", 2_000),
    ("meta_store", 600),
    ("recovery", 600),
    ("topic_pattern", 1_000),
];

/// Longest mutated input.
const INPUT_BYTES_MAX: usize = 1 << 15;

/// Bytes of an input that a failure prints.
const SHOWN_BYTES_MAX: usize = 2_048;

macro_rules! replays {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays! {
    compression, kafka_batch, native_payload, checkpoint, clean_stop, index_file, meta_journal, meta_snapshot, meta_store,
    producer_table, consumer_protocol, group_records, kafka_frame, kafka_request, kafka_response, frame_scan, recovery,
    native_batches, native_frame, config, topic_pattern,
}

#[test]
fn every_target_has_a_replay_a_program_and_a_corpus() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED.iter().copied().collect());
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &names {
        let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("corelog::fuzzing::{name}(data)")),
            "{name}"
        );
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        assert!(!corpus(name).is_empty(), "{name}");
    }
    for (directory, suffix) in [("fuzz_targets", ".rs"), ("corpus", "")] {
        for file in listed(&fuzz().join(directory)) {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(
                names.contains(name.strip_suffix(suffix).unwrap()),
                "{directory}/{name} is no target's"
            );
        }
    }
}

#[test]
fn the_corpora_are_what_the_encoders_make() {
    let update = std::env::var_os("CORELOG_UPDATE_CORPUS").is_some();
    for seed in seeds() {
        let directory = fuzz().join("corpus").join(seed.target);
        let path = directory.join(&seed.name);
        if update {
            fs::create_dir_all(&directory).unwrap();
            fs::write(&path, &seed.bytes).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        let (target, name) = (seed.target, &seed.name);
        assert!(
            found == seed.bytes,
            "{target}/{name} is not current: see this file's head"
        );
    }
}

/// A target that hung or leaked a directory would be no target: the smallest inputs there are.
#[test]
fn nothing_and_next_to_nothing_are_inputs_too() {
    for target in TARGETS {
        for input in [&[][..], &[0], &[0xff], &[0; 64], &[0xff; 64]] {
            run(target, input, "one of the smallest");
        }
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn listed(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// File by file: name and bytes.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    listed(&fuzz().join("corpus").join(target))
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(name);
    for (file, bytes) in &corpus {
        run(target, bytes, file);
    }
    let budget = COSTLY
        .iter()
        .find(|(costly, _)| *costly == name)
        .map_or(MUTATIONS, |(_, mutations)| *mutations);
    let factor = number_from("CORELOG_FUZZ_FACTOR").unwrap_or(1);
    let seed = number_from("CORELOG_TEST_SEED").unwrap_or(0);
    let each = (budget * factor).div_ceil(corpus.len() as u64);
    for (at, (file, bytes)) in corpus.iter().enumerate() {
        let other = &corpus[(at + 1) % corpus.len()].1;
        for mutation in 0..each {
            let mut random = Random(seed ^ mutation << 16 ^ at as u64);
            let mutated = mutate(bytes, other, &mut random);
            run(
                target,
                &mutated,
                &format!("mutation {mutation} of {file}, seed {seed}"),
            );
        }
    }
}

/// Runs a target; when it panics, the input is printed.
fn run(target: &Target, input: &[u8], what: &str) {
    struct Shown<'a>(&'a Target, &'a [u8], &'a str);

    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let Self(target, input, what) = self;
                let shown = &input[..input.len().min(SHOWN_BYTES_MAX)];
                let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
                eprintln!("{}: {what}, {} bytes: {}", target.name, input.len(), hex.join(""));
            }
        }
    }

    let _shown = Shown(target, input, what);
    (target.run)(input);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// A few changes of the kinds that find most: bits, bytes that mean something, holes, repetitions, pieces of another input.
fn mutate(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const MEANINGFUL: [&[u8]; 9] = [
        &[0],
        &[0xff],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0x7f],
        &[0xff; 8],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[1, 0, 0, 0],
        &[0; 8],
    ];
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(5) {
        let at = random.below(bytes.len());
        let rest = bytes.len() - at;
        let len = 1 + random.below(rest.min(32));
        match random.below(8) {
            0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
            1 if rest > 0 => bytes[at] = random.byte(),
            2 => {
                let meant = MEANINGFUL[random.below(MEANINGFUL.len())];
                for (byte, meant) in bytes[at..].iter_mut().zip(meant) {
                    *byte = *meant;
                }
            }
            3 => drop(bytes.drain(at..at + len.min(rest))),
            4 => {
                let piece = bytes[at..at + len.min(rest)].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let from = random.below(other.len());
                let piece = other[from..(from + 4 * len).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => bytes.truncate(at),
            _ => bytes.insert(at, random.byte()),
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}
