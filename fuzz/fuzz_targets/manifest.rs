//! Holds `claims::manifest` against whatever the fuzzer thinks of.
#![no_main]

#[path = "../claims.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::manifest(data));
