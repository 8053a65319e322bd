//! What is fuzzed: functions that take any bytes and must not panic, hang or grow.
//!
//! `cargo xtask fuzz` runs them under libFuzzer; the tests here run each of them on
//! its corpus, with stable Rust.

pub mod classify;
mod input;
mod pair;
pub mod v1_endpoint;
pub mod v1_wire;
pub mod v2_endpoint;
pub mod v2_frames;
pub mod v2_handshake;
pub mod v2_messages;

/// A function that is fuzzed.
pub type Run = fn(&[u8]);

/// Every target, by the name of its program and its corpus.
pub const TARGETS: &[(&str, Run)] = &[
    ("classify", classify::run),
    ("v1_wire", v1_wire::run),
    ("v1_endpoint", v1_endpoint::run),
    ("v2_frames", v2_frames::run),
    ("v2_endpoint", v2_endpoint::run),
    ("v2_handshake", v2_handshake::run),
    ("v2_messages", v2_messages::run),
];

/// Makes the program of a target: under libFuzzer its entry, otherwise one that runs
/// the files which it is given.
#[macro_export]
macro_rules! target {
    ($run:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $run(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for path in std::env::args_os().skip(1) {
                $run(&std::fs::read(path)?);
            }
            Ok(())
        }
    };
}
