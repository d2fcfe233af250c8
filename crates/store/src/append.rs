//! Appending: a message or an internal record into the open block, its unit into its queue.
//!
//! Owned by the shard. Nothing here waits, so between taking a queue offset and placing the bytes
//! no other task runs. Invariant: an append that is refused leaves log and queues as they were.

use crate::block::HEADER_LEN;
use crate::commit_log::{NoPlace, Place};
use crate::consume_queue::{Queue, QueueRef, Unit};
use crate::error::AppendError;
use crate::record::{self, RecordKind, TAG_LEN};
use crate::settings::FlushMode;
use crate::stats::add;
use crate::store::Inner;
use crate::tail_ring::TailRing;
use base::{LogPosition, PhyOffset, QueueId, QueueOffset};
use rt::Rt;
use std::sync::Arc;

/// Where an appended message lies. It may be acknowledged once
/// [`crate::ShardStore::acknowledged`] has reached `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendReceipt {
    /// Place in the broker's physical address space.
    pub phy_offset: PhyOffset,
    /// Place in the queue.
    pub queue_offset: QueueOffset,
    /// When it was taken, in milliseconds since the epoch.
    pub store_timestamp_ms: i64,
    /// End of the message in the shard's log.
    pub end: LogPosition,
    /// Length of the stored message, in bytes.
    pub encoded_len: usize,
}

/// What a message's bytes need to know of their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagePlace {
    /// Place in the queue.
    pub queue_offset: QueueOffset,
    /// Place in the broker's physical address space.
    pub phy_offset: PhyOffset,
    /// When it is taken, in milliseconds since the epoch.
    pub store_timestamp_ms: i64,
}

impl<R: Rt> Inner<R> {
    /// Appends a message of `len` bytes that `encode` writes.
    pub(crate) fn append_message(
        &self,
        reference: QueueRef,
        len: usize,
        tags_code: i64,
        encode: impl FnOnce(&mut [u8], MessagePlace),
    ) -> Result<AppendReceipt, AppendError> {
        let moment = self.moment.get();
        let now_ms = moment.map_or_else(|| self.rt.now_ms(), |(ms, _)| ms);
        let mut queues = self.queues.borrow_mut();
        let queue = queues.get_mut(reference).ok_or(AppendError::QueueGone)?;
        let mut log = self.log.borrow_mut();
        let place = match self.place(&mut log, TAG_LEN + len, true, now_ms) {
            Err(AppendError::NoSpace(_)) if base::bug!(SwallowEnospc) => {
                let end = LogPosition(log.durable());
                return Ok(AppendReceipt {
                    phy_offset: PhyOffset::new(self.settings.shard, end),
                    queue_offset: QueueOffset(queue.next),
                    store_timestamp_ms: now_ms,
                    end,
                    encoded_len: len,
                });
            }
            place => place?,
        };
        let position = place.position + TAG_LEN as u64;
        let is_reused = base::bug!(ReuseQueueOffset) && place.at == HEADER_LEN && queue.next > 0;
        let message = MessagePlace {
            queue_offset: QueueOffset(queue.next - i64::from(is_reused)),
            phy_offset: PhyOffset::new(self.settings.shard, LogPosition(position)),
            store_timestamp_ms: now_ms,
        };
        let bytes = log.record_mut(place, TAG_LEN + len);
        let (tag, unit) = bytes.split_at_mut(TAG_LEN);
        tag.copy_from_slice(&tags_code.to_le_bytes());
        encode(unit, message);
        assert_eq!(
            record::unit_len(unit),
            Some(len),
            "the message says its own length"
        );
        log.placed(place, TAG_LEN + len);
        drop(log);

        let align = self.settings.block_align;
        let unit = Unit::new(place.block, position, len as u32, tags_code, align);
        if let Some(chunk) = queue.push(unit) {
            self.turn_page(reference, queue, chunk);
        }
        let end = LogPosition(position + len as u64);
        match self.settings.flush {
            FlushMode::Sync if base::bug!(ExposeUndurable) => self.became_visible(queue, reference),
            FlushMode::Sync => self.pending.borrow_mut().push_back((end.0, reference)),
            FlushMode::Async => self.became_visible(queue, reference),
        }
        drop(queues);
        add(&self.counters.messages, 1);
        add(&self.counters.message_bytes, len as u64);
        self.after_append();
        Ok(AppendReceipt {
            phy_offset: message.phy_offset,
            queue_offset: message.queue_offset,
            store_timestamp_ms: now_ms,
            end,
            encoded_len: len,
        })
    }

    /// The first chunk of a queue's tail becomes a page; a checkpoint under way has the queue first.
    fn turn_page(&self, reference: QueueRef, queue: &mut Queue, chunk: i64) {
        if let Some(frozen) = &mut *self.frozen.borrow_mut() {
            frozen.keep(reference, queue);
        }
        let shard = self.settings.shard;
        let mut pages = self.pages.borrow_mut();
        let page = pages.add(shard, queue.fingerprint(), chunk, &queue.tail);
        queue.turn_page(page);
    }

    /// Whether messages of these lengths would all be appended, one after the other, if nothing
    /// else came between; else why not.
    pub(crate) fn check_room(&self, lens: &[usize]) -> Result<(), AppendError> {
        let log = self.log.borrow();
        let total: usize = lens.iter().map(|len| TAG_LEN + len).sum();
        let ring = log.ring.as_ref().map_or(u64::MAX, TailRing::capacity);
        let max = ring.min(2 * self.settings.unflushed_bytes_max as u64) as usize;
        if total > max {
            return Err(AppendError::TooLong { len: total, max });
        }
        let longest = lens.iter().max().map_or(0, |len| TAG_LEN + len);
        let refused = match self.refusal(&log, longest, total, true) {
            Some(refusal) => Err(refusal),
            None => log
                .has_room_for(lens.iter().map(|len| TAG_LEN + len), self.reserve(true))
                .map_err(|no_place| self.no_place(&log, no_place)),
        };
        if refused.is_err() {
            add(&self.counters.refused, 1);
        }
        refused
    }

    /// Appends an internal record. Gives its end.
    pub(crate) fn append_internal(
        &self,
        kind: RecordKind,
        payload: &[u8],
    ) -> Result<LogPosition, AppendError> {
        let end = self.append_repeated(kind, payload)?;
        if kind < RecordKind::RESERVED && self.snapshot_source.borrow().is_none() {
            self.carried.borrow_mut().push((kind, payload.to_vec()));
        }
        Ok(end)
    }

    /// Appends an internal record that checkpoints carry already. Gives its end.
    pub(crate) fn append_repeated(
        &self,
        kind: RecordKind,
        payload: &[u8],
    ) -> Result<LogPosition, AppendError> {
        let len = record::internal_len(payload.len());
        let mut log = self.log.borrow_mut();
        let place = self.place(&mut log, len, false, self.rt.now_ms())?;
        record::write_internal(kind, payload, log.record_mut(place, len));
        log.placed(place, len);
        drop(log);
        add(&self.counters.records, 1);
        self.after_append();
        Ok(LogPosition(place.position + len as u64))
    }

    /// Deletes a queue, in the log and here. Gives the end of the record, `None` when there is no
    /// such queue.
    pub(crate) fn delete_queue(
        &self,
        topic: &str,
        queue: QueueId,
    ) -> Result<Option<LogPosition>, AppendError> {
        let Some(reference) = self.queues.borrow().find(topic, queue) else {
            return Ok(None);
        };
        let payload = record::deleted_queue_payload(topic, queue);
        let end = self.append_internal(RecordKind::QUEUE_DELETED, &payload)?;
        if let Some(frozen) = &mut *self.frozen.borrow_mut()
            && let Some(queue) = self.queues.borrow().get(reference)
        {
            frozen.keep(reference, queue);
        }
        if let Some(gone) = self.queues.borrow_mut().remove(reference) {
            self.pages.borrow_mut().give_back(&gone.pages);
        }
        self.arrivals
            .borrow_mut()
            .retain(|other| *other != reference);
        Ok(Some(end))
    }

    /// Finds a place for `len` bytes, or says why there is none.
    fn place(
        &self,
        log: &mut crate::commit_log::CommitLog<R::Disk>,
        len: usize,
        is_message: bool,
        now_ms: i64,
    ) -> Result<Place, AppendError> {
        let refused = match self.refusal(log, len, len, is_message) {
            Some(refusal) => Err(refusal),
            None => log
                .place(len, self.reserve(is_message), now_ms)
                .map_err(|no_place| self.no_place(log, no_place)),
        };
        match &refused {
            Ok(place) if place.at == HEADER_LEN => {
                if log.note_opened(place.block, self.rt.monotonic_us()) {
                    self.unsynced_began.notify();
                }
            }
            Ok(_) => {}
            Err(error) => {
                match error {
                    AppendError::NoSpace(_) => base::reached!(AppendNoSpace),
                    AppendError::Fenced(_) => base::reached!(AppendFenced),
                    _ => base::reached!(AppendBusy),
                }
                add(&self.counters.refused, 1);
            }
        }
        refused
    }

    /// What a producer is told when there is no place in the log.
    fn no_place(&self, log: &crate::commit_log::CommitLog<R::Disk>, why: NoPlace) -> AppendError {
        match why {
            NoPlace::AboveFrontier { end } => {
                self.zero_wanted.notify();
                match self.no_space.borrow().as_ref() {
                    Some(shortage) => AppendError::NoSpace(Arc::clone(shortage)),
                    None => self.busy(
                        end.saturating_sub(log.written()),
                        log.segments.frontier().saturating_sub(log.written()),
                    ),
                }
            }
            NoPlace::TooFarAhead { end } => {
                let ahead = end.saturating_sub(log.durable());
                self.busy(ahead, self.settings.window())
            }
            NoPlace::RingFull => {
                let max = log.ring.as_ref().map_or(0, TailRing::capacity);
                self.busy(log.unwritten(), max)
            }
        }
    }

    /// Why nothing at all is taken now: a record of `len` bytes, of `total` bytes to come.
    fn refusal(
        &self,
        log: &crate::commit_log::CommitLog<R::Disk>,
        len: usize,
        total: usize,
        is_message: bool,
    ) -> Option<AppendError> {
        if let Some(reason) = self.fenced.borrow().as_ref() {
            return Some(AppendError::Fenced(reason.clone()));
        }
        if self.closing.get() {
            return Some(AppendError::Closed);
        }
        if is_message && let Some(shortage) = self.retention.shortage.borrow().as_ref() {
            return Some(AppendError::NoSpace(Arc::clone(shortage)));
        }
        let max = self.settings.record_len_max;
        if len > max + TAG_LEN {
            return Some(AppendError::TooLong {
                len: len - TAG_LEN,
                max,
            });
        }
        if self.is_sync_late.get() {
            return Some(self.sync_late(log));
        }
        let waiting = self.waiting_bytes(log);
        let waiting_max = 2 * self.settings.unflushed_bytes_max as u64;
        (waiting + total as u64 > waiting_max).then(|| self.busy(waiting, waiting_max))
    }

    /// What was acknowledged waits too long for its sync.
    fn sync_late(&self, log: &crate::commit_log::CommitLog<R::Disk>) -> AppendError {
        let unsynced = log.unsynced();
        if self.stall.is_stalled() {
            return self.busy(unsynced, self.settings.window());
        }
        AppendError::SyncLate {
            unsynced,
            waited_ms: self.unsynced_ms(log),
            max_ms: self.settings.unsynced_ms_max,
        }
    }

    /// Too much waits for the disk, which is slow or stands still.
    fn busy(&self, unwritten: u64, max: u64) -> AppendError {
        if self.stall.is_stalled() {
            let limit_ms = self.settings.stall_limit_ms;
            return AppendError::Stalled {
                limit_ms,
                unwritten,
                max,
            };
        }
        AppendError::Busy { unwritten, max }
    }

    /// What is kept of a full disk for internal records, in bytes: deleting needs them.
    fn reserve(&self, is_message: bool) -> u64 {
        if !is_message || self.no_space.borrow().is_none() {
            return 0;
        }
        (self.settings.zero_ahead_bytes / 8).min(8 << 20)
    }

    fn after_append(&self) {
        if self.writer_waits.get() {
            let log = self.log.borrow();
            if !self.writer_gathers.get() || log.has_ready() {
                self.writer_waits.set(false);
                drop(log);
                self.work.notify();
            }
        }
    }
}
