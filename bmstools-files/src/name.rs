//! Names and paths as bytes.

use std::fmt;

use bmstools_proto::v2::message::{Failure, FailureCode};

use crate::failure::failure;

/// Checks that `name` is one component that stays in its directory.
///
/// # Errors
///
/// Where it is not: names come from the peer.
pub(crate) fn check(name: &[u8]) -> Result<(), Failure> {
    let bad = name.is_empty()
        || name == b"."
        || name == b".."
        || name.len() > MAX_NAME
        || name.iter().any(|&byte| byte == b'/' || byte == 0);
    if bad {
        let message = format!("`{}` is no name of a file", Shown(name));
        return Err(failure(FailureCode::Invalid, message));
    }
    Ok(())
}

/// `directory/name`, or `directory` where there is no name.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !name.is_empty() {
        if !path.is_empty() && !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

/// The last component of `path`; empty where it has none (`/`, `..`).
pub(crate) fn last(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    let path = path.get(..end).unwrap_or_default();
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if name == b"." || name == b".." { b"" } else { name }
}

/// A path for people.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&String::from_utf8_lossy(self.0), f)
    }
}

/// NAME_MAX of every file system.
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_components_are_names() {
        for good in [&b"a"[..], b"...", b"\xff\n", b"-", b".hidden", &[b'x'; 255]] {
            check(good).unwrap();
        }
        for bad in [&b""[..], b".", b"..", b"/", b"a/b", b"/etc", b"a\0", &[b'x'; 256]] {
            assert_eq!(check(bad).unwrap_err().code, FailureCode::Invalid, "{bad:?}");
        }
    }

    #[test]
    fn the_last_component_is_found_behind_slashes() {
        for (path, name) in [
            ("/a/b", "b"),
            ("b", "b"),
            ("/a/b//", "b"),
            ("/", ""),
            ("", ""),
            ("/a/..", ""),
            (".", ""),
        ] {
            assert_eq!(last(path.as_bytes()), name.as_bytes(), "{path}");
        }
    }
}
