//! A mapped file that outlives the process: unsafe code as in `adopt` and `heap`.
//!
//! Owned by the shard that mapped it. A store is a copy into shared memory that the kernel owns, so
//! it is in the file the moment it is made, whatever becomes of the process. The room of the file is
//! claimed before it is mapped: a store into a hole of a full file system would end the process with
//! SIGBUS. Invariant: nothing hands out a reference into the map, since another process could change
//! it; bytes go in and out by copies.

#![allow(
    unsafe_code,
    reason = "copies into memory that the kernel shares are raw by nature"
)]

use crate::disk::blocking;
use memmap2::{Advice, MmapRaw};
use nix::fcntl::posix_fallocate;
use rt::SharedMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of a map is made present and writable when it is opened, in bytes: the part that is used
/// first. The rest costs memory only once it is needed.
const PRESENT_LEN: usize = 2 << 20;

/// A mapped file.
#[derive(Debug)]
pub struct GlommioMap(Arc<MmapRaw>);

impl GlommioMap {
    /// Opens, sizes and maps. Blocks.
    pub(crate) fn open(path: &Path, len: usize) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        if file.metadata()?.len() > len as u64 {
            file.set_len(len as u64)?;
        }
        claim(&file, len)?;
        let map = MmapRaw::map_raw(&file)?;
        if map.len() != len {
            return Err(io::Error::other("the file changed its length meanwhile"));
        }
        // Only time is at stake: without it (Linux before 5.14) each page is made present by the
        // first store into it.
        let _ = map.advise_range(Advice::PopulateWrite, 0, len.min(PRESENT_LEN));
        Ok(Self(Arc::new(map)))
    }

    fn at(&self, at: usize, len: usize) -> *mut u8 {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.0.len());
        assert!(fits, "{len} bytes at {at} are in the map");
        // SAFETY: `at` is at most the length of the map, as asserted.
        unsafe { self.0.as_mut_ptr().add(at) }
    }
}

/// Extends the file to `len` bytes, all of which have blocks of the device.
fn claim(file: &File, len: usize) -> io::Result<()> {
    posix_fallocate(file, 0, len as i64).map_err(io::Error::from)
}

impl SharedMap for GlommioMap {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn store(&self, at: usize, bytes: &[u8]) {
        let to = self.at(at, bytes.len());
        // SAFETY: `to` has room for all of `bytes` inside the map, which lives as long as `self`. No
        // reference into the map exists, so the two cannot overlap. The map is owned by one thread.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    fn store_word(&self, at: usize, word: u64) {
        assert!(at.is_multiple_of(8), "a word is aligned");
        #[allow(
            clippy::cast_ptr_alignment,
            reason = "a map starts at a page, and the place is a multiple of 8"
        )]
        let to = self.at(at, 8).cast::<AtomicU64>();
        // SAFETY: the 8 bytes lie in the map, which starts at a page, so they are aligned; whatever
        // they hold is a valid word. The release store keeps every store before it before it.
        unsafe { (*to).store(word.to_le(), Ordering::Release) };
    }

    fn load(&self, at: usize, len: usize) -> Vec<u8> {
        let from = self.at(at, len);
        let mut bytes = vec![0; len];
        // SAFETY: as in `store`, the other way round; `bytes` is fresh memory of `len` bytes.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len) };
        bytes
    }

    async fn sync(&self) -> io::Result<()> {
        let map = Arc::clone(&self.0);
        blocking(move || map.flush()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_store_outside_the_map_is_refused_before_a_byte_is_touched() {
        let path = std::env::temp_dir().join(format!("engine-map-{}", std::process::id()));
        let map = GlommioMap::open(&path, 8_192).unwrap();
        for (at, len) in [(8_190, 3), (8_193, 0), (usize::MAX, 2)] {
            let stored = catch_unwind(AssertUnwindSafe(|| map.store(at, &vec![1; len])));
            assert!(stored.is_err(), "{len} at {at}");
        }
        for at in [4, 8_192] {
            let stored = catch_unwind(AssertUnwindSafe(|| map.store_word(at, 1)));
            assert!(stored.is_err(), "word at {at}");
        }
        assert_eq!(map.load(0, 8_192), vec![0; 8_192]);
        std::fs::remove_file(path).unwrap();
    }
}
