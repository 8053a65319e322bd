//! The names of unfinished files, and the removal of old ones.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, statat,
    unlinkat,
};
use rustix::process::geteuid;
use twox_hash::XxHash3_64;

/// The name under which the file `name` arrives: hidden, and always the same, so
/// that the next attempt finds it.
pub(crate) fn hidden_name(name: &[u8]) -> Vec<u8> {
    let mut hidden = b".".to_vec();
    // File names have at most 255 bytes.
    hidden.extend(name.iter().take(200));
    let tag = XxHash3_64::oneshot(name) as u32;
    hidden.extend(format!("{MARK}{tag:08x}{END}").into_bytes());
    hidden
}

/// Whether `name` is one of [`hidden_name`]'s.
fn is_hidden_name(name: &[u8]) -> bool {
    let Some(stem) = name.strip_suffix(END.as_bytes()) else { return false };
    let Some((stem, tag)) = stem.split_at_checked(stem.len().saturating_sub(8)) else {
        return false;
    };
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    stem.starts_with(b".") && stem.ends_with(MARK.as_bytes()) && tag.iter().all(is_hex)
}

/// Whether this is a file that a transfer of this user left or has under way, and not
/// something that another prepared under its name.
pub(crate) fn is_ours(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == geteuid().as_raw()
        && stat.st_nlink == 1
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Unfinished files removed.
    pub(crate) removed: usize,
    /// Unfinished files left: young, or in use.
    pub(crate) left: usize,
}

/// Removes unfinished files in `dir` that nobody uses and nobody has written to for
/// `lifetime`.
pub(crate) fn sweep(dir: impl AsFd, lifetime: Duration) -> Swept {
    let mut swept = Swept::default();
    let Ok(entries) = Dir::read_from(&dir) else { return swept };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !is_hidden_name(name.to_bytes()) {
            continue;
        }
        if expired(&dir, name, lifetime) && unlinkat(&dir, name, AtFlags::empty()).is_ok() {
            swept.removed += 1;
        } else {
            swept.left += 1;
        }
    }
    swept
}

fn expired(dir: impl AsFd, name: &std::ffi::CStr, lifetime: Duration) -> bool {
    let old = |stat: &Stat| is_ours(stat) && age(stat) >= lifetime;
    if !statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| old(&stat)) {
        return false;
    }
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(&dir, name, flags, Mode::empty()).is_ok_and(|file| {
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && fstat(&file).is_ok_and(|stat| old(&stat))
    })
}

fn age(stat: &Stat) -> Duration {
    let modified = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(modified)
}

const MARK: &str = ".bmstools-";
const END: &str = ".part";

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use super::*;

    fn make(dir: &Path, name: &[u8], age: Duration) -> std::path::PathBuf {
        let path = dir.join(std::ffi::OsStr::from_bytes(&hidden_name(name)));
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    }

    #[test]
    fn hidden_names_fit_and_are_known_again() {
        for name in [&b"x"[..], b"\xff\n", &[b'n'; 255], b".bmstools-"] {
            let hidden = hidden_name(name);
            assert!(hidden.len() <= 255 && is_hidden_name(&hidden), "{name:?}");
        }
        assert_ne!(hidden_name(&[b'n'; 255]), hidden_name(&[b'n'; 254]));
        for name in [".bashrc", ".x.bmstools-AbCdEf01", ".x.part", ".part", ".x.bmstools-0.part"] {
            assert!(!is_hidden_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn only_old_unused_files_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let old = make(dir.path(), b"old", 2 * hour);
        let young = make(dir.path(), b"young", Duration::ZERO);
        let used = make(dir.path(), b"used", 2 * hour);
        let lock = File::open(&used).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let linked = make(dir.path(), b"linked", 2 * hour);
        fs::hard_link(&linked, dir.path().join("other")).unwrap();
        let fd = File::open(dir.path()).unwrap();
        assert_eq!(sweep(&fd, hour), Swept { removed: 1, left: 3 });
        assert!(!old.exists() && young.exists() && used.exists() && linked.exists());
    }
}
