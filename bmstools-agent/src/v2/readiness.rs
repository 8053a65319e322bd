//! Descriptors that tasks wait for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor to wait for. Within a runtime.
///
/// # Errors
///
/// Where the system refuses.
#[allow(
    deprecated,
    reason = "the successor is unsafe for the sake of types that let go of their descriptor, which this one cannot"
)]
pub(crate) fn register(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, interest)
}
