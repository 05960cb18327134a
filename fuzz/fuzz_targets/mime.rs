//! Fuzzes `tests/fuzz_targets/mime.rs`.
#![no_main]

// The targets are modules of one tree, of which a program uses one.
#[allow(dead_code)]
#[path = "../../tests/fuzz_targets/mod.rs"]
mod fuzz_targets;
#[allow(dead_code)]
#[path = "../../tests/lone_session/mod.rs"]
mod lone_session;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    fuzz_targets::mime::check(octets, fuzz_targets::Cuts::Drawn);
});
