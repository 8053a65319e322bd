//! Programs of another user.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;

use bmstools_spawn::{Program, User};
use rustix::process::{DumpableBehavior, dumpable_behavior, geteuid};

use self::common::{NOBODY, line, nobody, run};

#[test]
fn a_program_has_the_users_numbers_and_groups_and_no_others() {
    let mut cat = Program::new("/bin/cat");
    cat.args(["/proc/self/status"]);
    let done = run(cat.user(nobody())).unwrap();
    let four = [NOBODY; 4].map(|number| number.to_string()).join("\t");
    assert_eq!(line(&done.output, "Uid"), four);
    assert_eq!(line(&done.output, "Gid"), four);
    assert_eq!(line(&done.output, "Groups"), format!("7 8 {NOBODY}"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(line(&done.output, set), "0000000000000000", "{set}");
    }
    let done = run(cat.user(User { groups: Vec::new(), ..nobody() })).unwrap();
    assert_eq!(line(&done.output, "Groups"), "");
    assert_eq!(line(&done.output, "SigBlk"), "0000000000000000");
}

#[test]
fn the_callers_own_user_may_have_other_groups() {
    let mut cat = Program::new("/bin/cat");
    cat.args(["/proc/self/status"]);
    assert!(geteuid().is_root(), "this test changes groups: run it as root");
    let before = fs::read_to_string("/proc/self/status").unwrap();
    let done = run(cat.user(User { uid: 0, gid: 0, groups: vec![7] })).unwrap();
    assert_eq!(line(&done.output, "Groups"), "7");
    assert_eq!(line(&done.output, "Uid"), "0\t0\t0\t0");
    let after = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(line(&after, "Groups"), line(&before, "Groups"));
}

#[test]
fn nothing_of_the_caller_changes() {
    let before = dumpable_behavior().unwrap();
    assert_eq!(before, DumpableBehavior::Dumpable);
    run(Program::new("/bin/true").user(nobody())).unwrap();
    assert_eq!(dumpable_behavior().unwrap(), before);
    assert!(geteuid().is_root());
}
