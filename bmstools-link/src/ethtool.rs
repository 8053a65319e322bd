//! Asking a driver about its queues and features: the ethtool ioctl, with every
//! structure as the 32-bit words that it is made of.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys;

/// A handle to one interface's driver, in the network namespace that it was
/// opened in.
pub(crate) struct Ethtool {
    socket: OwnedFd,
    interface: String,
}

/// A driver feature's place in the words of [`Ethtool::active`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Feature {
    word: usize,
    mask: u32,
}

impl Ethtool {
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let socket =
            socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, interface: interface.into() })
    }

    /// Receive queues in use, where the driver tells.
    pub(crate) fn receive_queues(&self) -> io::Result<u32> {
        const RX_COUNT: usize = 5;
        const COMBINED_COUNT: usize = 8;
        let mut channels = [0; 9];
        channels[0] = GCHANNELS;
        self.ask(&mut channels)?;
        Ok(channels[RX_COUNT] + channels[COMBINED_COUNT])
    }

    /// Finds features by the kernel's names for them; unknown ones are left out.
    pub(crate) fn features<'n>(&self, names: &[&'n str]) -> io::Result<Vec<(&'n str, Feature)>> {
        let count = self.feature_count()?;
        let mut strings = vec![0; STRINGS_HEADER + count * STRING_WORDS];
        strings[..STRINGS_HEADER].copy_from_slice(&[GSTRINGS, FEATURE_STRINGS, count as u32]);
        self.ask(&mut strings)?;
        let known = strings[STRINGS_HEADER..].chunks_exact(STRING_WORDS).map(text);
        let mut found = Vec::new();
        for (index, known) in known.enumerate() {
            if let Some(name) = names.iter().find(|name| **name == known) {
                found.push((*name, Feature { word: index / 32, mask: 1 << (index % 32) }));
            }
        }
        Ok(found)
    }

    /// Whether a feature is in use.
    pub(crate) fn is_active(&self, feature: Feature) -> io::Result<bool> {
        const BLOCK: usize = 4;
        const ACTIVE: usize = 2;
        let blocks = self.feature_count()?.div_ceil(32);
        let mut request = vec![0; FEATURES_HEADER + blocks * BLOCK];
        request[..FEATURES_HEADER].copy_from_slice(&[GFEATURES, blocks as u32]);
        self.ask(&mut request)?;
        let active = request.get(FEATURES_HEADER + feature.word * BLOCK + ACTIVE);
        Ok(active.is_some_and(|active| active & feature.mask != 0))
    }

    /// Asks for a feature to be used or not. The driver may decline.
    pub(crate) fn set(&self, feature: Feature, on: bool) -> io::Result<()> {
        const BLOCK: usize = 2;
        let blocks = self.feature_count()?.div_ceil(32);
        let mut request = vec![0; FEATURES_HEADER + blocks * BLOCK];
        request[..FEATURES_HEADER].copy_from_slice(&[SFEATURES, blocks as u32]);
        let at = FEATURES_HEADER + feature.word * BLOCK;
        let block = request.get_mut(at..at + BLOCK).ok_or(io::ErrorKind::InvalidInput)?;
        block.copy_from_slice(&[feature.mask, if on { feature.mask } else { 0 }]);
        self.ask(&mut request)
    }

    /// How many features this kernel knows.
    fn feature_count(&self) -> io::Result<usize> {
        let mut request = [GSSET_INFO, 0, 1 << FEATURE_STRINGS, 0, 0];
        self.ask(&mut request)?;
        Ok(request[4] as usize)
    }

    fn ask(&self, request: &mut [u32]) -> io::Result<()> {
        sys::ethtool(self.socket.as_fd(), &self.interface, request)
    }
}

/// The text, ended by a zero byte, that lies in `words`.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
const GCHANNELS: u32 = 0x3c;
/// The set of strings that names the features.
const FEATURE_STRINGS: u32 = 4;
/// Words of one string of a set: 32 bytes.
const STRING_WORDS: usize = 8;
/// Words before the strings of an answer.
const STRINGS_HEADER: usize = 3;
/// Words before the blocks of features.
const FEATURES_HEADER: usize = 2;
