//! The whole system on other kernels, in an emulated machine.

use std::path::Path;

use anyhow::{Result, bail};

/// The Debian packages that this needs; `cargo xtask setup --vm` installs them.
pub(crate) const PACKAGES: &[&str] = &["qemu-system-x86", "busybox-static", "cpio", "zstd"];

/// What to run in the emulated machine.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct VmArgs {}

/// Runs the whole system on other kernels.
pub(crate) fn run(_source: &Path, _args: &VmArgs) -> Result<()> {
    bail!("tests in an emulated machine are not in this tree yet: run without --vm")
}
