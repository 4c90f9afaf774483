//! The Kafka door: what a Kafka client says and hears, byte for byte.
//!
//! **The layers.** [`wire`] reads and writes the primitive types under hard bounds; [`api`] is the one table of
//! API keys, versions and flexible versions; [`header`] frames a request and a response; [`messages`] declares
//! every message as a list of fields with the versions that have them; [`errors`] names the error codes.
//!
//! **Invariants.** Decoding borrows from the frame and allocates only for arrays whose elements are really
//! present. Both directions exist for every message: the broker decodes requests and encodes responses, the
//! command line client does the reverse, and the tests hold both against an independent codec.
//!
//! **Absent.** Record batches (they pass through as bytes), handlers, sessions, authentication.

pub mod api;
pub mod errors;
pub mod header;
pub mod messages;
pub mod wire;
