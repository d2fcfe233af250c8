//! Fuzzes a byte stream, cut into frames and read as commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::frame(bytes));
