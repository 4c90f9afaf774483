//! `corelog bench floor`: what the machine does without a broker.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::base::units::{ByteSize, TimeSpan};
use crate::bench::floor::{Driver, FLOOR_FILE, Floor, FloorOptions, measure};
use crate::bench::result::{Distribution, write_json};
use crate::cli::args::OutputFormat;
use crate::cli::output::Listing;
use crate::cli::{CliError, Streams};

/// `bench floor`.
#[derive(Debug, Args)]
pub struct FloorArgs {
    /// A directory on the disk to measure; scratch files in it come and go
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Sizes of durable writes
    #[arg(
        long,
        value_name = "SIZE,..",
        value_delimiter = ',',
        default_value = "4KiB,16KiB,64KiB,256KiB,1MiB"
    )]
    pub sizes: Vec<ByteSize>,
    /// Durable writes in flight
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,2,4,8")]
    pub depths: Vec<usize>,
    /// Sizes of requests in bare TCP round trips
    #[arg(
        long,
        value_name = "SIZE,..",
        value_delimiter = ',',
        default_value = "100B,1KiB,16KiB,64KiB"
    )]
    pub requests: Vec<ByteSize>,
    /// Time for each single measurement; there are about sixty
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub duration: TimeSpan,
    /// Bytes of each scratch file; there are as many as the greatest depth
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    pub file_size: ByteSize,
    /// Directory to write floor.json into
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// Measures, prints, and keeps the result if asked.
pub(super) fn run(args: &FloorArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let options = FloorOptions {
        directory: args.dir.clone(),
        sizes: args.sizes.iter().map(|size| size.to_usize()).collect(),
        depths: args.depths.clone(),
        requests: args.requests.iter().map(|size| size.to_usize()).collect(),
        duration: args.duration.get(),
        file_bytes: args.file_size.get(),
    };
    let mut tell = |line: &str| {
        // Progress that nobody sees is no reason to stop measuring.
        let _told = writeln!(streams.err, "{line}");
    };
    let floor = measure(&options, &mut tell).map_err(|error| CliError::Failed(format!("{error:#}")))?;
    if let Some(directory) = &args.out {
        write_json(directory, FLOOR_FILE, &floor).map_err(CliError::failed)?;
        writeln!(streams.err, "wrote {}", directory.join(FLOOR_FILE).display())?;
    }
    listing(&floor).print(args.output, streams.out)
}

fn listing(floor: &Floor) -> Listing {
    let mut listing = Listing::new(&["what", "bytes", "depth", "p50_us", "p99_us", "p99.9_us", "MB/s"]);
    let mut latency =
        |what: &str, bytes: usize, depth: usize, found: &Distribution, rate: serde_json::Value| {
            let [p50, p99, p999] = [found.p50, found.p99, found.p999].map(micros);
            listing.push([json!(what), json!(bytes), json!(depth), p50, p99, p999, rate]);
        };
    let one = &floor.one_in_flight;
    let none = || serde_json::Value::Null;
    for (what, found) in [
        ("one in flight: request, durable block, answer", &one.whole),
        ("its round trip alone", &one.round_trip),
        ("its durable write alone", &one.write),
        ("both alone, added", &one.sum),
    ] {
        latency(what, one.write_bytes, 1, found, none());
    }
    for trip in &floor.round_trips {
        latency("TCP round trip", trip.request_bytes, 1, &trip.latency, none());
    }
    for write in &floor.durable {
        let what = match write.driver {
            Driver::Ring => "durable write, io_uring",
            Driver::Threads => "durable write, threads",
        };
        latency(
            what,
            write.bytes,
            write.depth,
            &write.latency,
            megabytes(write.bytes_per_second),
        );
    }
    for append in &floor.appends {
        latency("append + fdatasync", append.bytes, 1, &append.latency, none());
    }
    for receive in &floor.receive {
        let what = format!("one core: {}", receive.what);
        listing.push(rate(&what, 0, receive.bytes_per_cpu_second));
    }
    for memory in &floor.memory {
        listing.push(rate(&memory.what, memory.working_set, memory.bytes_per_second));
    }
    let disk = &floor.sequential;
    listing.push(rate("sequential write", disk.bytes, disk.write_bytes_per_second));
    listing.push(rate("sequential read", disk.bytes, disk.read_bytes_per_second));
    listing
}

fn rate(what: &str, bytes: usize, per_second: f64) -> [serde_json::Value; 7] {
    let bytes = if bytes == 0 { json!(null) } else { json!(bytes) };
    let none = || json!(null);
    [
        json!(what),
        bytes,
        none(),
        none(),
        none(),
        none(),
        megabytes(per_second),
    ]
}

/// Nanoseconds as microseconds with one decimal.
#[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
fn micros(ns: u64) -> serde_json::Value {
    json!((ns as f64 / 100.0).round() / 10.0)
}

fn megabytes(per_second: f64) -> serde_json::Value {
    json!((per_second / 1e5).round() / 10.0)
}
