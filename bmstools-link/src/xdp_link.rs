//! Attaching an XDP program through a BPF link, which the kernel takes away with
//! the last file descriptor to it, and finding out who was there first.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya::programs::loaded_programs;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::program::{AttachMode, ProgramError};

/// Attaches `program` to an interface for as long as the result is open.
///
/// Never replaces another program, and never falls back to an attachment that
/// would outlive the process.
pub(crate) fn create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    mode: AttachMode,
) -> Result<OwnedFd, ProgramError> {
    bpf_link_create(program, ifindex, mode).map_err(|cause| match cause.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            ProgramError::Busy { ifindex, occupant: occupant(ifindex) }
        }
        Some(libc::EPERM) => ProgramError::Permission,
        _ => ProgramError::Attach { ifindex, mode: mode.name(), cause },
    })
}

impl AttachMode {
    const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// The kernel's flag: `XDP_FLAGS_DRV_MODE` or `XDP_FLAGS_SKB_MODE`.
    const fn flag(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_XDP: u32 = 37;

/// The part of the kernel's `union bpf_attr` that BPF_LINK_CREATE reads.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf_link_create(program: BorrowedFd<'_>, ifindex: u32, mode: AttachMode) -> io::Result<OwnedFd> {
    let attr = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: ifindex,
        attach_type: BPF_XDP,
        flags: mode.flag(),
    };
    // SAFETY: the kernel reads `size_of::<LinkCreate>()` bytes of `attr`, which
    // lives until the call returns.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attr, mem::size_of::<LinkCreate>())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// The name and number of the XDP program on an interface, as far as they can be
/// found out.
fn occupant(ifindex: u32) -> String {
    let id = match program_id(ifindex) {
        Ok(Some(id)) => id,
        Ok(None) => return "that was there a moment ago".to_owned(),
        Err(error) => return format!("of another process (which one is unknown: {error})"),
    };
    let info = loaded_programs().flatten().find(|program| program.id() == id);
    match info.as_ref().and_then(|program| program.name_as_str()) {
        Some(name) if !name.is_empty() => format!("{name:?} (number {id})"),
        _ => format!("number {id}"),
    }
}

const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_HEADER: usize = 16;
const IFINFO: usize = 16;
const IFLA_XDP: u16 = 43;
/// The attributes that may hold a program's number: the one in use, and the ones
/// of each mode where there are several.
const IFLA_XDP_PROG_IDS: std::ops::RangeInclusive<u16> = 4..=7;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Asks the kernel (rtnetlink) for the number of an interface's XDP program.
fn program_id(ifindex: u32) -> io::Result<Option<u32>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0.
        None,
    )?;
    let mut request = [0; NLMSG_HEADER + IFINFO];
    request[0..4].copy_from_slice(&((NLMSG_HEADER + IFINFO) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[20..24].copy_from_slice(&ifindex.to_ne_bytes());
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &kernel)?;
    let mut answer = vec![0; 64 << 10];
    let (len, _) = rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    Ok(answer.get(..len).and_then(find_program_id))
}

fn find_program_id(message: &[u8]) -> Option<u32> {
    if message.get(4..6)? != RTM_NEWLINK.to_ne_bytes() {
        return None;
    }
    let link = Attributes(message.get(NLMSG_HEADER + IFINFO..)?);
    let (_, xdp) = { link }.find(|(kind, _)| *kind == IFLA_XDP)?;
    Attributes(xdp)
        .filter(|(kind, _)| IFLA_XDP_PROG_IDS.contains(kind))
        .find_map(|(_, id)| Some(u32::from_ne_bytes(id.try_into().ok()?)))
}

/// Netlink attributes: length and type as native-endian `u16`, then the value,
/// each padded to four bytes.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[a, b, c, d], _) = self.0.split_first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_number_is_found_among_other_attributes() {
        let mut message = vec![0; NLMSG_HEADER + IFINFO];
        message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        let attribute = |kind: u16, value: &[u8]| {
            let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let nested = [attribute(2, &[1]), attribute(4, &77_u32.to_ne_bytes())].concat();
        message.extend(attribute(3, b"veth0\0"));
        message.extend(attribute(IFLA_XDP | 0x8000, &nested));
        assert_eq!(find_program_id(&message), Some(77));
        for cut in 0..message.len() {
            assert_eq!(find_program_id(&message[..cut]), None);
        }
    }
}
