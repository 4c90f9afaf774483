//! The figures of the broker against what the machine gives: `cargo bench --bench figures [-- PART...]`.
//!
//! **Promise.** Every figure is measured beside its floor in the same run, in alternating rounds, and judged as a ratio
//! of medians, because absolute numbers drift by a third on a shared machine. Each line is printed and appended to
//! `perf/results.jsonl` with the commit, the kernel, the number of cores and the durability it was measured under.
//!
//! Parts: `append` (the storage path against a bare ring), `latency` (one small record at a time), `throughput` (many
//! in flight over TCP), `footprint` (idle, memory, start-up), `instructions` (per record and room; needs valgrind).
//! Files go to `target/figures-*`, on the disk that holds the build.
#![expect(
    clippy::print_stdout,
    reason = "a measuring program reports to whoever runs it"
)]

mod append;
mod broker;
mod client;
mod floor;
mod footprint;
mod instructions;
mod latency;
mod report;
mod stats;
mod throughput;

use report::Report;

/// Measures one part and reports its figures.
type Part = fn(&mut Report);

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let parts: [(&str, Part); 5] = [
        ("append", append::measure),
        ("latency", latency::measure),
        ("throughput", throughput::measure),
        ("footprint", footprint::measure),
        ("instructions", instructions::measure),
    ];
    let mut report = Report::new();
    for (name, measure) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            println!("-- {name}");
            measure(&mut report);
        }
    }
    report.print_summary();
}
