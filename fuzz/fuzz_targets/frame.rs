//! Fuzzes a byte stream, cut into frames and read as commands.
//!
//! What reads must read the same after it was written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::frame(bytes));
