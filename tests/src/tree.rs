//! Trees of files: made with everything odd in them, and compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// Everything about an entry that a copy keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Type and permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds of the last change.
    pub mtime: (i64, i64),
    /// What a file takes on the disk: fewer with holes.
    pub blocks: u64,
    /// What a file holds, or where a link leads.
    pub data: Vec<u8>,
}

/// All entries of a tree by path, the root included.
///
/// # Errors
///
/// Where it cannot be read.
pub fn snapshot(root: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut all = BTreeMap::new();
    add(root, root, &mut all).with_context(|| format!("cannot read {}", root.display()))?;
    Ok(all)
}

fn add(root: &Path, path: &Path, all: &mut BTreeMap<PathBuf, Entry>) -> Result<()> {
    let about = fs::symlink_metadata(path)?;
    let data = if about.is_symlink() {
        fs::read_link(path)?.into_os_string().into_encoded_bytes()
    } else if about.is_file() {
        fs::read(path)?
    } else {
        Vec::new()
    };
    let entry = Entry {
        mode: about.mode(),
        owner: (about.uid(), about.gid()),
        mtime: (about.mtime(), about.mtime_nsec()),
        blocks: if about.is_file() { about.blocks() } else { 0 },
        data,
    };
    all.insert(path.strip_prefix(root)?.to_owned(), entry);
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            add(root, &entry?.path(), all)?;
        }
    }
    Ok(())
}

/// Fails with the first difference between two trees.
///
/// # Errors
///
/// Where there is one, or they cannot be read.
pub fn require_same(left: &Path, right: &Path) -> Result<()> {
    let (left, right) = (snapshot(left)?, snapshot(right)?);
    for path in left.keys().chain(right.keys()) {
        let (Some(sent), Some(arrived)) = (left.get(path), right.get(path)) else {
            let there = if left.contains_key(path) { "sent" } else { "there" };
            anyhow::bail!("{} is {there} alone", path.display());
        };
        ensure!(sent.data == arrived.data, "{} has other data", path.display());
        let about = |entry: &Entry| Entry { data: Vec::new(), ..entry.clone() };
        let (sent, arrived) = (about(sent), about(arrived));
        ensure!(sent == arrived, "{}: {sent:?} was sent, {arrived:?} arrived", path.display());
    }
    Ok(())
}

/// Files below that a transfer has not finished, or left.
///
/// # Errors
///
/// Where the tree cannot be read.
pub fn unfinished(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(".bmstools-") {
            found.push(entry.path());
        }
        if entry.file_type()?.is_dir() {
            found.extend(unfinished(&entry.path())?);
        }
    }
    Ok(found)
}

/// Makes a tree with everything odd at `root`: names, sizes, holes, links, modes,
/// owners and times. As root.
///
/// # Errors
///
/// Where it cannot be made.
pub fn make(root: &Path) -> Result<()> {
    for dir in ["", "empty", "a", "a/b", "a/b/c", "closed"] {
        fs::create_dir(root.join(dir))?;
    }
    let long = vec![b'n'; 255];
    let files: [(&[u8], usize); 11] = [
        (b"empty file", 0),
        (b"a/small", 4),
        (b"a/b/c/new\nline", 1),
        (b"a/\xff\xfe not UTF-8", 1),
        (b"a/-rf", 1),
        (b"a/b/large", 3 << 20),
        (b"a/b/block", 256 << 10),
        (b"at the limit", 64 << 10),
        (b"beyond the limit", (64 << 10) + 1),
        (&long, 11),
        (b"closed/none", 6),
    ];
    for (seed, (name, len)) in files.into_iter().enumerate() {
        fs::write(root.join(OsStr::from_bytes(name)), random(seed as u64, len))?;
    }
    for (name, target) in
        [("link", "a/small"), ("a/dangling", "nowhere/\u{1}"), ("a/up", "../.."), ("out", "/etc")]
    {
        symlink(target, root.join(name))?;
    }
    make_holes(root)?;
    set_owners_and_modes(root)?;
    let paths: Vec<_> = snapshot(root)?.into_keys().collect();
    for (seconds, path) in (1_000_000_000..).zip(paths.into_iter().rev()) {
        let path = root.join(path);
        if !path.is_symlink() {
            File::open(&path)?.set_modified(UNIX_EPOCH + Duration::new(seconds, 123_456_789))?;
        }
    }
    Ok(())
}

fn make_holes(root: &Path) -> Result<()> {
    let sparse = File::create(root.join("sparse"))?;
    sparse.set_len(40 << 20)?;
    for at in [0, 4096 * 5, (10 << 20) + 4096, (39 << 20) + 8192] {
        sparse.write_all_at(&random(at, 4096), at)?;
    }
    File::create(root.join("a/hole"))?.set_len(1 << 20)?;
    Ok(())
}

fn set_owners_and_modes(root: &Path) -> Result<()> {
    let setuid = root.join("setuid");
    fs::write(&setuid, random(5, 100))?;
    chown(&setuid, Some(4711), Some(4712))?;
    lchown(root.join("link"), Some(7), Some(8))?;
    for (name, mode) in
        [("setuid", 0o6755), ("closed/none", 0), ("closed", 0o1550), ("empty", 0o2770)]
    {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}
