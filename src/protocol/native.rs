//! The native door: length-prefixed frames of fixed-layout archives, and batches that are stored as they were sent.
//!
//! **The layers.** [`pod`] turns structs into bytes and back; [`frame`] is the head that every message shares, and how a
//! stream is cut into frames; [`messages`] has both directions of every message; [`batches`] builds and reads the stored
//! batches frames carry; [`errors`] names the codes. These five are the codec: sans-io, of `base` and `batch` only, for
//! brokers, clients and fuzzers alike.
//!
//! **The conversation.** A client says [`messages::Hello`] and hears [`messages::Welcome`]. Then it sends requests, as
//! many as it likes without waiting; answers leave in the order of the requests, under their correlations. Pushes of
//! subscriptions come in between, whenever there is something to push and credit to push it on.
//!
//! **Invariants.** The batch a client builds is the batch on the disk is the batch a consumer reads in place; only the
//! broker's fields of its header are filled in on the way. Decoding borrows from the frame.
//!
//! **The server side.** [`door`] accepts, `session` reads frames and `outbox` orders what leaves, `requests` has one file per
//! kind, `subscription` pushes, `map` turns the broker's errors into codes.
//!
//! **Absent.** Compression, authentication, transactions, groups.

pub mod batches;
#[cfg(feature = "server")]
pub mod door;
pub mod errors;
pub mod frame;
#[cfg(feature = "server")]
mod map;
pub mod messages;
#[cfg(feature = "server")]
mod outbox;
pub mod pod;
#[cfg(feature = "server")]
mod requests;
#[cfg(feature = "server")]
mod session;
#[cfg(feature = "server")]
mod subscription;

pub use errors::ErrorCode;
pub use frame::{Frame, FrameError, FrameHead, Framing, Inbox, Kind, next_frame};
