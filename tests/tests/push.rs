//! `bmstools push`: exit code 0 means that every byte is there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use bmstools_tests::memory::MIB;
use bmstools_tests::peer::Options;
use bmstools_tests::{Link, Testbed, command, data, with_every_link};

with_every_link!(
    files_of_every_awkward_size_arrive_exact,
    files_too_short_for_the_documented_dialect_are_refused_and_v2_is_named,
    the_deployed_dialect_carries_files_of_any_size,
    a_file_that_exists_is_refused_and_stays_as_it_was,
    a_missing_remote_directory_is_an_error_that_names_it,
    a_missing_local_file_is_an_error_that_names_it,
    json_output_is_one_value,
    a_full_disk_fails_the_push_and_leaves_nothing,
    a_one_shot_script_runs_in_its_session_and_is_gone_afterwards,
);

fn files_of_every_awkward_size_arrive_exact(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let sizes = [0, 32, 33, 1485, 1486, 1487, 899_999, 900_000, 900_001, 20 * MIB];
    for size in sizes {
        let sent = bed.random_file(&format!("sent-{size}"), size)?;
        let arrived = bed.path(&format!("arrived-{size}"));
        bed.operator().push(&sent, &arrived)?;
        data::require_same(&sent, &arrived)?;
    }
    Ok(())
}

fn files_too_short_for_the_documented_dialect_are_refused_and_v2_is_named(
    link: Link,
) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    for size in [1, 31] {
        let sent = bed.random_file("short", size)?;
        let done = bed.operator().try_push(&sent, &bed.path("arrived"))?;
        assert_eq!(done.code(), Some(255), "{done:?}");
        ensure!(done.stderr.contains("v2"), "{done:?}");
        ensure!(!bed.path("arrived").exists(), "something was left");
    }
    Ok(())
}

fn the_deployed_dialect_carries_files_of_any_size(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let operator = bed.operator().dialect("v1-deployed").target("52:54:00:aa:bb:01@1708%eth0");
    for size in [0, 1, 31, 300, 301, 100_000] {
        let sent = bed.random_file(&format!("sent-{size}"), size)?;
        let arrived = bed.path(&format!("arrived-{size}"));
        operator.push(&sent, &arrived)?;
        data::require_same(&sent, &arrived)?;
    }
    Ok(())
}

fn a_file_that_exists_is_refused_and_stays_as_it_was(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let sent = bed.random_file("sent", 5000)?;
    let old = bed.path("old");
    fs::write(&old, "old contents")?;
    let done = bed.operator().try_push(&sent, &old)?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("exists"), "{done:?}");
    assert_eq!(fs::read_to_string(&old)?, "old contents");
    Ok(())
}

fn a_missing_remote_directory_is_an_error_that_names_it(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let sent = bed.random_file("sent", 5000)?;
    let done = bed.operator().try_push(&sent, &bed.path("nowhere/file"))?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("nowhere"), "{done:?}");
    Ok(())
}

fn a_missing_local_file_is_an_error_that_names_it(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let done = bed.operator().try_push(&bed.path("no-such-file"), &bed.path("arrived"))?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.contains("no-such-file"), "{done:?}");
    Ok(())
}

fn json_output_is_one_value(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let sent = bed.random_file("sent", 123_456)?;
    let done = bed.operator().json().push(&sent, &bed.path("arrived"))?;
    let json = done.json()?;
    ensure!(json.to_string().contains("123456"), "{json}");
    Ok(())
}

fn a_full_disk_fails_the_push_and_leaves_nothing(link: Link) -> Result<()> {
    let bed = Testbed::new(link)?;
    let disk = SmallDisk::mount(&bed.path("disk"), MIB)?;
    let _agent = bed.start_agent()?;
    let sent = bed.random_file("sent", 4 * MIB)?;
    let done = bed.operator().try_push(&sent, &disk.0.join("arrived"))?;
    assert_eq!(done.code(), Some(255), "{done:?}");
    ensure!(done.stderr.to_lowercase().contains("space"), "{done:?}");
    let left: Vec<_> = fs::read_dir(&disk.0)?.flatten().map(|entry| entry.path()).collect();
    ensure!(left.is_empty(), "left on the full disk: {left:?}");
    let small = bed.random_file("small", 1000)?;
    bed.operator().push(&small, &disk.0.join("small"))?;
    data::require_same(&small, &disk.0.join("small"))
}

fn a_one_shot_script_runs_in_its_session_and_is_gone_afterwards(link: Link) -> Result<()> {
    let (bed, _agent) = Testbed::serving(link)?;
    let script = bed.path("__cds_bms_tools_setup.sh");
    let text = "#!/bin/sh\necho one shot of $0\n# made long enough for any dialect\n";
    let mut operator = bed.hand_operator(Options::documented(21))?;
    operator.authenticate(&bed.keys)?;
    let path = script.display().to_string();
    assert_eq!(operator.file(&path)?["code"], "Success");
    assert_eq!(operator.data(text.as_bytes())?["code"], "Success");
    let ran = operator.exec(&format!("sh {path}"))?;
    assert_eq!(ran["data"]["stdout"], format!("one shot of {path}\n"), "{ran}");
    // Scripts may be replaced, unlike every other file.
    assert_eq!(operator.file(&path)?["code"], "Success");
    assert_eq!(operator.data(text.as_bytes())?["code"], "Success");
    operator.end()?;
    ensure!(!script.exists(), "the script outlived its session");
    Ok(())
}

/// A memory-backed file system of a few bytes, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir(at)?;
        command::run(&format!("mount -t tmpfs -o size={bytes} tmpfs {}", at.display()))?;
        Ok(Self(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = command::run(&format!("umount -l {}", self.0.display())) {
            eprintln!("{error:#}");
        }
    }
}
