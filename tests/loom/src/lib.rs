//! The ring, the doorbell and the wake-ups from afar of `src/runtime/`, compiled against loom so that their models run in every interleaving.
//!
//! A package of its own because `--cfg loom` is read by other crates too. It holds no code: the files and their tests
//! are those of the broker. Run with `scripts/loom`.
#![cfg(loom)]

/// The three files, in the room they expect to be in.
#[path = "../../../src/runtime"]
pub mod runtime {
    mod afar;
    pub mod doorbell;
    pub mod ring;
}
