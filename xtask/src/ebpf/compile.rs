//! From sources to an object that is the same on every machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{object, wrapper};
use crate::command::{run, target};
use crate::toolchain::Toolchain;

const TARGET: &str = "bpfel-unknown-none";

/// Builds the program and returns the object.
///
/// # Errors
///
/// Where it does not build.
pub(super) fn compile(root: &Path, toolchain: &Toolchain) -> Result<Vec<u8>> {
    let sources = root.join("bmstools-ebpf");
    // Before the flags are made, which name the directories that this fills.
    run(toolchain.cargo(&sources).args(["fetch", "--quiet", "--locked"]))?;
    let mut cargo = toolchain.cargo(&sources);
    cargo.args(["build", "--locked"]);
    arguments(root, toolchain, &mut cargo)?;
    wrapper::ask_for(&mut cargo)?;
    run(&mut cargo)?;
    let path = directory(root).join(TARGET).join("release/bmstools-ebpf");
    let linked = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    object::without_debug_sections(&linked)
        .with_context(|| format!("{} is not understood", path.display()))
}

/// Adds what building for the BPF target takes to a cargo command.
///
/// # Errors
///
/// Where a path cannot be given to the compiler.
pub(crate) fn arguments(root: &Path, toolchain: &Toolchain, cargo: &mut Command) -> Result<()> {
    let target_dir = directory(root);
    cargo
        .args(["--release", "--target", TARGET, "-Zbuild-std=core", "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, toolchain)?.join("\x1f"));
    Ok(())
}

fn directory(root: &Path) -> PathBuf {
    target(root).join("ebpf")
}

fn flags(root: &Path, toolchain: &Toolchain) -> Result<Vec<String>> {
    let mut flags = vec![
        format!("-Clinker={}", utf8(toolchain.linker())?),
        "-Clink-arg=--btf".to_owned(),
        // Atomic instructions, in every kernel from 5.12 on.
        "-Ctarget-cpu=v3".to_owned(),
        // The machine that builds must not matter; no XDP program reads registers
        // of the processor that it runs on.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
    ];
    // The last that fits counts, so the most special stands last.
    let remapped = [
        (cargo_home()?.join("registry/src"), "registry"),
        (toolchain.sysroot.join("lib/rustlib/src/rust"), "rust"),
        (root.to_path_buf(), "bmstools"),
    ];
    for (from, to) in &remapped {
        flags.push(format!("--remap-path-prefix={}={to}", utf8(from)?));
    }
    for registry in registries(&remapped[0].0) {
        flags.push(format!("--remap-path-prefix={}=registry", utf8(&registry)?));
    }
    Ok(flags)
}

/// Directories of registries, whose names differ from machine to machine.
fn registries(sources: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(sources) else { return Vec::new() };
    let mut registries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    registries.sort();
    registries
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
