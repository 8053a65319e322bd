//! System calls that have no safe wrapper elsewhere.

use std::ffi::{c_int, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::pod::Pod;

/// Gives memory that the process has freed back to the system.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps whole pages of this process from processes that it forks, which then need not
/// copy them. They are not there for those.
pub(crate) fn keep_from_forks(start: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: it changes nothing for this process, whatever is there; a forked process
    // without its memory faults.
    check(unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTFORK) })
}

/// Sets a socket option to `value`.
pub(crate) fn set_option<T: Pod>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which the kernel
    // only reads and which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Reads a socket option whose value is a `T`.
pub(crate) fn option<T: Pod>(socket: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    let mut value = T::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `value`, which the kernel
    // writes at most `len` bytes of; every bit pattern of a `Pod` is valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_mut(&mut value).cast(),
            &mut len,
        )
    };
    check(result).map(|()| value)
}

/// Attaches a classic BPF program to a socket.
pub(crate) fn set_filter(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter`, which the
    // borrowed slice holds, and writes nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Binds a packet socket to an interface; it receives frames of `protocol` from
/// here on.
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, ifindex: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer and the length are those of `address`, which the kernel
    // only reads.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Asks the driver of `interface` by the ethtool command that `request` begins
/// with; the answer is written over it.
///
/// `request` must be as long as its command's structure.
pub(crate) fn ethtool(
    socket: BorrowedFd<'_>,
    interface: &str,
    request: &mut [u32],
) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (slot, byte) in name.iter_mut().zip(interface.bytes()) {
        *slot = byte as libc::c_char;
    }
    let mut ifreq = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: request.as_mut_ptr().cast() },
    };
    // SAFETY: `ifr_data` points to `request`, exclusively borrowed for the call.
    // The kernel writes no more than the command's structure, whose counts and
    // sizes the callers (all in `ethtool.rs`) fit to the slice's length.
    let result = unsafe {
        libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, std::ptr::from_mut(&mut ifreq))
    };
    check(result)
}

fn check(result: c_int) -> io::Result<()> {
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const SIOCETHTOOL: c_ulong = 0x8946;
