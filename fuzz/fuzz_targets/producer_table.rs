//! The fuzzer of `corelog::fuzzing::producer_table`, where what must hold is said.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::producer_table(data));
