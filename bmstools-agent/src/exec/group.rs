//! A command's process group.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;
use tracing::debug;

/// The process group that a command leads. Killed when dropped, unless the
/// command has exited.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// The group of `child`, which was started as the leader of one.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    /// Kills every process of the group.
    pub(crate) fn kill(&self) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            debug!(%error, "cannot kill a process group");
        }
    }

    /// Lets the group be: its leader was waited for, so that its number may come
    /// to name another's.
    pub(crate) fn exited(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
