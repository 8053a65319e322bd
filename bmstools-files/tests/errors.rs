//! What cannot be copied is an error that says why, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bmstools_files::{Progress, Source, Summary, TransferError};
use bmstools_proto::v2::message::FailureCode;
use bmstools_proto::v2::message::files::PutOptions;
use common::{World, bytes, code, random, snapshot, soon, unfinished};
use tokio::time::sleep;

/// Pushes slowly, and does `meanwhile` when a part is on its way.
async fn push_while(
    world: &World,
    from: &Path,
    to: &str,
    meanwhile: impl FnOnce(),
) -> Result<Summary, TransferError> {
    let session = world.session().await;
    session.set_rate(Some(16 << 20));
    let progress = Arc::new(Progress::default());
    let source = Source::open(from, true).unwrap();
    let to = bytes(&world.path(to));
    let push =
        bmstools_files::push(&session, source, to, PutOptions::default(), Arc::clone(&progress));
    let change = async {
        while progress.done() < 2 << 20 {
            sleep(Duration::from_millis(1)).await;
        }
        meanwhile();
    };
    soon(async { tokio::join!(push, change) }).await.0
}

#[tokio::test]
async fn a_source_that_changes_while_it_is_sent_fails_and_the_old_file_stays() {
    let world = World::new();
    let (from, to) = (world.path("from"), world.path("to"));
    let open = || fs::File::options().write(true).open(&from).unwrap();
    let grow = || open().set_len(17 << 20).unwrap();
    let shrink = || open().set_len(10 << 20).unwrap();
    let touch = || open().set_modified(std::time::UNIX_EPOCH).unwrap();
    let remove = || fs::remove_file(&from).unwrap();
    let cases: [(&dyn Fn(), FailureCode, &str); 4] = [
        (&grow, FailureCode::Changed, "it had 16777216 bytes and has 17825792"),
        (&shrink, FailureCode::Changed, "it had 16777216 bytes and has 10485760"),
        (&touch, FailureCode::Changed, "changed while it was sent"),
        (&remove, FailureCode::NotFound, "vanished while it was sent"),
    ];
    for (change, expected, says) in cases {
        fs::write(&from, random(16 << 20, 1)).unwrap();
        fs::write(&to, b"old").unwrap();
        let (code, message) = code(push_while(&world, &from, "to", change).await);
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(says), "{message}");
        assert_eq!(fs::read(&to).unwrap(), b"old");
        world.assert_clean();
    }
}

#[tokio::test]
async fn a_changed_file_in_a_tree_fails_alone() {
    let world = World::new();
    let from = world.path("from");
    fs::create_dir(&from).unwrap();
    for name in ["changes", "stays"] {
        fs::write(from.join(name), random(8 << 20, 1)).unwrap();
    }
    let grow = || {
        fs::File::options().write(true).open(from.join("changes")).unwrap().set_len(1).unwrap();
    };
    let summary = push_while(&world, &from, "to", grow).await.unwrap();
    assert_eq!((summary.failed, summary.entries), (1, 2));
    assert_eq!(summary.failures[0].code, FailureCode::Changed);
    assert!(!world.path("to/changes").exists());
    assert_eq!(fs::read(world.path("to/stays")).unwrap(), random(8 << 20, 1));
    world.assert_clean();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_way_out() {
    let world = World::new();
    let (file, dir) = (world.path("file"), world.path("dir"));
    fs::write(&file, b"data").unwrap();
    fs::create_dir_all(dir.join("file")).unwrap();
    let missing = world.path("missing");
    for (result, expected, says) in [
        (world.push(&file, "dir").await, FailureCode::Exists, "end the path with a slash"),
        (world.push(&file, "dir/").await, FailureCode::Exists, "is a directory"),
        (world.push(&file, "no/file").await, FailureCode::NotFound, "does not exist"),
        (world.push(&file, "file/x").await, FailureCode::Invalid, "is not a directory"),
        (world.push(&dir, "file").await, FailureCode::Exists, "is no directory"),
        (world.push(&missing, "x").await, FailureCode::NotFound, "does not exist"),
        (world.pull(&missing, "x").await, FailureCode::NotFound, "does not exist"),
        (world.pull(Path::new("/dev/null"), "x").await, FailureCode::Invalid, "not a regular file"),
        (
            world.pull(Path::new("relative"), "x").await,
            FailureCode::Invalid,
            "not an absolute path",
        ),
        (world.pull(&file, "dir").await, FailureCode::Exists, "end the path with a slash"),
    ] {
        let (code, message) = code(result);
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"data");
    world.assert_clean();
}

#[tokio::test]
async fn a_file_and_a_directory_do_not_replace_each_other_in_a_tree() {
    let world = World::new();
    let (from, to) = (world.path("from"), world.path("to/from"));
    fs::create_dir_all(from.join("dir")).unwrap();
    fs::write(from.join("dir/inner"), b"x").unwrap();
    fs::write(from.join("dir/large inner"), random(100 << 10, 1)).unwrap();
    fs::write(from.join("file"), b"x").unwrap();
    fs::write(from.join("large"), random(100 << 10, 1)).unwrap();
    fs::write(from.join("other"), b"x").unwrap();
    for dir in ["file", "large"] {
        fs::create_dir_all(to.join(dir)).unwrap();
    }
    fs::write(to.join("dir"), b"file").unwrap();
    let summary = world.push(&from, "to").await.unwrap();
    assert_eq!(summary.failed, 5, "{:?}", summary.failures);
    assert!(summary.failures.iter().any(|failure| failure.code == FailureCode::Exists));
    assert_eq!(fs::read(to.join("dir")).unwrap(), b"file");
    assert_eq!(fs::read(to.join("other")).unwrap(), b"x");
    assert!(to.join("file").is_dir() && to.join("large").is_dir());
    world.assert_clean();
}

#[tokio::test]
async fn links_at_the_destination_lead_nobody_out_of_the_tree() {
    let world = World::new();
    let (from, outside) = (world.path("from"), world.path("outside"));
    fs::create_dir_all(from.join("dir")).unwrap();
    fs::write(from.join("dir/file"), b"new").unwrap();
    fs::write(from.join("file"), b"new").unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), b"old").unwrap();
    let to = world.path("to/from");
    fs::create_dir_all(&to).unwrap();
    symlink(&outside, to.join("dir")).unwrap();
    symlink(outside.join("file"), to.join("file")).unwrap();
    let before = snapshot(&outside);
    let summary = world.push(&from, "to").await.unwrap();
    assert_eq!(snapshot(&outside), before);
    assert!(summary.failures[0].message.contains("no directory"), "{:?}", summary.failures);
    assert_eq!(fs::symlink_metadata(to.join("file")).unwrap().len(), 3);
    world.assert_clean();
}

#[tokio::test]
async fn what_another_prepared_under_the_hidden_name_is_not_used() {
    let world = World::new();
    let from = world.path("from");
    fs::write(&from, random(1 << 20, 1)).unwrap();
    fs::write(world.path("victim"), b"mine").unwrap();
    // The name of the hidden file: find it by cutting a transfer short.
    let session = world.session().await;
    let progress = Arc::new(Progress::default());
    session.set_rate(Some(256 << 10));
    let source = Source::open(&from, false).unwrap();
    let to = bytes(&world.path("to"));
    let options = PutOptions::default();
    let push = bmstools_files::push(&session, source, to, options, Arc::clone(&progress));
    let hidden = async {
        loop {
            sleep(Duration::from_millis(1)).await;
            if let [path] = &unfinished(world.dir.path())[..] {
                return path.clone();
            }
        }
    };
    let hidden = tokio::select! {
        hidden = soon(hidden) => hidden,
        result = push => panic!("too early: {result:?}"),
    };
    session.close(0, "").await;
    fs::remove_file(&hidden).unwrap();
    let prepared: [&dyn Fn(); 3] = [
        &|| symlink(world.path("victim"), &hidden).unwrap(),
        &|| fs::hard_link(world.path("victim"), &hidden).unwrap(),
        &|| {
            fs::write(&hidden, b"theirs").unwrap();
            std::os::unix::fs::chown(&hidden, Some(4711), Some(4711)).unwrap();
        },
    ];
    for prepare in prepared {
        prepare();
        world.push(&from, "to").await.unwrap();
        assert_eq!(fs::read(world.path("victim")).unwrap(), b"mine");
        assert_eq!(fs::read(world.path("to")).unwrap(), random(1 << 20, 1));
        fs::remove_file(world.path("to")).unwrap();
    }
}
