//! What is copied arrives the same. As root: owners are set.

mod common;

use std::fs;
use std::sync::Arc;

use bmstools_files::Source;
use bmstools_proto::v2::Config;
use bmstools_proto::v2::message::FailureCode;
use bmstools_proto::v2::message::files::{Owner, PutOptions};
use common::tree::make;
use common::{World, assert_same, bytes, random, snapshot, soon};

#[tokio::test]
async fn a_tree_with_everything_odd_arrives_the_same_by_push_and_pull() {
    let world = World::new();
    let from = world.path("from");
    make(&from).unwrap();
    let pushed = world.push(&from, "pushed").await.unwrap();
    assert_eq!((pushed.failed, pushed.skipped_count), (0, 0), "{:?}", pushed.failures);
    assert_same(&from, &world.path("pushed"));
    let pulled = world.pull(&from, "pulled").await.unwrap();
    assert_same(&from, &world.path("pulled"));
    let entries = snapshot(&from).len() as u64;
    assert_eq!((pushed.entries, pulled.entries), (entries, entries));
    assert_eq!((pushed.bytes, pushed.resumed), (pulled.bytes, 0));
    world.assert_clean();
}

#[tokio::test]
async fn keys_are_updated_in_the_middle_of_a_push() {
    let world = World::with(Config { key_update_after: 1000, ..Config::default() });
    let from = world.path("from");
    fs::write(&from, random(8 << 20, 3)).unwrap();
    let session = world.session().await;
    let source = Source::open(&from, false).unwrap();
    let to = bytes(&world.path("to"));
    let options = PutOptions::default();
    let push = bmstools_files::push(&session, source, to, options, Arc::default());
    soon(push).await.unwrap();
    assert_same(&from, &world.path("to"));
    let updates = soon(session.stats()).await.unwrap().key_updates;
    assert!(updates >= 2, "{updates} updates");
    world.assert_clean();
}

#[tokio::test]
async fn nobody_waits_for_nothing_at_the_end() {
    let world = World::new();
    let from = world.path("from");
    fs::write(&from, b"data").unwrap();
    let started = std::time::Instant::now();
    world.push(&from, "pushed").await.unwrap();
    world.pull(&from, "pulled").await.unwrap();
    assert!(started.elapsed().as_secs() < 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let world = World::new();
    let from = world.path("from");
    make(&from).unwrap();
    fs::create_dir(world.path("to")).unwrap();
    let first = world.push(&from, "to").await.unwrap();
    assert!(first.sent > 3 << 20);
    let to = world.path("to").join("from");
    assert_same(&from, &to);
    fs::write(to.join("a/small"), b"DATA").unwrap();
    let again = world.push(&from, "to").await.unwrap();
    assert_same(&from, &to);
    assert!(again.sent < 1000, "{} bytes were sent again", again.sent);
    assert!(again.resumed > 3 << 20);
    world.assert_clean();
}

#[tokio::test]
async fn many_small_files_arrive_and_are_replaced() {
    let world = World::new();
    let from = world.path("from");
    for directory in 0..10 {
        let directory = from.join(directory.to_string());
        fs::create_dir_all(&directory).unwrap();
        for file in 0..300_u64 {
            fs::write(directory.join(file.to_string()), random(4096, file)).unwrap();
        }
    }
    fs::create_dir(world.path("to")).unwrap();
    world.push(&from, "to").await.unwrap();
    assert_same(&from, &world.path("to/from"));
    for directory in 0..10 {
        for file in 0..300_u64 {
            let path = from.join(directory.to_string()).join(file.to_string());
            fs::write(path, random(4096, file + 1000)).unwrap();
        }
    }
    world.push(&from, "to").await.unwrap();
    assert_same(&from, &world.path("to/from"));
    world.assert_clean();
}

#[tokio::test]
async fn a_file_replaces_another_whole_and_a_link_itself() {
    let world = World::new();
    for (name, len) in [("small", 10), ("large", 1 << 20)] {
        let (from, to) = (world.path(name), format!("{name} target"));
        fs::write(&from, random(len, 1)).unwrap();
        fs::write(world.path(&to), random(2 << 20, 2)).unwrap();
        world.push(&from, &to).await.unwrap();
        assert_same(&from, &world.path(&to));
        let other = world.path("other");
        fs::write(&other, b"other").unwrap();
        fs::remove_file(world.path(&to)).unwrap();
        std::os::unix::fs::symlink(&other, world.path(&to)).unwrap();
        world.push(&from, &to).await.unwrap();
        assert_same(&from, &world.path(&to));
        assert_eq!(fs::read(&other).unwrap(), b"other");
    }
    world.assert_clean();
}

#[tokio::test]
async fn nothing_is_replaced_where_that_was_asked_for() {
    let world = World::new();
    let options = PutOptions { no_clobber: true, ..PutOptions::default() };
    for (name, len) in [("small", 10), ("large", 1 << 20)] {
        let from = world.path(name);
        fs::write(&from, random(len, 1)).unwrap();
        let to = format!("{name} target");
        world.push_with(&from, &to, options.clone()).await.unwrap();
        assert_same(&from, &world.path(&to));
        let (code, message) = common::code(world.push_with(&from, &to, options.clone()).await);
        assert_eq!(code, FailureCode::Exists);
        assert!(message.contains("--no-clobber"), "{message}");
        // The answer to the first attempt may have been lost.
        let again = PutOptions { again: true, ..options.clone() };
        world.push_with(&from, &to, again).await.unwrap();
    }
    let from = world.path("tree");
    fs::create_dir_all(from.join("sub")).unwrap();
    for (name, len) in [("one", 100), ("two", 100 << 10), ("sub/three", 100)] {
        fs::write(from.join(name), random(len, 1)).unwrap();
    }
    world.push(&from, "copy").await.unwrap();
    fs::create_dir(world.path("in")).unwrap();
    world.push(&from, "in").await.unwrap();
    let to = world.path("in/tree");
    fs::write(to.join("one"), b"mine").unwrap();
    fs::write(to.join("two"), b"mine").unwrap();
    fs::remove_file(to.join("sub/three")).unwrap();
    let summary = world.push_with(&from, "in", options).await.unwrap();
    assert_eq!(summary.failed, 2, "{:?}", summary.failures);
    assert_eq!(fs::read(to.join("one")).unwrap(), b"mine");
    assert_eq!(fs::read(to.join("two")).unwrap(), b"mine");
    assert_eq!(fs::read(to.join("sub/three")).unwrap(), random(100, 1));
    world.assert_clean();
}

#[tokio::test]
async fn mode_and_owner_can_be_chosen() {
    let world = World::new();
    let from = world.path("from");
    make(&from).unwrap();
    let options = PutOptions {
        mode: Some(0o4711),
        user: Some(Owner::Id(99)),
        group: Some(Owner::Name("root".into())),
        ..PutOptions::default()
    };
    world.push_with(&from, "to", options.clone()).await.unwrap();
    let before = snapshot(&from);
    for (path, entry) in snapshot(&world.path("to")) {
        assert_eq!(entry.owner, (99, 0), "{}", path.display());
        let is_file = entry.mode & 0o170_000 == 0o100_000;
        let mode = if is_file { 0o104_711 } else { before[&path].mode };
        assert_eq!(entry.mode, mode, "{}", path.display());
    }
    let nobody = PutOptions { user: Some(Owner::Name("no such user".into())), ..options };
    assert_eq!(common::code(world.push_with(&from, "x", nobody).await).0, FailureCode::NotFound);
    world.assert_clean();
}

#[tokio::test]
async fn pipes_and_sockets_are_skipped_and_told_of() {
    let world = World::new();
    let from = world.path("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("file"), b"x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    let pushed = world.push(&from, "pushed").await.unwrap();
    let pulled = world.pull(&from, "pulled").await.unwrap();
    for summary in [pushed, pulled] {
        assert_eq!(summary.skipped, [(b"socket".to_vec(), "socket".to_owned())]);
        assert_eq!((summary.entries, summary.failed), (2, 0));
    }
    assert!(!world.path("pushed/socket").exists());
}

#[tokio::test]
async fn files_that_are_made_up_on_reading_can_be_pulled() {
    let world = World::new();
    let from = std::path::Path::new("/proc/version");
    world.pull(from, "version").await.unwrap();
    assert_eq!(fs::read(world.path("version")).unwrap(), fs::read(from).unwrap());
}
