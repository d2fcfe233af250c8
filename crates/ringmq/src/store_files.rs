//! Files of a store as plain bytes, for the sub-commands that need no engine.
//!
//! Conventional reads, each of some megabytes, with the kernel told to read on meanwhile and to keep
//! nothing. Invariant: nothing is opened for writing.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// See the module. Keeps the last file open.
#[derive(Debug, Default)]
pub(crate) struct Files(RefCell<Option<(PathBuf, File)>>);

impl store::Source for Files {
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                names.push((
                    entry.file_name().to_string_lossy().into_owned(),
                    metadata.len(),
                ));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &Path, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut last = self.0.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| known != path) {
            *last = Some((path.to_owned(), File::open(path)?));
        }
        let Some((_, file)) = last.as_ref() else {
            return Ok(0);
        };
        let mut filled = 0;
        while filled < into.len() {
            match file.read_at(&mut into[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled >= AHEAD_FROM {
            let end = position + filled as u64;
            // Advice only: what the kernel does not take it need not.
            let advise = |at: u64, len: usize, advice| {
                let _ = posix_fadvise(file, at.cast_signed(), len.cast_signed() as i64, advice);
            };
            advise(end, AHEAD, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
            advise(position, filled, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        Ok(filled)
    }
}

/// Reads of at least so many bytes go through a file in order.
const AHEAD_FROM: usize = 1 << 20;
/// How far the kernel reads meanwhile, in bytes.
const AHEAD: usize = 8 << 20;
