//! Writes the seeds that fuzzing begins with: `cargo run --example seeds` in `fuzz/`.
//!
//! Golden frames of version 1, frames of version 2, and programs for the endpoints, in
//! the form that the targets read.

use std::fs;
use std::io;
use std::path::Path;

use bmstools_common::ethernet::{Header, Mac, TPID_8021AD, Tag, Vlan};
use bmstools_common::header::V2Header;
use bmstools_fuzz::classify::LOCAL;
use bmstools_proto::v2::message::exec::{Control, Exec, Exited, Started, WindowSize};
use bmstools_proto::v2::message::files::{
    Check, Dir, FileEnd, Have, Keep, Large, Meta, Offer, Pull, Push, PutOptions, Small, ToReceiver,
    ToSender,
};
use bmstools_proto::v2::message::status::{Counter, Link, Ping, Status, StatusRequest};
use bmstools_proto::v2::message::{Answer, Failure, FailureCode, Request};

fn main() -> io::Result<()> {
    let golden = golden();
    for (name, frame) in &golden {
        write("classify", name, frame)?;
        if let Some(at) = Header::parse(&frame[..]).map(|header| header.len()) {
            write("v1_wire", name, &frame[at..])?;
        }
    }
    for (name, frame) in version_2() {
        write("classify", &name, &frame)?;
    }
    for (name, program) in v1_endpoint(&golden) {
        write("v1_endpoint", &name, &program)?;
    }
    for (name, packet) in packets() {
        write("v2_frames", name, &packet)?;
        // Sealed, to either side, then time for the answer.
        for (side, flag) in [("agent", 0), ("operator", 128)] {
            let program = [&[flag], &sized(&packet)[..], &[6, 2]].concat();
            write("v2_endpoint", &format!("sealed-{name}-{side}"), &program)?;
        }
    }
    write("v2_frames", "params", &params())?;
    for (name, program) in v2_endpoint() {
        write("v2_endpoint", name, &program)?;
    }
    for (name, program) in v2_handshake() {
        write("v2_handshake", &name, &program)?;
    }
    for (name, message) in messages() {
        write("v2_messages", name, &message)?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name.replace('/', "-")), bytes)
}

/// A length and as many bytes, as the targets read them.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("seeds are short");
    [&len.to_be_bytes(), bytes].concat()
}

fn golden() -> Vec<(String, Vec<u8>)> {
    let text = include_str!("../../tests/vectors/v1.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(text).expect("they are JSON");
    let frames = vectors.iter().map(|vector| {
        let hex = vector["hex"].as_str().expect("a frame has bytes");
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("they are hexadecimal");
        let mut frame: Vec<_> = (0..hex.len()).step_by(2).map(digits).collect();
        frame[..6].copy_from_slice(&LOCAL.0);
        frame.truncate(200);
        (vector["name"].as_str().expect("a frame has a name").to_owned(), frame)
    });
    frames.collect()
}

fn version_2() -> Vec<(String, Vec<u8>)> {
    let tagged = Vlan::tagged(1708).expect("a good number");
    let service = Tag::new(TPID_8021AD, 5).expect("a tag");
    let twice = tagged.wrapped_in(service).expect("two tags");
    let mut frames = Vec::new();
    for (vlan, tags) in [(Vlan::NONE, "untagged"), (tagged, "tagged"), (twice, "twice-tagged")] {
        for ptype in 0..6 {
            let source = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 2]);
            let ethernet = Header { destination: LOCAL, source, vlan };
            let mut frame = vec![0; ethernet.len()];
            ethernet.emit(&mut frame);
            let dstkey = u16::from(ptype != 0);
            frame.extend(V2Header { ptype, srckey: 7, dstkey, packet_number: 5 }.emit());
            frame.extend([0x5a; 64]);
            frames.push((format!("v2-{tags}-{ptype}"), frame));
        }
    }
    frames
}

fn v1_endpoint(golden: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut programs = Vec::new();
    // Every golden frame in the middle of a session, to either side.
    for (name, frame) in golden {
        let Some(at) = Header::parse(&frame[..]).map(|header| header.len()) else { continue };
        let first = 6 | u8::from(name.contains("deployed"));
        // 126 and 252 are 0 of 9: a frame as it is.
        let program = [&[first, 126][..], &sized(&frame[at..]), &[0, 2, 7]].concat();
        programs.push((format!("golden-{name}"), program));
    }
    let ask = |what: u8, text: &[u8]| [&[6, what][..], &sized(text)].concat();
    let deliver = [2, 7, 5, 3, 2, 7, 5, 3, 2, 7];
    for (first, name) in [(6, "v1"), (7, "deployed"), (4, "refused")] {
        let exec = [&[first][..], &ask(0, b"uname -s"), &deliver, &[6, 3], &deliver].concat();
        programs.push((format!("{name}-exec"), exec));
        let file = [&[first][..], &ask(1, b"/tmp/file"), &deliver, &[6, 2, 16, 0, 7], &deliver];
        programs.push((format!("{name}-file"), file.concat()));
        // Lost, damaged, repeated and late.
        let bad =
            [&[first][..], &ask(0, b"true"), &[3, 1, 5, 40, 4, 0, 9, 1, 5, 40, 7, 0], &deliver];
        programs.push((format!("{name}-disturbed"), bad.concat()));
    }
    programs.push(("opening".into(), [&[0][..], &deliver, &deliver].concat()));
    programs
}

/// A packet with each frame of version 2, and all in one.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let stream = |kind: u8, stream: u8, offset: u8, data: &[u8]| {
        let len = data.len() as u8;
        [&[kind, 0, 0, 0, stream, 0, 0, 0, 0, 0, 0, 0, offset, 0, len], data].concat()
    };
    let numbers = |kind: u8, words: &[u32]| {
        let bytes = words.iter().flat_map(|word| word.to_be_bytes());
        [kind].into_iter().chain(bytes).collect::<Vec<u8>>()
    };
    let ack = |ranges: u8| {
        let mut ack = numbers(2, &[0, 9, 100, 64, 1]);
        ack.push(ranges);
        ack.extend([[0, 0, 0, 1, 0, 0, 0, 2], [0, 0, 0, 2, 0, 0, 0, 1]].concat());
        ack.truncate(22 + usize::from(ranges) * 8);
        ack
    };
    let mut packets = vec![
        ("padding", vec![0; 16]),
        ("ping", vec![1]),
        ("ack", ack(0)),
        ("ack-ranges", ack(2)),
        ("crypto", [&numbers(3, &[0])[..], &[0, 4], b"data"].concat()),
        ("stream", stream(4, 0, 0, b"ordered")),
        ("stream-end", stream(5, 0, 7, b"end")),
        ("stream-ahead", stream(4, 1, 200, b"later")),
        ("placed", stream(6, 2, 100, b"placed")),
        ("placed-end", numbers(7, &[2, 0, 106])),
        ("max-data", numbers(8, &[0, 1 << 20])),
        ("max-stream-data", numbers(9, &[0, 0, 1 << 20])),
        ("max-streams", numbers(10, &[9])),
        ("reset", numbers(11, &[0, 3, 0, 10])),
        ("stop", numbers(12, &[0, 3])),
        ("done", vec![13]),
        ("close", [&numbers(14, &[0])[..], &[0, 4], b"done"].concat()),
        ("unknown", vec![15]),
        ("cut", stream(4, 0, 0, b"cut")[..10].to_vec()),
    ];
    let many = ["ping", "ack", "stream", "placed", "max-data", "stop"];
    let all = packets.iter().filter(|(name, _)| many.contains(name));
    let all = all.flat_map(|(_, packet)| packet.clone()).collect();
    packets.push(("many", all));
    packets
}

/// The transport parameters of docs/protocol-v2.md, each once, and an unknown one.
fn params() -> Vec<u8> {
    let mut bytes = vec![1, 2, 5, 220];
    for id in [2, 3] {
        bytes.extend([id, 8, 0, 0, 0, 0, 1, 0, 0, 0]);
    }
    for id in 4..8 {
        bytes.extend([id, 4, 0, 0, 1, 0]);
    }
    bytes.extend([8, 5]);
    bytes.extend(b"2.0.0");
    bytes.extend([99, 1, 1]);
    bytes
}

fn v2_endpoint() -> Vec<(&'static str, Vec<u8>)> {
    // 5 and 133 are an application's step, at the agent's and the operator's end.
    let write = [133, 0, 0, 133, 1, 0, 40, 0, 6, 3];
    let end = [133, 3, 0, 6, 3];
    // A thousand bytes of a stream, one behind the other, sealed for the agent.
    let beyond = |streams: [u8; 8]| {
        let mut offsets = [0_u16; 16];
        let mut program = Vec::new();
        for stream in streams {
            let offset = &mut offsets[usize::from(stream)];
            let [high, low] = offset.to_be_bytes();
            program.extend([1, 0, 4, stream, 3, high, low, 1, 3, 232]);
            *offset += 1000;
        }
        [program, vec![6, 3]].concat()
    };
    vec![
        ("ordered", [&write[..], &end, &[5, 10, 0, 6, 3]].concat()),
        ("placed", vec![133, 0, 0, 133, 2, 0, 8, 0, 0, 16, 0, 133, 3, 0, 6, 3, 5, 10, 0, 6, 3]),
        ("reset", [&write[..], &[133, 4, 0, 6, 3]].concat()),
        ("stopped", [&write[..], &[5, 5, 0, 6, 3, 133, 1, 0, 1, 0]].concat()),
        ("lost", [&write[..], &[133, 1, 0, 200, 0, 7, 1, 7, 7, 5, 64, 0, 6, 3]].concat()),
        ("damaged", [&write[..], &[133, 1, 0, 9, 9, 7, 2, 0, 20, 1, 7, 4, 0, 6, 3]].concat()),
        ("closed", [&write[..], &[133, 8, 0, 0, 6, 3]].concat()),
        ("many-streams", [133, 0, 0].repeat(10)),
        ("key-updates", [&write[..], &[133, 1, 0, 255, 255, 6, 3, 5, 10, 0].repeat(8)].concat()),
        ("beyond-max-stream-data", beyond([0; 8])),
        ("beyond-max-data", [beyond([0, 0, 0, 0, 2, 2, 2, 2]), beyond([4; 8])].concat()),
        ("header", [&[4, 4][..], &sized(&[0; 60]), &[132, 5], &sized(&[9; 46])].concat()),
        ("made-up", vec![1, 3, 4, 1, 3, 0, 9, 1, 0, 50, 6, 2, 3, 0, 99, 1, 0, 50, 2, 5, 0, 6, 1]),
    ]
}

fn v2_handshake() -> Vec<(String, Vec<u8>)> {
    let hello = [&[0, 0, 0][..], &sized(&[1, 0, 0, 40, 3, 3])].concat();
    let mut programs = Vec::new();
    for rounds in 0..6 {
        programs.push((format!("undisturbed-{rounds}"), vec![rounds, 8, 3, 8, 3, 8, 3]));
        for (name, step) in [
            ("crypto-to-agent", [&[2][..], &hello].concat()),
            ("crypto-to-operator", [&[132][..], &hello].concat()),
            ("stranger", [&[1, 5, 9][..], &hello].concat()),
            ("retry", [&[4, 1][..], &sized(&[7; 20])].concat()),
            ("rewritten", vec![5, 0, 0, 40, 1]),
            ("handshake-keys", [&[6][..], &hello, &[1]].concat()),
            ("close", [&[132, 7, 0, 0][..], &sized(&[14, 0, 0, 0, 1, 0, 0])].concat()),
            ("damaged", vec![9, 2, 0, 60, 1]),
            ("lost", vec![9, 1, 3, 9, 5, 128, 0, 9, 5, 128, 0]),
        ] {
            let program = [&[rounds][..], &step, &[8, 3, 8, 3, 8, 3]].concat();
            programs.push((format!("{name}-{rounds}"), program));
        }
    }
    programs.push(("raw".into(), [&[0, 10, 0][..], &sized(&[0; 78]), &[8, 3]].concat()));
    programs
}

/// Requests and answers of each kind.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    fn bytes<T: minicbor::Encode<()>>(message: &T) -> Vec<u8> {
        minicbor::to_vec(message).expect("messages can be written")
    }
    let meta = Meta { mode: 0o644, uid: 1, gid: 2, mtime: -1, mtime_nsec: 5 };
    let (name, digest) = (|| b"na\nme\xff".to_vec(), [7; 16]);
    let argv = vec![b"printf".to_vec().into(), b"%s".to_vec().into()];
    let exec = Exec { argv, cwd: Some(b"/".to_vec().into()), timeout: Some(9), ..Exec::default() };
    let offer = Offer { name: name(), directory: true, bytes: 1 << 40, space: 9, entries: 3 };
    let options = PutOptions { mode: Some(0o600), ..PutOptions::default() };
    let push = Push { destination: b"/tmp".to_vec(), offer: offer.clone(), options };
    let counter = Counter { name: "received".into(), value: u64::MAX };
    let link = Link { interface: "eth0".into(), counters: vec![counter], ..Link::default() };
    let status = Status { links: vec![link], ..Status::default() };
    let failure = Failure { code: FailureCode::Denied, message: "no".into() };
    let size = WindowSize { columns: 80, rows: 24, width: 0, height: 0 };
    vec![
        ("exec", bytes(&Request::Exec(exec))),
        ("push", bytes(&Request::Push(push))),
        ("pull", bytes(&Request::Pull(Pull { source: b"/etc".to_vec(), recursive: true }))),
        ("status", bytes(&Request::Status(StatusRequest {}))),
        ("ping", bytes(&Request::Ping(Ping { number: 7 }))),
        ("answer-status", bytes(&Answer::Done(status))),
        ("answer-failed", bytes(&Answer::<Started>::Failed(failure))),
        ("answer-started", bytes(&Answer::Done(Started { pid: 9, job: Some("a".into()) }))),
        ("exited", bytes(&Exited { signal: Some(9), why: Some("x".into()), ..Exited::default() })),
        ("signal", bytes(&Control::Signal(15))),
        ("resize", bytes(&Control::Resize(size))),
        ("offer", bytes(&ToReceiver::Offer(offer))),
        ("dir", bytes(&ToReceiver::Dir(Dir { name: name(), meta }))),
        ("small", bytes(&ToReceiver::Small(Small { name: name(), meta, data: vec![1; 9] }))),
        ("check", bytes(&ToReceiver::Check(Check { name: name(), meta, size: 9, digest }))),
        (
            "large",
            bytes(&ToReceiver::Large(Large { name: name(), meta, size: 1 << 33, stream: 4 })),
        ),
        ("keep", bytes(&ToReceiver::Keep(Keep { entry: 1, whole: false, blocks: vec![5] }))),
        ("file-end", bytes(&ToReceiver::FileEnd(FileEnd { entry: 1, digest, sent: 9 }))),
        ("have", {
            let (blocks, digests) = (vec![1], vec![3; 16]);
            bytes(&ToSender::Have(Have { entry: 1, whole: Some(digest), blocks, digests }))
        }),
        ("want", bytes(&ToSender::Want(3))),
    ]
}
