//! Fuzzes the body of a batch.
//!
//! What splits must have every byte accounted for.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::batch(bytes));
