//! The agent where its standard error cannot be written.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use bmstools_proto::keys::PrivateKey;
use rand::rngs::OsRng;

/// Runs until the missing interface ends it: a log line and an error before.
#[test]
fn a_log_that_cannot_be_written_does_not_end_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate(1024, &mut OsRng).unwrap();
    fs::write(directory.path().join("public.pem"), key.public_key().to_pem()).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_bmstools-agent"))
        .args(["run", "--iface", "missing", "--log", "trace", "--auth-dir"])
        .arg(directory.path())
        .stderr(Stdio::from(File::options().write(true).open("/dev/full").unwrap()))
        .status()
        .unwrap();
    // A panic would be 101.
    assert_eq!(status.code(), Some(1));
}
