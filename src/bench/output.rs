//! The files of a run that other tools read.
//!
//! - `latency.hlog`: HdrHistogram interval log V2, one line for each second and distribution, told apart by tag.
//! - `produce.hgrm`, `e2e.hgrm`: percentile distributions in milliseconds, as the HdrHistogram plotter takes them.
//! - `timeseries.csv`: one line for each second of the measured part.
//!
//! `result.json` is [`super::result`]'s. Everything is written into one directory, which is made if need be; files of an
//! earlier run there are replaced.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::engine::{Outcome, Second};
use super::record::Measure;
use super::result::Point;

/// Interval log.
pub const HLOG_FILE: &str = "latency.hlog";
/// Response times.
pub const PRODUCE_FILE: &str = "produce.hgrm";
/// End-to-end times.
pub const E2E_FILE: &str = "e2e.hgrm";
/// The series.
pub const SERIES_FILE: &str = "timeseries.csv";

/// Writes what there is to write and returns the names of the files.
///
/// # Errors
/// What the file system says.
pub fn write(outcome: &Outcome, directory: &Path) -> io::Result<Vec<&'static str>> {
    fs::create_dir_all(directory)?;
    let mut written = vec![HLOG_FILE];
    let started = Duration::from_millis(outcome.result.started_ms.unsigned_abs());
    save(directory, HLOG_FILE, |out| hlog(&outcome.seconds, started, out))?;
    for (measure, file) in [(Measure::Response, PRODUCE_FILE), (Measure::E2e, E2E_FILE)] {
        let histogram = outcome.whole.of(measure);
        if !histogram.is_empty() {
            save(directory, file, |out| hgrm(histogram, out))?;
            written.push(file);
        }
    }
    save(directory, SERIES_FILE, |out| series(&outcome.result.series, out))?;
    written.push(SERIES_FILE);
    Ok(written)
}

fn save(
    directory: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(directory.join(name))?);
    write(&mut out)?;
    out.flush()
}

/// The interval log of `seconds` of a run whose measured part began at `started` since 1970.
fn hlog(seconds: &[Second], started: Duration, out: &mut impl Write) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("latencies in nanoseconds, by corelog bench")
        .with_start_time(SystemTime::UNIX_EPOCH + started)
        .with_base_time(SystemTime::UNIX_EPOCH + started)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(out, &mut serializer)?;
    for second in seconds {
        for measure in Measure::ALL {
            let histogram = second.histograms.of(measure);
            if !histogram.is_empty() {
                let tag = Tag::new(measure.name());
                log.write_histogram(histogram, second.start, second.length, tag)
                    .map_err(|error| io::Error::other(format!("{error:?}")))?;
            }
        }
    }
    Ok(())
}

/// The percentile distribution of `histogram`, which holds nanoseconds, in milliseconds.
fn hgrm(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        let quantile = step.quantile_iterated_to();
        let value = step.value_iterated_to() as f64 / NS_PER_MS;
        count += step.count_since_last_iteration();
        write!(out, "{value:>12.6} {quantile:>14.12} {count:>10}")?;
        if quantile < 1.0 {
            writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out)?;
        }
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    writeln!(
        out,
        "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]"
    )?;
    let (max, total) = (histogram.max() as f64 / NS_PER_MS, histogram.len());
    writeln!(out, "#[Max     = {max:>12.6}, Total count    = {total:>12}]")?;
    let buckets = histogram.buckets();
    // The first bucket has all its halves, each further one only its upper.
    let length = histogram.distinct_values() * 2 / (usize::from(buckets) + 1);
    writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {length:>12}]")
}

fn series(points: &[Point], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "t,sent,acked,received,acked_bytes,p50_ns,p99_ns,p999_ns,max_ns,backlog"
    )?;
    for point in points {
        let Point {
            t,
            sent,
            acked,
            received,
            acked_bytes,
            p50,
            p99,
            p999,
            max,
            backlog,
            ..
        } = point;
        writeln!(
            out,
            "{t},{sent},{acked},{received},{acked_bytes},{p50},{p99},{p999},{max},{backlog}"
        )?;
    }
    Ok(())
}

const NS_PER_MS: f64 = 1e6;
/// Lines of a percentile distribution for each halving of the distance to 100 %; what the other tools print.
const TICKS_PER_HALF: u32 = 5;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::bench::record::Histograms;
    use crate::bench::result::new_histogram;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn percentile_distributions_are_what_the_plotter_reads() {
        let mut histogram = new_histogram();
        for value in [1_000_000, 2_000_000, 2_000_000, 10_000_000] {
            histogram.record(value).unwrap();
        }
        expect![[r#"
                   Value     Percentile TotalCount 1/(1-Percentile)

                1.000447 0.000000000000          1           1.00
                1.000447 0.100000000000          1           1.11
                1.000447 0.200000000000          1           1.25
                2.000895 0.300000000000          3           1.43
                2.000895 0.400000000000          3           1.67
                2.000895 0.500000000000          3           2.00
                2.000895 0.550000000000          3           2.22
                2.000895 0.600000000000          3           2.50
                2.000895 0.650000000000          3           2.86
                2.000895 0.700000000000          3           3.33
               10.002431 0.750000000000          4           4.00
               10.002431 1.000000000000          4
            #[Mean    =     3.749824, StdDeviation   =     3.630615]
            #[Max     =    10.002431, Total count    =            4]
            #[Buckets =           32, SubBuckets     =         2048]
        "#]]
        .assert_eq(&text(|out| hgrm(&histogram, out)));
    }

    #[test]
    fn interval_logs_have_a_line_for_each_second_and_tag() {
        let mut histograms = Histograms::default();
        histograms.record(Measure::Response, 1_500_000, 3);
        histograms.record(Measure::E2e, 2_500_000, 1);
        let second = Second {
            start: Duration::from_secs(1),
            length: Duration::from_secs(1),
            histograms,
        };
        let log = text(|out| hlog(&[second], Duration::from_secs(1_700_000_000), out));
        // The histograms themselves are the library's business, and their deflated bytes its version's.
        let shown: Vec<_> = log
            .lines()
            .map(|line| line.split("HIST").next().unwrap_or_default())
            .collect();
        expect![[r#"
            #latencies in nanoseconds, by corelog bench
            #[StartTime: 1700000000.000 (seconds since epoch)]
            #[BaseTime: 1700000000.000 (seconds since epoch)]
            #[MaxValueDivisor: 1000000.000]
            Tag=response,1.000,1.000,1.500,
            Tag=e2e,1.000,1.000,2.501,"#]]
        .assert_eq(&shown.join("\n"));
    }

    #[test]
    fn the_series_is_a_table() {
        let point = Point {
            t: 1.0,
            sent: 2,
            acked: 3,
            p50: 4,
            backlog: 5,
            ..Point::default()
        };
        expect![[r#"
            t,sent,acked,received,acked_bytes,p50_ns,p99_ns,p999_ns,max_ns,backlog
            1,2,3,0,0,4,0,0,0,5
        "#]]
        .assert_eq(&text(|out| series(&[point], out)));
    }
}
