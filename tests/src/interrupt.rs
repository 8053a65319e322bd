//! Ctrl-C and SIGTERM: noticed between and during steps, so that everything is
//! still removed in order.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Catches the signals from here on.
///
/// # Errors
///
/// Where the kernel refuses.
pub fn watch() -> Result<()> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot watch signals")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            poll_fn(|context| {
                let caught = [&mut interrupt, &mut terminate]
                    .map(|signal| signal.poll_recv(context).is_ready());
                if caught.contains(&true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        HAPPENED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Whether a signal came.
pub fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// Fails where a signal came.
///
/// # Errors
///
/// As it says.
pub fn check() -> Result<()> {
    if happened() {
        bail!("interrupted");
    }
    Ok(())
}
