//! The fuzzer of `corelog::fuzzing::consumer_protocol`, where what must hold is said.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::consumer_protocol(data));
