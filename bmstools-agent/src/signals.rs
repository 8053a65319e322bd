//! What signals do.

use std::io;
use std::process;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::keys::Keys;
use crate::session::{Message, Outbox};

/// The signals that the agent listens to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    /// Catches signals from here on. Within a runtime.
    ///
    /// # Errors
    ///
    /// Where the system does not allow it.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Acts on signals, for ever.
    pub(crate) async fn run(mut self, keys: Keys, outbox: Outbox) {
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hangup.recv() => {
                    keys.check();
                    continue;
                }
                _ = self.user1.recv() => {
                    outbox.send(Message::Counters).await;
                    continue;
                }
            }
            if stopping {
                error!("asked to end twice: ending at once");
                process::exit(1);
            }
            stopping = true;
            info!("ending: closing all sessions; a second signal ends at once");
            notify(NotifyState::Stopping);
            outbox.send(Message::Stop).await;
        }
    }
}

/// Tells systemd, where it started this.
pub(crate) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot notify systemd");
    }
}
