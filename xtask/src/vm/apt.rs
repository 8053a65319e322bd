//! Kernel packages in Debian's archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{output, run};

/// A kernel package that the archive offers.
pub(super) struct Package {
    /// Its name: `linux-image-` and the kernel's release.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
}

impl Package {
    /// The kernel's release.
    pub(super) fn release(&self) -> &str {
        self.name.trim_start_matches("linux-image-")
    }

    /// Name and version as one file name.
    pub(super) fn file_stem(&self) -> String {
        format!("{}_{}", self.name, self.version.replace(':', "%3a"))
    }
}

/// Where packages come from.
pub(super) struct Archive {
    options: Vec<String>,
}

impl Archive {
    /// The package sources of this machine.
    pub(super) fn configured() -> Self {
        Self { options: Vec::new() }
    }

    /// Another suite of the Debian mirror that this machine uses. What apt must
    /// know about it goes to `dir`; the machine's own sources stay as they are.
    ///
    /// # Errors
    ///
    /// Where the machine has no Debian mirror, or the mirror has no such suite.
    pub(super) fn suite(suite: &str, dir: &Path) -> Result<Self> {
        let dir = dir.join(format!("apt-{suite}"));
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("cache/archives/partial"))?;
        let sources = dir.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror()?))?;
        let option = |name: &str, path: PathBuf| format!("{name}={}", path.display());
        let archive = Self {
            options: vec![
                option("Dir::Etc::SourceList", sources),
                option("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
                option("Dir::State::Lists", dir.join("lists")),
                option("Dir::Cache", dir.join("cache")),
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
                "Acquire::Languages=none".to_owned(),
                NO_SANDBOX.to_owned(),
            ],
        };
        println!("reading what Debian {suite} has");
        run(archive.apt("apt-get").args(["update", "-q", "-q"]))?;
        Ok(archive)
    }

    /// The kernels of a series ("6.1"), newest first.
    ///
    /// # Errors
    ///
    /// Where apt does not work.
    pub(super) fn kernels(&self, series: &str) -> Result<Vec<Package>> {
        let prefix = format!("linux-image-{series}.");
        let names = output(self.apt("apt-cache").args(["pkgnames", &prefix]))?;
        let names: Vec<_> = names.lines().filter(|name| is_plain_image(name, &prefix)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let table = output(self.apt("apt-cache").arg("madison").args(names))?;
        let mut packages: Vec<_> = table.lines().filter_map(table_row).collect();
        packages.sort_by_key(|package| std::cmp::Reverse(numbers(&package.version)));
        Ok(packages)
    }

    /// Downloads a package to `dir` and returns its path.
    ///
    /// # Errors
    ///
    /// Where the archive does not have it any more, or the disk is full.
    pub(super) fn download(&self, package: &Package, dir: &Path) -> Result<PathBuf> {
        run(self
            .apt("apt-get")
            .args(["download", "-q", "-q", "-o", NO_SANDBOX])
            .arg(format!("{}={}", package.name, package.version))
            .current_dir(dir))?;
        fs::read_dir(dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get download left no package")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// The numbers in a version, for comparing versions of one series.
pub(super) fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Whether `name` is a signed kernel of the standard flavour: the cloud flavour
/// has no drivers for emulated hardware.
fn is_plain_image(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix("-amd64"))
        .is_some_and(|rest| !rest.ends_with("-cloud") && !rest.ends_with("-rt"))
}

/// A row of `apt-cache madison`: name, version and source, with bars between.
fn table_row(row: &str) -> Option<Package> {
    let mut cells = row.split('|').map(str::trim);
    let (name, version, source) = (cells.next()?, cells.next()?, cells.next()?);
    source
        .ends_with("Packages")
        .then(|| Package { name: name.to_owned(), version: version.to_owned() })
}

/// The Debian mirror among the package sources of this machine.
fn mirror() -> Result<String> {
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
    ]))?;
    targets
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
        .context("no Debian mirror among the package sources of this machine")
}

/// Comes with Debian's package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The directory belongs to whoever runs this; apt's own user may not enter it.
const NO_SANDBOX: &str = "APT::Sandbox::User=root";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standard_signed_images_of_the_series_count() {
        let prefix = "linux-image-6.1.";
        assert!(is_plain_image("linux-image-6.1.0-56-amd64", prefix));
        for other in [
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-rt-amd64",
            "linux-image-6.1.0-56-amd64-unsigned",
            "linux-image-6.1.0-56-amd64-dbg",
            "linux-image-6.12.117+deb12-amd64",
        ] {
            assert!(!is_plain_image(other, prefix), "{other}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("6.1.192-2") > numbers("6.1.99-10"));
        assert!(numbers("6.12.117-1~deb12u1") > numbers("6.12.95-1~deb12u1"));
    }

    #[test]
    fn installed_and_source_rows_are_no_downloads() {
        let row = "linux-image-6.1.0-56-amd64 | 6.1.192-2 | http://mirror bookworm/main Packages";
        let package = table_row(row).unwrap();
        assert_eq!((package.release(), &*package.version), ("6.1.0-56-amd64", "6.1.192-2"));
        assert!(table_row("linux | 6.1.192-2 | http://mirror bookworm/main Sources").is_none());
    }
}
