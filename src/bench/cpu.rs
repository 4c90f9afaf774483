//! How much of the machine the broker used, and which clock the machine has, as the kernel's files tell it.
//!
//! Everything is optional: a process of another user, or none, gives nothing and no error.

use std::fs;

use super::record::Timing;

/// Looks at a process when the measured part begins and when it ends.
#[derive(Debug)]
pub(super) struct Sampler {
    pid: Option<i32>,
    timing: Timing,
    first: Option<Sample>,
    last: Option<Sample>,
}

/// A look at a clock and at a process's CPU time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ns: u64,
    used_ns: u64,
}

/// Longest sleep between two looks.
const LOOK_NS_MAX: u64 = 1_000_000_000;

impl Sampler {
    pub(super) const fn new(pid: Option<i32>, timing: Timing) -> Self {
        Self {
            pid,
            timing,
            first: None,
            last: None,
        }
    }

    /// Takes a sample if it is time for one.
    pub(super) fn look(&mut self, now_ns: u64) {
        let begun = now_ns >= self.timing.measured_ns;
        if begun && self.first.is_none() {
            self.first = self.sample(now_ns);
        } else if begun && (self.last.is_none_or(|last| last.at_ns < self.timing.end_ns)) {
            self.last = self.sample(now_ns);
        }
    }

    /// Nanoseconds until it is time again.
    pub(super) fn next_look(&self, now_ns: u64) -> u64 {
        let edges = [self.timing.measured_ns, self.timing.end_ns];
        let next = edges.into_iter().filter(|edge| *edge > now_ns).min();
        next.map_or(LOOK_NS_MAX, |edge| edge - now_ns).min(LOOK_NS_MAX)
    }

    /// Cores used between the first look and the last.
    pub(super) fn share(&self) -> Option<f64> {
        let (first, last) = (self.first?, self.last?);
        let wall_ns = last
            .at_ns
            .checked_sub(first.at_ns)
            .filter(|wall_ns| *wall_ns > 0)?;
        Some(last.used_ns.saturating_sub(first.used_ns) as f64 / wall_ns as f64)
    }

    fn sample(&self, at_ns: u64) -> Option<Sample> {
        let used_ns = process_cpu_ns(self.pid?)?;
        Some(Sample { at_ns, used_ns })
    }
}

/// CPU time of all threads of a process. The scheduler's own account is exact; `stat` counts ticks of 10 ms.
fn process_cpu_ns(pid: i32) -> Option<u64> {
    let mut used_ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end while its siblings are counted.
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
            continue;
        };
        used_ns += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(used_ns)
}

/// The clock the kernel uses.
pub(super) fn clock_source() -> Option<String> {
    let text = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_between_the_edges_of_the_measured_part() {
        let timing = Timing {
            measured_ns: 100,
            end_ns: 200,
        };
        let mut sampler = Sampler::new(i32::try_from(std::process::id()).ok(), timing);
        assert_eq!(sampler.next_look(10), 90);
        sampler.look(10);
        assert!(sampler.first.is_none());
        sampler.look(101);
        sampler.look(150);
        assert_eq!(sampler.last.unwrap().at_ns, 150);
        sampler.look(205);
        sampler.look(300);
        assert_eq!(sampler.last.unwrap().at_ns, 205);
        assert!(sampler.share().is_some());
    }

    #[test]
    fn a_process_that_is_not_there_has_no_share() {
        let mut sampler = Sampler::new(
            Some(i32::MAX),
            Timing {
                measured_ns: 0,
                end_ns: 1,
            },
        );
        sampler.look(0);
        sampler.look(1);
        assert_eq!(sampler.share(), None);
    }
}
