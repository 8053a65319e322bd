//! A terminal with a program on it, and somebody who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

/// A terminal with a program on it, which is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// Keeps the terminal and its settings when the program has ended.
    slave: OwnedFd,
    child: Child,
    before: String,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` on a terminal of so many rows and columns.
    ///
    /// # Errors
    ///
    /// Where the system has no terminal, or the command cannot be started.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).context("no terminal")?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        set_size(&master, rows, columns)?;
        let before = settings(&slave)?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
        let child = command.env("TERM", "vt100").spawn().context("cannot start on a terminal")?;
        let master = File::from(master);
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let (mut from, into) = (master.try_clone()?, Arc::clone(&shown));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let mut shown = into.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&buffer[..read]);
            }
        });
        Ok(Self { master, slave, child, before, shown })
    }

    /// Types this.
    ///
    /// # Errors
    ///
    /// Where the terminal takes no more.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Gives it another size, as a window does.
    ///
    /// # Errors
    ///
    /// Where that is not possible.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        set_size(&self.master, rows, columns)
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until it shows `text`.
    ///
    /// # Errors
    ///
    /// Where it does not within ten seconds.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.shown().contains(text) {
            if Instant::now() >= deadline {
                bail!("{text:?} was not shown, but {:?}", self.shown());
            }
            thread::sleep(TURN);
        }
        Ok(())
    }

    /// Whether keys are handed on one by one, Ctrl-C included.
    ///
    /// # Errors
    ///
    /// Where the terminal does not say.
    pub fn is_raw(&self) -> Result<bool> {
        let modes = tcgetattr(&self.slave)?.local_modes;
        Ok(!modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    /// Whether it is set as it was before the program started.
    ///
    /// # Errors
    ///
    /// Where the terminal does not say.
    pub fn is_as_before(&self) -> Result<bool> {
        Ok(settings(&self.slave)? == self.before)
    }

    /// Sends the program whose name is `name` a signal: the one that was started may have
    /// started it in turn.
    ///
    /// # Errors
    ///
    /// Where it does not run.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let group = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(group)?;
        let all =
            children.split_whitespace().map(str::to_owned).chain([self.child.id().to_string()]);
        for pid in all {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if comm.trim() == name {
                let pid = pid.parse().ok().and_then(Pid::from_raw).context("no process id")?;
                return Ok(kill_process(pid, signal)?);
            }
        }
        bail!("there is no {name} on the terminal");
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Where it runs longer than ten seconds.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("still runs after {LIMIT:?}; shown: {:?}", self.shown());
            }
            thread::sleep(TURN);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.signal("bmstools", Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

fn settings(terminal: impl AsFd) -> Result<String> {
    let Termios { input_modes, output_modes, control_modes, local_modes, special_codes, .. } =
        tcgetattr(terminal)?;
    Ok(format!(
        "{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?} {special_codes:?}"
    ))
}

const LIMIT: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_millis(10);
