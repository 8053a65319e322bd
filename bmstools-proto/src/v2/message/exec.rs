//! Commands, terminals and jobs (`docs/protocol-v2.md`, "Commands").
//!
//! Signals have Linux's generic numbers, as on x86 and ARM.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// Run a command. What follows on the same stream are [`Control`] messages; the answer
/// is an [`Answer`](super::Answer) of [`Started`], and an [`Exited`] where the command
/// is not a job.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Exec {
    /// The command and its arguments, without zero bytes. Empty: the user's shell, as a
    /// login shell.
    #[n(0)]
    pub argv: Vec<ByteVec>,
    /// Whether `argv` is a single string for the agent's shell.
    #[n(1)]
    #[cbor(default)]
    pub shell: bool,
    /// What is added to the environment, in order.
    #[n(2)]
    #[cbor(default)]
    pub env: Vec<Variable>,
    /// The directory to run in; `/` where there is none.
    #[n(3)]
    pub cwd: Option<ByteVec>,
    /// The user to run as, by name or number; the agent's own where there is none.
    #[n(4)]
    pub user: Option<String>,
    /// The terminal to run on.
    #[n(5)]
    pub tty: Option<Terminal>,
    /// Milliseconds after which the command is ended.
    #[n(6)]
    pub timeout: Option<u64>,
    /// The operator's stream that carries standard input there and standard output back.
    /// Neither is used before [`Started`] has come.
    #[n(7)]
    pub output: Option<u32>,
    /// The operator's stream that carries standard error back; nothing on a terminal.
    #[n(8)]
    pub errors: Option<u32>,
    /// Whether to run it as a job: without this session, and without streams.
    #[n(9)]
    #[cbor(default)]
    pub detach: bool,
}

/// A variable of the environment.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Variable {
    /// Not empty, without `=` and zero bytes.
    #[n(0)]
    pub name: ByteVec,
    /// Without zero bytes.
    #[n(1)]
    pub value: ByteVec,
}

/// A terminal.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Terminal {
    /// What `TERM` says of it.
    #[n(0)]
    pub term: ByteVec,
    /// Its size.
    #[n(1)]
    pub size: WindowSize,
}

/// A terminal's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct WindowSize {
    /// Lines.
    #[n(0)]
    pub rows: u16,
    /// Characters a line.
    #[n(1)]
    pub columns: u16,
    /// Pixels across, 0 where unknown.
    #[n(2)]
    pub width: u16,
    /// Pixels down, 0 where unknown.
    #[n(3)]
    pub height: u16,
}

/// What an operator tells a running command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[non_exhaustive]
pub enum Control {
    /// A signal for the command's process group, on a terminal for the group in its
    /// foreground.
    #[n(0)]
    Signal(#[n(0)] u8),
    /// The terminal has another size.
    #[n(1)]
    Resize(#[n(0)] WindowSize),
}

/// The command runs.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Started {
    /// Its process id there, which is its process group's as well.
    #[n(0)]
    pub pid: u32,
    /// The job's name, where it is one.
    #[n(1)]
    pub job: Option<String>,
}

/// The command has ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Exited {
    /// Its exit code, unless a signal ended it.
    #[n(0)]
    pub code: Option<u8>,
    /// The signal that ended it.
    #[n(1)]
    pub signal: Option<u8>,
    /// Whether it left a core dump.
    #[n(2)]
    #[cbor(default)]
    pub core: bool,
    /// Whether its time was over, so that the agent ended it.
    #[n(3)]
    #[cbor(default)]
    pub timed_out: bool,
    /// What people should know besides.
    #[n(4)]
    pub why: Option<String>,
}

/// Something about jobs. Answered by [`Answer`](super::Answer)s of [`JobReply`].
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[non_exhaustive]
pub enum JobRequest {
    /// Which are there: a [`JobReply::Job`] each, oldest first, then
    /// [`JobReply::Done`].
    #[n(0)]
    List,
    /// What one wrote: [`JobReply::Done`] and the bytes on the operator's streams, then
    /// [`JobReply::Job`].
    #[n(1)]
    #[cbor(map)]
    Logs {
        /// Which.
        #[n(0)]
        job: String,
        /// Whether to go on until it ends.
        #[n(1)]
        #[cbor(default)]
        follow: bool,
        /// The operator's stream for standard output.
        #[n(2)]
        output: u32,
        /// The operator's stream for standard error.
        #[n(3)]
        errors: u32,
    },
    /// Wait for its end: [`JobReply::Job`].
    #[n(2)]
    Wait(#[n(0)] String),
    /// A signal for its process group: [`JobReply::Done`].
    #[n(3)]
    #[cbor(map)]
    Kill {
        /// Which.
        #[n(0)]
        job: String,
        /// The signal's number.
        #[n(1)]
        signal: u8,
    },
    /// Remove one that has ended, or all that have: a [`JobReply::Job`] each, then
    /// [`JobReply::Done`].
    #[n(4)]
    Forget(#[n(0)] Option<String>),
}

/// About jobs.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[non_exhaustive]
pub enum JobReply {
    /// One job.
    #[n(0)]
    Job(#[n(0)] Job),
    /// It was done, or there are no more.
    #[n(1)]
    Done,
}

/// A job.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Job {
    /// Its name.
    #[n(0)]
    pub id: String,
    /// How it is.
    #[n(1)]
    pub state: JobState,
    /// The command, cut after a few kilobytes.
    #[n(2)]
    pub argv: Vec<ByteVec>,
    /// Whether that is a single string for the shell.
    #[n(3)]
    #[cbor(default)]
    pub shell: bool,
    /// The user it was started for.
    #[n(4)]
    pub user: Option<String>,
    /// Its process id.
    #[n(5)]
    pub pid: u32,
    /// When it was started, in milliseconds since 1970 by the agent's clock.
    #[n(6)]
    pub started: u64,
    /// When it ended.
    #[n(7)]
    pub ended: Option<u64>,
    /// How it ended.
    #[n(8)]
    pub exited: Option<Exited>,
    /// Bytes of standard output that were thrown away because too many are kept.
    #[n(9)]
    #[cbor(default)]
    pub output_cut: u64,
    /// The same of standard error.
    #[n(10)]
    #[cbor(default)]
    pub errors_cut: u64,
}

/// How a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum JobState {
    /// It runs.
    #[n(0)]
    Running,
    /// It has ended.
    #[n(1)]
    Exited,
    /// What watched it was killed: nobody knows how it ended, or whether it did.
    #[n(2)]
    Lost,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::v2::message::Request;

    fn bytes() -> impl Strategy<Value = ByteVec> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(ByteVec::from)
    }

    fn request() -> impl Strategy<Value = Exec> {
        let variable = (bytes(), bytes()).prop_map(|(name, value)| Variable { name, value });
        let size = any::<[u16; 4]>().prop_map(|[rows, columns, width, height]| WindowSize {
            rows,
            columns,
            width,
            height,
        });
        let terminal = (bytes(), size).prop_map(|(term, size)| Terminal { term, size });
        (
            (proptest::collection::vec(bytes(), 0..5), any::<bool>()),
            proptest::collection::vec(variable, 0..5),
            (proptest::option::of(bytes()), proptest::option::of(".*")),
            proptest::option::of(terminal),
            (any::<Option<u64>>(), any::<Option<u32>>(), any::<Option<u32>>(), any::<bool>()),
        )
            .prop_map(|((argv, shell), env, (cwd, user), tty, rest)| Exec {
                argv,
                shell,
                env,
                cwd,
                user,
                tty,
                timeout: rest.0,
                output: rest.1,
                errors: rest.2,
                detach: rest.3,
            })
    }

    proptest! {
        #[test]
        fn a_request_arrives_as_it_was_sent(request in request()) {
            let request = Request::Exec(request);
            let sent = minicbor::to_vec(&request).unwrap();
            prop_assert_eq!(minicbor::decode::<Request>(&sent).unwrap(), request);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_understood(bytes in bytes()) {
            let _ = minicbor::decode::<Exec>(&bytes);
            let _ = minicbor::decode::<JobRequest>(&bytes);
            let _ = minicbor::decode::<Control>(&bytes);
        }
    }

    #[test]
    fn the_least_request_and_one_with_unknown_keys_are_understood() {
        // {0: [h'61']} and {0: [h'61'], 99: "x"}
        for bytes in [&b"\xa1\x00\x81\x41a"[..], b"\xa2\x00\x81\x41a\x18\x63\x61x"] {
            let request: Exec = minicbor::decode(bytes).unwrap();
            let argv = vec![ByteVec::from(b"a".to_vec())];
            assert_eq!(request, Exec { argv, ..Exec::default() });
        }
    }

    #[test]
    fn messages_are_encoded_as_the_document_says() {
        assert_eq!(minicbor::to_vec(Control::Signal(15)).unwrap(), b"\x82\x00\x81\x0f");
        let exited = Exited { code: Some(3), ..Exited::default() };
        assert_eq!(minicbor::to_vec(exited).unwrap()[1..3], [0, 3]);
        let wait = JobRequest::Wait("k7".into());
        assert_eq!(minicbor::to_vec(wait).unwrap(), b"\x82\x02\x81\x62k7");
        let kill = JobRequest::Kill { job: "k7".into(), signal: 9 };
        assert_eq!(minicbor::to_vec(kill).unwrap(), b"\x82\x03\xa2\x00\x62k7\x01\x09");
        assert_eq!(minicbor::to_vec(JobState::Lost).unwrap(), [2]);
        assert_eq!(minicbor::to_vec(JobRequest::List).unwrap(), b"\x82\x00\x80");
        assert_eq!(minicbor::to_vec(JobRequest::Forget(None)).unwrap(), b"\x82\x04\x80");
        assert_eq!(minicbor::to_vec(JobReply::Done).unwrap(), b"\x82\x01\x80");
        let size = WindowSize { rows: 1, columns: 2, width: 3, height: 4 };
        assert_eq!(minicbor::to_vec(size).unwrap(), b"\x84\x01\x02\x03\x04");
        let variable = Variable { name: b"a".to_vec().into(), value: b"b".to_vec().into() };
        assert_eq!(minicbor::to_vec(variable).unwrap(), b"\x82\x41a\x41b");
    }
}
