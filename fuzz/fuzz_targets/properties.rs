//! Fuzzes the text of properties, and an offset message id.
//!
//! What is set must be found, and the other values must stay.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::properties(bytes));
