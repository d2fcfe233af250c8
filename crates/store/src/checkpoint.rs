//! Checkpoints: everything that is derived from the log before a position, in one small file.
//!
//! Owned by the shard. Two files take turns, each replaced atomically, so that damage to one costs
//! a longer scan and nothing else. Pure: bytes in, values out. Answers to Java's `StoreCheckpoint`,
//! `consumerOffset.json` and `topics.json` together.

use crate::block::{u16_at, u32_at, u64_at};
use crate::consume_queue::{Queue, UNIT_LEN, UnitBytes, fits_together};
use crate::record::RecordKind;
use crate::settings::WINDOW_UNIT;
use base::{QueueId, ShardId};

const MAGIC: [u8; 4] = *b"RqC1";
/// Largest checkpoint that is read back, in bytes.
pub(crate) const CHECKPOINT_LEN_MAX: usize = 1 << 30;

/// The fixed part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointHead {
    pub(crate) shard: ShardId,
    /// Counts up with each checkpoint of the shard.
    pub(crate) sequence: u64,
    /// Recovery scans from here.
    pub(crate) position: u64,
    /// Everything before was durable.
    pub(crate) durable: u64,
    pub(crate) secret: u32,
    /// No block beyond the end of the log lies further from it than this, in bytes; 0: unknown.
    pub(crate) window: u64,
}

/// One queue in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueState {
    pub(crate) topic: String,
    pub(crate) queue: QueueId,
    pub(crate) min: i64,
    pub(crate) next: i64,
    pub(crate) pages: Vec<u32>,
    pub(crate) tail: Vec<UnitBytes>,
}

/// A checkpoint that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) head: CheckpointHead,
    pub(crate) queues: Vec<QueueState>,
    pub(crate) records: Vec<(RecordKind, Vec<u8>)>,
}

const QUEUE_COUNT_AT: usize = 40;
const HEAD_LEN: usize = 44;

/// The beginning of a checkpoint: `queues` queues follow, each by [`put_queue`], then [`put_end`].
pub(crate) fn put_head(head: &CheckpointHead, queues: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crate::layout::FORMAT_VERSION.to_le_bytes());
    bytes.extend(head.shard.as_u16().to_le_bytes());
    bytes.extend(head.sequence.to_le_bytes());
    bytes.extend(head.position.to_le_bytes());
    bytes.extend(head.durable.to_le_bytes());
    bytes.extend(head.secret.to_le_bytes());
    bytes.extend(((head.window / WINDOW_UNIT) as u32).to_le_bytes());
    assert_eq!(bytes.len(), QUEUE_COUNT_AT);
    bytes.extend(queues.to_le_bytes());
    bytes
}

/// A queue as it was when its next offset was `next`.
pub(crate) fn put_queue(
    out: &mut Vec<u8>,
    queue: &Queue,
    next: i64,
    pages: &[u32],
    tail: &[UnitBytes],
) {
    let topic = queue.topic.as_bytes();
    out.extend((topic.len() as u16).to_le_bytes());
    out.extend(topic);
    out.extend(queue.id.0.to_le_bytes());
    out.extend(queue.min.to_le_bytes());
    out.extend(next.to_le_bytes());
    out.extend((pages.len() as u32).to_le_bytes());
    for page in pages {
        out.extend(page.to_le_bytes());
    }
    out.extend((tail.len() as u16).to_le_bytes());
    out.extend(tail.as_flattened());
}

/// What follows the queues; then comes the checksum of all of it.
pub(crate) fn put_end(out: &mut Vec<u8>, records: &[(RecordKind, Vec<u8>)]) {
    out.extend((records.len() as u32).to_le_bytes());
    for (kind, payload) in records {
        out.extend(kind.0.to_le_bytes());
        out.extend((payload.len() as u32).to_le_bytes());
        out.extend(payload);
    }
}

impl Checkpoint {
    /// Reads a checkpoint; `None` when it is damaged or of another shard.
    pub(crate) fn decode(shard: ShardId, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        let whole = body.len() >= HEAD_LEN
            && body[0..4] == MAGIC
            && u16_at(body, 4) == crate::layout::FORMAT_VERSION
            && u16_at(body, 6) == shard.as_u16()
            && u32::from_le_bytes(*sum) == crc32fast::hash(body);
        whole.then_some(())?;
        let head = CheckpointHead {
            shard,
            sequence: u64_at(body, 8),
            position: u64_at(body, 16),
            durable: u64_at(body, 24),
            secret: u32_at(body, 32),
            window: u64::from(u32_at(body, 36)) * WINDOW_UNIT,
        };
        let queue_count = u32_at(body, QUEUE_COUNT_AT);
        let mut rest = Cursor(&body[HEAD_LEN..]);
        let queues = (0..queue_count)
            .map(|_| rest.queue())
            .collect::<Option<_>>()?;
        let record_count = rest.u32()?;
        let records = (0..record_count)
            .map(|_| rest.record())
            .collect::<Option<_>>()?;
        rest.0.is_empty().then_some(Self {
            head,
            queues,
            records,
        })
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16_at(bytes, 0))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32_at(bytes, 0))
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8).map(|bytes| u64_at(bytes, 0).cast_signed())
    }

    fn queue(&mut self) -> Option<QueueState> {
        let topic_len = usize::from(self.u16()?);
        let topic = String::from_utf8(self.take(topic_len)?.to_vec()).ok()?;
        let queue = QueueId(self.u32()?);
        let (min, next) = (self.i64()?, self.i64()?);
        let page_count = self.u32()? as usize;
        let pages = self.take(page_count.checked_mul(4)?)?;
        let unit_count = usize::from(self.u16()?);
        let units = self.take(unit_count * UNIT_LEN)?;
        fits_together(min, next, page_count, unit_count).then_some(())?;
        Some(QueueState {
            topic,
            queue,
            min,
            next,
            pages: pages.chunks_exact(4).map(|page| u32_at(page, 0)).collect(),
            tail: units.as_chunks().0.to_vec(),
        })
    }

    fn record(&mut self) -> Option<(RecordKind, Vec<u8>)> {
        let kind = RecordKind(self.u16()?);
        let len = self.u32()? as usize;
        Some((kind, self.take(len)?.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume_queue::{QueueTable, Unit};

    #[test]
    fn a_checkpoint_reads_back_and_a_damaged_one_does_not() {
        let head = CheckpointHead {
            shard: ShardId::new(3),
            sequence: 8,
            position: 4_096,
            durable: 8_192,
            secret: 5,
            window: 64 << 20,
        };
        let mut table = QueueTable::default();
        let reference = table.find_or_create("TopicTest", QueueId(7));
        let queue = table.get_mut(reference).unwrap();
        queue.pages = vec![4, 2];
        queue.push(Unit::new(512, 600, 91, -7, 512));
        queue.next = 407;
        let mut bytes = put_head(&head, 1);
        for queue in table.iter() {
            put_queue(&mut bytes, queue, queue.next, &queue.pages, &queue.tail);
        }
        let records = vec![
            (RecordKind(1), b"one".to_vec()),
            (RecordKind(2), Vec::new()),
        ];
        put_end(&mut bytes, &records);
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());

        let read = Checkpoint::decode(head.shard, &bytes).unwrap();
        assert_eq!((read.head, &read.records), (head, &records));
        let queue = &read.queues[0];
        assert_eq!(
            (queue.topic.as_str(), queue.queue, queue.next),
            ("TopicTest", QueueId(7), 407)
        );
        assert_eq!(
            (queue.pages.as_slice(), queue.tail.len()),
            ([4, 2].as_slice(), 1)
        );
        assert_eq!(Checkpoint::decode(ShardId::new(2), &bytes), None);
        for len in 0..bytes.len() {
            assert_eq!(
                Checkpoint::decode(head.shard, &bytes[..len]),
                None,
                "cut at {len}"
            );
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Checkpoint::decode(head.shard, &flipped), None, "bit {bit}");
        }
    }
}
