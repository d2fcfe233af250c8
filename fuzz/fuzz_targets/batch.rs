//! Fuzzes the body of a batch.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::batch(bytes));
