//! The runtime room: threads, rings, buffers, files, sockets and clocks, in our own small words.
//!
//! `glommio` and `io_uring` are named in this room and nowhere else (`tests/tidy.rs` holds that), so that
//! replacing either is the work of one room. What the rooms above see: an executor pinned to a core
//! ([`executor`]), files for direct I/O ([`disk`]), aligned memory the kernel may read and write
//! ([`buffer`]), sockets ([`net`]), a clock ([`clock`]), single-producer rings and the mesh between threads
//! ([`ring`], [`mesh`]) and the small synchronisation pieces one thread needs ([`local`]). Beneath them, and not seen
//! from above: one io_uring for each thread, on which everything waits (`reactor`), and what wakes it from other
//! threads (`afar`).
//!
//! **Invariants.** Memory handed to the kernel is owned by the operation until its completion is reaped, even
//! when the future that asked for it is gone. A core waiting for the disk sleeps or yields; it never spins
//! without bound, because durability completions run on that very core (notes: a spinning core delays its
//! own writes tenfold).
//!
//! **Known faults of the executor, guarded here.** It may sleep while tasks are runnable, and its way to sleep takes several
//! system calls; a task of the reactor that is always runnable keeps it from sleeping at all. A panic in a task
//! kills the executor, so connections run under [`executor::catch_panic`].

mod afar;
pub mod affinity;
pub mod buffer;
pub mod clock;
pub mod control_tasks;
pub mod disk;
pub mod doorbell;
pub mod entropy;
pub mod executor;
pub mod fs;
pub mod local;
pub mod mesh;
pub mod net;
pub mod probe;
mod reactor;
pub mod ring;
#[cfg(test)]
pub(crate) mod sim;
