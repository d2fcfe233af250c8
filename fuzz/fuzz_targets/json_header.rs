//! Fuzzes a JSON header.
//!
//! What reads must read the same after it was written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::json_header(bytes));
