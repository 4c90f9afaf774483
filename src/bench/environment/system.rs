//! Kernel, memory, limits, and what kind of machine it pretends to be.

use serde_json::json;

use super::{Facts, chosen};

pub(super) fn read(facts: &mut Facts<'_>) {
    facts.text("kernel.release", facts.file("proc/sys/kernel/osrelease"));
    facts.text("kernel.version", facts.file("proc/sys/kernel/version"));
    facts.text(
        "kernel.cmdline",
        facts.file("proc/cmdline").map(|line| timing_parameters(&line)),
    );
    let clock = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    facts.text("kernel.clocksource", facts.file(clock));
    let huge = facts.file("sys/kernel/mm/transparent_hugepage/enabled");
    facts.text("kernel.thp", huge.as_deref().map(chosen));
    facts.text(
        "kernel.io_uring_disabled",
        facts.file("proc/sys/kernel/io_uring_disabled"),
    );
    memory(facts);
    limits(facts);
    machine(facts);
}

/// Only parameters that change timing: a command line may name hosts, disks and secrets.
fn timing_parameters(line: &str) -> String {
    let kept: Vec<&str> = line
        .split_whitespace()
        .take_while(|word| *word != "--")
        .filter(|word| TIMING_PARAMETERS.iter().any(|prefix| word.starts_with(prefix)))
        .collect();
    if kept.is_empty() {
        "nothing that changes timing".to_owned()
    } else {
        kept.join(" ")
    }
}

const TIMING_PARAMETERS: [&str; 26] = [
    "amd_pstate",
    "clocksource",
    "cpuidle",
    "default_hugepagesz",
    "haltpoll",
    "hugepages",
    "idle=",
    "intel_idle",
    "intel_pstate",
    "iommu",
    "irqaffinity",
    "isolcpus",
    "kthread_cpus",
    "mitigations",
    "nohz",
    "nosmt",
    "numa_balancing",
    "nvme",
    "pcie_aspm",
    "preempt",
    "processor.max_cstate",
    "rcu_nocb",
    "skew_tick",
    "threadirqs",
    "transparent_hugepage",
    "tsc=",
];

fn memory(facts: &mut Facts<'_>) {
    let text = facts.file("proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib.saturating_mul(1024))
    };
    facts.number("memory.total_bytes", field("MemTotal:"));
    facts.number("memory.available_bytes", field("MemAvailable:"));
}

fn limits(facts: &mut Facts<'_>) {
    let text = facts.file("proc/self/limits").unwrap_or_default();
    let soft = |name: &str| -> Option<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    facts.text("limits.memlock", soft("Max locked memory"));
    facts.text("limits.open_files", soft("Max open files"));
}

fn machine(facts: &mut Facts<'_>) {
    let name = facts.file("proc/sys/kernel/hostname");
    facts.text(
        "host.hash",
        name.map(|name| format!("{:016x}", fnv1a(name.as_bytes()))),
    );
    let flags = facts.file("proc/cpuinfo");
    let virtual_cpu = flags.map(|text| {
        let hypervisor = text
            .lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
        if hypervisor { "yes" } else { "not seen" }.to_owned()
    });
    facts.text("machine.virtual", virtual_cpu);
    let vendor = facts.file("sys/class/dmi/id/sys_vendor");
    let product = facts.file("sys/class/dmi/id/product_name");
    let made = match (vendor, product) {
        (None, None) => None,
        (vendor, product) => Some(
            [vendor, product]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
        ),
    };
    facts.text("machine.product", made);
    facts.put("machine.container", json!(container(facts)));
}

/// A guess, from the marks container runtimes leave.
fn container(facts: &Facts<'_>) -> &'static str {
    if facts.root.join(".dockerenv").exists() {
        return "docker";
    }
    if facts.root.join("run/.containerenv").exists() {
        return "podman";
    }
    let groups = facts.file("proc/1/cgroup").unwrap_or_default();
    for (mark, name) in [
        ("kubepods", "kubernetes"),
        ("docker", "docker"),
        ("containerd", "containerd"),
        ("lxc", "lxc"),
    ] {
        if groups.contains(mark) {
            return name;
        }
    }
    "none seen"
}

/// FNV-1a, 64 bits: enough to tell two hosts apart, and the same for ever.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
