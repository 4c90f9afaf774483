//! What a fuzzer calls: one function for each decoder of the house, with what must hold inside it.
//!
//! A target takes any bytes, gives them to a decoder and asserts what the decoder promises: it answers with a value or an
//! error, what it accepted reads the same when it is written and read again, nothing is yielded that a checksum does not
//! cover, and no more memory is taken than was allowed. A target panics when a promise is broken and never otherwise.
//!
//! **Checksums** stop a fuzzer at the door, so the targets of summed formats judge their bytes twice: as they are, and
//! *resealed*, with the sums made right ([`seal`]). The first is what a damaged disk or a broken peer shows, the second what a
//! hostile one could write.
//!
//! **Where it runs.** `fuzz/` is a crate for cargo-fuzz whose programs call one function each; `scripts/fuzz` runs them. Its
//! small corpora lie in `fuzz/corpus`, made by the encoders here (`seeds`) and, named after what they broke, by the fuzzer.
//! `tests` replays every file and seeded mutations of it with the stable toolchain, so that what was found once stays found.
//!
//! **Absent.** Anything a release holds: this room is compiled for tests and fuzzers only. The codecs of the foreign brokers
//! that the bench talks to are not here either: their peers are machines of whoever measures.

mod batches;
mod files;
mod groups;
mod input;
mod kafka_wire;
mod log;
mod native_wire;
mod scratch;
mod seal;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;
mod text;

/// A decoder under attack.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its program in `fuzz/` and of its corpus.
    pub name: &'static str,
    /// Judges any bytes; panics where a promise does not hold.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($module:ident::$name:ident;)*) => {
        $(pub use $module::$name;)*

        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name,
        }),*];
    };
}

targets! {
    batches::compression;
    batches::kafka_batch;
    batches::native_payload;
    files::checkpoint;
    files::clean_stop;
    files::index_file;
    files::meta_journal;
    files::meta_snapshot;
    files::meta_store;
    files::producer_table;
    groups::consumer_protocol;
    groups::group_records;
    kafka_wire::kafka_frame;
    kafka_wire::kafka_request;
    kafka_wire::kafka_response;
    log::frame_scan;
    log::recovery;
    native_wire::native_batches;
    native_wire::native_frame;
    text::config;
    text::topic_pattern;
}
