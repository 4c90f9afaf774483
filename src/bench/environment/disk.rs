//! What is under a directory: file system, mount, device, scheduler, cache.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::json;

use super::{Facts, UNKNOWN};

pub(super) fn read(facts: &mut Facts<'_>, directory: Option<&Path>) {
    let device = directory
        .and_then(|directory| fs::metadata(directory).ok())
        .map(|found| {
            let device = found.dev();
            (rustix::fs::major(device), rustix::fs::minor(device))
        });
    let mount = device.and_then(|numbers| find_mount(facts, numbers));
    let (filesystem, options, source) = mount.map_or((None, None, None), |mount| {
        (Some(mount.filesystem), Some(mount.options), Some(mount.source))
    });
    facts.text("disk.filesystem", filesystem);
    facts.text("disk.mount_options", options);
    facts.text("disk.device", source);
    queue(facts, device);
}

struct Mount {
    filesystem: String,
    options: String,
    source: String,
}

/// The last mount of the device: what is mounted over something is what is seen.
fn find_mount(facts: &Facts<'_>, (major, minor): (u32, u32)) -> Option<Mount> {
    let text = facts.file("proc/self/mountinfo")?;
    let wanted = format!("{major}:{minor}");
    text.lines().rev().find_map(|line| parse_mount(line, &wanted))
}

/// `id parent major:minor root point options [tags] - type source super-options` (proc_pid_mountinfo(5)).
fn parse_mount(line: &str, wanted: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<&str> = front.split(' ').collect();
    if *front.get(2)? != wanted {
        return None;
    }
    let mut back = back.split(' ');
    let filesystem = back.next()?.to_owned();
    let source = back.next()?.to_owned();
    let own = front.get(5)?;
    let whole = back.next().unwrap_or_default();
    // Both lists begin with rw or ro; once is enough.
    let rest = whole
        .split(',')
        .filter(|option| !own.split(',').any(|known| known == *option));
    let options = std::iter::once(*own).chain(rest).collect::<Vec<_>>().join(",");
    Some(Mount {
        filesystem,
        options,
        source,
    })
}

fn queue(facts: &mut Facts<'_>, device: Option<(u32, u32)>) {
    let queue = device.and_then(|(major, minor)| {
        let block = format!("sys/dev/block/{major}:{minor}");
        // A partition has no queue of its own; the disk above it has.
        [format!("{block}/queue"), format!("{block}/../queue")]
            .into_iter()
            .find(|path| facts.root.join(path).is_dir())
    });
    let fact = |name: &str| {
        queue
            .as_ref()
            .and_then(|queue| facts.file(&format!("{queue}/{name}")))
    };
    let scheduler = fact("scheduler");
    let cache = fact("write_cache");
    let depth = fact("nr_requests");
    let block = fact("logical_block_size");
    let model = queue
        .as_ref()
        .and_then(|queue| facts.file(&format!("{queue}/../device/model")));
    let kind = match fact("rotational").as_deref() {
        Some("0") => "solid state",
        Some("1") => "rotating",
        _ => UNKNOWN,
    };
    facts.text("disk.scheduler", scheduler.as_deref().map(super::chosen));
    facts.text("disk.write_cache", cache);
    facts.text("disk.queue_depth", depth);
    facts.text("disk.logical_block_bytes", block);
    facts.text("disk.model", model);
    facts.put("disk.kind", json!(kind));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_by_its_device() {
        let line = "36 35 98:0 /mnt1 /data rw,noatime shared:1 - ext4 /dev/fast rw,noatime,errors=continue";
        let mount = parse_mount(line, "98:0").unwrap();
        let found = (
            mount.filesystem.as_str(),
            mount.source.as_str(),
            mount.options.as_str(),
        );
        assert_eq!(found, ("ext4", "/dev/fast", "rw,noatime,errors=continue"));
        assert!(parse_mount(line, "98:1").is_none());
        assert!(parse_mount("nonsense", "98:0").is_none());
    }
}
