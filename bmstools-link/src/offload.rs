//! Driver features that keep VLAN tags or tagged frames from us.

use std::io;

use crate::ethtool::{Ethtool, Feature};

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
}

impl Offloads {
    /// Turns off those of `features` that are on. Where that cannot be done a
    /// warning says what it means, as untagged peers are reached all the same.
    pub(crate) fn turn_off(interface: &str, features: &[&'static str]) -> Self {
        let mut offloads =
            Self { interface: interface.into(), ethtool: None, turned_off: Vec::new() };
        match Ethtool::open(interface)
            .and_then(|ethtool| offloads.apply(&ethtool, features).map(|()| ethtool))
        {
            Ok(ethtool) => offloads.ethtool = Some(ethtool),
            Err(error) => {
                tracing::debug!(interface, %error, "the driver has no offloads to turn off")
            }
        }
        offloads
    }

    fn apply(&mut self, ethtool: &Ethtool, features: &[&'static str]) -> io::Result<()> {
        for (name, feature) in ethtool.features(features)? {
            if !ethtool.is_active(feature)? {
                continue;
            }
            let refusal = ethtool.set(feature, false).err();
            if ethtool.is_active(feature)? {
                let reason = refusal.map_or_else(|| "fixed on".into(), |error| error.to_string());
                tracing::warn!(
                    interface = self.interface,
                    "the driver keeps {name} on ({reason}): frames with a VLAN tag may not be \
                     received here; use --link packet, or untagged peers"
                );
            } else {
                tracing::debug!(interface = self.interface, "{name} is off while attached");
                self.turned_off.push((name, feature));
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

#[cfg(test)]
mod tests;
