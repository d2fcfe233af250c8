//! Fuzzes the text of properties, and an offset message id.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::properties(bytes));
