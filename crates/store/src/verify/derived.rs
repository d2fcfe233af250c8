//! Checking what stands beside the log: the tail ring and the runs of the key index.
//!
//! Both are read whole. A run that is damaged is made again by the broker, so it costs no message. A
//! ring counts only where the store was not closed in order: else the log has everything. Blocks of
//! a ring that a power cut tore are no damage. Invariant: nothing is decided that a start would
//! decide otherwise.

use super::check::{Check, FindingKind};
use super::walk::Visit;
use super::{Source, VerifyError};
use crate::key_index::{PAGE_LEN, RunCheck};
use crate::layout::key_run_number;
use crate::record;
use crate::tail_ring::{RING_LEN_MAX, RingContent};
use std::io;
use std::path::Path;

/// How much of a file is read at once, in bytes: whole pages.
const PIECE_LEN: usize = 4 << 20;

impl Check<'_> {
    /// The tail ring, after the log was walked.
    pub(super) fn tail_ring<S: Source>(&mut self, source: &S) -> Result<(), VerifyError> {
        let path = self.files.paths.tail_ring();
        let mut bytes = Vec::new();
        let got = self.pieces(source, &path, |piece| {
            bytes.extend_from_slice(piece);
            bytes.len() <= RING_LEN_MAX
        })?;
        if got == 0 {
            return Ok(());
        }
        let newest = self.files.newest_checkpoint();
        let is_closed = newest.is_some_and(|newest| newest.head.position >= self.summary.end);
        let Some(content) = RingContent::parse(self.files.shard, self.files.secret, bytes) else {
            if !is_closed {
                let text = "the tail ring is damaged: messages that were acknowledged under \
                            ASYNC_FLUSH just before the broker ended may be missing"
                    .to_owned();
                self.find(FindingKind::TailRing, &path, 0, got, text);
            }
            return Ok(());
        };
        let end = self.summary.end;
        let beyond = content.blocks().into_iter();
        for block in beyond.filter(|block| block.head.position >= end) {
            self.summary.ring_blocks += 1;
            self.summary.ring_records += u64::from(record::count(block.payload));
        }
        Ok(())
    }

    /// All runs of the key index.
    pub(super) fn key_index<S: Source>(&mut self, source: &S) -> Result<(), VerifyError> {
        let dir = &self.files.paths.keys;
        let names = source.list(dir).map_err(VerifyError::io(dir))?;
        for number in names.iter().filter_map(|(name, _)| key_run_number(name)) {
            let path = self.files.paths.key_run(number);
            let mut run = RunCheck::new(self.files.shard, self.files.secret, number);
            self.pieces(source, &path, |piece| {
                piece.chunks(PAGE_LEN).for_each(|page| run.page(page));
                true
            })?;
            let (pages, bad) = run.end();
            self.summary.key_pages += pages;
            if let Some((page, what)) = bad {
                let text = format!(
                    "page {page} of a run of the key index {what}; the run is made again from the log"
                );
                let at = page * PAGE_LEN as u64;
                self.find(FindingKind::KeyRun, &path, at, PAGE_LEN as u64, text);
            }
        }
        Ok(())
    }

    /// Reads a file from its beginning until `take` has enough. Gives how many bytes there were; none
    /// when there is no file.
    fn pieces<S: Source>(
        &mut self,
        source: &S,
        path: &Path,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<u64, VerifyError> {
        let mut piece = vec![0; PIECE_LEN];
        let mut position = 0;
        loop {
            let got = match source.read(path, position, &mut piece) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(error) => return Err(VerifyError::io(path)(error)),
            };
            Visit::read(self, got as u64);
            position += got as u64;
            if got == 0 || !take(&piece[..got]) || got < PIECE_LEN {
                return Ok(position);
            }
        }
    }
}
