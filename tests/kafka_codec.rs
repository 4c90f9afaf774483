//! Our Kafka codec against an independent one, against the public schemas, and against hostile bytes.
//!
//! **The oracle** (`oracle`). `kafka-protocol` is generated from Kafka's own schemas. For every message and every version
//! we both speak: a random message of ours is encoded, decoded by the oracle, encoded again by the oracle, and the bytes
//! must be the same; decoded by us, it must encode to the same bytes again. Equal bytes cannot tell two
//! neighbouring fields of one type apart, so the two decoded values are also compared name by name (`tree`).
//! The few versions newer than the oracle are held to bytes written by hand from the schemas (`schema`).
//!
//! **Hostility** (`hostile`). Truncation anywhere, lying counts, mutated messages and plain noise must end in an error
//! or a value, and must not allocate more than a stated factor of the input. A counting allocator watches.
//!
//! Randomness is seeded; failures name message, version and seed. `CORELOG_TEST_SEED` starts elsewhere.
#![expect(
    elided_lifetimes_in_paths,
    reason = "one macro names messages with and without a lifetime"
)]

#[path = "kafka_codec/allocations.rs"]
mod allocations;
#[path = "kafka_codec/differences.rs"]
mod differences;
#[path = "kafka_codec/examples.rs"]
mod examples;
#[path = "kafka_codec/hostile.rs"]
mod hostile;
#[path = "kafka_codec/oracle.rs"]
mod oracle;
#[path = "kafka_codec/random.rs"]
mod random;
#[path = "kafka_codec/schema.rs"]
mod schema;
#[path = "kafka_codec/tables.rs"]
mod tables;
#[path = "kafka_codec/tree.rs"]
mod tree;
