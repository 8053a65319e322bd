//! Prints every bmstools frame of a capture and checks that it is emitted as it
//! was parsed.
//!
//! ```sh
//! tcpdump -i eth0 -w capture.pcap ether proto 0x7fff or vlan
//! cargo run -p bmstools-proto --example decode -- capture.pcap
//! ```
//!
//! Reads the classic pcap format with little-endian headers and Ethernet frames.

#![allow(clippy::print_stdout, reason = "a command's output")]

use std::collections::BTreeMap;

use bmstools_common::ethernet::Header;
use bmstools_common::header::ptype;
use bmstools_proto::Dialect;
use bmstools_proto::wire::Frame;

const MAGIC: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const SHOWN: usize = 48;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: decode CAPTURE.pcap")?;
    let capture = std::fs::read(&path)?;
    if !capture.starts_with(&MAGIC) {
        return Err(format!("{path} is no little-endian pcap file").into());
    }
    let mut rest = capture.get(FILE_HEADER..).ok_or("the file ends in its header")?;
    // The dialect is told by the open; frames of sessions opened before the
    // capture began are taken for the deployed dialect if they have a tag.
    let mut dialects = BTreeMap::new();
    let (mut frames, mut others) = (0, 0);
    while let Some((record, behind)) = rest.split_at_checked(RECORD_HEADER) {
        let len = u32::from_le_bytes([record[8], record[9], record[10], record[11]]) as usize;
        let (bytes, behind) = behind.split_at_checked(len).ok_or("the file ends in a frame")?;
        rest = behind;
        let Some(header) = Header::parse(bytes) else {
            others += 1;
            continue;
        };
        let body = &bytes[header.len()..];
        let pair = [header.source.min(header.destination), header.source.max(header.destination)];
        let dialect = if body.get(1) == Some(&ptype::OPEN) {
            let dialect = Dialect::of_open(body, 0);
            dialects.insert(pair, dialect);
            dialect
        } else {
            let tagged = header.vlan.id().is_some();
            let likely = if tagged { Dialect::V1Deployed } else { Dialect::V1 };
            *dialects.entry(pair).or_insert(likely)
        };
        let frame = Frame::parse(body, dialect).map_err(|e| format!("frame {frames}: {e:?}"))?;
        let mut emitted = vec![0; bytes.len()];
        header.emit(&mut emitted);
        let end = header.len() + frame.emit(dialect, &mut emitted[header.len()..]);
        let same = emitted[..end] == bytes[..end] && bytes[end..].iter().all(|&byte| byte == 0);
        println!(
            "{frames:5} {} > {} vlan {} {:?} keys {}>{} seq {} {}/{} {} bytes {}{}",
            header.source,
            header.destination,
            header.vlan,
            frame.kind,
            frame.srckey,
            frame.dstkey,
            frame.sequence,
            frame.offset + 1,
            frame.count,
            frame.data.len(),
            frame.data[..frame.data.len().min(SHOWN)].escape_ascii(),
            if same { "" } else { "  EMITTED DIFFERENTLY" },
        );
        if !same {
            return Err(format!("frame {frames} is not emitted as it was parsed").into());
        }
        frames += 1;
    }
    println!("{frames} frames, each emitted as it was parsed; {others} of other protocols");
    Ok(())
}
