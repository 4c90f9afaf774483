//! The fuzzer of `corelog::fuzzing::meta_store`, where what must hold is said.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelog::fuzzing::meta_store(data));
