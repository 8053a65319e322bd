//! What arrived before a transfer broke off is not sent again.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bmstools_files::{Journal, Progress, Source, TransferError};
use bmstools_proto::v2::message::files::PutOptions;
use bmstools_session::Session;
use common::{World, assert_same, bytes, random, snapshot, soon, unfinished};
use tokio::time::sleep;

const MIB: u64 = 1 << 20;

/// Begins a push and ends it without a word when so many bytes are on their way.
/// Returns the session, still open.
async fn cut(world: &World, from: &Path, to: &str, at: u64) -> Session {
    let session = world.session().await;
    session.set_rate(Some(64 * MIB));
    let progress = Arc::new(Progress::default());
    let source = Source::open(from, true).unwrap();
    let to = bytes(&world.path(to));
    let push =
        bmstools_files::push(&session, source, to, PutOptions::default(), Arc::clone(&progress));
    let reached = async {
        while progress.done() < at {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = soon(reached) => {}
        result = push => panic!("too early: {result:?}"),
    }
    session
}

#[tokio::test]
async fn a_large_file_goes_on_where_it_stopped_and_the_old_one_stays_until_then() {
    let world = World::new();
    let (from, to) = (world.path("from"), world.path("to"));
    let size = 64 * MIB;
    fs::write(&from, random(size as usize, 1)).unwrap();
    fs::write(&to, b"old").unwrap();
    for at in [20 * MIB, 40 * MIB] {
        drop(cut(&world, &from, "to", at).await);
        assert_eq!(fs::read(&to).unwrap(), b"old");
    }
    let summary = world.push(&from, "to").await.unwrap();
    assert_same(&from, &to);
    assert_eq!(summary.sent + summary.resumed, size);
    // What is in buffers on both sides when it is cut is lost.
    assert!(summary.resumed > 25 * MIB, "{} bytes resumed", summary.resumed);
    world.assert_clean();
}

#[tokio::test]
async fn a_new_transfer_takes_over_from_one_that_has_not_noticed_its_end() {
    let world = World::new();
    let from = world.path("from");
    fs::write(&from, random(32 * MIB as usize, 1)).unwrap();
    // This session stays open, as that of an operator that was killed.
    let old = cut(&world, &from, "to", 16 * MIB).await;
    assert_eq!(unfinished(world.dir.path()).len(), 1);
    let summary = world.push(&from, "to").await.unwrap();
    assert_same(&from, &world.path("to"));
    assert!(summary.resumed > 8 * MIB, "{} bytes resumed", summary.resumed);
    drop(old);
    world.assert_clean();
}

#[tokio::test]
async fn what_an_earlier_attempt_left_of_another_source_is_replaced() {
    let world = World::new();
    let from = world.path("from");
    fs::write(&from, random(16 * MIB as usize, 1)).unwrap();
    drop(cut(&world, &from, "to", 12 * MIB).await);
    // Half of it is as it was, and there is a hole where data was.
    let mut data = random(14 * MIB as usize, 1);
    data[6 << 20..].copy_from_slice(&random(8 << 20, 2));
    fs::write(&from, &data).unwrap();
    let file = fs::File::options().write(true).open(&from).unwrap();
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
        MIB,
        MIB,
    )
    .unwrap();
    drop(file);
    let summary = world.push(&from, "to").await.unwrap();
    assert_same(&from, &world.path("to"));
    assert!(summary.resumed >= MIB, "{} bytes resumed", summary.resumed);
    assert!(summary.resumed <= 5 * MIB, "{} bytes resumed", summary.resumed);
    world.assert_clean();
}

#[tokio::test]
async fn a_tree_goes_on_in_the_directory_that_the_first_attempt_made() {
    let world = World::new();
    let from = world.path("from");
    for directory in 0..8 {
        let directory = from.join(directory.to_string());
        fs::create_dir_all(&directory).unwrap();
        for file in 0..64_u64 {
            fs::write(directory.join(file.to_string()), random(30_000, file)).unwrap();
        }
        fs::write(directory.join("large"), random(3 << 20, 7)).unwrap();
    }
    for at in [8 * MIB, 24 * MIB] {
        drop(cut(&world, &from, "to", at).await);
        assert!(world.path("to").is_dir());
    }
    let summary = world.push(&from, "to").await.unwrap();
    assert_same(&from, &world.path("to"));
    assert!(summary.resumed > 10 * MIB, "{} bytes resumed", summary.resumed);
    world.assert_clean();
    // The next copy of it is another.
    world.push(&from, "to").await.unwrap();
    assert_same(&from, &world.path("to/from"));
}

#[tokio::test]
async fn an_interrupted_pull_goes_on_as_well() {
    let world = World::new();
    let from = world.path("from");
    let size = 48 * MIB;
    fs::write(&from, random(size as usize, 1)).unwrap();
    let session = world.session().await;
    let progress = Arc::new(Progress::default());
    let receiver = bmstools_files::Receiver {
        journal: Some(Journal::new(world.path("journal"))),
        who: [1].into(),
        progress: Arc::clone(&progress),
    };
    let request =
        bmstools_proto::v2::message::files::Pull { source: bytes(&from), recursive: false };
    let to = world.path("to");
    let pull = bmstools_files::pull(&session, request, &to, PutOptions::default(), receiver);
    let reached = async {
        while progress.done() < 24 * MIB {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = soon(reached) => {}
        result = pull => panic!("too early: {result:?}"),
    }
    drop(session);
    let summary = world.pull(&from, "to").await.unwrap();
    assert_same(&from, &to);
    assert_eq!(summary.sent + summary.resumed, size);
    assert!(summary.resumed >= 23 * MIB, "{} bytes resumed", summary.resumed);
    world.assert_clean();
}

#[tokio::test]
async fn a_session_that_ends_is_told_from_a_failure_and_what_is_left_expires() {
    let world = World::new();
    let from = world.path("from");
    fs::write(&from, random(32 * MIB as usize, 1)).unwrap();
    let session = world.session().await;
    session.set_rate(Some(16 * MIB));
    let progress = Arc::new(Progress::default());
    let source = Source::open(&from, false).unwrap();
    let push = bmstools_files::push(
        &session,
        source,
        bytes(&world.path("to")),
        PutOptions::default(),
        Arc::clone(&progress),
    );
    let close = async {
        while progress.done() < 8 * MIB {
            sleep(Duration::from_millis(1)).await;
        }
        session.close(0, "").await;
    };
    let (result, ()) = soon(async { tokio::join!(push, close) }).await;
    let error = result.unwrap_err();
    assert!(matches!(error, TransferError::Session(_)) && error.is_interruption(), "{error:?}");
    // The agent lets go of it when its last write is done.
    soon(async {
        while bmstools_files::Journal::new(world.path("journal")).sweep(Duration::ZERO) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(unfinished(world.dir.path()), [] as [std::path::PathBuf; 0]);
    assert!(!snapshot(world.dir.path()).contains_key(Path::new("to")));
}
