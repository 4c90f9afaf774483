//! What the black-box tests share: a real broker as a child process, other people's clients, frames by hand.
//!
//! Nothing in here knows the inside of Corelog: the broker is the binary that cargo built (or the one that the
//! environment variable `CORELOG` names, to judge a release build or another broker altogether), spoken to over
//! sockets, stopped by signals and judged by what clients saw. Waiting is polling a condition with a bound,
//! never a sleep that hopes. Each test program uses some of this and leaves the rest.

pub(crate) mod broker;
pub(crate) mod cage;
pub(crate) mod client;
pub(crate) mod disk;
pub(crate) mod programs;
pub(crate) mod seccomp;
pub(crate) mod seed;
pub(crate) mod wire;
