//! Processors: which, how many, and what makes their speed vary.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Facts, UNKNOWN};
use crate::runtime::affinity::allowed_cores;

pub(super) fn read(facts: &mut Facts<'_>) {
    let info = facts.file("proc/cpuinfo").unwrap_or_default();
    facts.text(
        "cpu.model",
        field(&info, "model name").or_else(|| field(&info, "CPU part")),
    );
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    facts.number("cpu.cores", u64::try_from(count).ok().filter(|count| *count > 0));
    let allowed = allowed_cores()
        .ok()
        .and_then(|cores| u64::try_from(cores.len()).ok());
    facts.number("cpu.cores_allowed", allowed);
    facts.text("cpu.smt", facts.file("sys/devices/system/cpu/smt/control"));
    governors(facts);
    turbo(facts);
    mitigations(facts);
    let nodes = facts.names("sys/devices/system/node");
    let nodes = nodes.iter().filter(|name| is_numbered(name, "node")).count();
    facts.number(
        "cpu.numa_nodes",
        u64::try_from(nodes).ok().filter(|nodes| *nodes > 0),
    );
    let load = facts.file("proc/loadavg");
    facts.text(
        "cpu.load",
        load.and_then(|text| text.split(' ').next().map(str::to_owned)),
    );
}

fn field(info: &str, name: &str) -> Option<String> {
    let line = info.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The governors in use; more than one if cores differ.
fn governors(facts: &mut Facts<'_>) {
    let cores = facts.names("sys/devices/system/cpu");
    let found: BTreeSet<String> = cores
        .iter()
        .filter(|name| is_numbered(name, "cpu"))
        .filter_map(|name| facts.file(&format!("sys/devices/system/cpu/{name}/cpufreq/scaling_governor")))
        .collect();
    let joined = found.into_iter().collect::<Vec<_>>().join(", ");
    facts.text("cpu.governor", Some(joined).filter(|text| !text.is_empty()));
}

fn turbo(facts: &mut Facts<'_>) {
    let none = facts.file("sys/devices/system/cpu/intel_pstate/no_turbo");
    let boost = facts.file("sys/devices/system/cpu/cpufreq/boost");
    let turbo = match (none.as_deref(), boost.as_deref()) {
        (Some("0"), _) | (None, Some("1")) => "on",
        (Some("1"), _) | (None, Some("0")) => "off",
        _ => UNKNOWN,
    };
    facts.put("cpu.turbo", json!(turbo));
}

/// What the kernel does about each weakness the processor has.
fn mitigations(facts: &mut Facts<'_>) {
    let directory = "sys/devices/system/cpu/vulnerabilities";
    let names = facts.names(directory);
    let all: Vec<String> = names
        .iter()
        .filter_map(|name| Some((name, facts.file(&format!("{directory}/{name}"))?)))
        .filter(|(_, state)| state != "Not affected")
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    let text = match (names.is_empty(), all.is_empty()) {
        (true, _) => None,
        (false, true) => Some("not affected".to_owned()),
        (false, false) => Some(all.join("; ")),
    };
    facts.text("cpu.mitigations", text);
}
