//! The model's broker: queues that keep what they were given.
//!
//! Queue indexes: the plain topics' queues, then retry, then dead letters. Invariant: an offset never
//! changes its message.

use super::{DLQ_TOPIC, PLAIN_TOPICS, Pen, QUEUES, RETRY_TOPIC, TIMEOUT_MS};
use crate::draw::Draw;
use crate::error::HistoryError;
use crate::record::{Kind, Op, Record};

/// Index of the retry queue.
pub(super) const RETRY: usize = PLAIN_TOPICS.len() * QUEUES as usize;
/// Index of the queue of dead letters.
pub(super) const DEAD: usize = RETRY + 1;
const LOOK_UP_PROC: u16 = 90;
const BOUNDS_PROC: u16 = 91;
const DUMP_PROC: u16 = 92;

/// A stored message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) uid: u64,
    pub(super) phy: i64,
    pub(super) times: i64,
}

pub(super) struct Broker {
    queues: Vec<(Vec<Stored>, i64)>,
    end: i64,
    /// Where something acknowledged stands.
    known: Option<(usize, i64)>,
}

impl Broker {
    pub(super) fn new() -> Self {
        Self {
            queues: vec![(Vec::new(), 0); DEAD + 1],
            end: 0,
            known: None,
        }
    }

    /// Appends; offset and physical offset.
    pub(super) fn append(&mut self, queue: usize, uid: u64, times: i64) -> (i64, i64) {
        let phy = self.end;
        self.end += 512;
        let log = &mut self.queues[queue].0;
        log.push(Stored { uid, phy, times });
        (log.len() as i64 - 1, phy)
    }

    pub(super) fn acknowledged(&mut self, queue: usize, offset: i64) {
        self.known = Some((queue, offset));
    }

    pub(super) fn get(&self, queue: usize, offset: i64) -> Stored {
        self.queues[queue].0[offset as usize]
    }

    pub(super) fn min(&self, queue: usize) -> i64 {
        self.queues[queue].1
    }

    pub(super) fn max(&self, queue: usize) -> i64 {
        self.queues[queue].0.len() as i64
    }

    pub(super) fn trim(&mut self, draw: &mut Draw) {
        let queue = draw.below(RETRY as u64) as usize;
        let (min, max) = (self.min(queue), self.max(queue));
        self.queues[queue].1 = min + draw.below((max - min) as u64 / 2 + 1) as i64;
    }

    pub(super) fn tell_bounds(&self, pen: &mut Pen<'_>) -> Result<(), HistoryError> {
        let queue = pen.draw.below(RETRY as u64) as usize;
        self.bounds_of(pen, queue)
    }

    pub(super) fn bounds_of(&self, pen: &mut Pen<'_>, queue: usize) -> Result<(), HistoryError> {
        pen.write(Op::QueueBounds, Kind::Invoke, |r| {
            name(queue, r);
            r.proc = BOUNDS_PROC;
            r.aux = TIMEOUT_MS;
        })?;
        pen.write(Op::QueueBounds, Kind::Ok, |r| {
            name(queue, r);
            r.proc = BOUNDS_PROC;
            r.offset = self.min(queue);
            r.aux = self.max(queue);
        })?;
        Ok(())
    }

    pub(super) fn look_up(&self, pen: &mut Pen<'_>) -> Result<(), HistoryError> {
        let Some((queue, offset)) = self.known else {
            return Ok(());
        };
        let op = [Op::View, Op::QueryKey][pen.draw.below(2) as usize];
        if offset < self.min(queue) {
            return Ok(());
        }
        let stored = self.get(queue, offset);
        for kind in [Kind::Invoke, Kind::Ok] {
            pen.write(op, kind, |r| {
                name(queue, r);
                r.proc = LOOK_UP_PROC;
                r.uid = stored.uid;
                r.digest = digest_of(stored.uid);
                r.offset = offset;
            })?;
        }
        Ok(())
    }

    pub(super) fn dump(&self, pen: &mut Pen<'_>) -> Result<(), HistoryError> {
        for queue in 0..=DEAD {
            let (log, min) = &self.queues[queue];
            pen.write(Op::DumpBegin, Kind::Ok, |r| {
                name(queue, r);
                r.proc = DUMP_PROC;
                r.offset = *min;
                r.aux = log.len() as i64;
            })?;
            for (offset, stored) in log.iter().enumerate().skip(*min as usize) {
                pen.write(Op::LogDump, Kind::Ok, |r| {
                    name(queue, r);
                    r.proc = DUMP_PROC;
                    r.uid = stored.uid;
                    r.offset = offset as i64;
                    r.phy = stored.phy;
                    r.digest = digest_of(stored.uid);
                    r.aux = stored.times;
                })?;
            }
        }
        Ok(())
    }
}

/// Topic and queue of an index.
pub(super) fn name(queue: usize, record: &mut Record) {
    let count = usize::from(QUEUES);
    (record.topic, record.queue) = match queue {
        RETRY => (5, 0),
        DEAD => (6, 0),
        plain => (1 + (plain / count) as u16, (plain % count) as u16),
    };
}

const _: () = assert!(!RETRY_TOPIC.is_empty() && !DLQ_TOPIC.is_empty());

/// Some digest of a message.
pub(super) const fn digest_of(uid: u64) -> u32 {
    (uid.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}
