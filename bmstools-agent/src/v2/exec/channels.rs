//! A command's standard input, output and error: pipes or a terminal.

use std::io;
use std::os::fd::OwnedFd;

use bmstools_proto::v2::message::exec::WindowSize;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, SpecialCodeIndex, Winsize, tcgetattr, tcgetpgrp, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use crate::v2::readiness;

/// The agent's ends of a command's pipes.
pub(crate) struct Pipes {
    /// Written to.
    pub(crate) input: pipe::Sender,
    /// Read from.
    pub(crate) output: pipe::Receiver,
    /// Read from.
    pub(crate) errors: pipe::Receiver,
}

impl Pipes {
    /// Pipes, and the command's ends of them.
    ///
    /// # Errors
    ///
    /// Where there are no descriptors left.
    pub(crate) fn new() -> io::Result<(Self, [OwnedFd; 3])> {
        let (input, to_input) = pipe()?;
        let (from_output, output) = pipe()?;
        let (from_errors, errors) = pipe()?;
        let pipes = Self {
            input: pipe::Sender::from_owned_fd(to_input)?,
            output: pipe::Receiver::from_owned_fd(from_output)?,
            errors: pipe::Receiver::from_owned_fd(from_errors)?,
        };
        Ok((pipes, [input, output, errors]))
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Fewer turns at high rates; the usual size does as well.
    let _ = fcntl_setpipe_size(&write, PIPE_SIZE);
    Ok((read, write))
}

/// The agent's end of a terminal.
pub(crate) struct Terminal {
    master: AsyncFd<OwnedFd>,
}

impl Terminal {
    /// A terminal of this size, and the command's end of it three times.
    ///
    /// # Errors
    ///
    /// Where the system has no terminals or descriptors left.
    pub(crate) fn new(size: WindowSize) -> io::Result<(Self, [OwnedFd; 3])> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let ends = [slave.try_clone()?, slave.try_clone()?, slave];
        let terminal =
            Self { master: readiness::register(master, Interest::READABLE | Interest::WRITABLE)? };
        terminal.resize(size);
        Ok((terminal, ends))
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, size: WindowSize) {
        let WindowSize { rows, columns, width, height } = size;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: width, ws_ypixel: height };
        // It fails where the terminal was closed, which nobody looks at then.
        let _ = tcsetwinsize(self.master.get_ref(), size);
    }

    /// The process group in its foreground.
    pub(crate) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.master.get_ref()).ok()
    }

    /// Reads what is there into `buffer`; waits where there is nothing. Its end, 0, is
    /// that nobody has it open any more.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> usize {
        let read = |master: &OwnedFd| Ok(rustix::io::read(master, &mut *buffer)?);
        // The end is EIO, and every other error ends it as well.
        self.master.async_io(Interest::READABLE, read).await.unwrap_or(0)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// Where it was closed.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = |master: &OwnedFd| Ok(rustix::io::write(master, bytes)?);
            let written = self.master.async_io(Interest::WRITABLE, write).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// What a user types to end the input, where the command reads lines.
    pub(crate) fn end_of_input(&self) -> Option<u8> {
        let settings = tcgetattr(self.master.get_ref()).ok()?;
        let code = settings.special_codes[SpecialCodeIndex::VEOF];
        (settings.local_modes.contains(LocalModes::ICANON) && code != 0).then_some(code)
    }
}

/// Bytes that a pipe holds.
const PIPE_SIZE: usize = 1 << 18;
