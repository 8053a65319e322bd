//! Many frames by one system call: recvmmsg(2) and sendmmsg(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use bmstools_common::ethernet::{TAG_LEN, TPID_8021Q};

/// Frames that one call receives at most.
const RECEIVE_BATCH: usize = 64;
/// Frames that one call sends at most.
const SEND_BATCH: usize = 64;

/// Bytes between the addresses and the ethertype: where a tag belongs.
const TAG_AT: usize = 12;

/// Room for a batch of received frames. In front of each stay the bytes that
/// putting a VLAN tag back takes.
pub(crate) struct Received {
    memory: Vec<u8>,
    /// Bytes for each frame.
    stride: usize,
    frames: Vec<Frame>,
}

/// Where a received frame lies in its buffer.
#[derive(Clone, Copy)]
struct Frame {
    start: usize,
    end: usize,
    /// Whether bytes were cut off.
    truncated: bool,
}

impl Received {
    /// Room for [`RECEIVE_BATCH`] frames of up to `frame_len` bytes.
    pub(crate) fn new(frame_len: usize) -> Self {
        let stride = frame_len + TAG_LEN;
        Self {
            memory: vec![0; stride * RECEIVE_BATCH],
            stride,
            frames: Vec::with_capacity(RECEIVE_BATCH),
        }
    }

    /// Receives what there is, and returns how many frames that is.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.frames.clear();
        receive(socket, self.memory.chunks_exact_mut(self.stride), &mut self.frames)?;
        Ok(self.frames.len())
    }

    /// The frames of the last batch, each with whether bytes were cut off.
    pub(crate) fn frames(&mut self) -> impl Iterator<Item = (&mut [u8], bool)> {
        self.memory
            .chunks_exact_mut(self.stride)
            .zip(&self.frames)
            .map(|(buffer, frame)| (&mut buffer[frame.start..frame.end], frame.truncated))
    }
}

/// Receives one frame into `buffer`.
pub(super) fn receive_one<'b>(
    socket: BorrowedFd<'_>,
    buffer: &'b mut [u8],
) -> io::Result<&'b mut [u8]> {
    if buffer.len() <= TAG_AT + TAG_LEN {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut frames = Vec::with_capacity(1);
    receive(socket, std::iter::once(&mut *buffer), &mut frames)?;
    match frames.first() {
        Some(frame) => Ok(&mut buffer[frame.start..frame.end]),
        None => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Bytes of the control message that carries a VLAN tag, and some to spare.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL_LEN]);

const CONTROL_LEN: usize = 64;

fn receive<'b>(
    socket: BorrowedFd<'_>,
    buffers: impl Iterator<Item = &'b mut [u8]>,
    frames: &mut Vec<Frame>,
) -> io::Result<()> {
    let mut buffers: Vec<&'b mut [u8]> = buffers.take(RECEIVE_BATCH).collect();
    let mut controls = [Control([0; CONTROL_LEN]); RECEIVE_BATCH];
    let mut vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| {
            let body = &mut buffer[TAG_LEN..];
            libc::iovec { iov_base: body.as_mut_ptr().cast(), iov_len: body.len() }
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .zip(&mut controls)
        .map(|(vector, control)| message(vector, &mut control.0))
        .collect();
    // SAFETY: every message points to one vector and one control buffer of its
    // own, every vector to a buffer of its own, with their true lengths. All of
    // them are exclusively borrowed here and outlive the call.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as _,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    if count < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        };
    }
    let received: Vec<(usize, usize, bool)> = messages
        .iter()
        .take(count as usize)
        .map(|message| {
            let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            (message.msg_len as usize, message.msg_hdr.msg_controllen, truncated)
        })
        .collect();
    for ((buffer, control), (len, control_len, truncated)) in
        buffers.iter_mut().zip(&controls).zip(received)
    {
        let len = len.min(buffer.len() - TAG_LEN);
        let tag = control.0.get(..control_len).and_then(stripped_tag);
        let start = if tag.is_some() && len >= TAG_AT { 0 } else { TAG_LEN };
        let end = TAG_LEN + len;
        if let Some(tag) = tag.filter(|_| start == 0) {
            buffer.copy_within(TAG_LEN..TAG_LEN + TAG_AT, 0);
            buffer[TAG_AT..TAG_AT + TAG_LEN].copy_from_slice(&tag);
        }
        frames.push(Frame { start, end, truncated });
    }
    Ok(())
}

fn message(vector: &mut libc::iovec, control: &mut [u8]) -> libc::mmsghdr {
    // SAFETY: a message header is made of integers and pointers, for all of which
    // zero is a valid value. (It has padding fields that differ between C
    // libraries and cannot be named.)
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = vector;
    message.msg_hdr.msg_iovlen = 1;
    message.msg_hdr.msg_control = control.as_mut_ptr().cast();
    message.msg_hdr.msg_controllen = control.len() as _;
    message
}

/// The VLAN tag that the kernel took out of a frame, as its four bytes on the
/// wire, from the frame's control messages (`PACKET_AUXDATA`).
fn stripped_tag(mut control: &[u8]) -> Option<[u8; TAG_LEN]> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    const LEVEL: usize = size_of::<usize>();
    loop {
        let header = control.get(..HEADER)?;
        let len = usize::from_ne_bytes(*header.first_chunk()?);
        let level = i32::from_ne_bytes(*header.get(LEVEL..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*header.get(LEVEL + 4..)?.first_chunk()?);
        let data = control.get(HEADER..len)?;
        if (level, kind) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            return tag_of_auxdata(data);
        }
        control = control.get(len.next_multiple_of(size_of::<usize>())..)?;
    }
}

/// Reads `struct tpacket_auxdata`: status, three lengths and offsets, then the
/// tag's control information at byte 16 and its protocol at 18.
fn tag_of_auxdata(data: &[u8]) -> Option<[u8; TAG_LEN]> {
    let status = u32::from_ne_bytes(*data.first_chunk()?);
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let control = u16::from_ne_bytes(*data.get(16..)?.first_chunk()?);
    let protocol = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
        TPID_8021Q
    } else {
        u16::from_ne_bytes(*data.get(18..)?.first_chunk()?)
    };
    let [a, b] = protocol.to_be_bytes();
    let [c, d] = control.to_be_bytes();
    Some([a, b, c, d])
}

/// Sends frames until one is refused.
pub(super) fn send<F: AsRef<[u8]>>(socket: BorrowedFd<'_>, frames: &[F]) -> io::Result<usize> {
    let mut sent = 0;
    for batch in frames.chunks(SEND_BATCH) {
        match send_some(socket, batch) {
            Ok(count) => sent += count,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
        if sent % SEND_BATCH != 0 {
            break;
        }
    }
    Ok(sent)
}

fn send_some<F: AsRef<[u8]>>(socket: BorrowedFd<'_>, frames: &[F]) -> io::Result<usize> {
    let mut vectors: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| {
            let frame = frame.as_ref();
            libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() }
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> =
        vectors.iter_mut().map(|vector| message(vector, &mut [])).collect();
    // SAFETY: every message points to a vector of its own and that to a frame,
    // with its true length. The kernel only reads them, and they outlive the
    // call. The control buffers are empty.
    let count = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as _,
            libc::MSG_DONTWAIT as _,
        )
    };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let len = size_of::<libc::cmsghdr>() + data.len();
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(len.next_multiple_of(8), 0);
        bytes
    }

    fn auxdata(status: u32, tci: u16, tpid: u16) -> Vec<u8> {
        let mut data = status.to_ne_bytes().to_vec();
        data.extend([0; 12]);
        data.extend(tci.to_ne_bytes());
        data.extend(tpid.to_ne_bytes());
        data
    }

    #[test]
    fn the_tag_is_found_behind_another_control_message() {
        let valid = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
        let mut bytes = control(libc::SOL_SOCKET, 1, &[7; 5]);
        bytes.extend(control(
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            &auxdata(valid, 0x2064, 0x88a8),
        ));
        assert_eq!(stripped_tag(&bytes), Some([0x88, 0xa8, 0x20, 0x64]));
    }

    #[test]
    fn a_frame_that_had_no_tag_gets_none() {
        let bytes = control(libc::SOL_PACKET, libc::PACKET_AUXDATA, &auxdata(1, 0, 0));
        assert_eq!(stripped_tag(&bytes), None);
        assert_eq!(stripped_tag(&bytes[..10]), None);
        assert_eq!(stripped_tag(&[]), None);
    }
}
