use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// A directory to push into, and the files of one session.
struct Fixture {
    dir: TempDir,
    scripts: Arc<Scripts>,
    files: Files,
}

fn fixture() -> Fixture {
    let scripts = Arc::default();
    Fixture { dir: tempfile::tempdir().unwrap(), files: Files::new(&scripts), scripts }
}

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn begin(&mut self, name: &str) -> Response {
        self.files.begin(self.path(name).as_os_str().as_bytes())
    }

    /// Everything in the directory, hidden names too.
    fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn refused(response: Response, code: Code, says: &str) {
    assert_eq!(response.code, code, "{response:?}");
    assert!(response.msg.as_ref().unwrap().contains(says), "{response:?}");
}

#[test]
fn a_pushed_file_appears_whole_at_the_end_and_not_before() {
    let mut f = fixture();
    assert_eq!(f.begin("a"), Response::success());
    let said = f.files.append(b"one ");
    assert_eq!(said.code, Code::Success);
    assert_eq!(said.msg.unwrap(), format!("save file {} success", f.path("a").display()));
    assert_eq!(f.files.append(b"two").code, Code::Success);
    assert_eq!(f.names(), [""; 0]);
    let Fixture { dir, files, .. } = f;
    files.end().unwrap();
    let path = dir.path().join("a");
    assert_eq!(fs::read(&path).unwrap(), b"one two");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn the_next_file_puts_the_one_before_in_place() {
    let mut f = fixture();
    f.begin("a");
    f.files.append(b"a");
    assert_eq!(f.begin("b"), Response::success());
    assert_eq!(f.names(), ["a"]);
    f.files.append(b"b");
    f.files.settle().unwrap();
    f.files.settle().unwrap();
    assert_eq!(
        (fs::read(f.path("a")).unwrap(), fs::read(f.path("b")).unwrap()),
        (b"a".into(), b"b".into())
    );
}

#[test]
fn a_session_that_breaks_off_leaves_nothing() {
    let mut f = fixture();
    f.begin("a");
    f.files.append(b"half");
    drop(f.files);
    assert_eq!(names(f.dir.path()), [""; 0]);
}

#[test]
fn the_empty_path_gives_up_the_file_before() {
    let mut f = fixture();
    f.begin("a");
    f.files.append(b"half");
    refused(f.files.begin(b""), Code::ParameterError, "the path is empty");
    refused(f.files.append(b"rest"), Code::LogicError, "no file was begun");
    f.files.end().unwrap();
    assert_eq!(names(f.dir.path()), [""; 0]);
}

#[test]
fn an_empty_file_can_be_pushed() {
    let mut f = fixture();
    f.begin("a");
    f.files.settle().unwrap();
    assert_eq!(fs::read(f.path("a")).unwrap(), b"");
}

#[test]
fn data_without_a_file_is_a_logic_error() {
    let mut f = fixture();
    refused(f.files.append(b"x"), Code::LogicError, "no file was begun");
    f.begin("a");
    f.files.settle().unwrap();
    refused(f.files.append(b"x"), Code::LogicError, "no file was begun");
}

#[test]
fn paths_at_which_no_file_may_be_are_refused_with_the_cause() {
    let mut f = fixture();
    fs::write(f.path("file"), "old").unwrap();
    fs::create_dir(f.path("dir")).unwrap();
    fs::create_dir(f.path("dir__cds_bms_tools")).unwrap();
    symlink(f.path("nowhere"), f.path("dangling")).unwrap();
    let long = "n".repeat(256);
    for (name, says) in [
        ("file", "exists already"),
        ("dangling", "exists already"),
        ("dir", "is a directory"),
        ("dir__cds_bms_tools", "is a directory"),
        ("new/", "names a directory"),
        ("new/.", "names a directory"),
        ("dir/..", "is a directory"),
        ("missing/new", "missing does not exist"),
        ("file/new", "file is not a directory"),
        (&long, "too long"),
    ] {
        refused(f.begin(name), Code::ParameterError, says);
    }
    for (path, says) in [
        (&b""[..], "the path is empty"),
        (b"relative/new", "is relative"),
        (b"/", "is a directory"),
        (b"/tmp/a\0b", "zero byte"),
    ] {
        refused(f.files.begin(path), Code::ParameterError, says);
    }
    assert_eq!(fs::read(f.path("file")).unwrap(), b"old");
    assert_eq!(f.names().len(), 4);
}

#[test]
fn a_file_that_appeared_meanwhile_is_not_replaced() {
    let mut f = fixture();
    f.begin("a");
    f.files.append(b"new");
    fs::write(f.path("a"), "somebody else's").unwrap();
    refused(f.files.settle().unwrap_err(), Code::ParameterError, "exists already");
    assert_eq!(fs::read(f.path("a")).unwrap(), b"somebody else's");
    assert_eq!(f.names(), ["a"]);
}

#[test]
fn a_failure_to_put_one_file_in_place_answers_the_request_for_the_next() {
    let mut f = fixture();
    f.begin("a");
    fs::write(f.path("a"), "somebody else's").unwrap();
    refused(f.begin("b"), Code::ParameterError, "exists already");
    refused(f.files.append(b"x"), Code::LogicError, "no file was begun");
    assert_eq!(f.names(), ["a"]);
}

#[test]
fn a_one_shot_script_replaces_an_old_one_and_goes_with_its_session() {
    let mut f = fixture();
    let name = "run__cds_bms_tools.sh";
    fs::write(f.path(name), "old").unwrap();
    assert_eq!(f.begin(name), Response::success());
    f.files.append(b"new");
    assert_eq!(fs::read(f.path(name)).unwrap(), b"old");
    f.files.settle().unwrap();
    assert_eq!(fs::read(f.path(name)).unwrap(), b"new");
    assert_eq!(f.names(), [name]);
    drop(f.files);
    assert_eq!(names(f.dir.path()), [""; 0]);
}

#[test]
fn a_script_that_another_session_pushed_meanwhile_stays() {
    let mut f = fixture();
    let name = "run__cds_bms_tools";
    let mut other = Files::new(&f.scripts);
    f.begin(name);
    f.files.settle().unwrap();
    other.begin(f.path(name).as_os_str().as_bytes());
    other.append(b"other");
    other.settle().unwrap();
    f.files.end().unwrap();
    assert_eq!(fs::read(f.dir.path().join(name)).unwrap(), b"other");
    drop(other);
    assert_eq!(names(f.dir.path()), [""; 0]);
}

#[test]
fn a_directory_that_became_another_loses_nothing_to_a_script() {
    let mut f = fixture();
    let path = |name: &str| f.dir.path().join(name);
    fs::create_dir(path("scripts__cds_bms_tools")).unwrap();
    fs::create_dir(path("elsewhere")).unwrap();
    fs::write(path("elsewhere/x"), "somebody else's").unwrap();
    f.files.begin(path("scripts__cds_bms_tools/x").as_os_str().as_bytes());
    f.files.settle().unwrap();
    fs::rename(path("scripts__cds_bms_tools"), path("away")).unwrap();
    symlink(path("elsewhere"), path("scripts__cds_bms_tools")).unwrap();
    f.files.end().unwrap();
    assert_eq!(fs::read(f.dir.path().join("elsewhere/x")).unwrap(), b"somebody else's");
}

#[test]
fn one_session_has_a_limit_of_scripts() {
    let mut f = fixture();
    for n in 0..256 {
        assert_eq!(f.begin(&format!("{n}__cds_bms_tools")), Response::success());
        f.files.settle().unwrap();
    }
    refused(f.begin("x__cds_bms_tools"), Code::LogicError, "too many one-shot scripts");
    assert_eq!(f.begin("x"), Response::success());
}

#[test]
fn where_files_cannot_be_anonymous_a_hidden_name_does() {
    let mut f = fixture();
    for (name, replaced) in [("plain", false), ("run__cds_bms_tools", true)] {
        fs::write(f.path("run__cds_bms_tools"), "old").unwrap();
        let target = Target::new(f.path(name).as_os_str().as_bytes()).unwrap();
        let mut temporary = Temporary::create_hidden(target.dir(), target.name()).unwrap();
        temporary.append(b"whole").unwrap();
        assert!(f.names().iter().any(|n| n.starts_with(&format!(".{name}.bmstools-"))));
        assert!(!f.path(name).exists() || replaced);
        f.files.begun = Some(Begun { target, temporary });
        f.files.settle().unwrap();
        assert_eq!(fs::read(f.path(name)).unwrap(), b"whole");
    }
    assert_eq!(f.names(), ["plain", "run__cds_bms_tools"]);
    let target = Target::new(f.path("new").as_os_str().as_bytes()).unwrap();
    let temporary = Temporary::create_hidden(target.dir(), target.name()).unwrap();
    fs::write(f.path("new"), "somebody else's").unwrap();
    f.files.begun = Some(Begun { target, temporary });
    refused(f.files.settle().unwrap_err(), Code::ParameterError, "exists already");
    assert_eq!(f.names(), ["new", "plain", "run__cds_bms_tools"]);
}

#[test]
fn hidden_files_of_a_killed_agent_go_and_those_in_use_stay() {
    let f = fixture();
    let leftover = ".a.bmstools-Ab12Cd34";
    let others = [".a.bmstools-short", ".hidden", "a.bmstools-Ab12Cd34"];
    for name in [leftover].iter().chain(&others) {
        fs::write(f.path(name), "x").unwrap();
    }
    let target = Target::new(f.path("a").as_os_str().as_bytes()).unwrap();
    let first = Temporary::create_hidden(target.dir(), target.name()).unwrap();
    let second = Temporary::create_hidden(target.dir(), target.name()).unwrap();
    assert!(!f.path(leftover).exists());
    assert_eq!(f.names().len(), others.len() + 2);
    drop((first, second));
    assert_eq!(f.names(), others);
}

/// A small memory-backed file system. Needs root, and fails without.
struct Small(TempDir);

impl Small {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1M", "bmstools-test"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(status.success(), "mounting a tmpfs needs root");
        Self(dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_file_system_is_named_and_nothing_is_left() {
    let small = Small::mount();
    let mut files = Files::new(&Arc::default());
    let path = small.0.path().join("big");
    assert_eq!(files.begin(path.as_os_str().as_bytes()), Response::success());
    let data = vec![7; 400_000];
    assert_eq!(files.append(&data).code, Code::Success);
    assert_eq!(files.append(&data).code, Code::Success);
    refused(files.append(&data), Code::UnknownError, "No space left on device");
    refused(files.append(&data), Code::LogicError, "no file was begun, or it failed");
    files.settle().unwrap();
    assert_eq!(names(small.0.path()), [""; 0]);
    // All of the space is back.
    assert_eq!(files.begin(path.as_os_str().as_bytes()), Response::success());
    assert_eq!(files.append(&data).code, Code::Success);
    assert_eq!(files.append(&data).code, Code::Success);
    files.end().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 800_000);
}
