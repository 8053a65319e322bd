//! The terminal of `exec --tty`: ours stands for the remote one.

use std::env;
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStringExt as _;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use bmstools_proto::v2::message::exec::{Terminal, WindowSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What our terminal is, or a usual one where we have none.
pub(crate) fn describe() -> Terminal {
    let term = env::var_os("TERM").filter(|term| !term.is_empty());
    let term = term.map_or_else(|| b"dumb".to_vec(), |term| term.into_vec());
    Terminal { term: term.into(), size: size() }
}

/// Our terminal's size.
pub(crate) fn size() -> WindowSize {
    let found = tcgetwinsize(io::stdin()).or_else(|_| tcgetwinsize(io::stdout())).ok();
    match found {
        Some(size) if size.ws_row > 0 && size.ws_col > 0 => WindowSize {
            rows: size.ws_row,
            columns: size.ws_col,
            width: size.ws_xpixel,
            height: size.ws_ypixel,
        },
        _ => WindowSize { rows: 24, columns: 80, width: 0, height: 0 },
    }
}

/// Hands every key on, Ctrl-C included, as long as it lives.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Makes our terminal raw; `None` where standard input is none.
    ///
    /// # Errors
    ///
    /// Where the terminal cannot be set.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        restore_on_panic();
        let before = tcgetattr(io::stdin())?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let raw = Self(());
        raw.set()?;
        Ok(Some(raw))
    }

    /// Makes it raw once more: who stopped us and let us go on has set it.
    ///
    /// # Errors
    ///
    /// Where the terminal cannot be set.
    pub(crate) fn set(&self) -> io::Result<()> {
        let mut settings = tcgetattr(io::stdin())?;
        settings.make_raw();
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &settings)?)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Sets the terminal as it was.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Before the panic's message, so that it can be read, and whatever thread it is in.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            restore();
            before(about);
        }));
    });
}

/// The settings to go back to.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
