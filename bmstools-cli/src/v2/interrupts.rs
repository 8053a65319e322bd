//! Signals for everybody who works on a host.

use std::future::pending;

use tokio::sync::watch;

use crate::signals::Signal;

/// Where signals come from.
pub(crate) struct Interrupter(watch::Sender<Option<Signal>>);

/// Where they arrive. A clone gets those that come from then on.
#[derive(Clone)]
pub(crate) struct Interrupts(watch::Receiver<Option<Signal>>);

impl Interrupter {
    /// No signal yet.
    pub(crate) fn new() -> (Self, Interrupts) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), Interrupts(receiver))
    }

    /// Tells everybody.
    pub(crate) fn send(&self, signal: Signal) {
        self.0.send_replace(Some(signal));
    }
}

impl Interrupts {
    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            if self.0.changed().await.is_err() {
                return pending().await;
            }
            if let Some(signal) = *self.0.borrow_and_update() {
                return signal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_signal_comes_to_everybody_once() {
        let (interrupter, mut first) = Interrupter::new();
        let mut second = first.clone();
        interrupter.send(Signal::Interrupt);
        assert_eq!(
            (first.next().await, second.next().await),
            (Signal::Interrupt, Signal::Interrupt)
        );
        let mut late = first.clone();
        interrupter.send(Signal::Terminate);
        assert_eq!((first.next().await, late.next().await), (Signal::Terminate, Signal::Terminate));
        tokio::select! {
            biased;
            signal = late.next() => panic!("{signal} came twice"),
            () = std::future::ready(()) => {}
        }
    }
}
