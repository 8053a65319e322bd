//! Trees: made, and compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// Everything about an entry that a copy keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub blocks: u64,
    pub data: Vec<u8>,
}

/// All entries of a tree by path, the root included.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut all = BTreeMap::new();
    add(root, root, &mut all);
    all
}

fn add(root: &Path, path: &Path, all: &mut BTreeMap<PathBuf, Entry>) {
    let about = fs::symlink_metadata(path).unwrap();
    let data = if about.is_symlink() {
        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
    } else if about.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    let blocks = if about.is_file() { about.blocks() } else { 0 };
    let entry = Entry {
        mode: about.mode(),
        owner: (about.uid(), about.gid()),
        mtime: (about.mtime(), about.mtime_nsec()),
        blocks,
        data,
    };
    all.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
    if about.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            add(root, &entry.unwrap().path(), all);
        }
    }
}

/// Fails with the first difference.
pub fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (snapshot(left), snapshot(right));
    let names = |all: &BTreeMap<PathBuf, Entry>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    for (path, entry) in &left {
        let other = &right[path];
        assert!(entry.data == other.data, "{} has other data", path.display());
        let about = |entry: &Entry| Entry { data: Vec::new(), ..entry.clone() };
        assert_eq!(about(entry), about(other), "{}", path.display());
    }
}

/// Unfinished files anywhere below.
pub fn unfinished(root: &Path) -> Vec<PathBuf> {
    let is_part = |path: &PathBuf| path.to_string_lossy().contains(".bmstools-");
    snapshot(root).into_keys().filter(is_part).collect()
}

pub fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A tree with everything odd.
pub fn make(root: &Path) {
    let write = |name: &[u8], data: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::write(&path, data).unwrap();
        path
    };
    for dir in ["", "empty", "a", "a/b", "a/b/c", "closed"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    write(b"empty file", b"");
    write(b"a/small", b"data");
    write(b"a/b/c/new\nline", b"x");
    write(b"a/\xff\xfe not UTF-8", b"y");
    write(b"a/-rf", b"z");
    write(b"a/b/large", &random(3 << 20, 1));
    write(b"a/b/block", &random(256 << 10, 2));
    write(b"at the limit", &random(64 << 10, 3));
    write(b"beyond the limit", &random((64 << 10) + 1, 4));
    let name = vec![b'n'; 255];
    write(&name, b"a long name");
    for (name, target) in
        [("link", "a/small"), ("a/dangling", "nowhere/\u{1}"), ("a/up", "../.."), ("out", "/etc")]
    {
        symlink(target, root.join(name)).unwrap();
    }
    let setuid = write(b"setuid", &random(100, 5));
    fs::set_permissions(&setuid, Permissions::from_mode(0o4755)).unwrap();
    let none = write(b"closed/none", b"secret");
    fs::set_permissions(&none, Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o1550)).unwrap();
    fs::set_permissions(root.join("empty"), Permissions::from_mode(0o2770)).unwrap();
    std::os::unix::fs::chown(root.join("setuid"), Some(4711), Some(4712)).unwrap();
    fs::set_permissions(&setuid, Permissions::from_mode(0o6755)).unwrap();
    std::os::unix::fs::lchown(root.join("link"), Some(7), Some(8)).unwrap();

    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    for at in [0, 4096 * 5, (10 << 20) + 4096, (39 << 20) + 8192] {
        sparse.write_all_at(&random(4096, at), at).unwrap();
    }
    File::create(root.join("a/hole")).unwrap().set_len(1 << 20).unwrap();

    let mut seconds = 0;
    for path in snapshot(root).into_keys().rev() {
        seconds += 1;
        let path = root.join(path);
        if !path.is_symlink() {
            let time = UNIX_EPOCH + Duration::new(1_000_000_000 + seconds, 123_456_789);
            File::open(&path).unwrap().set_modified(time).unwrap();
        }
    }
}
