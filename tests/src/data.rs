//! Random file contents from a seed, and whether two files are the same.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// `len` random bytes; the same for the same seed.
pub fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Writes `len` random bytes to a new file.
///
/// # Errors
///
/// Where it cannot be written.
pub fn write_random(path: &Path, seed: u64, len: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::with_capacity(CHUNK, file);
    let source = Source(StdRng::seed_from_u64(seed));
    io::copy(&mut source.take(len), &mut file)
        .and_then(|_| file.flush())
        .with_context(|| format!("cannot write {len} bytes to {}", path.display()))
}

/// Fails unless both files hold the same bytes.
///
/// # Errors
///
/// With the first byte that differs, or both lengths.
pub fn require_same(sent: &Path, arrived: &Path) -> Result<()> {
    let mut left = open(sent)?;
    let mut right = open(arrived)?;
    let lengths = (left.metadata()?.len(), right.metadata()?.len());
    if lengths.0 != lengths.1 {
        bail!("{} bytes were sent, {} arrived", lengths.0, lengths.1);
    }
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < lengths.0 {
        let len = usize::try_from(lengths.0 - at).map_or(CHUNK, |rest| rest.min(CHUNK));
        left.read_exact(&mut a[..len])?;
        right.read_exact(&mut b[..len])?;
        if let Some(differs) = (0..len).find(|&i| a[i] != b[i]) {
            bail!("byte {} of {} arrived changed", at + differs as u64, lengths.0);
        }
        at += len as u64;
    }
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Endless random bytes.
struct Source(StdRng);

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.fill_bytes(buffer);
        Ok(buffer.len())
    }
}

const CHUNK: usize = 1 << 20;
