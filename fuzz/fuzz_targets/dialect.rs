//! Fuzzes a JSON body, standard or as fastjson writes it.
//!
//! What becomes standard must not grow out of proportion.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting::fuzzing::dialect_text(bytes));
