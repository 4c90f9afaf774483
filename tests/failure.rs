//! When things go wrong around the broker: full disks, failing disks, missing rights, signals, other cores.
//!
//! Every test runs the real binary on a file system it may break (a small ext4 in a file, so this needs root) and
//! speaks to it with a client that hides no error (`tests/support/client.rs`). What was acknowledged is written
//! down, and after whatever happened it must be there, at its offset, once.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, threads and patience of its own"
)]

#[expect(
    clippy::allow_attributes,
    reason = "which helpers stay unused differs from program to program"
)]
#[allow(dead_code, reason = "each test program uses some of the shared helpers")]
#[path = "support/support.rs"]
mod support;

#[path = "failure/clock.rs"]
mod clock;
#[path = "failure/descriptors.rs"]
mod descriptors;
#[path = "failure/directory.rs"]
mod directory;
#[path = "failure/disk.rs"]
mod disk;
#[path = "failure/eio.rs"]
mod eio;
#[expect(clippy::allow_attributes, reason = "as above")]
#[allow(dead_code, reason = "one test here has a group")]
#[path = "groups/member.rs"]
mod member;
#[path = "failure/metadata.rs"]
mod metadata;
#[path = "failure/restart.rs"]
mod restart;
#[path = "failure/retention.rs"]
mod retention;
#[path = "failure/rot.rs"]
mod rot;
#[path = "failure/slow.rs"]
mod slow;
#[path = "failure/start.rs"]
mod start;
#[path = "failure/stop.rs"]
mod stop;
