//! Fuzzes the body of a broker's registration.
//!
//! Inflating must stop at its bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::registration(bytes));
