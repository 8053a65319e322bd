//! The note beside the compiled object: how it was made, and from what.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::toolchain::Toolchain;

/// How an object was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// `rustc --version`.
    pub(super) rustc: String,
    /// The compiler's LLVM.
    pub(super) llvm: String,
    /// `bpf-linker --version`.
    pub(super) bpf_linker: String,
    /// SHA-256 of the sources, in hexadecimal.
    pub(super) sources: String,
    /// SHA-256 of the object, in hexadecimal.
    pub(super) object: String,
}

impl Note {
    pub(super) fn new(root: &Path, toolchain: &Toolchain, object: &[u8]) -> Result<Self> {
        Ok(Self {
            rustc: toolchain.rustc.clone(),
            llvm: toolchain.llvm.clone(),
            bpf_linker: toolchain.bpf_linker.clone(),
            sources: sources(root)?,
            object: sha256(object),
        })
    }

    /// Reads what [`to_string`](ToString::to_string) gave.
    ///
    /// # Errors
    ///
    /// Where a line is missing.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(str::to_owned).with_context(|| format!("it has no line {name:?}"))
        };
        Ok(Self {
            rustc: value("rustc")?,
            llvm: value("llvm")?,
            bpf_linker: value("bpf-linker")?,
            sources: value("sources-sha256")?,
            object: value("object-sha256")?,
        })
    }

    /// Whether the toolchain is the one of the note.
    pub(super) fn is_of(&self, toolchain: &Toolchain) -> bool {
        self.rustc == toolchain.rustc
            && self.llvm == toolchain.llvm
            && self.bpf_linker == toolchain.bpf_linker
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "How bmstools.bpf.o was made; `cargo xtask build-ebpf` writes both.\n")?;
        writeln!(f, "rustc: {}", self.rustc)?;
        writeln!(f, "llvm: {}", self.llvm)?;
        writeln!(f, "bpf-linker: {}", self.bpf_linker)?;
        writeln!(f, "sources-sha256: {}", self.sources)?;
        writeln!(f, "object-sha256: {}", self.object)
    }
}

/// What the object is made from.
const SOURCES: &[&str] = &[
    "bmstools-common/Cargo.toml",
    "bmstools-common/src",
    "bmstools-ebpf/Cargo.lock",
    "bmstools-ebpf/Cargo.toml",
    "bmstools-ebpf/src",
];

/// SHA-256 over name, length and bytes of every source file, in order of name.
///
/// # Errors
///
/// Where one cannot be read.
pub(super) fn sources(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(root, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let path = root.join(&file);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(format!("{} {}\n", file.display(), bytes.len()));
        hash.update(&bytes);
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn collect(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let full = root.join(path);
    if full.is_file() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let entries = fs::read_dir(&full).with_context(|| format!("cannot read {}", full.display()))?;
    for entry in entries {
        collect(root, &path.join(entry?.file_name()), files)?;
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_what_it_prints() {
        let note = Note {
            rustc: "rustc 1.96.0 (ac68faa20 2026-05-25)".to_owned(),
            llvm: "22.1.2".to_owned(),
            bpf_linker: "bpf-linker 0.13.0".to_owned(),
            sources: sha256(b"sources"),
            object: sha256(b"object"),
        };
        assert_eq!(Note::parse(&note.to_string()).unwrap(), note);
        for line in note.to_string().lines().filter(|line| line.contains(": ")) {
            assert!(Note::parse(&note.to_string().replace(line, "")).is_err(), "{line}");
        }
    }

    #[test]
    fn any_change_of_a_source_changes_the_hash_of_the_sources() {
        let root = tempfile::tempdir().unwrap();
        for source in SOURCES {
            let path = root.path().join(source);
            let file = if source.ends_with("src") { path.join("main.rs") } else { path };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, source).unwrap();
        }
        let before = sources(root.path()).unwrap();
        assert_eq!(sources(root.path()).unwrap(), before);
        let directory = root.path().join("bmstools-ebpf/src");
        fs::rename(directory.join("main.rs"), directory.join("moved.rs")).unwrap();
        let moved = sources(root.path()).unwrap();
        assert_ne!(moved, before);
        fs::write(directory.join("moved.rs"), "changed").unwrap();
        assert_ne!(sources(root.path()).unwrap(), moved);
    }
}
