//! Consumer groups against a real broker: unmodified clients, a broker that dies under them, and more members than anybody
//! has.
//!
//! - [`shared_by_clients`]: what `tests/clients/groups_program.py` shows with confluent-kafka and kafka-python, on one and two
//!   shards, both ways to advertise them.
//! - [`newer_protocol`]: groups that the broker assigns (KIP-848), with confluent-kafka and by hand.
//! - [`survives`]: a killed broker forgets no commit and no member.
//! - [`storm`]: a thousand groups of ten members at once.
//! - [`churn`]: members that come, go, die and freeze while the broker is killed under them.

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

#[path = "groups/churn.rs"]
mod churn;
#[path = "groups/member.rs"]
mod member;
#[path = "groups/newer_protocol.rs"]
mod newer_protocol;
#[path = "groups/shared_by_clients.rs"]
mod shared_by_clients;
#[path = "groups/storm.rs"]
mod storm;
#[path = "groups/survives.rs"]
mod survives;
