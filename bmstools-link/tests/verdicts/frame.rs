//! Frames built by hand.

use bmstools_common::Mac;
use bmstools_common::ethernet::{Header, TPID_8021AD, Tag, Vlan};
use bmstools_common::header::{DeployedFields, Dialect, V1Header, ptype};

use crate::bench::{LOCAL, PEER};

/// What a frame is made of; `bytes` puts it together.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) destination: Mac,
    pub(crate) source: Mac,
    pub(crate) vlan: Vlan,
    pub(crate) header: V1Header,
    /// The deployed dialect's fields where it is that dialect's frame.
    pub(crate) deployed: Option<DeployedFields>,
    pub(crate) data: Vec<u8>,
}

impl Frame {
    /// The first frame of a session.
    pub(crate) fn open(dialect: Dialect, vlan: Vlan) -> Self {
        let header =
            V1Header { ptype: ptype::OPEN, srckey: 7, dstkey: 0, sequence: 0, count: 1, offset: 0 };
        let id = u32::from(vlan.id().unwrap_or(0)).max(1);
        let deployed = match dialect {
            Dialect::V1 => None,
            Dialect::V1Deployed => Some(DeployedFields { vlan: id, data_len: 0 }),
        };
        Self { destination: LOCAL, source: PEER, vlan, header, deployed, data: Vec::new() }
    }

    /// A frame with data for the session that has `key`.
    pub(crate) fn data(dialect: Dialect, vlan: Vlan, key: u16, data: &[u8]) -> Self {
        let mut frame = Self::open(dialect, vlan);
        frame.header.ptype = ptype::DATA;
        frame.header.dstkey = key;
        frame.data = data.to_vec();
        if let Some(fields) = &mut frame.deployed {
            fields.data_len = data.len() as u16;
        }
        frame
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ethernet =
            Header { destination: self.destination, source: self.source, vlan: self.vlan };
        let mut bytes = vec![0; ethernet.len()];
        ethernet.emit(&mut bytes);
        bytes.extend(self.header.emit());
        if let Some(fields) = &self.deployed {
            bytes.extend(fields.emit());
        }
        bytes.extend(&self.data);
        bytes
    }

    /// Bytes before the data.
    pub(crate) fn header_len(&self) -> usize {
        self.bytes().len() - self.data.len()
    }
}

/// Untagged, 802.1Q, 802.1ad, and 802.1Q inside of 802.1ad.
pub(crate) fn vlans() -> [Vlan; 4] {
    let customer = Vlan::tagged(1708).unwrap();
    let service = Tag::new(TPID_8021AD, 0x0005).unwrap();
    [
        Vlan::NONE,
        customer,
        Vlan::NONE.wrapped_in(service).unwrap(),
        customer.wrapped_in(service).unwrap(),
    ]
}

pub(crate) const DIALECTS: [Dialect; 2] = [Dialect::V1, Dialect::V1Deployed];
