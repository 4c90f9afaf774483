//! The fuzzer of `corelog::fuzzing::index_file`, where what must hold is said.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::index_file(data));
