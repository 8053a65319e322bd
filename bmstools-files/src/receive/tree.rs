//! Entries in their order, on a thread that may block.

use std::collections::BTreeMap;
use std::sync::Arc;

use bmstools_proto::v2::message::files::{
    Check, Data, Dir, MAX_CHECKED, MAX_DEPTH, MAX_INLINE, Meta, Small, Symlink, ToSender,
};
use bmstools_proto::v2::message::{Failure, FailureCode};
use rustix::fs::{AtFlags, fsync, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use super::context::{Context, done};
use super::folder::Folder;
use super::partial::Partial;
use super::place::Place;
use super::small::{Placer, Spot, take_present};
use super::sweep::hidden_name;
use crate::failure::{failure, violation};
use crate::meta;
use crate::name;

/// What is to be done, with the number of the entry.
pub(crate) enum Job {
    Dir(u64, Dir),
    Leave,
    Symlink(u64, Symlink),
    Small(u64, Small),
    Check(u64, Check),
    Data(Data),
    /// Says where a large file goes.
    Locate(u64, Vec<u8>, Meta, oneshot::Sender<Spot>),
    /// Nothing more comes.
    End,
}

/// The directories that are being filled.
pub(crate) struct Tree {
    ctx: Arc<Context>,
    root_name: Vec<u8>,
    marker: Option<(Vec<u8>, bool)>,
    is_directory: bool,
    outer: Arc<Folder>,
    /// Innermost last.
    stack: Vec<Arc<Folder>>,
    /// Directories within each other whose outermost could not be made.
    skipping: usize,
    begun: bool,
    marked: Option<Partial>,
    placer: Placer,
    wanted: BTreeMap<u64, (Spot, Meta, u64)>,
}

impl Tree {
    pub(crate) fn new(ctx: Arc<Context>, place: Place) -> Self {
        let outer = Folder::outer(&ctx, place.parent, place.parent_path);
        Self {
            ctx,
            root_name: place.name,
            marker: place.marker.map(|marker| (marker, place.exists)),
            is_directory: place.directory,
            outer,
            stack: Vec::new(),
            skipping: 0,
            begun: false,
            marked: None,
            placer: Placer::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Does jobs until there are no more, or the transfer is told to stop.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            if self.ctx.stop.reason().is_some() {
                return;
            }
            if let Err(violation) = self.job(job) {
                self.ctx.stop.with(violation.into());
                return;
            }
        }
    }

    /// Fails where the sender broke a rule; what fails on this side is told to the sender.
    fn job(&mut self, job: Job) -> Result<(), Failure> {
        match job {
            Job::Dir(entry, dir) => self.dir(entry, dir),
            Job::Leave => self.leave(),
            Job::Symlink(entry, link) => self.symlink(entry, &link),
            Job::Small(entry, file) => self.small(entry, file),
            Job::Check(entry, file) => self.check(entry, file),
            Job::Data(data) => self.data(data),
            Job::Locate(entry, name, meta, answer) => self.locate(entry, name, &meta, answer),
            Job::End => self.end(),
        }
    }

    fn fail(&self, entry: u64, failure: Failure) {
        if let Some(message) = self.ctx.failed(entry, failure) {
            self.ctx.reply_blocking(message);
        }
    }

    fn dir(&mut self, entry: u64, dir: Dir) -> Result<(), Failure> {
        if self.stack.len() + self.skipping >= MAX_DEPTH {
            return Err(violation("directories too deep within each other"));
        }
        if !self.is_directory {
            return Err(violation("a directory where a file was announced"));
        }
        if self.skipping > 0 {
            self.skipping += 1;
            return Ok(());
        }
        let is_root = !self.begun;
        let spot = self.spot(dir.name, &dir.meta)?;
        match spot.folder.enter(&spot.name, dir.meta) {
            Ok((folder, made)) => {
                if is_root && let Err(failure) = self.mark(&folder, made) {
                    self.ctx.stop.with(failure.into());
                    return Ok(());
                }
                self.stack.push(folder);
                self.ctx.arrived(0, 0);
            }
            Err(failure) if is_root => self.ctx.stop.with(failure.into()),
            Err(failure) => {
                self.fail(entry, failure);
                self.skipping = 1;
            }
        }
        Ok(())
    }

    /// Marks a root that this transfer has made, so that the next attempt knows it.
    fn mark(&mut self, root: &Arc<Folder>, made: bool) -> Result<(), Failure> {
        let Some((marker, existed)) = self.marker.take() else { return Ok(()) };
        if made != existed {
            self.marked = Some(Partial::open_hidden(root, b"", marker)?);
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Failure> {
        if self.skipping > 0 {
            self.skipping -= 1;
            return Ok(());
        }
        match self.stack.pop() {
            Some(folder) => folder.complete(),
            None => return Err(violation("more directories left than entered")),
        }
        Ok(())
    }

    /// Where the next entry of this name goes; the caller has seen to `skipping`.
    fn spot(&mut self, name: Vec<u8>, meta: &Meta) -> Result<Spot, Failure> {
        meta::check(meta)?;
        if !self.begun {
            self.begun = true;
            if !name.is_empty() {
                return Err(violation("a root with a name"));
            }
            return Ok(Spot { folder: Arc::clone(&self.outer), name: self.root_name.clone() });
        }
        let Some(folder) = self.stack.last() else {
            return Err(violation("an entry outside of the root"));
        };
        name::check(&name)?;
        Ok(Spot { folder: Arc::clone(folder), name })
    }

    /// The same for a file or a link; `None` where its directory could not be made.
    fn leaf(&mut self, entry: u64, name: Vec<u8>, meta: &Meta) -> Result<Option<Spot>, Failure> {
        if self.skipping > 0 {
            self.fail(entry, failure(FailureCode::Other, "its directory could not be made"));
            return Ok(None);
        }
        if !self.begun && self.is_directory {
            return Err(violation("a file where a directory was announced"));
        }
        self.spot(name, meta).map(Some)
    }

    fn symlink(&mut self, entry: u64, link: &Symlink) -> Result<(), Failure> {
        if !self.begun || link.target.is_empty() || link.target.contains(&0) {
            return Err(violation("an impossible symbolic link"));
        }
        let Some(spot) = self.leaf(entry, link.name.clone(), &link.meta)? else { return Ok(()) };
        match put_link(&spot, &link.target, &link.meta) {
            Ok(()) => self.ctx.arrived(0, 0),
            Err(failure) => self.fail(entry, failure),
        }
        Ok(())
    }

    fn small(&mut self, entry: u64, file: Small) -> Result<(), Failure> {
        if file.data.len() > MAX_INLINE {
            return Err(violation("a small file that is large"));
        }
        let Some(spot) = self.leaf(entry, file.name, &file.meta)? else { return Ok(()) };
        self.put(entry, spot, &file.meta, &file.data);
        Ok(())
    }

    fn put(&mut self, entry: u64, spot: Spot, meta: &Meta, data: &[u8]) {
        self.ctx.receiver.progress.add(data.len() as u64);
        self.ctx.summary().sent += data.len() as u64;
        let mut failures = Vec::new();
        let put = self.placer.put(entry, spot, meta, data, &mut |entry, failure| {
            failures.push((entry, failure));
        });
        failures.extend(put.err().map(|failure| (entry, failure)));
        for (entry, failure) in failures {
            self.fail(entry, failure);
        }
    }

    fn finish_waiting(&mut self) {
        let mut failures = Vec::new();
        self.placer.finish(&mut |entry, failure| failures.push((entry, failure)));
        for (entry, failure) in failures {
            self.fail(entry, failure);
        }
    }

    fn check(&mut self, entry: u64, file: Check) -> Result<(), Failure> {
        if file.size > MAX_INLINE as u64 || self.wanted.len() >= MAX_CHECKED {
            return Err(violation("too much to check"));
        }
        let Some(spot) = self.leaf(entry, file.name, &file.meta)? else { return Ok(()) };
        match take_present(&spot, &file.meta, file.size, &file.digest) {
            Ok(true) => {
                self.ctx.arrived(file.size, file.size);
                self.ctx.receiver.progress.add(file.size);
                self.ctx.reply_blocking(done(entry));
            }
            Ok(false) => {
                self.wanted.insert(entry, (spot, file.meta, file.size));
                self.ctx.reply_blocking(ToSender::Want(entry));
            }
            Err(error) => self.fail(entry, spot.failed("set owner, mode and time of", error)),
        }
        Ok(())
    }

    fn data(&mut self, data: Data) -> Result<(), Failure> {
        let Some((spot, meta, size)) = self.wanted.remove(&data.entry) else {
            return Err(violation("data that was not wanted"));
        };
        if data.data.len() as u64 != size {
            return Err(violation("data of another size than was announced"));
        }
        self.put(data.entry, spot, &meta, &data.data);
        Ok(())
    }

    fn locate(
        &mut self,
        entry: u64,
        name: Vec<u8>,
        meta: &Meta,
        answer: oneshot::Sender<Spot>,
    ) -> Result<(), Failure> {
        // Without an answer the file's task knows that there is no place.
        if let Some(spot) = self.leaf(entry, name, meta)? {
            let _ = answer.send(spot);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        if !self.stack.is_empty() || self.skipping > 0 || !self.wanted.is_empty() {
            return Err(violation("an end in the middle"));
        }
        self.finish_waiting();
        if let Some(marker) = self.marked.take() {
            marker.discard();
        }
        if self.ctx.single {
            // So that the name is safe too. Some file systems cannot; the data is.
            let _ = fsync(self.outer.fd());
        }
        Ok(())
    }
}

/// Makes a symbolic link, in place of a file or link that is there.
fn put_link(spot: &Spot, target: &[u8], meta: &Meta) -> Result<(), Failure> {
    let ctx = spot.folder.ctx();
    let dir = spot.folder.fd();
    let set = |name: &[u8]| ctx.policy.set_link(dir, name, meta);
    match symlinkat(target, dir, &spot.name) {
        Ok(()) => return set(&spot.name).map_err(|error| spot.failed("set the owner of", error)),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(spot.failed("make the link", error)),
    }
    spot.folder.check_replaceable(&spot.name)?;
    let same =
        readlinkat(dir, &spot.name, Vec::new()).is_ok_and(|present| present.as_bytes() == target);
    if same {
        return set(&spot.name).map_err(|error| spot.failed("set the owner of", error));
    }
    if ctx.no_clobber {
        return Err(spot.folder.exists(&spot.name));
    }
    let hidden = hidden_name(&spot.name);
    let _ = unlinkat(dir, &hidden, AtFlags::empty());
    let replaced = symlinkat(target, dir, &hidden)
        .and_then(|()| set(&hidden))
        .and_then(|()| rustix::fs::renameat(dir, &hidden, dir, &spot.name));
    replaced.map_err(|error| {
        let _ = unlinkat(dir, &hidden, AtFlags::empty());
        spot.failed("replace", error)
    })
}
