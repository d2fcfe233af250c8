//! Fuzzes a binary header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::binary_header(bytes));
