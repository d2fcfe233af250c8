//! Showing what a store holds, for people: segments, blocks, messages.
//!
//! One pass over the log, in its order. Invariant: what does not check out is left out, as reads
//! leave it out; a block with one flipped bit is shown as it was.

use super::walk::{self, Visit, WalkedBlock};
use super::{ShardFiles, Source, VerifyError, read_layout};
use crate::block::{BlockHeader, HEADER_LEN};
use crate::record::{self, Record, TAG_LEN};
use base::{PhyOffset, ShardId};
use remoting::message::{StoredMessage, decode_message};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;

/// Which part of a store is shown.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only this shard.
    pub shard: Option<u16>,
    /// Segments, without their content.
    pub segments: bool,
    /// Blocks, without their content.
    pub blocks: bool,
    /// Only messages of this topic.
    pub topic: Option<String>,
    /// Only messages of this queue.
    pub queue: Option<u32>,
    /// Only messages with these queue offsets.
    pub offsets: Range<i64>,
    /// Only the message at this physical offset.
    pub at: Option<PhyOffset>,
    /// At most so many rows.
    pub count_max: u64,
}

/// A segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpedSegment {
    /// The shard.
    pub shard: u16,
    /// Its first position.
    pub start: u64,
    /// Length of the file, in bytes.
    pub file_len: u64,
    /// Which use of the file it is.
    pub generation: u32,
    /// Whether its header checks out.
    pub has_header: bool,
}

/// A block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpedBlock {
    /// The shard.
    pub shard: u16,
    /// Its position in the log.
    pub position: u64,
    /// Its length, padding included.
    pub len: u32,
    /// Bytes of records.
    pub payload_len: u32,
    /// Records.
    pub records: u32,
    /// Everything before was durable when it was sealed.
    pub durable_before: u64,
    /// When it was sealed, in milliseconds since the epoch.
    pub sealed_ms: i64,
    /// Whether it ends its segment.
    pub end_of_segment: bool,
    /// Whether it has one flipped bit.
    pub has_flipped_bit: bool,
}

/// Takes the rows. An error, such as a closed pipe, ends the pass.
pub trait Dumper {
    /// A segment.
    fn segment(&mut self, segment: &DumpedSegment) -> io::Result<()>;
    /// A block.
    fn block(&mut self, block: &DumpedBlock) -> io::Result<()>;
    /// A message and its tags code.
    fn message(&mut self, message: &StoredMessage<'_>, tags_code: i64) -> io::Result<()>;
}

/// Shows what is wanted of a store. Gives the number of rows.
///
/// # Errors
/// The directory is no store of this format, a file cannot be read, or nobody takes the rows.
pub fn dump<S: Source>(
    source: &S,
    root: &Path,
    wanted: &Wanted,
    dumper: &mut dyn Dumper,
) -> Result<u64, VerifyError> {
    let (layout, _) = read_layout(source, root)?;
    let mut rows = Rows {
        wanted,
        dumper,
        shard: 0,
        count: 0,
        failed: None,
    };
    let only = wanted.at.map(|at| at.shard().as_u16()).or(wanted.shard);
    for number in 0..layout.shard_count {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        rows.shard = number;
        let files = ShardFiles::read(source, root, &layout, ShardId::new(number))?;
        let flow = rows.shard(source, &files)?;
        if flow.is_break() {
            break;
        }
    }
    match rows.failed {
        Some(error) => Err(VerifyError::io(Path::new("standard output"))(error)),
        None => Ok(rows.count),
    }
}

struct Rows<'a> {
    wanted: &'a Wanted,
    dumper: &'a mut dyn Dumper,
    shard: u16,
    count: u64,
    failed: Option<io::Error>,
}

impl Rows<'_> {
    fn shard<S: Source>(
        &mut self,
        source: &S,
        files: &ShardFiles,
    ) -> Result<ControlFlow<()>, VerifyError> {
        let at = self.wanted.at.map(|at| at.position().0);
        for segment in &files.segments {
            if self.wanted.segments {
                let row = DumpedSegment {
                    shard: self.shard,
                    start: segment.start,
                    file_len: segment.len,
                    generation: segment.generation,
                    has_header: segment.header.is_some(),
                };
                let written = self.dumper.segment(&row);
                if self.wrote(written).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            let span = segment.start..segment.start + segment.len;
            if at.is_some_and(|at| !span.contains(&at)) {
                continue;
            }
            let path = files.paths.segment(segment.start);
            let walked = walk::segment(source, &path, segment, files.identity(segment), self);
            if walked.map_err(VerifyError::io(&path))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn wrote(&mut self, written: io::Result<()>) -> ControlFlow<()> {
        self.count += 1;
        if let Err(error) = written {
            self.failed = Some(error);
        }
        if self.failed.is_some() || self.count >= self.wanted.count_max {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn wants(&self, message: &StoredMessage<'_>) -> bool {
        let wanted = self.wanted;
        let at = wanted.at.map(PhyOffset::to_wire);
        wanted
            .topic
            .as_ref()
            .is_none_or(|topic| topic == message.topic)
            && wanted
                .queue
                .is_none_or(|queue| queue == message.queue_id.cast_unsigned())
            && wanted.offsets.contains(&message.queue_offset)
            && at.is_none_or(|at| at == message.phy_offset)
    }

    fn row_of(&self, header: &BlockHeader, has_flipped_bit: bool) -> DumpedBlock {
        DumpedBlock {
            shard: self.shard,
            position: header.position.0,
            len: header.block_len,
            payload_len: header.payload_len,
            records: header.record_count,
            durable_before: header.durable_before.0,
            sealed_ms: header.sealed_ms,
            end_of_segment: header.end_of_segment,
            has_flipped_bit,
        }
    }
}

impl Visit for Rows<'_> {
    fn block(&mut self, block: &WalkedBlock<'_>) -> ControlFlow<()> {
        let header = &block.header;
        let at = self.wanted.at.map(|at| at.position().0);
        if at.is_some_and(|at| at < header.position.0) {
            return ControlFlow::Break(());
        }
        if at.is_some_and(|at| at >= header.end()) {
            return ControlFlow::Continue(());
        }
        if self.wanted.blocks {
            let row = self.row_of(header, block.repaired);
            let written = self.dumper.block(&row);
            return self.wrote(written);
        }
        let mut at = 0;
        while let Some((record, len)) = block.payload.get(at..).and_then(record::first) {
            if let Record::Message { tags_code, unit } = record
                && let Ok((message, _)) = decode_message(unit)
                && self.wants(&message)
            {
                let place = header.position.0 + (HEADER_LEN + at + TAG_LEN) as u64;
                debug_assert_eq!(message.phy_offset & ((1 << 52) - 1), place.cast_signed());
                let written = self.dumper.message(&message, tags_code);
                self.wrote(written)?;
            }
            at += len;
        }
        ControlFlow::Continue(())
    }
}
