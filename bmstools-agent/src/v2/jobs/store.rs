//! Where jobs are kept: a directory each, which outlives the agent but not the system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bmstools_proto::v2::message::exec::{Job, JobState};
use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{FlockOperation, flock};

use crate::v2::failure;
use crate::v2::launch::cannot;

/// All jobs of this system.
#[derive(Clone, Debug)]
pub(crate) struct Store(PathBuf);

impl Store {
    /// The jobs in `directory`, which is made with the first one.
    pub(crate) fn new(directory: &Path) -> Self {
        Self(directory.to_path_buf())
    }

    /// Makes the directory of a new job, for its owner alone.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub(crate) fn create(&self) -> Result<String, Failure> {
        let fails =
            |error: io::Error| cannot(&format!("keep a job in {}", self.0.display()), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(fails)?;
        loop {
            let id = random_id();
            match DirBuilder::new().mode(0o700).create(self.0.join(&id)) {
                Ok(()) => return Ok(id),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fails(error)),
            }
        }
    }

    /// The directory of a job.
    ///
    /// # Errors
    ///
    /// Where `id` cannot be one's name.
    pub(crate) fn place(&self, id: &str) -> Result<PathBuf, Failure> {
        let is_name = (1..=MAX_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_name { Ok(self.0.join(id)) } else { Err(no_job(id)) }
    }

    /// What is known of a job.
    ///
    /// # Errors
    ///
    /// Where there is none of this name, or its record cannot be read.
    pub(crate) fn get(&self, id: &str) -> Result<Job, Failure> {
        read(&self.place(id)?).map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_job(id),
            _ => cannot(&format!("read the record of job {id}"), &error),
        })
    }

    /// All jobs, the oldest first.
    pub(crate) fn list(&self) -> Vec<Job> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut jobs: Vec<_> = entries.filter_map(|entry| read(&entry.path()).ok()).collect();
        jobs.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        jobs
    }

    /// Removes a job with what it wrote, running or not.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Failure> {
        fs::remove_dir_all(self.place(id)?)
            .map_err(|error| cannot(&format!("remove job {id}"), &error))
    }

    /// Removes the oldest jobs that have ended until no more than `keep` are left, and
    /// what jobs left that never began.
    pub(crate) fn prune(&self, keep: usize) {
        let jobs = self.list();
        let ended: Vec<_> = jobs.iter().filter(|job| job.state != JobState::Running).collect();
        for job in ended.iter().take(ended.len().saturating_sub(keep)) {
            let _ = self.remove(&job.id);
        }
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|about| about.modified()).ok();
            let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
            let path = entry.path();
            if age.is_some_and(|age| age > STILLBORN)
                && !path.join(RECORD).exists()
                && !is_kept(&path)
            {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

/// A job's record. One that runs without anybody to keep it is lost.
fn read(place: &Path) -> io::Result<Job> {
    // In this order: a keeper writes the end down before it goes.
    let kept = is_kept(place);
    let bytes = fs::read(place.join(RECORD))?;
    let mut job: Job = minicbor::decode(&bytes).map_err(|_| ErrorKind::InvalidData)?;
    if job.state == JobState::Running && !kept {
        job.state = JobState::Lost;
    }
    Ok(job)
}

/// Replaces a job's record.
pub(crate) fn write(place: &Path, job: &Job) -> io::Result<()> {
    let bytes = minicbor::to_vec(job).map_err(|_| ErrorKind::InvalidData)?;
    let new = place.join(NEW_RECORD);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut file, &bytes)?;
    fs::rename(new, place.join(RECORD))
}

/// Says that this process keeps the job, as long as the file is open.
pub(crate) fn keep(place: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(place.join(LOCK))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn is_kept(place: &Path) -> bool {
    File::open(place.join(LOCK))
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

/// Easily typed, and not likely to name another job later.
fn random_id() -> String {
    (0..ID_LEN).map(|_| char::from(LETTERS[rand::random::<usize>() % LETTERS.len()])).collect()
}

fn no_job(id: &str) -> Failure {
    failure(FailureCode::NotFound, format!("there is no job {id:?}; `bmstools jobs` lists them"))
}

/// What the keeper holds a lock on.
const LOCK: &str = "lock";
const RECORD: &str = "record";
const NEW_RECORD: &str = "record.new";
/// A job's standard output.
pub(crate) const OUTPUT: &str = "stdout";
/// A job's standard error.
pub(crate) const ERRORS: &str = "stderr";

/// Without those that look like others.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
const ID_LEN: usize = 5;
const MAX_ID: usize = 16;
/// Age past which a directory without a record is nobody's.
const STILLBORN: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, started: u64, state: JobState) -> Job {
        Job {
            id: id.into(),
            state,
            argv: vec![b"true".to_vec().into()],
            shell: false,
            user: None,
            pid: 1,
            started,
            ended: None,
            exited: None,
            output_cut: 0,
            errors_cut: 0,
        }
    }

    #[test]
    fn a_running_job_without_a_keeper_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("jobs"));
        let id = store.create().unwrap();
        let place = store.place(&id).unwrap();
        assert_eq!(store.get(&id).unwrap_err().code, FailureCode::NotFound);
        let lock = keep(&place).unwrap();
        write(&place, &job(&id, 1, JobState::Running)).unwrap();
        assert_eq!(store.get(&id).unwrap().state, JobState::Running);
        drop(lock);
        assert_eq!(store.get(&id).unwrap().state, JobState::Lost);
        write(&place, &job(&id, 1, JobState::Exited)).unwrap();
        assert_eq!(store.get(&id).unwrap().state, JobState::Exited);
    }

    #[test]
    fn the_oldest_that_have_ended_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let mut locks = Vec::new();
        for started in 0..4 {
            let id = store.create().unwrap();
            let place = store.place(&id).unwrap();
            let running = started == 0;
            if running {
                locks.push(keep(&place).unwrap());
            }
            let state = if running { JobState::Running } else { JobState::Exited };
            write(&place, &job(&id, started, state)).unwrap();
        }
        store.prune(2);
        let left: Vec<_> = store.list().iter().map(|job| job.started).collect();
        assert_eq!(left, [0, 2, 3]);
    }

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        let store = Store::new(Path::new("/nowhere"));
        for name in ["", "..", "../x", "a/b", "A", "a b", "\0", "abcdefghijklmnopq"] {
            assert!(store.place(name).is_err(), "{name}");
        }
    }
}
