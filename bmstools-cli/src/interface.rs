//! Which interface to use where none was named.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// The only interface that is up, apart from loopback.
///
/// # Errors
///
/// Where there is none, or more than one: the error lists them.
pub(crate) fn only_one_up() -> Result<String> {
    let listing = fs::read_to_string(NAMES).with_context(|| format!("cannot read {NAMES}"))?;
    choose(names(&listing).filter_map(|name| {
        let flags = fs::read_to_string(Path::new(SYSFS).join(name).join("flags")).ok()?;
        Some((name.to_owned(), parse_flags(&flags)?))
    }))
}

/// The names in `/proc/net/dev`, which unlike sysfs always shows the interfaces of
/// the process's own network namespace.
fn names(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().skip(2).filter_map(|line| line.rsplit_once(':').map(|(name, _)| name.trim()))
}

fn parse_flags(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn choose(interfaces: impl Iterator<Item = (String, u32)>) -> Result<String> {
    let (up, down): (Vec<_>, Vec<_>) = interfaces
        .filter(|(_, flags)| flags & IFF_LOOPBACK == 0)
        .partition(|(_, flags)| flags & IFF_UP != 0);
    let list = |interfaces: &[(String, u32)]| {
        interfaces.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match up.as_slice() {
        [(name, _)] => Ok(name.clone()),
        [] if down.is_empty() => bail!("there is no network interface but loopback"),
        [] => bail!(
            "no network interface is up ({} is down): `ip link set IFACE up`, then try again",
            list(&down)
        ),
        several => bail!(
            "several interfaces are up ({}): choose one with --iface, or with %IFACE in the target",
            list(several)
        ),
    }
}

const NAMES: &str = "/proc/self/net/dev";
const SYSFS: &str = "/sys/class/net";
/// Linux's `IFF_UP`.
const IFF_UP: u32 = 1;
/// Linux's `IFF_LOOPBACK`.
const IFF_LOOPBACK: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame |bytes    packets errs drop
    lo:    3193      29    0    0    0     0       0          0
  eth0: 510461   12640    0    0    0     0  646548    7242
";

    fn chosen(interfaces: &[(&str, u32)]) -> Result<String, String> {
        choose(interfaces.iter().map(|&(name, flags)| (name.to_owned(), flags)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_kernels_listing_gives_the_names() {
        assert_eq!(names(LISTING).collect::<Vec<_>>(), ["lo", "eth0"]);
        assert_eq!(parse_flags("0x1003\n"), Some(0x1003));
    }

    #[test]
    fn one_interface_that_is_up_is_chosen() {
        assert_eq!(chosen(&[("lo", 9), ("eth0", 0x1003), ("eth1", 0x1002)]).unwrap(), "eth0");
    }

    #[test]
    fn none_or_several_are_an_error_that_lists_them() {
        let several = chosen(&[("eth0", 1), ("eth1", 1), ("eth2", 0)]).unwrap_err();
        assert!(several.contains("eth0, eth1)") && several.contains("--iface"), "{several}");
        let down = chosen(&[("lo", 9), ("eth2", 0)]).unwrap_err();
        assert!(down.contains("eth2 is down"), "{down}");
        assert!(chosen(&[("lo", 9)]).unwrap_err().contains("loopback"));
    }
}
