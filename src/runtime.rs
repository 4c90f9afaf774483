//! The runtime room: threads, rings, buffers, files, sockets and clocks, in our own small words.
//!
//! `glommio` and `io_uring` are named in this room and nowhere else (`tests/tidy.rs` holds that), so that
//! replacing either is the work of one room. What the rooms above see: an executor pinned to a core
//! ([`executor`]), a ring for direct disk I/O ([`disk`]), aligned memory the kernel may read and write
//! ([`buffer`]), sockets ([`net`]), a clock ([`clock`]), single-producer rings and the mesh between threads
//! ([`ring`], [`mesh`]) and the small synchronisation pieces one thread needs ([`local`]).
//!
//! **Invariants.** Memory handed to the kernel is owned by the operation until its completion is reaped, even
//! when the future that asked for it is gone. A core waiting for the disk sleeps or yields; it never spins
//! without bound, because durability completions run on that very core (notes: a spinning core delays its
//! own writes tenfold).
//!
//! **Known faults of the executor, guarded here.** The executor may park while tasks are runnable when its
//! pre-emption timer is cancelled late; the second ring is therefore `SINGLE_ISSUER | DEFER_TASKRUN`, and
//! [`executor::Ticker`] wakes the executor every few milliseconds while anything is in flight. A panic in a task
//! kills the executor, so connections run under [`executor::catch_panic`].

pub mod affinity;
pub mod buffer;
pub mod clock;
pub mod disk;
pub mod doorbell;
pub mod executor;
pub mod local;
pub mod mesh;
pub mod net;
pub mod probe;
pub mod ring;
