//! Builds the XDP program, and keeps the compiled object in the tree up to date.
//!
//! The object is embedded in the agent and the operator's command, so that
//! building those takes stable Rust alone. Beside it lies a note of how it was
//! made.

mod compile;
mod note;
mod object;
pub(crate) mod wrapper;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{cargo, is_root, run};
use crate::setup;
use crate::toolchain::Toolchain;
use note::Note;

pub(crate) use compile::arguments;

const OBJECT: &str = "bmstools-ebpf/prebuilt/bmstools.bpf.o";
const NOTE: &str = "bmstools-ebpf/prebuilt/BUILD";

/// Builds the program and writes the object and its note to the tree.
///
/// # Errors
///
/// Where the toolchain is missing and cannot be installed, or the build fails.
pub(crate) fn build(root: &Path) -> Result<()> {
    setup::ensure_ebpf(root)?;
    let toolchain = Toolchain::find()?;
    let object = compile::compile(root, &toolchain)?;
    let note = Note::new(root, &toolchain, &object)?;
    fs::write(root.join(OBJECT), &object).with_context(|| format!("cannot write {OBJECT}"))?;
    fs::write(root.join(NOTE), note.to_string()).with_context(|| format!("cannot write {NOTE}"))?;
    println!("{OBJECT}: {} bytes, built by {}", object.len(), note.rustc);
    Ok(())
}

/// Fails if the object in the tree is not what its sources give.
///
/// # Errors
///
/// Where it is stale, or cannot be built.
pub(crate) fn check(root: &Path) -> Result<()> {
    let text =
        fs::read_to_string(root.join(NOTE)).with_context(|| format!("cannot read {NOTE}"))?;
    let noted = Note::parse(&text).with_context(|| format!("{NOTE} is damaged. {WAY_OUT}"))?;
    let kept = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    ensure!(
        note::sources(root)? == noted.sources,
        "the sources of the XDP program changed since {OBJECT} was built. {WAY_OUT}"
    );
    ensure!(
        note::sha256(&kept) == noted.object,
        "{OBJECT} is not the object that {NOTE} describes. {WAY_OUT}"
    );
    setup::ensure_ebpf(root)?;
    let toolchain = Toolchain::find()?;
    let built = compile::compile(root, &toolchain)?;
    if noted.is_of(&toolchain) {
        ensure!(
            built == kept,
            "{OBJECT} is not what its sources give with the same toolchain ({} and {} bytes). \
             {WAY_OUT}",
            kept.len(),
            built.len()
        );
        println!("{OBJECT} is what its sources give, byte for byte.");
        return Ok(());
    }
    println!(
        "The toolchain here is another than the object's, so their bytes are not compared:\n  \
         here  {}, LLVM {}, {}\n  noted {}, LLVM {}, {}\n\
         The sources are the same; what they give here is put through the tests of every verdict.",
        toolchain.rustc,
        toolchain.llvm,
        toolchain.bpf_linker,
        noted.rustc,
        noted.llvm,
        noted.bpf_linker
    );
    test_object(root, &built)
}

/// Loads an object and runs the tests of its verdicts.
fn test_object(root: &Path, object: &[u8]) -> Result<()> {
    if !is_root() {
        bail!("only root can load the object to test it: run this as root");
    }
    let path = crate::command::target(root).join("ebpf/bmstools.bpf.o");
    fs::write(&path, object).with_context(|| format!("cannot write {}", path.display()))?;
    run(cargo(root)
        .args(["test", "--quiet", "--package=bmstools-link", "--test=verdicts"])
        .env("BMSTOOLS_XDP_OBJECT", &path))
}

const WAY_OUT: &str = "Run `cargo xtask build-ebpf` and commit what it changes";
