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
//! **The door.** [`door`] accepts, one session per connection reads frames and answers in order, `dispatch` is the
//! one table from API to handler, `handlers` has one file per API, `fetch_session` remembers what
//! consumers fetch, and `map` turns the broker's errors into codes.
//!
//! **Absent.** What is inside record batches (they pass through as bytes), authentication, groups, transactions.

pub mod api;
mod call;
mod dispatch;
pub mod door;
pub mod errors;
mod fetch_session;
mod handlers;
pub mod header;
mod map;
pub mod messages;
pub(crate) mod session;
pub mod wire;
