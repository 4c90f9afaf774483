//! The doors: bytes from a client in, requests to a shard out, and the way back.
//!
//! **Promise.** A door never trusts a byte. Every length is checked against what is really there before anything
//! is reserved for it, every failure is a value, and nothing a peer sends can make this process panic.
//!
//! **Invariants.** Wire types stop here: nothing below this room knows what an API key or an error code is.
//! One protocol never sees another; what they share lives below, in the broker room, or beside them: [`door`] accepts
//! connections for any of them, `memory` says who waits for it and how, and `delivery` writes to peers that may not read. Codecs do no I/O, read no
//! clock and know no thread, so any shard (or a client tool, or a fuzzer) may run them; sessions and handlers run on
//! the shard whose connection it is.
//!
//! **Absent.** Which addresses to listen on and how many connections to allow, which the server room above decides.

#[cfg(feature = "server")]
mod delivery;
#[cfg(feature = "server")]
pub mod door;
#[cfg(feature = "server")]
pub mod kafka;
#[cfg(feature = "server")]
mod memory;
pub mod native;
