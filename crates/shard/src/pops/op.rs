//! Changes of what groups have popped, as they stand in the log.
//!
//! Pure. A record names a queue of a topic and a group, then lists changes; a checkpoint holds the
//! same records, made of the whole state. Invariant: changes that are applied a second time, in
//! their order and up to the last one, give the same state. Numbers are little-endian. Java:
//! `PopCheckPoint`, `AckMsg`, `BatchAckMsg`, messages of the revive topic.

use smallvec::SmallVec;

/// Most messages that one pop takes of a queue; a check has one bit for each.
pub const POP_COUNT_MAX: usize = 32;

/// Names a check of a queue: the offset that the pop began at, and when it was. Both stand in the
/// receipt handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId {
    /// The first offset that the pop looked at.
    pub start: i64,
    /// When it was, in milliseconds since the epoch.
    pub pop_time_ms: i64,
}

/// What one pop took of a queue and is not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// When the messages can be had again, in milliseconds since the epoch.
    pub visible_at_ms: i64,
    /// Bit `i` says that message `i` is not acknowledged.
    pub left: u32,
    /// Distance of each message from the start; none when message `i` lies at `start + i`.
    pub distances: Option<Box<[u32]>>,
}

impl Check {
    /// A check of messages at these offsets, none of which is acknowledged.
    ///
    /// # Panics
    /// With no offsets, more than [`POP_COUNT_MAX`], or one before the start.
    pub fn new(start: i64, visible_at_ms: i64, offsets: &[i64]) -> Self {
        assert!((1..=POP_COUNT_MAX).contains(&offsets.len()), "1 to 32");
        let is_dense = offsets.iter().zip(start..).all(|(a, b)| *a == b);
        let distance = |offset: &i64| {
            let distance = u32::try_from(offset - start);
            distance.expect("a pop looks at less than 2^32 places from its start")
        };
        Self {
            visible_at_ms,
            left: u32::MAX >> (POP_COUNT_MAX - offsets.len()),
            distances: (!is_dense).then(|| offsets.iter().map(distance).collect()),
        }
    }

    /// Which bit stands for an offset, if any.
    pub fn index_of(&self, start: i64, offset: i64) -> Option<u32> {
        let distance = u32::try_from(offset.checked_sub(start)?).ok()?;
        match &self.distances {
            None => (distance < POP_COUNT_MAX as u32).then_some(distance),
            Some(all) => all.iter().position(|d| *d == distance).map(|at| at as u32),
        }
    }

    /// The offset that a bit stands for.
    fn offset_at(&self, start: i64, index: u32) -> i64 {
        let distance = match &self.distances {
            None => index,
            Some(all) => all.get(index as usize).copied().unwrap_or(0),
        };
        start.saturating_add(i64::from(distance))
    }

    /// The offsets that are not acknowledged, in order.
    pub fn offsets_left(&self, start: i64) -> SmallVec<[i64; 8]> {
        let bits = (0..POP_COUNT_MAX as u32).filter(|bit| self.left & (1 << bit) != 0);
        bits.map(|bit| self.offset_at(start, bit)).collect()
    }

    /// The first offset that is not acknowledged.
    pub fn first_left(&self, start: i64) -> i64 {
        self.offset_at(start, self.left.trailing_zeros().min(31))
    }
}

/// A change of one queue of a topic for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The group has nothing popped of the queue, and nothing is known of it any more.
    Forget,
    /// Nothing is popped; the next pop begins here.
    Reset {
        /// The next offset.
        next: i64,
    },
    /// Messages were popped, and the next pop begins behind them.
    Take {
        /// Which pop.
        id: CheckId,
        /// What it took.
        check: Check,
        /// The next offset.
        next: i64,
    },
    /// Messages of a pop are acknowledged, or have gone to the retry topic or the dead letters.
    Clear {
        /// Which pop.
        id: CheckId,
        /// The bits of the messages.
        bits: u32,
    },
    /// An orderly pop: the queue is locked until all are acknowledged or its time is over.
    Order(Option<Box<OrderLock>>),
}

/// The messages that an orderly pop gave, the last one of the queue. Java:
/// `ConsumerOrderInfoManager.OrderInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderLock {
    /// When they were popped, in milliseconds since the epoch.
    pub pop_time_ms: i64,
    /// Who popped; the same attempt gets the same messages again.
    pub attempt_id: Box<str>,
    /// The messages in order of offset.
    pub messages: Vec<OrderedMessage>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderedMessage {
    /// Its offset in the queue.
    pub offset: i64,
    /// When it can be had again, in milliseconds since the epoch.
    pub visible_at_ms: i64,
    /// How often it was popped before.
    pub times: u32,
    /// Whether it is acknowledged.
    pub is_acked: bool,
}

impl OrderLock {
    /// When the queue is free again; `None` when it is.
    pub fn locked_until_ms(&self, now_ms: i64) -> Option<i64> {
        let waits = |message: &&OrderedMessage| !message.is_acked && now_ms < message.visible_at_ms;
        let times = self.messages.iter().filter(waits);
        times.map(|message| message.visible_at_ms).max()
    }
}

/// A name and changes, as one record.
pub(super) struct Record(Vec<u8>);

impl Record {
    /// A record of changes of this queue.
    pub(super) fn new(topic: &str, group: &str, queue_id: u32) -> Self {
        let mut bytes = Vec::with_capacity(64 + topic.len() + group.len());
        for text in [topic, group] {
            bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&queue_id.to_le_bytes());
        Self(bytes)
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a change.
    pub(super) fn push(&mut self, op: &Op) {
        let out = &mut self.0;
        match op {
            Op::Forget => out.push(FORGET),
            Op::Reset { next } => {
                out.push(RESET);
                put(out, *next);
            }
            Op::Take { id, check, next } => {
                out.push(TAKE);
                for number in [id.start, id.pop_time_ms, check.visible_at_ms, *next] {
                    put(out, number);
                }
                out.extend_from_slice(&check.left.to_le_bytes());
                let distances = check.distances.as_deref().unwrap_or_default();
                out.push(distances.len() as u8);
                for distance in distances {
                    out.extend_from_slice(&distance.to_le_bytes());
                }
            }
            Op::Clear { id, bits } => {
                out.push(CLEAR);
                put(out, id.start);
                put(out, id.pop_time_ms);
                out.extend_from_slice(&bits.to_le_bytes());
            }
            Op::Order(lock) => {
                out.push(ORDER);
                push_order(out, lock.as_deref().unwrap_or(&OrderLock::default()));
            }
        }
    }

    /// Its bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn push_order(out: &mut Vec<u8>, lock: &OrderLock) {
    put(out, lock.pop_time_ms);
    let attempt = &lock.attempt_id.as_bytes()[..lock.attempt_id.len().min(ATTEMPT_LEN_MAX)];
    out.push(attempt.len() as u8);
    out.extend_from_slice(attempt);
    out.push(lock.messages.len() as u8);
    for message in &lock.messages {
        put(out, message.offset);
        put(out, message.visible_at_ms);
        out.extend_from_slice(&message.times.to_le_bytes());
        out.push(u8::from(message.is_acked));
    }
}

fn put(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Reads a record: its queue, then its changes one by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Topic, group and queue of a record, and the reader of its changes.
    pub(super) fn open(bytes: &'a [u8]) -> Option<(&'a str, &'a str, u32, Self)> {
        let mut reader = Self(bytes);
        let topic = reader.text()?;
        let group = reader.text()?;
        let queue_id = u32::from_le_bytes(reader.array()?);
        Some((topic, group, queue_id, reader))
    }

    /// Whether there is no more change.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next change; `None` when it ends early or cannot be.
    pub(super) fn next_op(&mut self) -> Option<Op> {
        Some(match self.byte()? {
            FORGET => Op::Forget,
            RESET => Op::Reset {
                next: self.number()?,
            },
            TAKE => self.take()?,
            CLEAR => Op::Clear {
                id: self.check_id()?,
                bits: u32::from_le_bytes(self.array()?),
            },
            ORDER => {
                let lock = self.order()?;
                Op::Order((!lock.messages.is_empty()).then(|| Box::new(lock)))
            }
            _ => return None,
        })
    }

    fn take(&mut self) -> Option<Op> {
        let id = self.check_id()?;
        let visible_at_ms = self.number()?;
        let next = self.number()?;
        let left = u32::from_le_bytes(self.array()?);
        let count = usize::from(self.byte()?);
        if count > POP_COUNT_MAX {
            return None;
        }
        let mut distances = Vec::with_capacity(count);
        for _ in 0..count {
            distances.push(u32::from_le_bytes(self.array()?));
        }
        let distances = (count > 0).then(|| distances.into());
        let check = Check {
            visible_at_ms,
            left,
            distances,
        };
        Some(Op::Take { id, check, next })
    }

    fn order(&mut self) -> Option<OrderLock> {
        let pop_time_ms = self.number()?;
        let len = usize::from(self.byte()?);
        let attempt_id = std::str::from_utf8(self.bytes(len)?).ok()?.into();
        let count = self.byte()?;
        let mut messages = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            messages.push(OrderedMessage {
                offset: self.number()?,
                visible_at_ms: self.number()?,
                times: u32::from_le_bytes(self.array()?),
                is_acked: self.byte()? != 0,
            });
        }
        Some(OrderLock {
            pop_time_ms,
            attempt_id,
            messages,
        })
    }

    fn check_id(&mut self) -> Option<CheckId> {
        Some(CheckId {
            start: self.number()?,
            pop_time_ms: self.number()?,
        })
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.bytes(usize::from(len))?).ok()
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.array()?))
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }
}

/// Longest name of an attempt that is kept, in bytes; longer ones are refused before.
pub const ATTEMPT_LEN_MAX: usize = 255;

const FORGET: u8 = 0;
const RESET: u8 = 1;
const TAKE: u8 = 2;
const CLEAR: u8 = 3;
const ORDER: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn all_ops() -> Vec<Op> {
        let id = CheckId {
            start: 7,
            pop_time_ms: 1_000,
        };
        let message = OrderedMessage {
            offset: 9,
            visible_at_ms: 70_000,
            times: 3,
            is_acked: true,
        };
        vec![
            Op::Reset { next: 5 },
            Op::Take {
                id,
                check: Check::new(7, 61_000, &[7, 8, 9]),
                next: 10,
            },
            Op::Take {
                id,
                check: Check::new(7, i64::MAX, &[8, 300]),
                next: 301,
            },
            Op::Clear { id, bits: 5 },
            Op::Order(Some(Box::new(OrderLock {
                pop_time_ms: 3,
                attempt_id: "a".into(),
                messages: vec![message],
            }))),
            Op::Order(None),
            Op::Forget,
        ]
    }

    #[test]
    fn every_change_reads_back_and_every_truncation_is_told() {
        for op in all_ops() {
            let mut record = Record::new("Topic", "group", 3);
            let head = record.len();
            record.push(&op);
            let bytes = record.into_bytes();
            let (topic, group, queue_id, mut reader) = Reader::open(&bytes).unwrap();
            assert_eq!((topic, group, queue_id), ("Topic", "group", 3));
            assert_eq!(reader.next_op(), Some(op));
            assert!(reader.is_at_end());
            for len in 0..bytes.len() {
                let opened = Reader::open(&bytes[..len]);
                assert_eq!(opened.is_some(), len >= head, "{len}");
                if let Some((.., mut reader)) = opened {
                    assert_eq!(reader.next_op(), None, "{len}");
                }
            }
        }
    }

    #[test]
    fn a_check_knows_its_offsets_also_with_gaps() {
        let dense = Check::new(5, 0, &[5, 6]);
        assert_eq!(dense.distances, None);
        assert_eq!(dense.index_of(5, 6), Some(1));
        assert_eq!(dense.left, 3);
        let sparse = Check::new(5, 0, &[6, 90]);
        assert_eq!(sparse.index_of(5, 5), None);
        assert_eq!(sparse.index_of(5, 90), Some(1));
        assert_eq!(sparse.offsets_left(5).as_slice(), [6, 90]);
        assert_eq!(sparse.index_of(5, i64::MIN), None);
        let full: Vec<i64> = (0..32).collect();
        assert_eq!(Check::new(0, 0, &full).left, u32::MAX);
    }
}
