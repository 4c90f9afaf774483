//! Hostile and broken clients: each gets its error or a closed connection, and nobody else notices.
//!
//! Every attack is a small function that knows the broker's addresses ([`siege::Target`]). The broker runs under a memory limit
//! that the kernel keeps, and serves two well-behaved neighbours beside the attack, which take any error, any late answer
//! and any closed connection as their failure (a client library would hide them by trying again). After each attack the
//! broker must run, its peak of resident memory must have stayed below its budget plus a fixed allowance, the neighbours
//! must have made progress during the attack and go on as before, and memory and connections must go back to what they
//! were. Nothing is said of how fast anything is: these run on machines that have other things to do.

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

#[path = "hostile/admin.rs"]
mod admin;
#[path = "hostile/attacker.rs"]
mod attacker;
#[path = "hostile/batches.rs"]
mod batches;
#[path = "hostile/connections.rs"]
mod connections;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/groups.rs"]
mod groups;
#[path = "hostile/metadata.rs"]
mod metadata;
#[path = "hostile/neighbour.rs"]
mod neighbour;
#[path = "hostile/readers.rs"]
mod readers;
#[path = "hostile/requests.rs"]
mod requests;
#[path = "hostile/siege.rs"]
mod siege;
#[path = "hostile/stalled.rs"]
mod stalled;
