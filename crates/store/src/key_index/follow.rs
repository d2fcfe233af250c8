//! Following the log: keys of each block go into the gathering batch, behind the writer of the log.
//!
//! Owned by the shard; a task of low priority that wakes once per piece of log, not per message. It
//! takes blocks from the tail cache, and from disk where they have left it. Invariant: a block is
//! taken once, in order, and only when it is sealed.

use super::batch::Batch;
use super::batch_entries_max;
use crate::block::{BlockHeader, HEADER_LEN};
use crate::damage::Left;
use crate::error::ReadError;
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use base::LogPosition;
use rt::Rt;
use std::rc::Rc;
use std::time::Duration;

/// Log that gathers before the task wakes, in bytes, if the tail cache has room for as much. Little
/// enough to be still in the processor's cache.
const PIECE_LEN: u64 = 256 << 10;
/// Bytes of log that are taken between two looks at other tasks.
const TURN_LEN: u64 = 128 << 10;
/// Bytes that are read from disk at once.
const WINDOW_LEN: usize = 1 << 20;
const RETRY_MS: u64 = 1_000;

/// How far the in-memory part of the log was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// To the end of what is sealed.
    ToEnd,
    /// There is more in memory.
    More,
    /// The next block is on disk only.
    OnDisk,
    /// There is no room for more entries until a batch is on disk.
    NoRoom,
}

/// Follows the log until the store closes.
pub(crate) async fn follow_task<R: Rt>(inner: Rc<Inner<R>>) {
    while !inner.closing.get() {
        let seen = inner.keys.follow_wanted.count();
        let moved = inner.keys.moved.count();
        if !inner.keys_are_behind() && !inner.keys.is_hurried.get() {
            inner.keys.follow_wanted.wait_past(seen).await;
            continue;
        }
        match inner.follow_in_memory(TURN_LEN) {
            Followed::ToEnd => {
                inner.keys.is_hurried.set(false);
                inner.keys.moved.notify();
            }
            Followed::More => {
                inner.keys.moved.notify();
                inner.rt.yield_now().await;
            }
            Followed::NoRoom => inner.keys.moved.wait_past(moved).await,
            Followed::OnDisk => {
                if let Err(error) = inner.follow_on_disk().await {
                    tracing::error!(shard = %inner.settings.shard, %error, "keys are not indexed now");
                    let pause = inner.rt.sleep(Duration::from_millis(RETRY_MS));
                    first_of(inner.closed.wait(), pause).await;
                }
                inner.keys.moved.notify();
            }
        }
    }
}

impl<R: Rt> Inner<R> {
    /// Whether so much of the log is not followed that the task has to work.
    pub(crate) fn keys_are_behind(&self) -> bool {
        let piece = PIECE_LEN.min(self.settings.tail_cache_bytes as u64 / 4);
        let log = self.log.borrow();
        let position = self.settle(self.keys.followed_to().max(log.segments.start()));
        self.keys.is_on() && log.sealed() > position + piece
    }

    /// Takes sealed blocks that are in memory, about `len_max` bytes of them, without waiting.
    pub(super) fn follow_in_memory(&self, len_max: u64) -> Followed {
        let log = self.log.borrow();
        // The log may have been cut past what was followed.
        let begin = self.keys.followed_to().max(log.segments.start());
        loop {
            let position = self.keys.followed_to();
            let position = self.settle(position.max(log.segments.start()));
            if position >= log.sealed() {
                return Followed::ToEnd;
            }
            if position >= begin + len_max {
                return Followed::More;
            }
            if !self.make_batch_room() {
                return Followed::NoRoom;
            }
            let Some((start, bytes)) = log.in_memory(position) else {
                return Followed::OnDisk;
            };
            let identity = log.identity_at(position);
            let header = BlockHeader::peek(identity, LogPosition(position), bytes);
            let header = header
                .filter(|_| start == position)
                .expect("blocks follow each other");
            let next = self.after_block(&header);
            let payload = &bytes[HEADER_LEN..header.used_len()];
            self.gather_keys(position, payload, next, log.secret);
        }
    }

    fn gather_keys(&self, block: u64, payload: &[u8], next: u64, secret: u32) {
        let mut batch = self.keys.gathering.borrow_mut();
        let before = batch.entries.len();
        batch.add_block(block, payload, next, secret, self.settings.block_align);
        add(&self.counters.keys, (batch.entries.len() - before) as u64);
    }

    /// Makes sure that the gathering batch takes a block more; false while it cannot.
    fn make_batch_room(&self) -> bool {
        let mut batch = self.keys.gathering.borrow_mut();
        if !self.is_full_batch(&batch) {
            return true;
        }
        let mut full = self.keys.full.borrow_mut();
        if full.is_some() {
            return false;
        }
        let next = Batch::new(batch.to);
        *full = Some(std::mem::replace(&mut *batch, next));
        self.keys.keep_wanted.notify();
        true
    }

    /// Whether a batch is to become a run: a start reads again what no run covers.
    pub(super) fn is_full_batch(&self, batch: &Batch) -> bool {
        batch.entries.len() >= batch_entries_max(&self.settings)
            || batch.to - batch.from >= self.settings.checkpoint_bytes
    }

    /// Takes blocks that have left the memory, a window of them.
    pub(super) async fn follow_on_disk(&self) -> Result<(), ReadError> {
        let begin = self.keys.followed_to();
        let (start, end) = {
            let log = self.log.borrow();
            (log.segments.start(), log.written())
        };
        let window = self.read_window(begin.max(start), end).await?;
        if self.keys.followed_to() != begin {
            return Ok(()); // a query took them meanwhile
        }
        let secret = self.log.borrow().secret;
        let next = self.each_block(&window, |block, payload, next| {
            self.gather_keys(block, payload, next, secret);
        });
        self.keys.gathering.borrow_mut().to = next;
        Ok(())
    }

    /// Reads a window of the log from `position` on, where a block starts or a segment.
    pub(super) async fn read_window(&self, position: u64, end: u64) -> Result<Window, ReadError> {
        let position = self.settle(position);
        let len = (end.saturating_sub(position)).min(WINDOW_LEN as u64) as usize;
        let mut bytes = self.read_log(position, len).await?;
        let need = self
            .peek(position, &bytes)
            .map_or(0, |header| header.used_len());
        let longest = self.settings.record_len_max + self.settings.block_bytes;
        if need > bytes.len() && need <= longest {
            bytes = self.read_log(position, need).await?;
        }
        Ok(Window {
            position,
            end,
            bytes,
        })
    }

    /// Calls `each` with the place, the records and the end of each good block of a window. Gives
    /// where the next window begins. Damage is stepped over.
    pub(super) fn each_block(&self, window: &Window, mut each: impl FnMut(u64, &[u8], u64)) -> u64 {
        let segment_end = self.segment_end(window.position);
        let (mut at, mut is_expected) = (0, true);
        while at < window.bytes.len() {
            let position = window.position + at as u64;
            let rest = &window.bytes[at..];
            if let Some((header, block)) = self.checked(position, rest) {
                let next = self.after_block(&header);
                each(position, &block[HEADER_LEN..], next);
                if header.end_of_segment {
                    return next;
                }
                at += header.block_len as usize;
                is_expected = true;
                continue;
            }
            let need = self
                .peek(position, rest)
                .map_or(0, |header| header.used_len());
            if at > 0 && need > rest.len() {
                return position; // the window ends inside it
            }
            if std::mem::take(&mut is_expected)
                && let Left::Whole(header, block) = self.damaged_block(position, rest)
            {
                let next = self.after_block(&header);
                each(position, &block[HEADER_LEN..], next);
                return next;
            }
            at += self.settings.block_align;
        }
        // Nothing is read behind the last segment's end or before the first segment.
        let next = window.position + at.max(self.settings.block_align) as u64;
        next.min(segment_end).min(window.end.max(window.position))
    }

    fn after_block(&self, header: &BlockHeader) -> u64 {
        if header.end_of_segment {
            self.segment_end(header.position.0)
        } else {
            header.end()
        }
    }

    /// Where the segment of `position` ends.
    fn segment_end(&self, position: u64) -> u64 {
        position - position % self.settings.segment_bytes + self.settings.segment_bytes
    }

    /// Where a block may start at or after `position`: behind the header of a segment.
    pub(super) fn settle(&self, position: u64) -> u64 {
        let into = position % self.settings.segment_bytes;
        let header = if into == 0 {
            self.settings.block_align as u64
        } else {
            0
        };
        position + header
    }
}

/// A piece of the log that was read.
pub(super) struct Window {
    position: u64,
    end: u64,
    bytes: Vec<u8>,
}
