//! The fuzzer of `corelog::fuzzing::meta_journal`, where what must hold is said.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::meta_journal(data));
