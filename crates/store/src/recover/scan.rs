//! Reading blocks one after the other, and looking for good ones beyond a bad one.
//!
//! Part of recovery. Reads large pieces of the log in order. Invariant: a block counts only with
//! its checksum.

use crate::block::{BlockHeader, HEADER_LEN, Identity};
use crate::segment::Segments;
use crate::settings::Settings;
use base::{LogPosition, ShardId};
use rt::File;
use std::io;
use std::rc::Rc;

const WINDOW_LEN: usize = 1 << 20;

/// Good blocks beyond a bad one.
pub(super) struct Later {
    /// Where the first one starts.
    pub(super) first: Option<u64>,
    /// The highest durable position that any of them tells.
    pub(super) mark: u64,
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
        let mut later = Later {
            first: None,
            mark: 0,
        };
        let mut next = position + self.align;
        while let Some(at) = self.settle(segments, next).filter(|at| *at < limit) {
            next = match self.block(segments, at).await? {
                Some(header) => {
                    later.first = later.first.or(Some(at));
                    later.mark = later.mark.max(header.durable_before.0);
                    header.end()
                }
                None => self.skip_zeros(segments, at),
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

    /// The next place after a bad one: beyond the zeros that the window holds, or beyond the end of
    /// a segment that is shorter than its span.
    fn skip_zeros<F>(&self, segments: &Segments<F>, at: u64) -> u64 {
        let from = (at - self.window_at) as usize;
        let Some(rest) = self.window.get(from..).filter(|rest| !rest.is_empty()) else {
            let segment = segments.at(at).expect("the place is in a segment");
            return if at >= segment.zeroed_to {
                segment.end
            } else {
                at + self.align
            };
        };
        let zeros = rest.iter().take_while(|byte| **byte == 0).count() as u64;
        at + (zeros - zeros % self.align).max(self.align)
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
            self.window = file.read_at(position - start, wanted).await?;
            self.window_at = position;
        }
        let from = (position - self.window_at) as usize;
        let to = (from + len).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or(&[]))
    }
}
