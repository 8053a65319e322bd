//! The compiler and linker for the BPF target.
//!
//! `core` must be built for that target, so its source must be there and be of
//! the compiler's own version. rustup has that for nightly (`rust-src`), Debian
//! for the Rust that it keeps for web browsers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{find, output};

/// Debian's packages that make up a toolchain, with what building the linker
/// needs.
pub(crate) const DEBIAN_PACKAGES: &[&str] =
    &["rustc-web", "rust-web-src", "rust-web-clippy", "llvm-22-dev", "libpolly-22-dev"];
/// The LLVM that Debian's compiler and the linker share.
pub(crate) const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";
/// The linker's version that is installed where there is none.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";

/// A compiler that has the source of its `core`, and a linker.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// The compiler's LLVM.
    pub(crate) llvm: String,
    /// `bpf-linker --version`.
    pub(crate) bpf_linker: String,
    /// Where the compiler's libraries are; `core`'s source is below it.
    pub(crate) sysroot: PathBuf,
}

/// Whose compiler it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compiler {
    /// `rustup toolchain install nightly -c rust-src`.
    RustupNightly,
    /// Debian's rustc-web and rust-web-src.
    Debian,
}

/// What keeps a toolchain from being complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    /// No compiler with its source.
    Compiler,
    /// No lints for Debian's compiler.
    Clippy,
    /// No bpf-linker.
    Linker,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => "a Rust compiler with the source of its core library",
            Self::Clippy => "clippy for that compiler",
            Self::Linker => "bpf-linker",
        })
    }
}

/// What is missing here to build the XDP program; nothing if it can be built.
pub(crate) fn missing() -> Vec<Missing> {
    let mut missing = Vec::new();
    match Compiler::find() {
        None => missing.extend([Missing::Compiler, Missing::Clippy]),
        Some((compiler, _)) if compiler.clippy().is_none() => missing.push(Missing::Clippy),
        Some(_) => {}
    }
    if linker().is_none() {
        missing.push(Missing::Linker);
    }
    missing
}

impl Toolchain {
    /// The toolchain of this machine: rustup's where it is complete, else Debian's.
    ///
    /// # Errors
    ///
    /// Where there is none; the error says what is missing.
    pub(crate) fn find() -> Result<Self> {
        let (compiler, sysroot) =
            Compiler::find().ok_or_else(|| anyhow::anyhow!("missing: {}", Missing::Compiler))?;
        let linker = linker().ok_or_else(|| anyhow::anyhow!("missing: {}", Missing::Linker))?;
        let verbose = output(compiler.rustc().arg("-vV"))?;
        let line = |prefix: &str| {
            let found = verbose.lines().find_map(|line| line.strip_prefix(prefix));
            found.unwrap_or("unknown").trim().to_owned()
        };
        Ok(Self {
            rustc: verbose.lines().next().unwrap_or("unknown").to_owned(),
            llvm: line("LLVM version:"),
            bpf_linker: output(Command::new(&linker).arg("--version"))?,
            compiler,
            linker,
            sysroot,
        })
    }

    /// Makes `cargo` use this compiler, with unstable features.
    pub(crate) fn choose(&self, cargo: &mut Command) {
        for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"] {
            cargo.env_remove(name);
        }
        match self.compiler {
            Compiler::RustupNightly => cargo.env("RUSTUP_TOOLCHAIN", NIGHTLY),
            Compiler::Debian => cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1"),
        };
    }

    /// The cargo to build with.
    pub(crate) fn cargo(&self, directory: &Path) -> Command {
        let mut cargo = match self.compiler {
            Compiler::RustupNightly => {
                let mut cargo = Command::new("cargo");
                cargo.current_dir(directory);
                cargo
            }
            Compiler::Debian => crate::command::cargo(directory),
        };
        self.choose(&mut cargo);
        cargo
    }

    /// `cargo clippy` of this compiler; further arguments go behind it.
    ///
    /// # Errors
    ///
    /// Where it has none.
    pub(crate) fn clippy(&self, directory: &Path) -> Result<Command> {
        let program = self
            .compiler
            .clippy()
            .ok_or_else(|| anyhow::anyhow!("missing: {}", Missing::Clippy))?;
        let mut clippy = Command::new(program);
        clippy.current_dir(directory).arg("clippy");
        self.choose(&mut clippy);
        Ok(clippy)
    }

    /// The linker.
    pub(crate) fn linker(&self) -> &Path {
        &self.linker
    }
}

const NIGHTLY: &str = "nightly";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

impl Compiler {
    fn find() -> Option<(Self, PathBuf)> {
        [Self::RustupNightly, Self::Debian].into_iter().find_map(|compiler| {
            let sysroot = PathBuf::from(compiler.sysroot()?);
            let source = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
            source.is_file().then_some((compiler, sysroot))
        })
    }

    fn sysroot(self) -> Option<String> {
        match self {
            // Asked this way, rustup does not start to install what is not there.
            Self::RustupNightly => {
                let installed = output(Command::new("rustup").args(["toolchain", "list"])).ok()?;
                if !installed.lines().any(|line| line.starts_with(NIGHTLY)) {
                    return None;
                }
            }
            Self::Debian => {
                if !Path::new(DEBIAN_RUSTC).is_file() {
                    return None;
                }
            }
        }
        output(self.rustc().args(["--print", "sysroot"])).ok()
    }

    fn rustc(self) -> Command {
        match self {
            Self::RustupNightly => {
                let mut rustc = Command::new("rustc");
                rustc.env("RUSTUP_TOOLCHAIN", NIGHTLY);
                rustc
            }
            Self::Debian => Command::new(DEBIAN_RUSTC),
        }
    }

    fn clippy(self) -> Option<PathBuf> {
        match self {
            Self::RustupNightly => find("cargo-clippy"),
            Self::Debian => Some(DEBIAN_CLIPPY.into()).filter(|path: &PathBuf| path.is_file()),
        }
    }
}

fn linker() -> Option<PathBuf> {
    find("bpf-linker").or_else(|| {
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
        Some(home.join("bin/bpf-linker")).filter(|path| path.is_file())
    })
}
