//! Driver features that keep VLAN tags or tagged frames from us.

use std::io;
use std::os::fd::OwnedFd;

use crate::ethtool::{Ethtool, Feature};
use crate::interface::Interface;
use crate::raw;

/// Features that drop frames of VLANs that the host has no device for.
pub(crate) const VLAN_FILTERS: &[&str] = &["rx-vlan-filter", "rx-vlan-stag-filter"];
/// Features that drop frames of unknown VLANs or take the tag out of a frame
/// before an XDP program sees it.
pub(crate) const VLAN_FILTERS_AND_STRIPPING: &[&str] =
    &["rx-vlan-filter", "rx-vlan-stag-filter", "rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// Features of an interface that are off while this lives. Dropping it turns them
/// on again.
pub(crate) struct Offloads {
    interface: String,
    ethtool: Option<Ethtool>,
    turned_off: Vec<(&'static str, Feature)>,
    /// Open while the interface is promiscuous, which is how a filter is got
    /// around that cannot be turned off.
    promiscuous: Option<OwnedFd>,
}

impl Offloads {
    /// Turns off those of `features` that are on. Where that cannot be done a
    /// warning says what it means, as untagged peers are reached all the same.
    pub(crate) fn turn_off(interface: &Interface, features: &[&'static str]) -> Self {
        let name = interface.name.clone();
        let mut offloads =
            Self { interface: name, ethtool: None, turned_off: Vec::new(), promiscuous: None };
        if let Err(error) = offloads.apply(interface.index, features) {
            let interface = &interface.name;
            tracing::debug!(interface, %error, "the driver does not tell its offloads");
        }
        offloads
    }

    fn apply(&mut self, ifindex: u32, features: &[&'static str]) -> io::Result<()> {
        let ethtool = self.ethtool.insert(Ethtool::open(&self.interface)?);
        for (name, feature) in ethtool.features(features)? {
            if !ethtool.is_active(feature)? {
                continue;
            }
            let refusal = ethtool.set(feature, false).err();
            if !ethtool.is_active(feature)? {
                tracing::debug!(interface = self.interface, "{name} is off while in use");
                self.turned_off.push((name, feature));
            } else if VLAN_FILTERS.contains(&name) {
                if self.promiscuous.is_none() {
                    self.promiscuous = pass_filter(&self.interface, ifindex, name);
                }
            } else {
                let reason = refusal.map_or_else(|| "fixed on".into(), |error| error.to_string());
                tracing::warn!(
                    interface = self.interface,
                    "the driver keeps {name} on ({reason}): the XDP program cannot see VLAN tags \
                     here, and peers behind one are not served; --link packet serves them"
                );
            }
        }
        Ok(())
    }
}

impl Drop for Offloads {
    fn drop(&mut self) {
        let Some(ethtool) = &self.ethtool else { return };
        for (name, feature) in self.turned_off.drain(..) {
            match ethtool.set(feature, true) {
                Ok(()) => tracing::debug!(interface = self.interface, "{name} is on again"),
                // The interface itself is gone.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return,
                Err(error) => tracing::warn!(
                    interface = self.interface,
                    "could not turn {name} on again: {error}; `ethtool -K` does"
                ),
            }
        }
    }
}

/// Gets around a filter that stays on, until the returned socket is closed.
fn pass_filter(interface: &str, ifindex: u32, name: &str) -> Option<OwnedFd> {
    match raw::promiscuous(ifindex) {
        Ok(socket) => {
            tracing::info!(
                interface,
                "the driver keeps {name} on: the interface is promiscuous while in use, so that \
                 frames of all VLANs come in"
            );
            Some(socket)
        }
        Err(error) => {
            tracing::warn!(
                interface,
                "the driver keeps {name} on, and the interface cannot be made promiscuous \
                 ({error}): frames with a VLAN tag may not be received"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests;
