//! The local file of a push, read ahead on a thread of its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// A regular file whose bytes come in order, in pieces of any size.
///
/// Holds a few blocks and one piece, however long the file is.
#[derive(Debug)]
pub(crate) struct Source {
    size: u64,
    path: PathBuf,
    blocks: Receiver<Result<Vec<u8>>>,
    ready: Vec<u8>,
}

/// A file that may be pushed, opened.
#[derive(Debug)]
pub(crate) struct Local {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Local {
    /// Opens `path`.
    ///
    /// # Errors
    ///
    /// Where it is no regular file, or cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        if path == Path::new("-") {
            bail!(
                "standard input cannot be pushed: v1 needs the size beforehand; write it to a \
                 file first (a file named - is ./-)"
            );
        }
        // A FIFO would block the open, so its kind is asked for first.
        let metadata = path.metadata().with_context(|| format!("cannot read {shown}"))?;
        if metadata.is_dir() {
            bail!(
                "{shown} is a directory: v1 carries single files, directories need v2; push an \
                 archive of it instead"
            );
        }
        if !metadata.is_file() {
            bail!("{shown} is not a regular file: only those can be pushed");
        }
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        let size = file.metadata().with_context(|| format!("cannot read {shown}"))?.len();
        Ok(Self { file, path: path.to_owned(), size })
    }

    /// Bytes in the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Begins to read.
    ///
    /// # Errors
    ///
    /// Where the process can have no more threads.
    pub(crate) fn read_ahead(self) -> Result<Source> {
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let (size, path) = (self.size, self.path.clone());
        thread::Builder::new()
            .name("reader".into())
            .spawn(move || self.read_all(&sender))
            .context("cannot start the reading thread")?;
        Ok(Source { size, path, blocks, ready: Vec::new() })
    }

    fn read_all(mut self, blocks: &Sender<Result<Vec<u8>>>) {
        let mut remaining = self.size;
        while remaining > 0 {
            let block = self.read_block(remaining);
            let failed = block.is_err();
            remaining -= block.as_ref().map_or(0, |block| block.len() as u64);
            if blocks.blocking_send(block).is_err() || failed {
                return;
            }
        }
        if let Err(error) = self.check_unchanged() {
            let _ = blocks.blocking_send(Err(error));
        }
    }

    fn read_block(&mut self, remaining: u64) -> Result<Vec<u8>> {
        let len = remaining.min(BLOCK as u64);
        let mut block = Vec::with_capacity(BLOCK);
        (&self.file).take(len).read_to_end(&mut block).map_err(|error| self.unreadable(error))?;
        if (block.len() as u64) < len {
            let missing = remaining - block.len() as u64;
            bail!(
                "{} became shorter while it was read: {missing} of {} bytes are missing; nothing \
                 was put in place",
                self.path.display(),
                self.size
            );
        }
        Ok(block)
    }

    fn check_unchanged(&mut self) -> Result<()> {
        let more = self.file.read(&mut [0]).map_err(|error| self.unreadable(error))?;
        if more > 0 {
            bail!(
                "{} became longer than {} bytes while it was read; nothing was put in place",
                self.path.display(),
                self.size
            );
        }
        Ok(())
    }

    fn unreadable(&self, error: io::Error) -> anyhow::Error {
        anyhow::Error::new(error).context(format!("cannot read {}", self.path.display()))
    }
}

impl Source {
    /// Bytes in the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Makes sure that the next `len` bytes are at hand. Giving up waiting loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or changed its size.
    pub(crate) async fn prepare(&mut self, len: usize) -> Result<()> {
        while self.ready.len() < len {
            let block = self.blocks.recv().await;
            let block = block.ok_or_else(|| anyhow!("{} ended early", self.path.display()))??;
            self.ready.reserve_exact((len + BLOCK).saturating_sub(self.ready.len()));
            self.ready.extend_from_slice(&block);
        }
        Ok(())
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    ///
    /// Like [`prepare`](Self::prepare).
    pub(crate) async fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        self.prepare(len).await?;
        let rest = self.ready.split_off(len);
        Ok(std::mem::replace(&mut self.ready, rest))
    }

    /// Waits until the file is known to have ended where it should.
    ///
    /// # Errors
    ///
    /// Where it grew meanwhile.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        match self.blocks.recv().await {
            None => Ok(()),
            Some(Ok(_)) => bail!("{} was not read to its end", self.path.display()),
            Some(Err(error)) => Err(error),
        }
    }
}

/// Bytes read at once.
const BLOCK: usize = 256 * 1024;
/// Blocks read before they are needed: about one data message.
const BLOCKS_AHEAD: usize = 4;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn file(size: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[tokio::test]
    async fn pieces_of_any_size_are_the_file() {
        let (file, bytes) = file(3 * BLOCK + 77);
        let mut source = Local::open(file.path()).unwrap().read_ahead().unwrap();
        let mut read = Vec::new();
        for len in [1, BLOCK, 0, BLOCK + 5, 31] {
            read.extend(source.take(len).await.unwrap());
        }
        source.prepare(40).await.unwrap();
        read.extend(source.take(bytes.len() - read.len()).await.unwrap());
        source.finish().await.unwrap();
        assert!(read == bytes);
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error() {
        let (file, bytes) = file(BLOCK + 100);
        let local = Local::open(file.path()).unwrap();
        file.as_file().set_len(BLOCK as u64 + 99).unwrap();
        let mut source = local.read_ahead().unwrap();
        let error = source.take(bytes.len()).await.unwrap_err().to_string();
        assert!(error.contains("shorter") && error.contains("1 of 262244 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_grew_is_an_error_before_the_end() {
        for size in [0, 10, 2 * BLOCK] {
            let (mut file, bytes) = file(size);
            let local = Local::open(file.path()).unwrap();
            file.write_all(b"x").unwrap();
            let mut source = local.read_ahead().unwrap();
            source.take(bytes.len()).await.unwrap();
            let error = source.finish().await.unwrap_err().to_string();
            assert!(error.contains("longer"), "{error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_with_a_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let error = |path: &Path| Local::open(path).unwrap_err().to_string();
        assert!(error(Path::new("-")).contains("./-"));
        assert!(error(directory.path()).contains("v2"));
        assert!(error(Path::new("/dev/null")).contains("regular file"));
        assert!(error(&directory.path().join("missing")).contains("missing"));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert!(error(&link).contains("regular file"));
        fs::write(directory.path().join("f"), "x").unwrap();
        assert_eq!(Local::open(&directory.path().join("f")).unwrap().size(), 1);
    }
}
