//! Reading a queue: from memory at once, or from disk with the blocks checked. Answers to Java's
//! `DefaultMessageStore.getMessage` and `GetMessageStatus`.
//!
//! One pass, [`Inner::gather`], runs without waiting and stops when it needs a page or a block that
//! is not in memory; the waiting read brings it and goes on where the pass stopped. Invariant: only
//! visible messages are handed out, whole, in order, and none that fails its checks.

use crate::cold::ColdBlock;
use crate::consume_queue::pages::{Page, PageKey, UNITS_PER_PAGE};
use crate::consume_queue::{Queue, QueueRef, Unit, UnitPlace};
use crate::error::ReadError;
use crate::record;
use crate::stats::add;
use crate::store::Inner;
use base::{LogPosition, PhyOffset, QueueOffset};
use rt::Rt;

/// Which messages a read gives. Any `FnMut(i64) -> bool` is one that looks at tags codes only.
pub trait Accept {
    /// Whether a message with this tags code may be given. Asked from the index alone, before the
    /// log is read; once more for a message that had to be brought from the disk.
    fn tags_code(&mut self, tags_code: i64) -> bool;

    /// Whether this stored message is given.
    fn message(&mut self, unit: &[u8]) -> bool {
        let _ = unit;
        true
    }
}

impl<F: FnMut(i64) -> bool> Accept for F {
    fn tags_code(&mut self, tags_code: i64) -> bool {
        self(tags_code)
    }
}

/// How much one read may give. At least one message is given whatever its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Most messages.
    pub count_max: usize,
    /// Most bytes.
    pub bytes_max: usize,
    /// Most places of the queue that are looked at.
    pub scan_max: usize,
}

/// Java `GetMessageStatus`, as far as it can happen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetStatus {
    /// There are messages.
    Found,
    /// None of those looked at was accepted.
    NoMatchedMessage,
    /// Those looked at cannot be read any more.
    MessageWasRemoving,
    /// The queue has the offset and no entry for it.
    OffsetFoundNull,
    /// Beyond the end by more than the next offset.
    OffsetOverflowBadly,
    /// The next offset, not there yet.
    OffsetOverflowOne,
    /// Before the first offset.
    OffsetTooSmall,
    /// No such queue.
    NoMatchedLogicQueue,
    /// The queue never had a message.
    NoMessageInQueue,
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetResult {
    /// How it went.
    pub status: GetStatus,
    /// Where to read next.
    pub next_offset: QueueOffset,
    /// First offset of the queue.
    pub min: QueueOffset,
    /// The offset after the last visible one.
    pub max: QueueOffset,
    /// Messages given.
    pub count: usize,
    /// Bytes given.
    pub bytes: usize,
}

/// What the queue index knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Place in the queue.
    pub queue_offset: QueueOffset,
    /// Place in the broker's physical address space.
    pub phy_offset: PhyOffset,
    /// As the message was appended with.
    pub tags_code: i64,
}

/// What a read from memory came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailRead {
    /// It is answered.
    Done(GetResult),
    /// The next message is not in memory: use the waiting read.
    NotInMemory,
}

/// Where a pass stands.
pub(crate) struct Progress {
    from: i64,
    next: i64,
    status: GetStatus,
    count: usize,
    bytes: usize,
}

/// What a pass needs to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needs {
    Page(PageKey),
    Block(Unit),
}

/// What can be said of a unit without waiting.
enum Message<'a> {
    Bytes(&'a [u8]),
    Gone,
    Needs(Needs),
}

impl Progress {
    pub(crate) fn new(from: QueueOffset) -> Self {
        let status = GetStatus::NoMatchedMessage;
        Self {
            from: from.0,
            next: from.0,
            status,
            count: 0,
            bytes: 0,
        }
    }
}

impl<R: Rt> Inner<R> {
    /// Reads what is in memory.
    pub(crate) fn read_tail(
        &self,
        reference: QueueRef,
        from: QueueOffset,
        limits: ReadLimits,
        accept: &mut dyn Accept,
        out: &mut Vec<u8>,
    ) -> TailRead {
        let mut progress = Progress::new(from);
        match self.gather(reference, limits, accept, out, &mut progress) {
            Ok(result) => TailRead::Done(result),
            Err(_) if progress.next > from.0 => TailRead::Done(self.result(reference, &progress)),
            Err(_) => TailRead::NotInMemory,
        }
    }

    /// Reads from wherever it lies.
    pub(crate) async fn read(
        &self,
        reference: QueueRef,
        from: QueueOffset,
        limits: ReadLimits,
        accept: &mut dyn Accept,
        out: &mut Vec<u8>,
    ) -> Result<GetResult, ReadError> {
        let mut progress = Progress::new(from);
        loop {
            let needs = match self.gather(reference, limits, accept, out, &mut progress) {
                Ok(result) => return Ok(result),
                Err(needs) => needs,
            };
            let ahead = 2 * self.settings.block_bytes.max(limits.bytes_max / 2);
            // Meanwhile the queue may grow or be deleted; the next pass looks again.
            self.bring(needs, ahead.min(READ_AHEAD_MAX)).await?;
        }
    }

    /// One pass without waiting. Goes on from `progress`; fails with what has to be brought.
    fn gather(
        &self,
        reference: QueueRef,
        limits: ReadLimits,
        accept: &mut dyn Accept,
        out: &mut Vec<u8>,
        progress: &mut Progress,
    ) -> Result<GetResult, Needs> {
        if let Some(result) = self.outside(reference, progress.next) {
            // Between two passes the messages that come next may have gone.
            let some = progress.next > progress.from;
            return Ok(if some {
                self.result(reference, progress)
            } else {
                result
            });
        }
        let queues = self.queues.borrow();
        let queue = queues.get(reference).expect("checked just now");
        let scan_end = progress.from.saturating_add(limits.scan_max.max(1) as i64);
        let end = queue.visible.min(scan_end);
        let found = |p: &Progress| p.bytes > 0;
        while progress.next < end && progress.count < limits.count_max.max(1) {
            let unit = self.unit(queue, progress.next).map_err(Needs::Page)?;
            let full = found(progress) && progress.bytes + unit.len as usize > limits.bytes_max;
            if full {
                break;
            }
            let wanted = unit.is_lost() || accept.tags_code(unit.tags_code);
            if wanted {
                let log = self.log.borrow();
                let cold = self.cold.borrow();
                match self.message(&log, &cold, &unit) {
                    Message::Bytes(bytes) if !accept.message(bytes) => {
                        if !found(progress) {
                            progress.status = GetStatus::NoMatchedMessage;
                        }
                    }
                    Message::Bytes(bytes) => {
                        out.extend_from_slice(bytes);
                        progress.count += 1;
                        progress.bytes += bytes.len();
                        progress.status = GetStatus::Found;
                    }
                    Message::Gone if !found(progress) => {
                        progress.status = GetStatus::MessageWasRemoving;
                    }
                    Message::Gone => {}
                    Message::Needs(needs) => return Err(needs),
                }
            } else if !found(progress) {
                progress.status = GetStatus::NoMatchedMessage;
            }
            progress.next += 1;
        }
        drop(queues);
        Ok(self.result(reference, progress))
    }

    /// The answer when the offset is not one that the queue has.
    fn outside(&self, reference: QueueRef, from: i64) -> Option<GetResult> {
        let queues = self.queues.borrow();
        let result = |status, next: i64, min: i64, max: i64| {
            Some(GetResult {
                status,
                next_offset: QueueOffset(next),
                min: QueueOffset(min),
                max: QueueOffset(max),
                count: 0,
                bytes: 0,
            })
        };
        let Some(queue) = queues.get(reference) else {
            return result(GetStatus::NoMatchedLogicQueue, 0, 0, 0);
        };
        let (min, max) = (queue.min, queue.visible);
        // The order of the questions is that of DefaultMessageStore.getMessage.
        if max == 0 {
            result(GetStatus::NoMessageInQueue, 0, min, max)
        } else if from < min {
            result(GetStatus::OffsetTooSmall, min, min, max)
        } else if from == max {
            result(GetStatus::OffsetOverflowOne, from, min, max)
        } else if from > max {
            result(GetStatus::OffsetOverflowBadly, max, min, max)
        } else {
            None
        }
    }

    fn result(&self, reference: QueueRef, progress: &Progress) -> GetResult {
        let queues = self.queues.borrow();
        let (min, max) = queues.get(reference).map_or((0, 0), |q| (q.min, q.visible));
        add(&self.counters.messages_read, progress.count as u64);
        add(&self.counters.message_bytes_read, progress.bytes as u64);
        GetResult {
            status: progress.status,
            next_offset: QueueOffset(progress.next),
            min: QueueOffset(min),
            max: QueueOffset(max),
            count: progress.count,
            bytes: progress.bytes,
        }
    }

    /// The unit of an offset, or the page that holds it.
    fn unit(&self, queue: &Queue, offset: i64) -> Result<Unit, PageKey> {
        match queue.unit_place(offset) {
            UnitPlace::Here(unit) => Ok(unit),
            UnitPlace::InPage { page, at } => match self.pages.borrow().get(page) {
                Some(page) => Ok(page.unit(at)),
                None => Err(PageKey {
                    shard: self.settings.shard,
                    page,
                    queue: queue.fingerprint(),
                    chunk: offset / UNITS_PER_PAGE as i64,
                }),
            },
        }
    }

    /// A message's bytes, checked to be the message that the unit means.
    fn message<'a>(
        &self,
        log: &'a crate::commit_log::CommitLog<R::Disk>,
        cold: &'a crate::cold::ColdCache,
        unit: &Unit,
    ) -> Message<'a> {
        if unit.is_lost() || unit.position < log.segments.start() {
            return Message::Gone;
        }
        let block = unit.block(self.settings.block_align);
        let bytes = match log.in_memory(unit.position) {
            Some((start, bytes)) => {
                base::always!(ReadMatchesUnit, start == block);
                bytes
            }
            None => match cold.get(block) {
                Some(ColdBlock::Good(bytes)) => bytes,
                Some(ColdBlock::Salvaged(bytes, proven)) if proven.contains(&unit.position) => {
                    bytes
                }
                Some(ColdBlock::Salvaged(..) | ColdBlock::Damaged) => return Message::Gone,
                None => return Message::Needs(Needs::Block(*unit)),
            },
        };
        let at = (unit.position - block) as usize;
        let message = bytes.get(at..at + unit.len as usize);
        let right = message.filter(|message| {
            record::unit_len(message) == Some(message.len())
                && record::phy_offset(message).is_some_and(|phy| phy.position().0 == unit.position)
        });
        right.map_or(Message::Gone, Message::Bytes)
    }

    /// What `view` makes of the message at an offset of a queue; `None` when there is none.
    pub(crate) async fn view_message<T>(
        &self,
        reference: QueueRef,
        offset: QueueOffset,
        view: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, ReadError> {
        loop {
            let needs = {
                let queues = self.queues.borrow();
                let Some(queue) = queues.get(reference) else {
                    return Ok(None);
                };
                if offset.0 < queue.min || offset.0 >= queue.visible {
                    return Ok(None);
                }
                let (log, cold) = (self.log.borrow(), self.cold.borrow());
                let unit = self.unit(queue, offset.0).map_err(Needs::Page);
                match unit.map(|unit| self.message(&log, &cold, &unit)) {
                    Ok(Message::Bytes(bytes)) => return Ok(view(bytes)),
                    Ok(Message::Gone) => return Ok(None),
                    Ok(Message::Needs(needs)) | Err(needs) => needs,
                }
            };
            // Meanwhile the queue may change; the next turn looks again.
            self.bring(needs, self.settings.block_bytes).await?;
        }
    }

    /// The index entries of a queue from an offset on, without those that are lost to damage.
    pub(crate) async fn index_entries(
        &self,
        reference: QueueRef,
        from: QueueOffset,
    ) -> Result<Vec<IndexEntry>, ReadError> {
        let (mut entries, mut next) = (Vec::new(), from.0);
        loop {
            let missing = {
                let queues = self.queues.borrow();
                let Some(queue) = queues.get(reference) else {
                    return Ok(entries);
                };
                next = next.max(queue.min);
                loop {
                    if next >= queue.next {
                        return Ok(entries);
                    }
                    match self.unit(queue, next) {
                        Ok(unit) if unit.is_lost() => {}
                        Ok(unit) => {
                            let position = LogPosition(unit.position);
                            entries.push(IndexEntry {
                                queue_offset: QueueOffset(next),
                                phy_offset: PhyOffset::new(self.settings.shard, position),
                                tags_code: unit.tags_code,
                            });
                        }
                        Err(missing) => break missing,
                    }
                    next += 1;
                }
            };
            // Meanwhile the queue may change; the next turn looks again.
            self.bring_page(missing).await?;
        }
    }

    /// Brings a page or a block, with up to `ahead` bytes after it, into memory.
    async fn bring(&self, needs: Needs, ahead: usize) -> Result<(), ReadError> {
        match needs {
            Needs::Page(key) => self.bring_page(key).await,
            Needs::Block(unit) => {
                let block = unit.block(self.settings.block_align);
                let len = (unit.position - block) as usize + unit.len as usize;
                self.bring_blocks(block, len.max(ahead)).await
            }
        }
    }

    async fn bring_page(&self, key: PageKey) -> Result<(), ReadError> {
        let page = self.read_page(key).await?;
        self.pages.borrow_mut().keep(key.page, page);
        Ok(())
    }

    /// Reads a page from the disk, or makes it again from the log.
    pub(crate) async fn read_page(&self, key: PageKey) -> Result<Page, ReadError> {
        add(&self.counters.pages_read, 1);
        let failed = |source| ReadError::Io {
            path: self.paths.index.clone(),
            position: u64::from(key.page),
            source,
        };
        let bytes = self.page_files.read(key.page).await.map_err(failed)?;
        match Page::decode(key, &bytes) {
            Some(page) => Ok(page),
            None => Ok(self.rebuild_page(key).await?.page),
        }
    }
}

/// Most bytes that are read beyond a block at once.
const READ_AHEAD_MAX: usize = 1 << 20;
