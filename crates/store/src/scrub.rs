//! Scrub: reads everything again, slowly, so that damage is found before somebody wants the data.
//!
//! Owned by the shard; a task of the lowest priority that reads so many bytes a second and no more.
//! One pass goes over the log from the oldest block on, then over the pages of the queue index, then
//! over both checkpoints. Invariant: the log is never written to; pages and checkpoints, which are
//! derived, are made again.

use crate::block::BlockHeader;
use crate::checkpoint::{CHECKPOINT_LEN_MAX, Checkpoint};
use crate::consume_queue::pages::{PAGE_LEN, Page, PageKey};
use crate::error::ReadError;
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use base::LogPosition;
use base::activity::{Activity, Busy};
use rt::{Disk, Rt};
use std::rc::Rc;
use std::time::Duration;

/// Scrubs until the store closes.
pub(crate) async fn scrub_task<R: Rt>(inner: Rc<Inner<R>>) {
    if inner.settings.scrub_bytes_per_second == 0 {
        return;
    }
    // A start has better things to do.
    let first_rest = Duration::from_millis(inner.settings.scrub_first_rest_ms);
    inner.scrub_rests(first_rest).await;
    let mut position = inner.scrub_position().await;
    while !inner.scrub_ends() {
        let busy = Busy::begin(Activity::Scrub);
        inner.scrub_log(position).await;
        inner.scrub_index().await;
        inner.scrub_checkpoints().await;
        if inner.scrub_ends() {
            break;
        }
        drop(busy);
        position = 0;
        inner.keep_scrub_position(position).await;
        add(&inner.counters.scrub_passes, 1);
        // A short log is not read all day.
        let rest = Duration::from_millis(inner.settings.scrub_rest_ms);
        inner.scrub_rests(rest).await;
    }
}

/// Read at once, in bytes, unless a block is longer.
const PIECE_LEN: usize = 256 << 10;
/// How often the place is kept for the next start, in seconds at the full rate.
const KEEP_EVERY_S: u64 = 256;

impl<R: Rt> Inner<R> {
    fn scrub_ends(&self) -> bool {
        self.closing.get() || self.fenced.borrow().is_some()
    }

    async fn scrub_rests(&self, rest: Duration) {
        if !self.scrub_ends() {
            first_of(self.closed.wait(), self.rt.sleep(rest)).await;
        }
    }

    /// Counts what was read and rests as long as that may take.
    async fn scrub_read(&self, bytes: usize) {
        add(&self.counters.scrubbed_bytes, bytes as u64);
        let rate = self.settings.scrub_bytes_per_second;
        let us = (bytes as u64).saturating_mul(1_000_000) / rate;
        self.scrub_rests(Duration::from_micros(us.max(1))).await;
    }

    /// Reads blocks from `position` on, up to what is durable now.
    async fn scrub_log(&self, mut position: u64) {
        let end = self.log.borrow().durable();
        let mut kept = position;
        let keep_every = KEEP_EVERY_S.saturating_mul(self.settings.scrub_bytes_per_second);
        // After damage the next block is looked for; only what begins where one ends is judged.
        let mut is_start = true;
        while !self.scrub_ends() {
            position = position.max(self.log.borrow().segments.start());
            let settled = self.skip_segment_header(position);
            is_start |= settled > position;
            position = settled;
            if position >= end {
                return;
            }
            let bytes = match self.scrub_piece(position).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    add(&self.counters.damaged, 1);
                    tracing::error!(shard = %self.settings.shard, %error, "scrub cannot read");
                    position += PIECE_LEN as u64;
                    continue;
                }
            };
            if position < self.log.borrow().segments.start() {
                // The segment went meanwhile, and its file may hold something else by now.
                continue;
            }
            let len = bytes.len();
            let next = self.scrub_blocks(position, &bytes, end, &mut is_start);
            // Blocks at the end of a piece are read again with the next one.
            let done = (next - position).min(len as u64) as usize;
            position = next;
            if position >= kept.saturating_add(keep_every) {
                kept = position;
                self.keep_scrub_position(position).await;
            }
            self.scrub_read(done.max(self.settings.block_align)).await;
        }
    }

    /// A piece of the log that holds at least one block, if one begins there.
    async fn scrub_piece(&self, position: u64) -> Result<Vec<u8>, ReadError> {
        let bytes = self.read_log(position, PIECE_LEN).await?;
        let need = self
            .peek(position, &bytes)
            .map_or(0, |header| header.used_len());
        if need > bytes.len() && self.may_be_block(need) {
            return self.read_log(position, need).await;
        }
        Ok(bytes)
    }

    /// Checks the blocks of a piece. Gives where to go on: at least one step further.
    fn scrub_blocks(&self, start: u64, bytes: &[u8], end: u64, is_start: &mut bool) -> u64 {
        let segment_bytes = self.settings.segment_bytes;
        let mut position = start;
        while position < end {
            let rest = bytes.get((position - start) as usize..).unwrap_or(&[]);
            if let Some((header, _)) = self.checked(position, rest) {
                *is_start = true;
                if header.end_of_segment {
                    return position - position % segment_bytes + segment_bytes;
                }
                position = header.end();
                continue;
            }
            let known = BlockHeader::peek(
                self.log.borrow().identity_at(position),
                LogPosition(position),
                rest,
            );
            let is_cut = known.is_none_or(|header| header.used_len() > rest.len());
            if position > start && is_cut {
                return position;
            }
            // A segment that is full to its end has no block to say so.
            let is_zero = rest.iter().take(PIECE_LEN).all(|byte| *byte == 0);
            if is_zero {
                return position - position % segment_bytes + segment_bytes;
            }
            if std::mem::replace(is_start, false) {
                add(&self.counters.scrub_damaged, 1);
                if let crate::damage::Left::Whole(header, _) = self.damaged_block(position, rest) {
                    *is_start = true;
                    position = header.end();
                    continue;
                }
            }
            position += self.settings.block_align as u64;
        }
        position
    }

    /// Reads every page that is on the disk; a damaged one is made again and written.
    async fn scrub_index(&self) {
        let keys = self.page_keys();
        for key in keys {
            if self.scrub_ends() {
                return;
            }
            let is_dirty = self.pages.borrow().is_dirty(key.page);
            let read = self.page_files.read(key.page).await;
            let is_good = read.is_ok_and(|bytes| Page::decode(key, &bytes).is_some());
            // The queue may be gone meanwhile, or the page another's.
            if !is_good && !is_dirty && self.page_keys().contains(&key) {
                add(&self.counters.scrub_damaged, 1);
                self.repair_page(key).await;
            }
            self.scrub_read(PAGE_LEN).await;
        }
    }

    async fn repair_page(&self, key: PageKey) {
        let rebuilt = self.rebuild_page(key).await;
        if rebuilt.is_ok_and(|rebuilt| rebuilt.is_written) {
            add(&self.counters.scrub_repaired, 1);
        }
    }

    /// Keys of all pages that queues name now.
    fn page_keys(&self) -> Vec<PageKey> {
        let (shard, queues) = (self.settings.shard, self.queues.borrow());
        let mut keys = Vec::new();
        for queue in queues.iter() {
            let fingerprint = queue.fingerprint();
            for (chunk, page) in (queue.first_chunk()..).zip(&queue.pages) {
                keys.push(PageKey {
                    shard,
                    page: *page,
                    queue: fingerprint,
                    chunk,
                });
            }
        }
        keys
    }

    /// A damaged checkpoint is replaced by new ones, in turn.
    async fn scrub_checkpoints(&self) {
        for slot in 0..2 {
            let path = self.paths.checkpoint(slot);
            let Ok(bytes) = self.rt.disk().read_small(&path, CHECKPOINT_LEN_MAX).await else {
                continue;
            };
            if Checkpoint::decode(self.settings.shard, &bytes).is_some() || self.scrub_ends() {
                continue;
            }
            add(&self.counters.damaged, 1);
            add(&self.counters.scrub_damaged, 1);
            tracing::error!(path = %path.display(), "damaged checkpoint, written again");
            self.checkpoints_owed.set(2);
            self.checkpoint_wanted.notify();
        }
    }

    /// Where the last process was, so that a restart does not begin again.
    async fn scrub_position(&self) -> u64 {
        let path = self.paths.shard.join(POSITION_NAME);
        let text = self
            .rt
            .disk()
            .read_small(&path, 64)
            .await
            .unwrap_or_default();
        let text = String::from_utf8(text).unwrap_or_default();
        let position: u64 = text.trim().parse().unwrap_or(0);
        // It may be any number: a block begins at the start of a segment.
        position - position % self.settings.segment_bytes
    }

    async fn keep_scrub_position(&self, position: u64) {
        let path = self.paths.shard.join(POSITION_NAME);
        let text = format!("{position}\n");
        let _ = self.rt.disk().write_atomic(&path, text.as_bytes()).await;
    }
}

/// A text file with a number; without it a pass begins at the oldest block.
const POSITION_NAME: &str = "scrub";
