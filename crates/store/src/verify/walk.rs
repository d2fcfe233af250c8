//! Walking the log of a shard that nobody has open, block by block, over plain bytes.
//!
//! Shares the decoders with recovery and decides nothing: it tells blocks and what lies between
//! them. Invariant: every byte of a segment is part of a block, part of a hole, or behind a block
//! that ends its segment.

use super::{Segment, Source};
use crate::block::{BlockHeader, HEADER_LEN, Identity};
use crate::salvage::{Salvaged, salvage};
use base::LogPosition;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// How much is read at once, in bytes.
pub(super) const WINDOW_LEN: usize = 4 << 20;
/// Longest block that is believed, in bytes.
const BLOCK_LEN_MAX: usize = 64 << 20;

/// A block of the log.
pub(super) struct WalkedBlock<'a> {
    pub(super) header: BlockHeader,
    pub(super) payload: &'a [u8],
    /// It had one flipped bit, which was put right in memory.
    pub(super) repaired: bool,
}

/// Bytes of the log that are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) is_zero: bool,
    /// Messages in it that are proven good by themselves.
    pub(super) proven: u64,
}

/// Takes what a walk meets.
pub(super) trait Visit {
    fn block(&mut self, block: &WalkedBlock<'_>) -> ControlFlow<()>;
    fn hole(&mut self, _hole: Hole) {}
    /// So many bytes more were read.
    fn read(&mut self, _bytes: u64) {}
}

/// Walks a segment from its first block on.
pub(super) fn segment<S: Source>(
    source: &S,
    path: &Path,
    segment: &Segment,
    identity: Identity,
    visit: &mut dyn Visit,
) -> io::Result<ControlFlow<()>> {
    let align = segment.align;
    let mut window = Window::new(source, path, segment.len);
    let mut at = align;
    let mut hole: Option<Hole> = None;
    while at + HEADER_LEN as u64 <= segment.len {
        let position = segment.start + at;
        let read_before = window.read;
        let piece = window.piece(identity, position, at, align)?;
        visit.read(window.read - read_before);
        let (header, payload, repaired) = match &piece {
            Piece::Hole(more) => {
                at += more.to - more.from;
                extend(&mut hole, *more);
                continue;
            }
            Piece::Block(header) => (
                *header,
                &window.get(at, header.used_len())[HEADER_LEN..],
                false,
            ),
            Piece::Repaired(header, bytes) => (*header, &bytes[HEADER_LEN..], true),
        };
        if let Some(hole) = hole.take() {
            visit.hole(hole);
        }
        let flow = visit.block(&WalkedBlock {
            header,
            payload,
            repaired,
        });
        if flow.is_break() || header.end_of_segment {
            return Ok(flow);
        }
        at += u64::from(header.block_len);
    }
    if let Some(hole) = hole {
        visit.hole(hole);
    }
    Ok(ControlFlow::Continue(()))
}

/// What lies at a place of a segment.
enum Piece {
    Block(BlockHeader),
    Repaired(BlockHeader, Vec<u8>),
    Hole(Hole),
}

fn extend(hole: &mut Option<Hole>, more: Hole) {
    match hole {
        Some(hole) => {
            hole.to = more.to;
            hole.is_zero &= more.is_zero;
            hole.proven += more.proven;
        }
        None => *hole = Some(more),
    }
}

/// A piece of a file in memory that moves forward.
struct Window<'a, S> {
    source: &'a S,
    path: &'a Path,
    bytes: Vec<u8>,
    at: u64,
    file_len: u64,
    /// Bytes read so far.
    read: u64,
}

impl<'a, S: Source> Window<'a, S> {
    fn new(source: &'a S, path: &'a Path, file_len: u64) -> Self {
        Self {
            source,
            path,
            bytes: Vec::new(),
            at: 0,
            file_len,
            read: 0,
        }
    }

    /// What the window holds from `at` on, `len` bytes of it at most.
    fn get(&self, at: u64, len: usize) -> &[u8] {
        let from = (at - self.at) as usize;
        let to = (from + len).min(self.bytes.len());
        self.bytes.get(from..to).unwrap_or(&[])
    }

    /// Makes the window hold `len` bytes from `at` on, fewer at the end of the file.
    fn hold(&mut self, at: u64, len: usize) -> io::Result<()> {
        let end = self.at + self.bytes.len() as u64;
        let wanted_end = (at + len as u64).min(self.file_len);
        if at >= self.at && wanted_end <= end {
            return Ok(());
        }
        // What is there already is kept, so that the file is read once and in order.
        if at >= self.at && at < end {
            self.bytes.drain(..(at - self.at) as usize);
        } else {
            self.bytes.clear();
        }
        self.at = at;
        let from = at + self.bytes.len() as u64;
        let more = (len - self.bytes.len()).max(WINDOW_LEN);
        let more = more.min((self.file_len.saturating_sub(from)) as usize);
        let before = self.bytes.len();
        self.bytes.resize(before + more, 0);
        let got = self
            .source
            .read(self.path, from, &mut self.bytes[before..])?;
        self.bytes.truncate(before + got);
        self.read += got as u64;
        Ok(())
    }

    fn block(
        &mut self,
        identity: Identity,
        position: u64,
        at: u64,
    ) -> io::Result<Option<BlockHeader>> {
        self.hold(at, HEADER_LEN)?;
        let head = self.get(at, HEADER_LEN);
        let Some(header) = BlockHeader::peek(identity, LogPosition(position), head) else {
            return Ok(None);
        };
        let len = header.used_len();
        if len > BLOCK_LEN_MAX || header.block_len == 0 {
            return Ok(None);
        }
        self.hold(at, len)?;
        Ok(header.verify(identity, self.get(at, len)).then_some(header))
    }

    /// How many bytes from `at` on are zeros, in whole steps of the alignment.
    fn zeros(&mut self, at: u64, align: u64) -> io::Result<u64> {
        self.hold(at, align as usize)?;
        let steps = self.get(at, usize::MAX / 2).chunks(align as usize);
        // All of a step is looked at: the compiler does that many bytes at a time.
        let is_zero = |step: &&[u8]| step.iter().fold(0, |all, byte| all | byte) == 0;
        Ok(steps.take_while(is_zero).count() as u64 * align)
    }

    fn piece(
        &mut self,
        identity: Identity,
        position: u64,
        at: u64,
        align: u64,
    ) -> io::Result<Piece> {
        if let Some(header) = self.block(identity, position, at)? {
            return Ok(Piece::Block(header));
        }
        let hole = |len, is_zero, proven| {
            let (from, to) = (position, position + len);
            Piece::Hole(Hole {
                from,
                to,
                is_zero,
                proven,
            })
        };
        let zeros = self.zeros(at, align)?;
        if zeros > 0 {
            return Ok(hole(zeros, true, 0));
        }
        self.hold(at, WINDOW_LEN)?;
        Ok(
            match salvage(identity, position, self.get(at, WINDOW_LEN)) {
                Salvaged::Whole(header, block) => Piece::Repaired(header, block),
                Salvaged::Parts(proven) => hole(align, false, proven.len() as u64),
            },
        )
    }
}
