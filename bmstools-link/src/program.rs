//! The XDP program of `bmstools-ebpf`: loading, attaching and its maps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf, XskMap};
use aya::programs::{TestRun, Xdp};
use aya::{Ebpf, EbpfError, TestRunOptions};
use aya_log::EbpfLogger;
use bmstools_common::counters::Counter;
use bmstools_common::header::Framing;
use bmstools_common::maps::{self, Config, SessionKey, framing_code};

use crate::port::LinkError;
use crate::sys;
use crate::xdp_link;

/// The compiled program, as `cargo xtask build-ebpf` leaves it in the tree.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../bmstools-ebpf/prebuilt/bmstools.bpf.o");

/// The entry for frames of one or several buffers.
const ENTRY_FRAGS: &str = "bmstools_xdp_frags";
/// The entry for frames of one buffer.
const ENTRY_LINEAR: &str = "bmstools_xdp";

/// Lines of the verifier's log that an error repeats.
const VERIFIER_LINES: usize = 8;

/// Where in the receive path the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the network stack, with any driver.
    Generic,
}

/// Which of the program's entries to load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The first that the kernel takes.
    Best,
    /// The one for frames of several buffers (from Linux 5.18 on).
    Frags,
    /// The one without.
    Linear,
}

impl Entry {
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Best => &[ENTRY_FRAGS, ENTRY_LINEAR],
            Self::Frags => &[ENTRY_FRAGS],
            Self::Linear => &[ENTRY_LINEAR],
        }
    }
}

/// Why the XDP program cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The process may not use BPF.
    #[error(
        "the kernel does not let this process load an XDP program: run it as root, or with \
         CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Permission,
    /// The kernel refused the program or one of its maps.
    #[error("cannot load the XDP program (it needs Linux 5.15 with BPF and AF_XDP): {0}")]
    Load(String),
    /// The kernel refused to attach the program.
    #[error("cannot attach the XDP program to interface {ifindex} in {mode} mode: {cause}")]
    Attach {
        /// The interface's index.
        ifindex: u32,
        /// How the program was to be attached.
        mode: &'static str,
        /// The kernel's error.
        cause: io::Error,
    },
    /// The interface has another XDP program already.
    #[error(
        "interface {ifindex} already runs the XDP program {occupant}; it is left alone. \
         Stop what attached it, or use --link packet"
    )]
    Busy {
        /// The interface's index.
        ifindex: u32,
        /// The other program's name and number.
        occupant: String,
    },
    /// A map could not be read or written.
    #[error("cannot use the XDP program's map {map}: {cause}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// Why.
        cause: MapError,
    },
}

/// The loaded XDP program.
///
/// Dropping it detaches it. A killed process leaves nothing attached.
pub struct Program {
    link: Option<OwnedFd>,
    entry: &'static str,
    sessions: HashMap<MapData, [u8; 13], u32>,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
    ring: RingBuf<MapData>,
    frame: Vec<u8>,
    logger: EbpfLogger<&'static dyn log::Log>,
    ebpf: Ebpf,
}

impl Program {
    /// Loads the program, with support for frames of several buffers where the
    /// kernel has it.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Permission`], [`ProgramError::Load`] and
    /// [`ProgramError::Map`].
    pub fn load(config: &Config) -> Result<Self, ProgramError> {
        Self::load_object(OBJECT, Entry::Best, config)
    }

    /// Loads one entry of another build of the program, for tests.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_object(object: &[u8], entry: Entry, config: &Config) -> Result<Self, ProgramError> {
        let mut ebpf = Ebpf::load(object).map_err(load_error)?;
        // The logger holds the program's log map: it must outlive loading.
        let logger = EbpfLogger::init(&mut ebpf)
            .map_err(|error| ProgramError::Load(format!("its log: {error}")))?;
        let entry = load_first(&mut ebpf, entry.names())?;
        // Loading has read the kernel's type information, of some 10 MiB.
        sys::trim_heap();
        let mut settings: Array<_, [u8; Config::LEN]> = take(&mut ebpf, maps::CONFIG)?;
        settings.set(0, config.to_bytes(), 0).map_err(map_error(maps::CONFIG))?;
        Ok(Self {
            link: None,
            entry,
            sessions: take(&mut ebpf, maps::SESSIONS)?,
            sockets: take(&mut ebpf, maps::SOCKETS)?,
            counters: take(&mut ebpf, maps::COUNTERS)?,
            ring: take(&mut ebpf, maps::RING)?,
            frame: Vec::with_capacity(maps::ring::LONG_FRAME),
            logger,
            ebpf,
        })
    }

    /// Whether the program takes frames of several buffers (xdp.frags).
    pub fn has_frags(&self) -> bool {
        self.entry == ENTRY_FRAGS
    }

    /// Attaches the program to an interface, through a BPF link.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Busy`] where the interface has another XDP program, which
    /// stays; [`ProgramError::Attach`] for all else.
    pub fn attach(&mut self, ifindex: u32, mode: AttachMode) -> Result<(), ProgramError> {
        let program = xdp(&self.ebpf, self.entry)?;
        let fd = program.fd().map_err(|error| ProgramError::Load(error.to_string()))?;
        self.link = Some(xdp_link::create(fd.as_fd(), ifindex, mode)?);
        Ok(())
    }

    /// Detaches the program. The maps stay as they are.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Gives frames of live sessions that arrive on `queue` to an AF_XDP socket,
    /// which must have its receive ring.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Map`].
    pub fn insert_socket(
        &mut self,
        queue: u32,
        socket: BorrowedFd<'_>,
    ) -> Result<(), ProgramError> {
        self.sockets.set(queue, socket, 0).map_err(map_error(maps::SOCKETS))
    }

    /// Gives frames of live sessions on `queue` to the ring buffer again. A queue
    /// without a socket is left as it is.
    pub fn remove_socket(&mut self, queue: u32) {
        if let Err(error) = self.sockets.unset(queue) {
            tracing::trace!(queue, %error, "no socket to remove");
        }
    }

    /// Lets the frames of a session through. Returns once they are.
    ///
    /// # Errors
    ///
    /// [`LinkError::SessionsFull`], and [`LinkError::Program`] where the kernel
    /// has no memory.
    pub fn insert_session(&mut self, key: SessionKey, framing: Framing) -> Result<(), LinkError> {
        self.sessions.insert(key.to_bytes(), framing_code(framing), 0).map_err(|error| match &error
        {
            MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::E2BIG) => {
                LinkError::SessionsFull(maps::SESSIONS_CAPACITY)
            }
            _ => map_error(maps::SESSIONS)(error).into(),
        })
    }

    /// Drops the frames of a session from here on. Unknown keys are ignored.
    pub fn remove_session(&mut self, key: SessionKey) {
        if let Err(error) = self.sessions.remove(&key.to_bytes()) {
            tracing::trace!(?key, %error, "no session to remove");
        }
    }

    /// What became of every frame so far on all CPUs, indexed by [`Counter`].
    ///
    /// # Errors
    ///
    /// [`ProgramError::Map`].
    pub fn counters(&self) -> Result<[u64; Counter::COUNT], ProgramError> {
        let mut sums = [0; Counter::COUNT];
        for (index, sum) in (0..).zip(&mut sums) {
            let values = self.counters.get(&index, 0).map_err(map_error(maps::COUNTERS))?;
            *sum = values.iter().sum();
        }
        Ok(sums)
    }

    /// What to wait on for frames in the ring buffer.
    pub fn ring(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// What to wait on for the program's own messages;
    /// [`flush_log`](Self::flush_log) reads them.
    pub fn log(&self) -> BorrowedFd<'_> {
        self.logger.as_fd()
    }

    /// Passes the program's own messages on to the `log` crate. Never blocks.
    pub fn flush_log(&mut self) {
        self.logger.flush();
    }

    /// Hands up to `budget` frames of the ring buffer to `sink`, each from its
    /// Ethernet header on, and returns how many. Never blocks.
    pub fn drain(&mut self, budget: usize, sink: &mut dyn FnMut(&mut [u8])) -> usize {
        for taken in 0..budget {
            let Some(record) = self.ring.next() else {
                return taken;
            };
            self.frame.clear();
            self.frame.extend_from_slice(maps::ring::frame(&record).unwrap_or_default());
            // Its place in the ring is free before the frame is worked on.
            drop(record);
            sink(&mut self.frame);
        }
        budget
    }

    /// Runs the program once on `frame`, without an interface, as received on
    /// queue 0, and returns its XDP action and the frame behind it.
    ///
    /// # Errors
    ///
    /// The kernel's, as for a frame shorter than an Ethernet header.
    pub fn test_run(&self, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        let program = xdp(&self.ebpf, self.entry).map_err(io::Error::other)?;
        let mut behind = vec![0; frame.len() + TEST_RUN_ROOM];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut behind),
                ..TestRunOptions::new()
            })
            .map_err(|error| match error {
                aya::programs::ProgramError::SyscallError(call) => call.io_error,
                other => io::Error::other(other),
            })?;
        behind.truncate(result.data_size_out as usize);
        Ok((result.return_value, behind))
    }
}

/// Bytes by which a frame may grow in [`Program::test_run`].
const TEST_RUN_ROOM: usize = 256;

/// Loads the first of `entries` that the kernel takes.
fn load_first(ebpf: &mut Ebpf, entries: &[&'static str]) -> Result<&'static str, ProgramError> {
    let mut last = ProgramError::Load("there is no entry to load".to_owned());
    for entry in entries {
        match xdp_mut(ebpf, entry)?.load() {
            Ok(()) => return Ok(entry),
            Err(error) => last = program_error(error),
        }
        tracing::debug!(entry, error = %last, "the kernel refused an entry of the XDP program");
    }
    Err(last)
}

fn xdp<'a>(ebpf: &'a Ebpf, entry: &str) -> Result<&'a Xdp, ProgramError> {
    let program = ebpf.program(entry).ok_or_else(|| missing(entry))?;
    program.try_into().map_err(program_error)
}

fn xdp_mut<'a>(ebpf: &'a mut Ebpf, entry: &str) -> Result<&'a mut Xdp, ProgramError> {
    let program = ebpf.program_mut(entry).ok_or_else(|| missing(entry))?;
    program.try_into().map_err(program_error)
}

fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, ProgramError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    map.try_into().map_err(map_error(name))
}

fn missing(name: &str) -> ProgramError {
    ProgramError::Load(format!("the embedded object has no {name}"))
}

fn map_error(map: &'static str) -> impl FnOnce(MapError) -> ProgramError {
    move |cause| ProgramError::Map { map, cause }
}

fn load_error(error: EbpfError) -> ProgramError {
    match &error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) if is_permission(io_error) => {
            ProgramError::Permission
        }
        _ => ProgramError::Load(chain(&error)),
    }
}

fn program_error(error: aya::programs::ProgramError) -> ProgramError {
    match &error {
        aya::programs::ProgramError::LoadError { io_error, .. } if is_permission(io_error) => {
            ProgramError::Permission
        }
        aya::programs::ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let tail = lines[lines.len().saturating_sub(VERIFIER_LINES)..].join("\n  ");
            ProgramError::Load(format!("{io_error}; the verifier's last words:\n  {tail}"))
        }
        _ => ProgramError::Load(chain(&error)),
    }
}

/// Whether the kernel asks for more rights. The verifier says EACCES for faults
/// of the program itself.
fn is_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
