//! The current versions of Kafka's protocol against a real broker, one request at a time.
//!
//! Spoken through the broker's own codec, which `tests/kafka_codec.rs` holds against an independent one: what is judged here
//! is what the answers say.
//!
//! - [`fetching`]: topic ids, incremental fetch sessions, diverging epochs.
//! - [`offsets`]: every question ListOffsets knows, with lookups inside compressed batches.
//! - [`admin`]: what tools ask about topics, logs, producers and leaders.

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

#[path = "current/admin.rs"]
mod admin;
#[path = "current/fetching.rs"]
mod fetching;
#[path = "current/offsets.rs"]
mod offsets;
#[path = "current/talk.rs"]
mod talk;
