//! The guest's whole file system: busybox, the programs under test and the
//! scripts that drive them.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::kernel::Kernel;
use super::machine::NICS;
use crate::command::{find, output, run};

/// What goes into the guest besides the system.
pub(super) struct Contents<'a> {
    /// The repository's root.
    pub(super) root: &'a Path,
    /// Where `bmstools` and `bmstools-agent` were built.
    pub(super) programs: &'a Path,
    /// The scenarios to run, all if empty.
    pub(super) scenarios: &'a [String],
}

/// Builds the initramfs for `kernel` in `dir` and returns its path.
///
/// # Errors
///
/// Where a program is missing, or the disk is full.
pub(super) fn build(kernel: &Kernel, contents: &Contents<'_>, dir: &Path) -> Result<PathBuf> {
    let root = dir.join(format!("root-{}", kernel.release));
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for name in ["bin", "dev", "etc", "proc", "sys", "run", "tmp", "modules", "vm"] {
        fs::create_dir_all(root.join(name))?;
    }
    for name in SYSTEM_PROGRAMS {
        install(&find_program(name)?, &root)?;
    }
    for name in OUR_PROGRAMS {
        install(&contents.programs.join(name), &root)?;
    }
    symlink("busybox", root.join("bin/sh"))?;
    install_scripts(contents, &root)?;
    install_modules(kernel, &root)?;
    fs::write(root.join("vm/nics"), nic_table())?;
    fs::write(root.join("vm/only"), contents.scenarios.join(" "))?;
    generate_keys(contents.programs, &root)?;

    let archive = dir.join(format!("initramfs-{}", kernel.release));
    pack(&root, &archive)?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

/// Copies the program and the libraries that it needs to the guest's `/bin` and
/// to where its loader will look.
fn install(program: &Path, root: &Path) -> Result<()> {
    let name = program.file_name().context("program without name")?;
    copy(program, &root.join("bin").join(name))?;
    // Fails for a static program, which needs nothing.
    let Ok(listing) = output(Command::new("ldd").arg(program)) else { return Ok(()) };
    let libraries = listing.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries.map(Path::new) {
        let inside = root.join(library.strip_prefix("/")?);
        if !inside.exists() {
            copy(library, &inside)?;
        }
    }
    Ok(())
}

fn install_scripts(contents: &Contents<'_>, root: &Path) -> Result<()> {
    let scripts = contents.root.join("tests/vm");
    for entry in fs::read_dir(&scripts).with_context(|| scripts.display().to_string())? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            copy(&path, &root.join("vm").join(name))?;
        }
    }
    fs::rename(root.join("vm/init.sh"), root.join("init"))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn install_modules(kernel: &Kernel, root: &Path) -> Result<()> {
    let mut order = String::new();
    for module in &kernel.modules {
        let name = module.file_name().and_then(|name| name.to_str()).context("module's name")?;
        copy(module, &root.join("modules").join(name))?;
        order += name;
        order.push('\n');
    }
    fs::write(root.join("modules/order"), order)?;
    Ok(())
}

/// A line `MAC NAME` for every NIC.
fn nic_table() -> String {
    NICS.iter().map(|nic| format!("{} {}\n", nic.mac(), nic.name)).collect()
}

/// Makes the keys here: in emulation it takes long.
fn generate_keys(programs: &Path, root: &Path) -> Result<()> {
    output(Command::new(programs.join("bmstools")).arg("keygen").arg(root.join("vm/keys")))
        .map(drop)
}

fn pack(root: &Path, archive: &Path) -> Result<()> {
    let mut find =
        Command::new("find").arg(".").current_dir(root).stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    let mut cpio = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc", "-R", "0:0"])
        .current_dir(root)
        .stdin(names)
        .stdout(File::create(archive)?)
        .spawn()
        .context("cannot start cpio")?;
    let packed = cpio.wait()?;
    ensure!(find.wait()?.success() && packed.success(), "cpio could not pack the guest's files");
    run(Command::new("gzip").args(["-1", "-f", "-k"]).arg(archive))?;
    fs::remove_file(archive)?;
    Ok(fs::rename(archive.with_file_name(gz_name(archive)?), archive)?)
}

fn gz_name(archive: &Path) -> Result<String> {
    let name = archive.file_name().and_then(|name| name.to_str()).context("archive's name")?;
    Ok(format!("{name}.gz"))
}

fn find_program(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| format!("no {name} here; `cargo xtask setup --vm` installs it"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

const SYSTEM_PROGRAMS: &[&str] = &["busybox", "bash", "ip", "tc", "bridge", "ethtool"];
const OUR_PROGRAMS: &[&str] = &["bmstools-agent", "bmstools"];
