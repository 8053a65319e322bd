use std::future::pending;
use std::path::Path;
use std::pin::pin;

use super::*;

fn limits() -> Limits {
    Limits { max_commands: 8, max_output: 1 << 18, timeout: Duration::from_secs(60) }
}

async fn run_within(limits: Limits, command: &str) -> Response {
    Executor::new(limits).run(command.as_bytes(), pin!(pending::<()>())).await.unwrap()
}

async fn run(command: &str) -> ExecData {
    let response = run_within(limits(), command).await;
    assert_eq!((&response.code, &response.msg), (&Code::Success, &None), "{response:?}");
    response.data.unwrap()
}

/// Waits until no process has `word` in its command line.
async fn gone(word: &str) {
    for _ in 0..100 {
        let found = std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
            std::fs::read(process.path().join("cmdline"))
                .is_ok_and(|line| line.windows(word.len()).any(|part| part == word.as_bytes()))
        });
        if !found {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{word} still runs");
}

async fn exists(path: &Path) {
    while !path.exists() {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn outputs_and_exit_code_come_back() {
    let data = run("echo out; echo err >&2; exit 3").await;
    assert_eq!((data.code, &data.stdout[..], &data.stderr[..]), (3, "out\n", "err\n"));
}

#[tokio::test]
async fn a_signal_is_128_and_its_number() {
    assert_eq!(run("kill -TERM $$").await.code, 143);
}

#[tokio::test]
async fn a_missing_command_is_the_shells_127() {
    let data = run("no-such-command-anywhere").await;
    assert_eq!(data.code, 127);
    assert!(data.stderr.contains("no-such-command-anywhere"), "{data:?}");
}

#[tokio::test]
async fn surroundings_are_the_same_whatever_started_the_agent() {
    let data = run("pwd; cat | wc -c; env | grep -v '^_=\\|^SHLVL=\\|^PWD=' | sort").await;
    let mut expected: Vec<_> =
        ENVIRONMENT.iter().map(|(name, value)| format!("{name}={value}")).collect();
    expected.sort();
    expected.splice(0..0, ["/".into(), "0".into()]);
    assert_eq!(data.stdout.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn both_outputs_are_read_at_once_and_cut_with_a_mark() {
    let limits = Limits { max_output: 1024, ..limits() };
    let response = run_within(
        limits,
        "head -c 3000000 /dev/zero | tr '\\0' a >&2; head -c 3000000 /dev/zero | tr '\\0' b",
    )
    .await;
    let data = response.data.unwrap();
    assert_eq!((data.stdout, data.stderr), ("b".repeat(1024), "a".repeat(1024)));
    let message = response.msg.unwrap();
    for name in ["stdout", "stderr"] {
        assert!(
            message.contains(&format!("{name} was cut: 2998976 of its 3000000 bytes")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn all_output_of_an_exited_command_is_there() {
    let data = run("head -c 200000 /dev/zero | tr '\\0' a").await;
    assert_eq!(data.stdout.len(), 200_000);
}

#[tokio::test]
async fn a_command_that_runs_too_long_is_killed_with_its_group_and_answered() {
    let limits = Limits { timeout: Duration::from_millis(500), ..limits() };
    let response = run_within(limits, "echo before; sleep 98761 & sleep 98761").await;
    assert_eq!(response.code, Code::UnknownError);
    assert_eq!(response.msg.as_deref(), Some("killed after 0.5 s, which is exec.timeout"));
    let data = response.data.unwrap();
    assert_eq!((data.code, &data.stdout[..]), (137, "before\n"));
    gone("98761").await;
}

#[tokio::test]
async fn a_command_that_writes_without_end_is_killed_in_time() {
    let limits = Limits { timeout: Duration::from_millis(300), ..limits() };
    let response = timeout(Duration::from_secs(20), run_within(limits, "yes 98762")).await.unwrap();
    assert_eq!(response.code, Code::UnknownError);
    gone("98762").await;
}

#[tokio::test]
async fn a_command_dies_with_its_group_when_its_session_ends() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let command = format!("sleep 98763 & touch {}; sleep 98763", flag.display());
    let executor = Executor::new(limits());
    let stop = pin!(exists(&flag));
    assert_eq!(executor.run(command.as_bytes(), stop).await, Err(()));
    gone("98763").await;
    assert_eq!(executor.slots.available_permits(), 8);
}

#[tokio::test]
async fn a_background_process_delays_no_response_and_lives_on() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let command = format!("(sleep 3; touch {}) & echo done", flag.display());
    let begun = std::time::Instant::now();
    let response = run_within(limits(), &command).await;
    assert!(begun.elapsed() < Duration::from_millis(2900), "{:?}", begun.elapsed());
    assert_eq!(response.code, Code::Success);
    assert!(response.msg.unwrap().contains("background process"));
    assert_eq!(response.data.unwrap().stdout, "done\n");
    timeout(Duration::from_secs(20), exists(&flag)).await.unwrap();
}

#[tokio::test]
async fn a_background_process_that_writes_without_end_delays_no_response() {
    let response =
        timeout(Duration::from_secs(20), run_within(limits(), "yes 98764 & exit 5")).await.unwrap();
    assert_eq!(response.data.unwrap().code, 5);
    // Nobody reads its output: it ends by SIGPIPE.
    gone("98764").await;
}

#[tokio::test]
async fn commands_past_the_limit_are_refused_and_slots_come_back() {
    let executor = Executor::new(Limits { max_commands: 1, ..limits() });
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let command = format!("while ! test -e {}; do sleep 0.02; done", flag.display());
    let never = pin!(pending::<()>());
    let first = executor.run(command.as_bytes(), never);
    let second = async {
        let refused = executor.run(b"true", pin!(pending::<()>())).await.unwrap();
        std::fs::write(&flag, "").unwrap();
        refused
    };
    let (first, refused) = tokio::join!(first, second);
    assert_eq!(first.unwrap().code, Code::Success);
    assert_eq!(refused.code, Code::UnknownError);
    assert!(refused.msg.unwrap().contains("exec.max_commands"));
    assert_eq!(executor.run(b"true", pin!(pending::<()>())).await.unwrap().code, Code::Success);
}

#[tokio::test]
async fn a_command_line_that_cannot_be_passed_on_is_a_parameter_error() {
    for (command, says) in [("a\0b".into(), "zero byte"), ("#".repeat(200_000), "too long")] {
        let response = run_within(limits(), &command).await;
        assert_eq!(response.code, Code::ParameterError);
        assert!(response.msg.unwrap().contains(says));
    }
}

#[tokio::test]
async fn output_that_is_no_text_comes_with_replacements() {
    assert_eq!(run("printf 'a\\xffb'").await.stdout, "a\u{fffd}b");
}
