//! `bmstools push` and `pull` over version 2.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use bmstools_tests::memory::MIB;
use bmstools_tests::relay::Impairments;
use bmstools_tests::transfer::{
    SmallDisk, agent, copy, refused, require_clean, serving, wait_for_bytes, words,
};
use bmstools_tests::{Agent, Link, Testbed, data, report, tree, with_every_link};
use rustix::process::Signal;

with_every_link!(
    a_tree_with_everything_odd_arrives_the_same_both_ways,
    files_of_every_awkward_size_arrive_exact_both_ways,
    ten_thousand_small_files_arrive,
    a_file_replaces_another_and_its_mode_and_owner_can_be_chosen,
    nothing_is_replaced_where_that_was_asked_for,
    a_push_over_a_cable_that_loses_three_of_ten_frames_is_exact,
    a_rate_is_kept_to,
    too_little_room_is_refused_before_the_first_byte,
    a_disk_that_fills_up_meanwhile_fails_the_push_and_leaves_nothing,
    a_directory_that_cannot_be_written_to_is_named,
    a_directory_as_target_is_refused_with_the_way_out,
    a_source_that_changes_or_vanishes_fails_and_the_old_file_stays,
    what_was_left_a_day_ago_goes_when_an_agent_starts,
);

fn a_tree_with_everything_odd_arrives_the_same_both_ways(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let from = bed.path("from");
    tree::make(&from)?;
    let pushed = copy(&bed.operator(), "push", &["-r"], &from, &bed.path("pushed"))?;
    tree::require_same(&from, &bed.path("pushed"))?;
    let pulled = copy(&bed.operator(), "pull", &["-r"], &from, &bed.path("pulled"))?;
    tree::require_same(&from, &bed.path("pulled"))?;
    let entries = tree::snapshot(&from)?.len();
    assert_eq!((&pushed["entries"], &pulled["entries"]), (&entries.into(), &entries.into()));
    assert_eq!(pushed["bytes"], pulled["bytes"]);
    // It is there: the next copy goes into it, and the one after that has nothing to send.
    for sends in [true, false] {
        let again = copy(&bed.operator(), "push", &["-r"], &from, &bed.path("pushed"))?;
        tree::require_same(&from, &bed.path("pushed/from"))?;
        let sent = again["sent"].as_u64().unwrap_or_default();
        ensure!((sent > MIB) == sends, "{again}");
    }
    require_clean(&bed)
}

fn files_of_every_awkward_size_arrive_exact_both_ways(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let block = 256 << 10;
    let sizes = [0, 1, 31, 65_536, 65_537, block - 1, block, block + 1, 20 * MIB + 12_345];
    for size in sizes {
        let from = bed.random_file(&format!("from-{size}"), size)?;
        let [pushed, pulled] = ["pushed", "pulled"].map(|to| bed.path(&format!("{to}-{size}")));
        let json = copy(&bed.operator(), "push", &[], &from, &pushed)?;
        assert_eq!((&json["bytes"], &json["sent"]), (&size.into(), &size.into()), "{json}");
        tree::require_same(&from, &pushed)?;
        copy(&bed.operator(), "pull", &[], &from, &pulled)?;
        tree::require_same(&from, &pulled)?;
    }
    require_clean(&bed)
}

fn ten_thousand_small_files_arrive(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let from = bed.path("from");
    for directory in 0..10 {
        let directory = from.join(directory.to_string());
        fs::create_dir_all(&directory)?;
        for file in 0..1000_u64 {
            fs::write(directory.join(file.to_string()), data::random(file, 4096))?;
        }
    }
    let json = copy(&bed.operator(), "push", &["-r"], &from, &bed.path("to"))?;
    tree::require_same(&from, &bed.path("to"))?;
    report(format_args!("--link {link}: 10,000 files took {} s", json["seconds"]));
    require_clean(&bed)
}

fn a_file_replaces_another_and_its_mode_and_owner_can_be_chosen(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let to = bed.path("to");
    for size in [100, MIB] {
        let from = bed.random_file("from", size)?;
        fs::write(&to, "old")?;
        let options = ["--mode", "4711", "--owner", "4711:daemon"];
        copy(&bed.operator(), "push", &options, &from, &to)?;
        data::require_same(&from, &to)?;
        let about = fs::metadata(&to)?;
        assert_eq!(about.permissions().mode() & 0o7777, 0o4711);
        assert_eq!((about.uid(), about.gid()), (4711, 1));
        assert_eq!(about.modified()?, fs::metadata(&from)?.modified()?);
    }
    let says = ["no user `nobody of this name`"];
    let options = ["--owner", "nobody of this name"];
    refused(&bed.operator(), &options, &bed.path("from"), &to, &says)?;
    require_clean(&bed)
}

fn nothing_is_replaced_where_that_was_asked_for(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let (to, option) = (bed.path("to"), ["--no-clobber"]);
    for size in [100, MIB] {
        let from = bed.random_file("from", size)?;
        copy(&bed.operator(), "push", &option, &from, &to)?;
        data::require_same(&from, &to)?;
        fs::write(&to, "old")?;
        refused(&bed.operator(), &option, &from, &to, &["exists", "--no-clobber"])?;
        assert_eq!(fs::read_to_string(&to)?, "old");
        fs::remove_file(&to)?;
    }
    require_clean(&bed)
}

fn a_push_over_a_cable_that_loses_three_of_ten_frames_is_exact(link: Link) -> Result<()> {
    let bad = Impairments { loss: 0.3, ..Impairments::default() };
    let bed = Testbed::with_relay(link, bad, 30)?;
    let _agent = agent(&bed)?.start()?;
    let from = bed.random_file("from", 20 * MIB)?;
    let json = copy(&bed.operator(), "push", &[], &from, &bed.path("to"))?;
    data::require_same(&from, &bed.path("to"))?;
    ensure!(json["retransmitted"].as_u64() > Some(1000), "{json}");
    let counts = bed.relay()?.require_impaired()?;
    report(format_args!("--link {link}: 20 MiB took {} s: {counts:?}", json["seconds"]));
    require_clean(&bed)
}

fn a_rate_is_kept_to(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let from = bed.random_file("from", 8 * MIB)?;
    let json = copy(&bed.operator(), "push", &["--rate", "4M"], &from, &bed.path("to"))?;
    data::require_same(&from, &bed.path("to"))?;
    let seconds = json["seconds"].as_f64().unwrap_or_default();
    ensure!((1.8..6.0).contains(&seconds), "8 MiB at 4 MiB/s took {seconds} s");
    Ok(())
}

fn too_little_room_is_refused_before_the_first_byte(link: Link) -> Result<()> {
    let (bed, disk, _agent) = with_disk(link, 2 * MIB)?;
    fs::write(disk.path("to"), "old")?;
    let from = bed.random_file("from", 20 * MIB)?;
    let says = ["not enough room", "20.2 MiB needed", "MiB free"];
    let done = refused(&bed.operator(), &[], &from, &disk.path("to"), &says)?;
    ensure!(done.took < Duration::from_secs(5), "it took {:?}", done.took);
    assert_eq!(fs::read_to_string(disk.path("to"))?, "old");
    disk.require_only(&["to"])?;
    // Holes need none.
    fs::File::create(bed.path("hole"))?.set_len(1 << 30)?;
    copy(&bed.operator(), "push", &[], &bed.path("hole"), &disk.path("hole"))?;
    assert_eq!(fs::metadata(disk.path("hole"))?.len(), 1 << 30);
    require_clean(&bed)
}

fn a_disk_that_fills_up_meanwhile_fails_the_push_and_leaves_nothing(link: Link) -> Result<()> {
    let (bed, disk, _agent) = with_disk(link, 12 * MIB)?;
    fs::write(disk.path("to"), "old")?;
    let from = bed.random_file("from", 8 * MIB)?;
    let operator = bed.operator().v2();
    let push = words("push", &["--rate", "4M"], &from, &disk.path("to"));
    let mut pushing = operator.start(&push)?;
    wait_for_bytes(&disk.path("to"), MIB, LIMIT)?;
    fs::write(disk.path("other"), data::random(1, 9 * MIB as usize))
        .or_else(|error| if error.raw_os_error() == Some(28) { Ok(()) } else { Err(error) })?;
    let done = pushing.wait(LIMIT)?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("No space left"), "{done:?}");
    assert_eq!(fs::read_to_string(disk.path("to"))?, "old");
    disk.require_only(&["other", "to"])?;
    // Many small files do not fit either.
    let many = bed.path("many");
    fs::create_dir(&many)?;
    for file in 0..100 {
        fs::write(many.join(file.to_string()), data::random(file, 60_000))?;
    }
    fs::remove_file(disk.path("other"))?;
    let mut pushing =
        operator.start(&words("push", &["-r", "--rate", "1M"], &many, &disk.path("many")))?;
    while !disk.path("many/7").exists() && !disk.path("many/77").exists() {
        ensure!(!pushing.has_ended()?, "{:?}", pushing.wait(LIMIT)?);
        sleep(Duration::from_millis(1));
    }
    let _ = fs::write(disk.path("other"), data::random(1, 12 * MIB as usize));
    let done = pushing.wait(LIMIT)?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("No space left"), "{done:?}");
    for entry in fs::read_dir(disk.path("many"))? {
        let path = entry?.path();
        data::require_same(&many.join(path.file_name().unwrap_or_default()), &path)?;
    }
    require_clean(&bed)
}

fn a_directory_that_cannot_be_written_to_is_named(link: Link) -> Result<()> {
    let (bed, disk, _agent) = with_disk(link, 12 * MIB)?;
    fs::write(disk.path("to"), "old")?;
    disk.make_read_only()?;
    for size in [100, MIB] {
        let from = bed.random_file("from", size)?;
        let says = ["disk/to", "read-only"];
        refused(&bed.operator(), &[], &from, &disk.path("to"), &says)?;
        refused(&bed.operator(), &[], &from, &bed.path("no/to"), &["no does not exist"])?;
    }
    assert_eq!(fs::read_to_string(disk.path("to"))?, "old");
    disk.require_only(&["to"])
}

fn a_directory_as_target_is_refused_with_the_way_out(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let from = bed.random_file("from", 1000)?;
    let to = bed.path("to");
    fs::create_dir(&to)?;
    let says = ["is a directory", "slash", "`from`"];
    refused(&bed.operator(), &[], &from, &to, &says)?;
    let slash = Path::new(&format!("{}/", to.display())).to_owned();
    copy(&bed.operator(), "push", &[], &from, &slash)?;
    data::require_same(&from, &to.join("from"))?;
    refused(&bed.operator(), &[], &to, &bed.path("x"), &["is a directory", "-r"])?;
    fs::create_dir(to.join("dir"))?;
    refused(&bed.operator(), &[], &from, &to.join("dir"), &["is a directory"])?;
    refused(&bed.operator(), &["-r"], &to, &from, &["is no directory"])?;
    require_clean(&bed)
}

fn a_source_that_changes_or_vanishes_fails_and_the_old_file_stays(link: Link) -> Result<()> {
    let (bed, _agent) = serving(link)?;
    let to = bed.path("to");
    fs::write(&to, "old")?;
    refused(&bed.operator(), &[], &bed.path("missing"), &to, &["missing does not exist"])?;
    let set_len = |path: &Path, len| fs::File::options().write(true).open(path)?.set_len(len);
    type Change<'a> = &'a dyn Fn(&Path) -> std::io::Result<()>;
    let changes: [(Change<'_>, &str); 3] = [
        (&|path| set_len(path, 9 * MIB), "it had 8388608 bytes and has 9437184"),
        (&|path| set_len(path, 5 * MIB), "it had 8388608 bytes and has 5242880"),
        (&|path| fs::remove_file(path), "vanished while it was sent"),
    ];
    for (change, says) in changes {
        let from = bed.random_file("from", 8 * MIB)?;
        let push = words("push", &["--rate", "6M"], &from, &to);
        let mut pushing = bed.operator().v2().start(&push)?;
        wait_for_bytes(&to, MIB, LIMIT)?;
        change(&from)?;
        let done = pushing.wait(LIMIT)?;
        assert_eq!(done.code(), Some(255), "{done:?}");
        ensure!(done.stderr.contains(says), "{done:?}");
        assert_eq!(fs::read_to_string(&to)?, "old");
        require_clean(&bed)?;
    }
    Ok(())
}

fn what_was_left_a_day_ago_goes_when_an_agent_starts(link: Link) -> Result<()> {
    let (bed, running) = serving(link)?;
    let from = bed.random_file("from", 8 * MIB)?;
    let push = words("push", &["--rate", "6M"], &from, &bed.path("to"));
    let pushing = bed.operator().v2().start(&push)?;
    wait_for_bytes(&bed.path("to"), MIB, LIMIT)?;
    pushing.signal(Signal::KILL)?;
    running.end(Signal::KILL, LIMIT)?;
    let left = tree::unfinished(&bed.path(""))?;
    assert_eq!(left.len(), 1, "{left:?}");
    // Young as it is, it is for the next attempt.
    let first = agent(&bed)?.start()?;
    sleep(Duration::from_millis(500));
    drop(first);
    assert_eq!(tree::unfinished(&bed.path(""))?, left);
    let day = Duration::from_secs(25 * 3600);
    fs::File::options().write(true).open(&left[0])?.set_modified(SystemTime::now() - day)?;
    let mut second = agent(&bed)?.start()?;
    second.wait_for_log("removed what an interrupted transfer left", LIMIT)?;
    assert_eq!(tree::unfinished(&bed.path(""))?.len(), 0);
    Ok(())
}

/// A disk of `bytes` beside the agent. It must be there first: the agent's host sees
/// what was mounted when it started.
fn with_disk(link: Link, bytes: u64) -> Result<(Testbed, SmallDisk, Agent)> {
    let bed = Testbed::new(link)?;
    let disk = SmallDisk::mount(&bed.path("disk"), bytes)?;
    let agent = agent(&bed)?.start()?;
    Ok((bed, disk, agent))
}

const LIMIT: Duration = Duration::from_secs(60);
