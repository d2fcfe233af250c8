//! Bringing blocks of the log from disk, and messages by their physical offset.
//!
//! Blocks are checked whole before anything of them is given away. Invariant: what lies at or above
//! the written position is never read from disk.

use crate::block::{BlockHeader, HEADER_LEN};
use crate::cold::ColdBlock;
use crate::damage::Left;
use crate::error::ReadError;
use crate::record::{self, Record, TAG_LEN};
use crate::stats::add;
use crate::store::Inner;
use base::{LogPosition, PhyOffset};
use rt::{File, Rt};
use std::rc::Rc;

impl<R: Rt> Inner<R> {
    /// Reads blocks from `start` on, which is where one starts, and keeps those that lie whole in
    /// the next `len` bytes; at least the first one.
    pub(crate) async fn bring_blocks(&self, start: u64, len: usize) -> Result<(), ReadError> {
        let mut bytes = self.read_log(start, len).await?;
        let need = self
            .peek(start, &bytes)
            .map_or(0, |header| header.used_len());
        if need > bytes.len() && self.may_be_block(need) {
            bytes = self.read_log(start, need).await?;
        }
        if start < self.log.borrow().segments.start() {
            // The segment went meanwhile, and its file may hold something else by now.
            return Ok(());
        }
        let mut cold = self.cold.borrow_mut();
        cold.make_room(bytes.len());
        let mut at = 0;
        while let Some((header, block)) =
            self.checked(start + at as u64, bytes.get(at..).unwrap_or(&[]))
        {
            cold.add(start + at as u64, ColdBlock::Good(Rc::from(block)));
            at += header.block_len as usize;
        }
        if at == 0 && !bytes.is_empty() {
            let left = match self.damaged_block(start, &bytes) {
                Left::Whole(_, block) => ColdBlock::Good(Rc::from(block)),
                Left::Parts(proven) if proven.is_empty() => ColdBlock::Damaged,
                Left::Parts(proven) => ColdBlock::Salvaged(Rc::from(bytes), Rc::from(proven)),
            };
            cold.add(start, left);
        } else if at == 0 {
            cold.add(start, ColdBlock::Damaged);
        }
        Ok(())
    }

    pub(crate) fn peek(&self, position: u64, bytes: &[u8]) -> Option<BlockHeader> {
        let identity = self.log.borrow().identity_at(position);
        BlockHeader::peek(identity, LogPosition(position), bytes)
    }

    /// The block at `position`, when `bytes` starts with it, whole.
    pub(crate) fn checked<'a>(
        &self,
        position: u64,
        bytes: &'a [u8],
    ) -> Option<(BlockHeader, &'a [u8])> {
        let header = self.peek(position, bytes)?;
        let identity = self.log.borrow().identity_at(position);
        let whole = header.verify(identity, bytes);
        whole.then(|| (header, &bytes[..header.used_len()]))
    }

    /// Reads written bytes of the log; shorter at the end of a segment or of what is written.
    pub(crate) async fn read_log(&self, position: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let (file, start, len) = {
            let log = self.log.borrow();
            let Some(segment) = log.segments.at(position) else {
                return Ok(Vec::new());
            };
            let end = segment.end.min(log.written());
            let len = (end.saturating_sub(position)).min(len as u64) as usize;
            (Rc::clone(&segment.file), segment.start, len)
        };
        if len == 0 {
            return Ok(Vec::new());
        }
        add(&self.counters.cold_reads, 1);
        add(&self.counters.cold_read_bytes, len as u64);
        file.read_at(position - start, len)
            .await
            .map_err(|source| ReadError::Io {
                path: self.paths.segment(start),
                position: position - start,
                source,
            })
    }

    /// The stored message at a physical offset that a client named; `None` when no visible message
    /// starts there.
    pub(crate) async fn read_message(&self, at: PhyOffset) -> Result<Option<Vec<u8>>, ReadError> {
        let position = at.position().0;
        let acknowledged = self.acknowledged().0;
        let is_here = |position| position >= self.log.borrow().segments.start();
        if at.shard() != self.settings.shard || position >= acknowledged || !is_here(position) {
            return Ok(None);
        }
        if let Some((block, bytes)) = self.log.borrow().in_memory(position) {
            let payload = bytes.get(HEADER_LEN..).unwrap_or(&[]);
            return Ok(message_in(block, payload, position, acknowledged));
        }
        let block = self.settings.block_bytes;
        let mut found = self.find_block(position, block).await?;
        if matches!(found, Found::Nothing) {
            // Its own block may be damaged: the one before tells where it begins.
            let far = 2 * block + self.settings.record_len_max;
            found = self.find_block(position, far).await?;
        }
        let start = match found {
            Found::Block(start, block) => {
                return Ok(message_in(
                    start,
                    &block[HEADER_LEN..],
                    position,
                    acknowledged,
                ));
            }
            Found::Damaged(start) => start,
            Found::Nothing => return Ok(None),
        };
        self.bring_blocks(start, self.settings.block_bytes).await?;
        Ok(match self.cold.borrow().get(start) {
            Some(ColdBlock::Good(block)) => {
                message_in(start, &block[HEADER_LEN..], position, acknowledged)
            }
            Some(ColdBlock::Salvaged(bytes, proven)) if proven.contains(&position) => {
                let unit = &bytes[(position - start) as usize..];
                record::unit_len(unit).and_then(|len| unit.get(..len).map(<[u8]>::to_vec))
            }
            _ => None,
        })
    }

    /// The block that covers a position, by looking back, as far as told, for one that checks out:
    /// what only looks like a header may be part of a message.
    async fn find_block(&self, position: u64, back: usize) -> Result<Found, ReadError> {
        // A block that is longer than a full one holds one record only, at its start.
        let align = self.settings.block_align as u64;
        let first = position - position % self.settings.segment_bytes + align;
        let from = position
            .saturating_sub(back as u64)
            .next_multiple_of(align)
            .max(first);
        let window = position.saturating_sub(from) as usize;
        let bytes = self
            .read_log(from, window + self.settings.block_bytes)
            .await?;
        let mut start = position - position % align;
        while start >= from {
            let rest = bytes.get((start - from) as usize..).unwrap_or(&[]);
            let need = self.peek(start, rest).map_or(0, |header| header.used_len());
            let more;
            let rest = if need > rest.len() && self.may_be_block(need) {
                more = self.read_log(start, need).await?;
                &more
            } else {
                rest
            };
            if let Some((header, block)) = self.checked(start, rest) {
                if start + block.len() as u64 > position {
                    return Ok(Found::Block(start, block.to_vec()));
                }
                // The next one begins where this one ends, whatever it looks like.
                let next = header.end();
                let is_next = next <= position && !header.end_of_segment;
                return Ok(if is_next {
                    Found::Damaged(next)
                } else {
                    Found::Nothing
                });
            }
            start -= align;
        }
        Ok(if from == first && position >= first {
            Found::Damaged(first)
        } else {
            Found::Nothing
        })
    }

    /// Whether a block may be so long.
    pub(crate) fn may_be_block(&self, len: usize) -> bool {
        len <= self.settings.record_len_max + self.settings.block_bytes
    }

    /// The good block at `position`, from the disk: header, and header with records.
    pub(crate) async fn read_block(
        &self,
        position: u64,
    ) -> Result<Option<(BlockHeader, Vec<u8>)>, ReadError> {
        let mut bytes = self
            .read_log(position, 2 * self.settings.block_bytes)
            .await?;
        let need = self
            .peek(position, &bytes)
            .map_or(0, |header| header.used_len());
        if need > bytes.len() && self.may_be_block(need) {
            bytes = self.read_log(position, need).await?;
        }
        let Some((header, block)) = self.checked(position, &bytes) else {
            return Ok(None);
        };
        let len = block.len();
        bytes.truncate(len);
        Ok(Some((header, bytes)))
    }

    pub(crate) fn skip_segment_header(&self, position: u64) -> u64 {
        let into = position % self.settings.segment_bytes;
        if into == 0 {
            position + self.settings.block_align as u64
        } else {
            position
        }
    }
}

/// Where a position lies.
enum Found {
    /// In this block, which starts there.
    Block(u64, Vec<u8>),
    /// In a damaged block that starts there.
    Damaged(u64),
    Nothing,
}

/// The message that starts exactly at `position` in a block's payload.
pub(crate) fn message_in(
    block: u64,
    payload: &[u8],
    position: u64,
    acknowledged: u64,
) -> Option<Vec<u8>> {
    let mut found = None;
    each_message(block, payload, |at, _, unit| {
        if at == position && at + unit.len() as u64 <= acknowledged {
            found = Some(unit.to_vec());
        }
    });
    found
}

/// Calls `each` with position, tags code and bytes of every message of a block's payload.
pub(crate) fn each_message(block: u64, payload: &[u8], mut each: impl FnMut(u64, i64, &[u8])) {
    let mut at = 0;
    while let Some((record, len)) = payload.get(at..).and_then(record::first) {
        if let Record::Message { tags_code, unit } = record {
            each(block + (HEADER_LEN + at + TAG_LEN) as u64, tags_code, unit);
        }
        at += len;
    }
}
