//! A peer that lies in what it says about files changes nothing outside of the target.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;

use bmstools_proto::v2::message::files::{
    Check, Data, Dir, FileEnd, Keep, Large, Meta, Offer, Push, PutOptions, Small, Symlink,
    ToReceiver, ToSender,
};
use bmstools_proto::v2::message::{Failure, FailureCode, Request};
use bmstools_session::{RecvStream, SendStream, Session};
use bytes::Bytes;
use common::{World, bytes, random, snapshot, soon};

const META: Meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0 };

fn dir(name: &[u8]) -> ToReceiver {
    ToReceiver::Dir(Dir { name: name.to_vec(), meta: META })
}

fn small(name: &[u8], data: &[u8]) -> ToReceiver {
    ToReceiver::Small(Small { name: name.to_vec(), meta: META, data: data.to_vec() })
}

fn link(name: &[u8], target: &[u8]) -> ToReceiver {
    ToReceiver::Symlink(Symlink { name: name.to_vec(), meta: META, target: target.to_vec() })
}

fn large(size: u64, stream: u32) -> ToReceiver {
    ToReceiver::Large(Large { name: Vec::new(), meta: META, size, stream })
}

async fn begin(world: &World, directory: bool) -> (Session, SendStream, RecvStream) {
    let session = world.session().await;
    let (mut send, mut recv) = soon(session.open_stream()).await.unwrap();
    let offer = Offer { name: b"name".to_vec(), directory, bytes: 0, space: 0, entries: 1 };
    let destination = bytes(&world.path("to"));
    let push = Push { destination, offer, options: PutOptions::default() };
    send.send(&Request::Push(push)).await.unwrap();
    let accepted = soon(recv.receive::<ToSender>()).await.unwrap().unwrap();
    assert!(matches!(accepted, ToSender::Accepted(_)), "{accepted:?}");
    (session, send, recv)
}

/// The last word of the agent.
async fn refusal(recv: &mut RecvStream) -> Failure {
    loop {
        match soon(recv.receive::<ToSender>()).await.unwrap() {
            Some(ToSender::Refused(failure)) => return failure,
            Some(ToSender::Finished(finished)) => panic!("{finished:?}"),
            Some(_) => {}
            None => panic!("no last word"),
        }
    }
}

#[tokio::test]
async fn impossible_trees_are_refused() {
    let world = World::new();
    fs::write(world.path("outside"), b"old").unwrap();
    let bad_meta = |meta| ToReceiver::Dir(Dir { name: Vec::new(), meta });
    let deep = || (0..300).map(|n| dir(if n == 0 { b"" } else { b"d" }));
    let lies: Vec<Vec<ToReceiver>> = vec![
        vec![dir(b"name")],
        vec![dir(b""), small(b"..", b"x")],
        vec![dir(b""), small(b"../outside", b"x")],
        vec![dir(b""), small(b"/etc/outside", b"x")],
        vec![dir(b""), small(b"a\0b", b"x")],
        vec![dir(b""), small(b"", b"x")],
        vec![dir(b""), dir(b".")],
        vec![dir(b""), link(b"..", b"x")],
        vec![dir(b""), link(b"x", b"")],
        vec![dir(b""), ToReceiver::Leave, small(b"x", b"x")],
        vec![dir(b""), ToReceiver::Leave, ToReceiver::Leave],
        vec![dir(b""), ToReceiver::End],
        vec![small(b"", b"a file")],
        vec![link(b"", b"a link")],
        vec![ToReceiver::Leave],
        vec![dir(b""), small(b"x", &vec![0; (64 << 10) + 1])],
        vec![dir(b""), ToReceiver::Data(Data { entry: 0, data: vec![] })],
        vec![dir(b""), ToReceiver::Keep(Keep { entry: 7, whole: true, blocks: vec![] })],
        vec![bad_meta(Meta { mode: 0o100_644, ..META })],
        vec![bad_meta(Meta { uid: u32::MAX, ..META })],
        vec![bad_meta(Meta { mtime_nsec: 1_073_741_823, ..META })],
        deep().collect(),
    ];
    for lie in lies {
        let shown = format!("{:.300}", format!("{lie:?}"));
        let (_session, mut send, mut recv) = begin(&world, true).await;
        for message in lie {
            // It may be refused before the last is sent.
            if send.send(&message).await.is_err() {
                break;
            }
        }
        let refused = refusal(&mut recv).await;
        assert_eq!(refused.code, FailureCode::Invalid, "{shown}: {refused:?}");
        assert_eq!(fs::read(world.path("outside")).unwrap(), b"old", "{shown}");
        let names: Vec<_> = snapshot(world.dir.path()).into_keys().collect();
        assert!(
            names.iter().all(|name| name.components().count() < 2
                || name.starts_with("to")
                || name.starts_with("journal")),
            "{shown}: {names:?}"
        );
        let _ = fs::remove_dir_all(world.path("to"));
    }
}

#[tokio::test]
async fn links_sent_before_do_not_lead_out() {
    let world = World::new();
    fs::create_dir(world.path("outside")).unwrap();
    let (_session, mut send, mut recv) = begin(&world, true).await;
    let target = bytes(&world.path("outside"));
    for message in [
        dir(b""),
        link(b"x", &target),
        dir(b"x"),
        small(b"file", b"data"),
        ToReceiver::Leave,
        ToReceiver::Leave,
        ToReceiver::End,
    ] {
        send.send(&message).await.unwrap();
    }
    let mut failed = 0;
    loop {
        match soon(recv.receive::<ToSender>()).await.unwrap().unwrap() {
            ToSender::Failed(_) => failed += 1,
            ToSender::Finished(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(failed, 2);
    assert_eq!(fs::read_dir(world.path("outside")).unwrap().count(), 0);
}

#[tokio::test]
async fn large_files_that_are_not_what_was_said_leave_the_old_one() {
    let world = World::new();
    let data = Bytes::from(random(300 << 10, 1));
    let size = data.len() as u64;
    fs::write(world.path("to"), b"old").unwrap();
    let end =
        |digest: u8, sent| ToReceiver::FileEnd(FileEnd { entry: 0, digest: [digest; 16], sent });
    let lies = [
        ("another digest", size, 0, end(7, size), FailureCode::Corrupt),
        ("beyond the end", size - 1, 0, end(7, size), FailureCode::Invalid),
        ("far beyond the end", size, u64::MAX - size, end(7, size), FailureCode::Invalid),
        ("less than said", size, 0, end(7, size + 1), FailureCode::Invalid),
        ("an impossible size", u64::MAX, 0, end(7, size), FailureCode::Invalid),
    ];
    for (what, claimed, offset, end, expected) in lies {
        let (session, mut send, mut recv) = begin(&world, false).await;
        let (mut stream, _back) = session.open_stream().await.unwrap();
        send.send(&large(claimed, stream.id())).await.unwrap();
        let answer = soon(recv.receive::<ToSender>()).await.unwrap().unwrap();
        let refused = match answer {
            ToSender::Have(have) => {
                assert_eq!((have.whole, have.blocks.len()), (None, 0), "{what}");
                let _ = stream.write_at(offset, data.clone()).await;
                stream.finish();
                let _ = send.send(&end).await;
                refusal(&mut recv).await
            }
            ToSender::Refused(failure) => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused.code, expected, "{what}: {refused:?}");
        assert_eq!(fs::read(world.path("to")).unwrap(), b"old", "{what}");
        world.assert_clean();
    }
}

#[tokio::test]
async fn checks_without_end_are_refused() {
    let world = World::new();
    let (_session, mut send, mut recv) = begin(&world, true).await;
    send.send(&dir(b"")).await.unwrap();
    for number in 0..1000 {
        let name = number.to_string().into_bytes();
        let check = Check { name, meta: META, size: 5, digest: [1; 16] };
        if send.send(&ToReceiver::Check(check)).await.is_err() {
            break;
        }
    }
    assert_eq!(refusal(&mut recv).await.code, FailureCode::Invalid);
}
