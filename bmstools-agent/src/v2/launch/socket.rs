//! Messages between the agent and its helpers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use bmstools_proto::v2::message::MAX_MESSAGE;
use minicbor::{Decode, Encode};

/// A message's bytes, behind their number.
pub(crate) fn message(message: &impl Encode<()>) -> io::Result<Vec<u8>> {
    let body = minicbor::to_vec(message).map_err(|_| io::ErrorKind::InvalidData)?;
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}

/// Receives a message.
pub(crate) fn receive<M>(mut socket: &UnixStream) -> io::Result<M>
where
    M: for<'b> Decode<'b, ()>,
{
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(minicbor::decode(&body).map_err(|_| io::ErrorKind::InvalidData)?)
}

/// Answers. The answer ends with the socket.
pub(crate) fn answer(mut socket: &UnixStream, message: &impl Encode<()>) -> io::Result<()> {
    let body = minicbor::to_vec(message).map_err(|_| io::ErrorKind::InvalidData)?;
    socket.write_all(&body)
}

/// A request's contents and a little.
pub(crate) const LONGEST: usize = MAX_MESSAGE + 4096;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_long_message_arrives() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let text = "x".repeat(1 << 20);
        let sent = message(&text).unwrap();
        let sender = thread::spawn(move || ours.write_all(&sent).unwrap());
        assert!(receive::<String>(&theirs).unwrap() == text);
        sender.join().unwrap();
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
