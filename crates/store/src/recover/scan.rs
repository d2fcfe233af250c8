//! Reading blocks one after the other, and looking for good ones beyond a bad one.
//!
//! Part of recovery. Reads large pieces of the log in order. Invariant: a block counts only with
//! its checksum.

use crate::block::{BlockHeader, HEADER_LEN, Identity};
use crate::segment::Segments;
use crate::settings::Settings;
use crate::wait::all_of;
use base::{LogPosition, ShardId};
use rt::File;
use std::io;
use std::ops::Range;
use std::rc::Rc;

/// How much is read at once, in bytes, and in parts of which length that are under way together.
const WINDOW_LEN: usize = 4 << 20;
const PART_LEN: usize = 512 << 10;

/// What lies beyond a bad block, and the bad block itself.
#[derive(Default)]
pub(super) struct Later {
    /// Where the first good block starts.
    pub(super) first: Option<u64>,
    /// The highest durable position that any of them tells.
    pub(super) mark: u64,
    /// Every step of the alignment below the limit that holds anything but zeros, in order.
    pub(super) dirty: Vec<Range<u64>>,
    /// Bytes of them that are not zero.
    pub(super) dirty_bytes: u64,
}

impl Later {
    fn note_dirty(&mut self, from: u64, bytes: &[u8], align: u64) {
        let to = from + (bytes.len() as u64).next_multiple_of(align);
        match self.dirty.last_mut() {
            Some(last) if last.end == from => last.end = to,
            _ => self.dirty.push(from..to),
        }
        self.dirty_bytes += bytes.iter().filter(|byte| **byte != 0).count() as u64;
    }
}

/// A window of the log in memory that moves forward.
pub(super) struct Scanner {
    shard: ShardId,
    secret: u32,
    align: u64,
    segment_bytes: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Range of the last good block's payload in the window.
    payload: std::ops::Range<usize>,
}

impl Scanner {
    pub(super) fn new(settings: &Settings, secret: u32) -> Self {
        Self {
            shard: settings.shard,
            secret,
            align: settings.block_align as u64,
            segment_bytes: settings.segment_bytes,
            window: Vec::new(),
            window_at: 0,
            payload: 0..0,
        }
    }

    /// Where a block may start at or after `position`; `None` at the end of all segments.
    pub(super) fn settle<F>(&self, segments: &Segments<F>, position: u64) -> Option<u64> {
        let into = position % self.segment_bytes;
        let position = if into == 0 {
            position + self.align
        } else {
            position
        };
        segments.at(position).map(|_| position)
    }

    /// What a block at `position` is checked with.
    pub(super) fn identity_at<F>(&self, segments: &Segments<F>, position: u64) -> Identity {
        segments.identity_at(position, self.shard, self.secret)
    }

    /// Where the segment of `position` ends.
    pub(super) fn segment_end(&self, position: u64) -> u64 {
        position - position % self.segment_bytes + self.segment_bytes
    }

    /// Records of the last good block.
    pub(super) fn payload(&self) -> &[u8] {
        &self.window[self.payload.clone()]
    }

    /// The good block at `position`; its payload is [`Self::payload`] then.
    pub(super) async fn block<F: File>(
        &mut self,
        segments: &Segments<F>,
        position: u64,
    ) -> io::Result<Option<BlockHeader>> {
        let identity = segments.identity_at(position, self.shard, self.secret);
        let head = self.bytes(segments, position, HEADER_LEN).await?;
        let Some(header) = BlockHeader::peek(identity, LogPosition(position), head) else {
            return Ok(None);
        };
        let len = header.used_len();
        let segment_end = self.segment_end(position);
        if position + len as u64 > segment_end {
            return Ok(None);
        }
        let block = self.bytes(segments, position, len).await?;
        if !header.verify(identity, block) || header.end() > segment_end {
            return Ok(None);
        }
        let at = (position - self.window_at) as usize;
        self.payload = at + HEADER_LEN..at + len;
        Ok(Some(header))
    }

    /// Looks at every place after `position` and before `limit` where a block may start, and at the
    /// first place of each segment behind: a segment that was lost or cut is no torn end.
    pub(super) async fn later<F: File>(
        &mut self,
        segments: &Segments<F>,
        position: u64,
        limit: u64,
    ) -> io::Result<Later> {
        let mut later = Later::default();
        let (step, align) = (self.align, self.align as usize);
        let bad = self.bytes(segments, position, align).await?;
        if !is_zero(bad) {
            later.note_dirty(position, bad, step);
        }
        let mut next = position + self.align;
        while let Some(at) = self.settle(segments, next).filter(|at| *at < limit) {
            if let Some(header) = self.block(segments, at).await? {
                later.first = later.first.or(Some(at));
                later.mark = later.mark.max(header.durable_before.0);
                next = header.end();
                let block = self.bytes(segments, at, (next - at) as usize).await?;
                later.note_dirty(at, block, step);
                continue;
            }
            let rest = self.in_window(at);
            next = if rest.is_empty() {
                self.skip_missing(segments, at)
            } else {
                let zeros = rest.chunks(align).take_while(|step| is_zero(step)).count();
                if zeros == 0 {
                    later.note_dirty(at, &rest[..align.min(rest.len())], step);
                }
                at + zeros.max(1) as u64 * step
            };
        }
        let beyond = segments.iter().map(|segment| segment.start + self.align);
        let beyond: Vec<u64> = beyond.filter(|at| *at >= next.max(limit)).collect();
        for at in beyond {
            if let Some(header) = self.block(segments, at).await? {
                later.first = later.first.or(Some(at));
                later.mark = later.mark.max(header.durable_before.0);
            }
        }
        Ok(later)
    }

    /// What the window holds from `at` on, which was asked for before.
    fn in_window(&self, at: u64) -> &[u8] {
        let from = (at - self.window_at) as usize;
        self.window.get(from..).unwrap_or(&[])
    }

    /// The next place after one of which the file holds nothing: beyond the end of a segment that is
    /// shorter than its span.
    fn skip_missing<F>(&self, segments: &Segments<F>, at: u64) -> u64 {
        let segment = segments.at(at).expect("the place is in a segment");
        if at >= segment.zeroed_to {
            segment.end
        } else {
            at + self.align
        }
    }

    /// `len` bytes at `position`, fewer at the end of the file.
    pub(super) async fn bytes<F: File>(
        &mut self,
        segments: &Segments<F>,
        position: u64,
        len: usize,
    ) -> io::Result<&[u8]> {
        let end = self.window_at + self.window.len() as u64;
        if position < self.window_at || position + len as u64 > end {
            let segment = segments.at(position).expect("positions lie in segments");
            let (file, start) = (Rc::clone(&segment.file), segment.start);
            let rest = (segment.end - position) as usize;
            let wanted = len.max(WINDOW_LEN).min(rest);
            self.window.clear();
            self.window = read_in_parts(&*file, position - start, wanted).await?;
            self.window_at = position;
        }
        let from = (position - self.window_at) as usize;
        let to = (from + len).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or(&[]))
    }
}

/// Whether all bytes are zero. Looks at all of them: the compiler does many at a time.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

/// Reads a piece of a file with several reads under way at once; fewer bytes at the end of the file.
async fn read_in_parts<F: File>(file: &F, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let starts = (0..len).step_by(PART_LEN);
    let reads = starts.map(|at| file.read_at(position + at as u64, PART_LEN.min(len - at)));
    let mut bytes = Vec::with_capacity(len);
    for part in all_of(reads).await {
        let (part, wanted) = (part?, PART_LEN.min(len - bytes.len()));
        bytes.extend_from_slice(&part);
        if part.len() < wanted {
            break;
        }
    }
    Ok(bytes)
}
