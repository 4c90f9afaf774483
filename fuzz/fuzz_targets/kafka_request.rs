//! The fuzzer of `corelog::fuzzing::kafka_request`, where what must hold is said.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::kafka_request(data));
