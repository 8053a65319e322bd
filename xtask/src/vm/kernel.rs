//! A Debian kernel and the modules that the guest needs, out of Debian's packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::apt::{Archive, Package, numbers};
use crate::command::{output, run};

/// A kernel, unpacked.
pub(super) struct Kernel {
    /// Its release, as `uname -r` gives it.
    pub(super) release: String,
    /// The package's version.
    pub(super) version: String,
    /// The compressed image, ready to boot.
    pub(super) image: PathBuf,
    /// The modules to load, in this order, decompressed.
    pub(super) modules: Vec<PathBuf>,
}

/// A series of kernels, and the Debian suite that has it where the package
/// sources of this machine do not.
pub(super) struct Series {
    /// The first numbers of its releases.
    pub(super) name: &'static str,
    suite: &'static str,
}

/// What is tested: the oldest that Debian supports, its successor, and one whose
/// virtio-net has zero-copy (Linux 6.13 and later).
pub(super) const SERIES: &[Series] = &[
    Series { name: "6.1", suite: "bookworm" },
    Series { name: "6.12", suite: "trixie" },
    Series { name: "6.18", suite: "trixie-backports" },
];

/// Returns the newest kernel of `series` that the archive offers, unpacked below
/// `cache`. Where the package sources of this machine have none of the series,
/// one that was fetched before will do.
///
/// # Errors
///
/// Where neither archive nor cache have one.
pub(super) fn fetch(series: &Series, cache: &Path) -> Result<Kernel> {
    let archive = Archive::configured();
    let offered = archive.kernels(series.name)?;
    if let Some(kernel) = newest(&archive, offered, cache)? {
        return Ok(kernel);
    }
    if let Some(kernel) = newest_cached(series.name, cache)? {
        return Ok(kernel);
    }
    let archive = Archive::suite(series.suite, cache)?;
    let offered = archive.kernels(series.name)?;
    newest(&archive, offered, cache)?.with_context(|| {
        format!(
            "no Linux {} to boot: neither the package sources of this machine nor Debian {} \
             offer one that can be downloaded",
            series.name, series.suite
        )
    })
}

/// The first of `packages` that is there or can be downloaded.
fn newest(archive: &Archive, packages: Vec<Package>, cache: &Path) -> Result<Option<Kernel>> {
    for package in packages {
        let dir = cache.join(package.file_stem());
        if let Ok(kernel) = load(&dir) {
            return Ok(Some(kernel));
        }
        println!("fetching {} {}", package.name, package.version);
        let temporary = cache.join(format!("{}.partial", package.file_stem()));
        for old in [&temporary, &dir].into_iter().filter(|dir| dir.exists()) {
            fs::remove_dir_all(old)?;
        }
        fs::create_dir_all(&temporary)?;
        let deb = match archive.download(&package, &temporary) {
            Ok(deb) => deb,
            Err(error) => {
                println!("trying an older one: {error:#}");
                continue;
            }
        };
        unpack(&package, &deb, &temporary)?;
        fs::rename(&temporary, &dir)?;
        return load(&dir).map(Some);
    }
    Ok(None)
}

/// Unpacks what [`load`] reads.
fn unpack(package: &Package, deb: &Path, dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    run(Command::new("dpkg-deb").arg("-x").args([deb, &tree]))?;
    fs::remove_file(deb)?;
    if !tree.join("lib").exists() {
        symlink("usr/lib", tree.join("lib"))?;
    }

    let release = package.release();
    fs::copy(tree.join("boot").join(format!("vmlinuz-{release}")), dir.join("vmlinuz"))?;
    run(Command::new("depmod").arg("-b").arg(&tree).arg(release))?;
    let mut names = Vec::new();
    for module in module_files(&tree, release)? {
        names.push(copy_module(&module, dir)?);
    }
    fs::write(dir.join("modules"), names.join("\n"))?;
    fs::write(dir.join("wanted"), MODULES.join("\n"))?;
    fs::write(dir.join("release"), release)?;
    fs::write(dir.join("version"), &package.version)?;
    fs::remove_dir_all(&tree)?;
    Ok(())
}

/// The files of [`MODULES`] and of what they depend on, in the order to load them.
fn module_files(tree: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for module in MODULES {
        let listing = output(
            Command::new("modprobe")
                .args(["--show-depends", "-C", "/dev/null", "-S", release, "-d"])
                .arg(tree)
                .arg(module),
        )?;
        for file in listing.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    ensure!(!files.is_empty(), "{release} has none of the modules that the guest needs");
    Ok(files)
}

/// Copies a module to `dir`, decompressed, and returns its file name there.
fn copy_module(module: &Path, dir: &Path) -> Result<String> {
    let name = module.file_name().and_then(|name| name.to_str()).context("module without name")?;
    let copy = dir.join(name);
    fs::copy(module, &copy)?;
    match copy.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => {}
        Some("xz") => run(Command::new("xz").arg("-d").arg(&copy))?,
        Some("zst") => run(Command::new("zstd").args(["-q", "-d", "--rm"]).arg(&copy))?,
        _ => bail!("{} is compressed in a way that is not known here", module.display()),
    }
    Ok(name.trim_end_matches(".xz").trim_end_matches(".zst").to_owned())
}

fn load(dir: &Path) -> Result<Kernel> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).map(|text| text.trim().to_owned());
    ensure!(read("wanted")? == MODULES.join("\n"), "other modules are wanted by now");
    Ok(Kernel {
        release: read("release")?,
        version: read("version")?,
        image: dir.join("vmlinuz"),
        modules: read("modules")?.lines().map(|name| dir.join(name)).collect(),
    })
}

fn newest_cached(series: &str, cache: &Path) -> Result<Option<Kernel>> {
    let prefix = format!("linux-image-{series}.");
    let kernels = fs::read_dir(cache)?.filter_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.starts_with(&prefix).then(|| load(&path).ok())?
    });
    Ok(kernels.max_by_key(|kernel| numbers(&kernel.version)))
}

/// What the guest loads: NIC drivers, bonds, VLAN devices, a switch, bad weather.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio_rng",
    "e1000e",
    "vmxnet3",
    "veth",
    "bridge",
    "8021q",
    "bonding",
    "sch_netem",
];
