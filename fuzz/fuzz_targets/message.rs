//! Fuzzes a stored message.
//!
//! What reads must be written byte for byte the same, if its lengths and checksum are ours.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::message(bytes));
