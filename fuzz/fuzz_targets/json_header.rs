//! Fuzzes a JSON header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::json_header(bytes));
