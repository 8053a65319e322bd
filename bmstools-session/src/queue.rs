//! The way from the tasks to the hub.

use std::sync::Mutex;

use bmstools_link::Waker;

use crate::command::Command;
use crate::sync::lock;

/// Commands for the hub. Bounded by who may push: a write needs room in its stream's
/// budget, and everything else comes once an operation that somebody waits for.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    waker: Waker,
}

#[derive(Default)]
struct Waiting {
    commands: Vec<Command>,
    /// Whether the loop was woken for one of them: it takes all that follow along.
    is_woken: bool,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { waiting: Mutex::default(), waker }
    }

    /// Queues a command, or drops it where the hub is gone. Wakes the loop for the
    /// first that is urgent.
    pub(crate) fn push(&self, command: Command) {
        let mut waiting = lock(&self.waiting);
        if waiting.is_closed {
            drop(waiting);
            drop(command);
            return;
        }
        let wakes = command.is_urgent() && !waiting.is_woken;
        waiting.is_woken |= wakes;
        waiting.commands.push(command);
        drop(waiting);
        if wakes {
            self.waker.wake();
        }
    }

    /// Swaps all that wait into `commands`, which is empty.
    pub(crate) fn take(&self, commands: &mut Vec<Command>) {
        let mut waiting = lock(&self.waiting);
        waiting.is_woken = false;
        std::mem::swap(&mut waiting.commands, commands);
    }

    /// Takes no more, and drops what waits.
    pub(crate) fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.is_closed = true;
        let commands = std::mem::take(&mut waiting.commands);
        drop(waiting);
        drop(commands);
    }
}
