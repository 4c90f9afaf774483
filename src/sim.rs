//! The simulator: whole brokers, real code from the door to the log, on the world of `runtime::sim`, judged by what their
//! clients saw.
//!
//! A run is a function of a seed and a [`scenario::Profile`]. It boots a broker as `server::bootstrap` does ([`broker`]), lets
//! Kafka clients work on it over simulated sockets ([`producer`], [`reader`], [`member`], [`admin`]), and breaks things as the
//! seed says ([`nemesis`]): kills, power cuts, clean stops, a failing, full or slow disk, broken connections, threads that get
//! no core, clocks that jump. Then everything is well again and the broker has to make good for all of it within a bounded
//! time: every batch that a client still wants to be acknowledged is, every log is readable to its end.
//!
//! **Three judges.** [`audit`] looks at the state of the shards after every step. [`history`] knows what every client was told
//! and refuses what contradicts it, the moment it is told. In the end everything is read from the beginning and the history
//! judges that as a whole. Besides, a panic, an answer that makes no sense, and a run that does not end are failures.
//!
//! **Canaries.** A judge that never condemns is worthless, so [`canary`] plants faults in the engine and the disk and wants to
//! see each of them found under the name of the rule it breaks.
//!
//! Unit tests only, on the thread of the test. Absent: the native door, TLS, and more than one broker; scheduling inside a
//! poll (tasks on the machine have none either); what the kernel's file systems really do (the fault disk's business).

mod admin;
mod audit;
mod book;
mod broker;
mod canary;
mod history;
mod link;
mod load;
mod member;
mod nemesis;
mod operator;
mod producer;
mod reader;
mod rot;
mod scenario;
#[cfg(test)]
mod tests;
