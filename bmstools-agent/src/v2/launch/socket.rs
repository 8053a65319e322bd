//! Messages and descriptors between the agent and its helpers.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use bmstools_proto::v2::message::MAX_MESSAGE;
use minicbor::{Decode, Encode};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sends `message` with `descriptors`, three at most. Blocks.
pub(crate) fn send(
    mut socket: &UnixStream,
    message: &impl Encode<()>,
    descriptors: &[OwnedFd],
) -> io::Result<()> {
    let body = announce(socket, message, descriptors)?;
    socket.write_all(&body)
}

/// Sends the length of `message` with `descriptors`, three at most, as the first bytes
/// on the socket: this does not block. Returns what is to follow.
pub(crate) fn announce(
    socket: impl AsFd,
    message: &impl Encode<()>,
    descriptors: &[OwnedFd],
) -> io::Result<Vec<u8>> {
    let body = minicbor::to_vec(message).map_err(|_| io::ErrorKind::InvalidData)?;
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidData)?.to_be_bytes();
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Four bytes into an empty socket: they go whole or not at all.
    retry_on_intr(|| {
        sendmsg(&socket, &[IoSlice::new(&length)], &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(body)
}

/// Receives a message with its descriptors.
pub(crate) fn receive<M>(mut socket: &UnixStream) -> io::Result<(M, Vec<OwnedFd>)>
where
    M: for<'b> Decode<'b, ()>,
{
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut length)], &mut ancillary, flags)
    })?;
    if received.bytes != length.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    let message = minicbor::decode(&body).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((message, descriptors))
}

/// Answers. Answers follow each other without lengths, up to the socket's end.
pub(crate) fn answer(mut socket: &UnixStream, message: &impl Encode<()>) -> io::Result<()> {
    let body = minicbor::to_vec(message).map_err(|_| io::ErrorKind::InvalidData)?;
    socket.write_all(&body)
}

/// All answers.
pub(crate) fn receive_all(socket: &UnixStream) -> io::Result<Vec<u8>> {
    let mut answers = Vec::new();
    socket.take(LONGEST as u64).read_to_end(&mut answers)?;
    Ok(answers)
}

/// Standard input, output and error.
const MAX_DESCRIPTORS: usize = 3;
/// A request's contents and a little.
pub(crate) const LONGEST: usize = MAX_MESSAGE + 4096;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_long_message_arrives_with_its_descriptors_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pipes: Vec<_> = (0..3).map(|_| io::pipe().unwrap()).collect();
        let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        let text = "x".repeat(1 << 20);
        let sent = text.clone();
        let sender = thread::spawn(move || {
            let descriptors: Vec<_> = writers.into_iter().map(OwnedFd::from).collect();
            send(&ours, &sent, &descriptors).unwrap();
        });
        let (received, descriptors) = receive::<String>(&theirs).unwrap();
        sender.join().unwrap();
        assert!(received == text);
        for (number, descriptor) in descriptors.into_iter().enumerate() {
            let mut writer = io::PipeWriter::from(descriptor);
            writer.write_all(&[u8::try_from(number).unwrap()]).unwrap();
        }
        for (number, mut reader) in readers.into_iter().enumerate() {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            assert_eq!(all, [u8::try_from(number).unwrap()]);
        }
    }

    #[test]
    fn a_length_past_the_limit_and_an_early_end_are_errors() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(receive::<u8>(&theirs).unwrap_err().kind(), io::ErrorKind::InvalidData);
        ours.write_all(&[0, 0]).unwrap();
        drop(ours);
        assert_eq!(receive::<u8>(&theirs).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
