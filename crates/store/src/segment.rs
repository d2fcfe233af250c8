//! Segments: the files of the log, and their headers. Answers to Java's `MappedFile`.
//!
//! Owned by the log. Each file covers a fixed span of log positions; its first aligned block is a
//! header with generation and secret, log blocks follow. Invariant: blocks are written only below
//! the zeroed position and zeros only above it, so the two never meet.

use crate::block::{Identity, u16_at, u32_at, u64_at};
use base::ShardId;
use std::collections::VecDeque;
use std::rc::Rc;

const MAGIC: [u8; 4] = *b"RqS1";
/// Bytes of a segment header that carry something.
pub(crate) const SEGMENT_HEADER_LEN: usize = 44;
const SUM_AT: usize = 40;

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) shard: ShardId,
    pub(crate) generation: u32,
    pub(crate) secret: u32,
    pub(crate) start: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) block_align: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self, out: &mut [u8]) {
        out[0..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&crate::layout::FORMAT_VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&self.shard.as_u16().to_le_bytes());
        out[8..12].copy_from_slice(&self.generation.to_le_bytes());
        out[12..16].copy_from_slice(&self.secret.to_le_bytes());
        out[16..24].copy_from_slice(&self.start.to_le_bytes());
        out[24..32].copy_from_slice(&self.segment_bytes.to_le_bytes());
        out[32..36].copy_from_slice(&self.block_align.to_le_bytes());
        out[36..SUM_AT].fill(0);
        let sum = crc32fast::hash(&out[..SUM_AT]);
        out[SUM_AT..SEGMENT_HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads a header; `None` when damaged or not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..SEGMENT_HEADER_LEN)?;
        let fits = head[0..4] == MAGIC
            && u16_at(head, 4) == crate::layout::FORMAT_VERSION
            && u16_at(head, 6) < ShardId::COUNT_MAX
            && u32_at(head, SUM_AT) == crc32fast::hash(&head[..SUM_AT]);
        fits.then(|| Self {
            shard: ShardId::new(u16_at(head, 6)),
            generation: u32_at(head, 8),
            secret: u32_at(head, 12),
            start: u64_at(head, 16),
            segment_bytes: u64_at(head, 24),
            block_align: u32_at(head, 32),
        })
    }
}

impl SegmentHeader {
    /// Whether the beginning of a file may be that of a segment whose header is not whole: nothing,
    /// zeros, or a header with some flipped bits.
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        let Some(magic) = bytes.first_chunk::<4>() else {
            return true;
        };
        let flipped = u32::from_le_bytes(*magic) ^ u32::from_le_bytes(MAGIC);
        bytes.iter().all(|byte| *byte == 0) || flipped.count_ones() <= FLIPPED_MAX
    }
}

/// More flipped bits in four bytes than rot makes.
const FLIPPED_MAX: u32 = 6;

/// An open segment.
pub(crate) struct Segment<F> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) generation: u32,
    pub(crate) file: Rc<F>,
    /// Written with zeros and synced up to here.
    pub(crate) zeroed_to: u64,
}

/// All segments of a shard, oldest first, without a gap.
pub(crate) struct Segments<F> {
    list: VecDeque<Segment<F>>,
    segment_bytes: u64,
}

impl<F> Segments<F> {
    pub(crate) fn new(segment_bytes: u64) -> Self {
        Self {
            list: VecDeque::new(),
            segment_bytes,
        }
    }

    pub(crate) fn push(&mut self, segment: Segment<F>) {
        assert_eq!(segment.end - segment.start, self.segment_bytes);
        if let Some(last) = self.list.back() {
            base::always!(SegmentsFollow, last.end == segment.start);
        }
        self.list.push_back(segment);
    }

    /// The segment that holds `position`.
    pub(crate) fn at(&self, position: u64) -> Option<&Segment<F>> {
        let first = self.list.front()?.start;
        let index = position.checked_sub(first)? / self.segment_bytes;
        self.list.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn last(&self) -> Option<&Segment<F>> {
        self.list.back()
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Segment<F>> {
        self.list.back_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Segment<F>> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Segment<F>> {
        self.list.iter_mut()
    }

    /// Forgets the oldest segment, which is not the only one.
    pub(crate) fn pop_first(&mut self) -> Segment<F> {
        assert!(self.list.len() > 1, "the log always has a segment");
        self.list.pop_front().expect("there are two")
    }

    /// Where the first segment starts.
    pub(crate) fn start(&self) -> u64 {
        self.list.front().map_or(0, |segment| segment.start)
    }

    /// Everything below is zeroed and synced: blocks may be written there.
    pub(crate) fn frontier(&self) -> u64 {
        self.list.back().map_or(0, |segment| segment.zeroed_to)
    }

    /// Files that hold anything in `from..to`, in order.
    pub(crate) fn files_between(&self, from: u64, to: u64) -> Vec<Rc<F>> {
        let holds = |segment: &&Segment<F>| segment.start < to && from < segment.end;
        self.list
            .iter()
            .filter(holds)
            .map(|segment| Rc::clone(&segment.file))
            .collect()
    }

    pub(crate) fn identity_at(&self, position: u64, shard: ShardId, secret: u32) -> Identity {
        let generation = self.at(position).map_or(0, |segment| segment.generation);
        Identity {
            shard,
            generation,
            secret,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_header_reads_back_and_a_damaged_one_does_not() {
        let header = SegmentHeader {
            shard: ShardId::new(2),
            generation: 3,
            secret: 4,
            start: 5 << 30,
            segment_bytes: 1 << 30,
            block_align: 4_096,
        };
        let mut bytes = vec![0; 512];
        header.encode(&mut bytes);
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for len in 0..SEGMENT_HEADER_LEN {
            assert_eq!(SegmentHeader::decode(&bytes[..len]), None);
        }
        for bit in 0..SEGMENT_HEADER_LEN * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), None, "bit {bit}");
            assert!(SegmentHeader::may_begin(&flipped), "bit {bit}");
        }
        for other in [&[][..], &[0; 44], b"Rq"] {
            assert!(SegmentHeader::may_begin(other), "{other:?}");
        }
        for other in [
            &b"\0\0\x01\x2c\xda\xa3\x20\xa7"[..],
            b"#!/bin/sh",
            b"\x7fELF",
        ] {
            assert!(!SegmentHeader::may_begin(other), "{other:?}");
        }
    }
}
