//! The fuzzer of `corelog::fuzzing::group_records`, where what must hold is said.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::group_records(data));
