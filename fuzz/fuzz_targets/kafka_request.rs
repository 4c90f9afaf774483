#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::kafka_request(data));
