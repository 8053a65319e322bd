//! The command as a shell meets it: help, mistakes, messages, exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const MAC: &str = "52:54:00:aa:bb:01";

fn bmstools(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmstools"))
        .args(arguments)
        .env("BMSTOOLS_KEY", "/nonexistent/private.pem")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .output()
        .expect("bmstools runs")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("standard output is UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("standard error is UTF-8")
}

/// Asserts on a failure of this kind, told in one line that holds `words`.
fn assert_fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = bmstools(arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert_eq!(stdout(&output), "", "{arguments:?}");
    assert!(message.starts_with("bmstools: "), "{arguments:?}: {message}");
    assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: {message}");
    }
}

#[test]
fn help_teaches_with_examples_and_exit_codes() {
    let output = bmstools(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
    for words in [
        "exec",
        "push",
        "pull",
        "ping",
        "status",
        "keygen",
        "hosts.toml",
        "@GROUP",
        "Examples:",
        "Exit codes:",
        "AF_PACKET",
    ] {
        assert!(stdout(&output).contains(words), "{words}");
    }
    for command in ["exec", "push", "pull", "ping", "status", "bench", "keygen"] {
        assert_eq!(bmstools(&[command, "--help"]).status.code(), Some(0), "{command}");
    }
    assert!(stdout(&bmstools(&["--version"])).starts_with("bmstools "));
}

#[test]
fn arguments_that_clap_refuses_exit_with_2() {
    for (arguments, words) in [
        (&[][..], "Usage"),
        (&["nonsense"], "nonsense"),
        (&["-t", MAC, "--parallel", "0", "ping"], "parallel"),
        (&["-t", MAC, "exec"], "CMD"),
        (&["-t", MAC, "exec", "--timeout", "-1", "--", "ls"], "timeout"),
        (&["-t", MAC, "ping", "-c", "0"], "0"),
        (&["-t", MAC, "--proto", "v9", "ping"], "v1-deployed"),
    ] {
        let output = bmstools(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn targets_that_make_no_sense_exit_with_2() {
    for proto in ["v1", "v2"] {
        for (target, words) in [
            ("52:54:00:aa:bb", "six pairs"),
            ("52:54:00:aa:bb:01@4095", "1 to 4094"),
            ("01:00:5e:00:00:01", "one host"),
        ] {
            assert_fails(&["--proto", proto, "-t", target, "ping"], 2, &[words]);
        }
        assert_fails(&["--proto", proto, "-t", "server1", "ping"], 2, &["server1", "MAC"]);
    }
}

#[test]
fn the_inventory_names_servers_and_groups() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hosts.toml");
    fs::write(&file, "[hosts.web01]\nmac = '52:54:00:aa:bb:01'\ninterface = 'nothing'").unwrap();
    let file = file.to_str().unwrap();
    for (target, code, words) in [
        ("web1", 2, &["did you mean web01?", file][..]),
        ("@web", 2, &["no group @web"]),
        // It gets as far as the key.
        ("web01", 255, &["/nonexistent/private.pem"]),
    ] {
        for proto in ["v1", "v2"] {
            let arguments = ["--inventory", file, "--proto", proto, "-t", target, "ping"];
            assert_fails(&arguments, code, words);
        }
    }
    assert_fails(&["--inventory", "/nonexistent", "-t", "a", "ping"], 255, &["/nonexistent"]);
}

#[test]
fn version_1_refuses_what_only_version_2_has() {
    let v1 = |arguments: &[&str], words: &[&str]| {
        assert_fails(&[&["--proto", "v1", "-t", MAC, "-i", "lo"], arguments].concat(), 2, words);
    };
    v1(&["ping", "--interval", "1"], &["--interval", "--proto"]);
    v1(&["status"], &["version 2"]);
    v1(&["pull", "/etc/hostname", "x"], &["version 2"]);
    v1(&["-t", "52:54:00:aa:bb:02", "ping"], &["one server at a time", "2"]);
}

#[test]
fn arguments_that_do_not_fit_together_exit_with_2() {
    assert_fails(&["ping"], 2, &["-t MAC"]);
    assert_fails(&["--proto", "v1", "ping"], 2, &["-t MAC"]);
    assert_fails(
        &["-t", MAC, "-i", "lo", "--proto", "v1-deployed", "ping"],
        2,
        &["v1-deployed", "VLAN", "52:54:00:aa:bb:01@"],
    );
    let target = format!("{MAC}%eth7");
    assert_fails(&["-t", &target, "--iface", "eth8", "ping"], 2, &["eth7", "eth8"]);
    assert_fails(
        &["-t", MAC, "-i", "lo", "--proto", "v1", "exec", "--shell", "--", "a", "b"],
        2,
        &["--shell"],
    );
    assert_fails(
        &["-t", MAC, "-i", "lo", "--proto", "v1", "push", "/etc/passwd", "tmp/x"],
        2,
        &["absolute"],
    );
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_the_way_out() {
    assert_fails(
        &["-t", MAC, "-i", "lo", "ping"],
        255,
        &["/nonexistent/private.pem", "--key", "keygen"],
    );
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("private.pem");
    fs::write(&key, "x").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let key = key.to_str().unwrap();
    assert_fails(
        &["-t", MAC, "-i", "lo", "--key", key, "ping"],
        255,
        &[&format!("chmod 600 {key}")],
    );
}

#[test]
fn what_cannot_be_pushed_is_refused_before_anything_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let short = directory.path().join("short");
    fs::write(&short, [0; 31]).unwrap();
    let push = |local: &Path, words: &[&str]| {
        let local = local.to_str().unwrap();
        assert_fails(&["-t", MAC, "-i", "lo", "--proto", "v1", "push", local, "/tmp/"], 255, words);
    };
    push(&short, &["31 bytes", "v1-deployed", "v2"]);
    push(directory.path(), &["directory", "v2"]);
    push(&directory.path().join("missing"), &["missing", "No such file"]);
    push(Path::new("-"), &["standard input"]);
}

#[test]
fn errors_are_json_on_standard_output_where_asked_for() {
    for (arguments, code, words) in [
        (&["--json", "-t", MAC, "-i", "lo", "ping"][..], 255, "keygen"),
        (&["--json", "ping"], 2, "which server"),
        (&["--json", "-t", "server1", "ping"], 2, "server1"),
        (&["--json", "--proto", "v1", "-t", "server1", "ping"], 2, "server1"),
    ] {
        let output = bmstools(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let object: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
        assert!(object["error"].as_str().unwrap().contains(words), "{object}");
        assert_eq!(stdout(&output).lines().count(), 1);
        assert_ne!(stderr(&output), "");
    }
}

#[test]
fn key_lengths_that_no_peer_takes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let new = directory.path().join("new");
    for bits in ["512", "1023", "16384"] {
        assert_fails(&["keygen", new.to_str().unwrap(), "--bits", bits], 255, &[bits, "2048"]);
    }
    assert!(!new.exists());
}

#[test]
fn keygen_makes_a_pair_once_and_says_where_it_belongs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth");
    let auth = path.to_str().unwrap();
    let output = bmstools(&["keygen", auth, "--bits", "1024"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("1024 bits can be broken"), "{}", stderr(&output));
    assert!(stdout(&output).contains("SHA256:"));
    for words in ["/usr/lib/bmstools/auth/", "authorized_keys.d", "--agent-key", "RSA 1024"] {
        assert!(stdout(&output).contains(words), "{words}: {}", stdout(&output));
    }

    let mode = |name: &str| path.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("private.pem"), mode("public.pem"), mode("")), (0o600, 0o644, 0o700));
    let private = fs::read_to_string(path.join("private.pem")).unwrap();
    assert!(private.contains("PRIVATE KEY") && !private.contains("PUBLIC"));
    assert!(fs::read_to_string(path.join("public.pem")).unwrap().contains("BEGIN PUBLIC KEY"));

    assert_fails(&["keygen", auth], 255, &["private.pem", "not overwritten"]);
    assert_eq!(fs::read_to_string(path.join("private.pem")).unwrap(), private);
}

#[test]
fn keygen_tells_programs_the_fingerprint() {
    let directory = tempfile::tempdir().unwrap();
    let output = bmstools(&["keygen", directory.path().to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let object: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(object["bits"], 2048);
    assert!(object["fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    assert!(Path::new(object["private"].as_str().unwrap()).is_file());
}

#[test]
fn keygen_makes_keys_of_every_type() {
    for (kind, shown) in [("rsa", "RSA 2048"), ("p256", "ECDSA P-256"), ("ed25519", "Ed25519")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let output = bmstools(&["keygen", path, "--type", kind]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains(shown), "{}", stdout(&output));
        assert_eq!(stdout(&output).contains("for v2 alone"), kind != "rsa");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(read("private.pem").contains("PRIVATE KEY"));
        assert!(read("public.pem").contains("BEGIN PUBLIC KEY"));
    }
    let new = tempfile::tempdir().unwrap().path().join("new");
    let bits = ["keygen", new.to_str().unwrap(), "--type", "ed25519", "--bits", "2048"];
    assert_fails(&bits, 2, &["--bits"]);
    assert!(!new.exists());
}

#[test]
fn a_log_that_cannot_be_written_changes_no_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let auth = directory.path().to_str().unwrap();
    assert_eq!(bmstools(&["keygen", auth, "--bits", "1024"]).status.code(), Some(0));
    let status = Command::new(env!("CARGO_BIN_EXE_bmstools"))
        .args(["-vv", "-t", MAC, "-i", "nothing", "ping", "--key"])
        .arg(directory.path().join("private.pem"))
        .stderr(fs::File::options().write(true).open("/dev/full").unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(255));
}
