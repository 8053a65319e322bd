//! Whether a transfer fits, before its first byte.

use std::os::fd::AsFd;

use bmstools_proto::v2::message::files::Offer;
use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{AtFlags, Mode, OFlags, StatVfs, fstatvfs, openat, statat};

use super::place::Place;
use super::sweep::hidden_name;
use crate::failure::{failure, of_errno};
use crate::name::Shown;
use crate::send::space_of;

/// Refuses what does not fit.
///
/// # Errors
///
/// Where it does not, or nobody knows.
pub(crate) fn check(place: &Place, offer: &Offer) -> Result<(), Failure> {
    let free = fstatvfs(&place.parent)
        .map_err(|error| of_errno("look at the file system of", Shown(&place.path), error))?;
    check_inodes(place, offer, &free)?;
    let available = free.f_bavail.saturating_mul(free.f_frsize);
    // What the files take beside their data.
    let needed = offer.space.saturating_add(offer.space / 128).saturating_add(MARGIN);
    if needed <= available || needed <= available.saturating_add(present(place, needed)) {
        return Ok(());
    }
    let message = format!(
        "not enough room for {}: {} needed, {} free",
        Shown(&place.path),
        Size(needed),
        Size(available)
    );
    Err(failure(FailureCode::NoSpace, message))
}

fn check_inodes(place: &Place, offer: &Offer, free: &StatVfs) -> Result<(), Failure> {
    // File systems without a limit say 0 of 0. Entries of a tree that exists may be
    // there already.
    if free.f_files == 0 || place.exists || offer.entries <= free.f_favail {
        return Ok(());
    }
    let message = format!(
        "not enough inodes for {}: {} needed, {} free",
        Shown(&place.path),
        offer.entries,
        free.f_favail
    );
    Err(failure(FailureCode::NoSpace, message))
}

/// Bytes that earlier attempts took and this one takes over; no more than `enough`.
fn present(place: &Place, enough: u64) -> u64 {
    if !place.directory {
        let hidden = hidden_name(&place.name);
        return statat(&place.parent, hidden, AtFlags::SYMLINK_NOFOLLOW)
            .map_or(0, |stat| space_of(&stat));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&place.parent, &place.name, flags, Mode::empty()) {
        Ok(root) => crate::send::space_of_tree(root.as_fd(), enough),
        Err(_) => 0,
    }
}

/// Bytes for people.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut value, mut unit) = (self.0 as f64, "bytes");
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = larger;
        }
        if unit == "bytes" { write!(f, "{} bytes", self.0) } else { write!(f, "{value:.1} {unit}") }
    }
}

/// Left free, so that a full disk is not what a transfer leaves behind.
const MARGIN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use bmstools_proto::v2::message::files::PutOptions;

    use super::*;
    use crate::receive::place::resolve;

    #[test]
    fn what_cannot_fit_is_refused_with_both_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x").into_os_string().into_encoded_bytes();
        let mut offer =
            Offer { name: b"x".to_vec(), directory: false, bytes: 1, space: 4096, entries: 1 };
        let place = resolve(&target, &offer, &PutOptions::default()).unwrap();
        check(&place, &offer).unwrap();
        offer.space = 1 << 60;
        let refused = check(&place, &offer).unwrap_err();
        assert_eq!(refused.code, FailureCode::NoSpace);
        assert!(refused.message.contains("TiB needed"), "{}", refused.message);
        offer.space = u64::MAX;
        check(&place, &offer).unwrap_err();
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_below() {
        assert_eq!(Size(1023).to_string(), "1023 bytes");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
        assert_eq!(Size(5 << 40).to_string(), "5.0 TiB");
    }
}
