//! Half messages of a shard that are not decided yet, and how that survives a crash.
//!
//! Owned by the shard whose log holds them. What is undecided is told by the half queue itself: every
//! half message that no record and no committed message decides. A checkpoint carries those that
//! are open and how far the half queue was looked at, so that a start reads the index behind that
//! only. Invariant: a half message leaves this table once, when its decision is in the log; what
//! was decided never comes back. Java: `TransactionalMessageServiceImpl` and its op queue.

use crate::records::kinds;
use base::{LogPosition, PhyOffset, QueueOffset, ShardId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;

/// A half message that waits for its decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfMessage {
    /// Its place in the shard's half queue.
    pub queue_offset: QueueOffset,
    /// From when on its producer may be asked, in milliseconds since the epoch.
    pub due_ms: i64,
    /// How often its producer was asked.
    pub checks: u32,
}

/// The undecided half messages of one shard.
#[derive(Debug, Default)]
pub struct HalfMessages {
    /// By position in the log.
    open: RefCell<BTreeMap<u64, HalfMessage>>,
    /// The offset after the last half message that this table knows of.
    known_to: Cell<i64>,
    /// While recovery runs: decided ones, by position.
    decided: RefCell<Vec<u64>>,
}

impl HalfMessages {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// The one at a place, if it is undecided.
    pub fn find(&self, at: PhyOffset) -> Option<HalfMessage> {
        self.open.borrow().get(&at.position().0).copied()
    }

    /// When the first one in the log may, or might, be asked for.
    pub fn oldest_due_ms(&self) -> Option<i64> {
        let open = self.open.borrow();
        open.first_key_value().map(|(_, half)| half.due_ms)
    }

    /// Takes one that was appended.
    pub fn add(&self, at: PhyOffset, queue_offset: QueueOffset, due_ms: i64) {
        let half = HalfMessage {
            queue_offset,
            due_ms,
            checks: 0,
        };
        self.known_to.set(queue_offset.0 + 1);
        self.open.borrow_mut().insert(at.position().0, half);
    }

    /// Forgets one whose decision is in the log. Whether it was undecided.
    pub fn decide(&self, at: PhyOffset) -> bool {
        self.open.borrow_mut().remove(&at.position().0).is_some()
    }

    /// Notes that the producer was asked. Gives how often that has happened.
    pub fn note_check(&self, at: PhyOffset) -> u32 {
        let mut open = self.open.borrow_mut();
        open.get_mut(&at.position().0).map_or(0, |half| {
            half.checks += 1;
            half.checks
        })
    }

    /// Those behind `after`, in log order, whose time has come: `count_max` at most.
    pub fn due(
        &self,
        shard: ShardId,
        after: Option<PhyOffset>,
        now_ms: i64,
        count_max: usize,
    ) -> Vec<(PhyOffset, HalfMessage)> {
        let from = after.map_or(Bound::Unbounded, |at| Bound::Excluded(at.position().0));
        let open = self.open.borrow();
        let due = open
            .range((from, Bound::Unbounded))
            .filter(|(_, half)| half.due_ms <= now_ms);
        due.take(count_max)
            .map(|(position, half)| (PhyOffset::new(shard, LogPosition(*position)), *half))
            .collect()
    }

    /// Where the index of the half queue has to be read from after a start.
    pub fn known_to(&self) -> QueueOffset {
        QueueOffset(self.known_to.get())
    }

    /// Ends recovery: takes half messages that the index tells beyond [`Self::known_to`], and
    /// forgets what is decided.
    pub fn recovered(&self, found: impl Iterator<Item = (PhyOffset, QueueOffset, i64)>) {
        for (at, queue_offset, due_ms) in found {
            let half = HalfMessage {
                queue_offset,
                due_ms,
                checks: 0,
            };
            self.known_to.set(queue_offset.0 + 1);
            self.merge(at.position().0, half);
        }
        let mut open = self.open.borrow_mut();
        for position in self.decided.take() {
            open.remove(&position);
        }
        open.retain(|_, half| half.queue_offset.0 != UNKNOWN);
    }

    /// Takes a record of decided ones, see [`store::RecordKind::HALF_MESSAGES_DECIDED`].
    pub(crate) fn replay_decided(&self, payload: &[u8]) -> Option<()> {
        let (offsets, rest) = payload.as_chunks::<8>();
        let mut decided = self.decided.borrow_mut();
        for offset in offsets {
            let at = PhyOffset::from_wire(i64::from_le_bytes(*offset))?;
            decided.push(at.position().0);
        }
        rest.is_empty().then_some(())
    }

    /// Takes a record of [`Self::checks_record`].
    pub(crate) fn replay_checks(&self, payload: &[u8]) -> Option<()> {
        let (entries, rest) = payload.as_chunks::<CHECK_LEN>();
        let mut open = self.open.borrow_mut();
        for entry in entries {
            let (position, checks) = entry.split_first_chunk()?;
            let checks = u32::from_le_bytes(*checks.first_chunk()?);
            // One that no snapshot told of is told of by the index later on.
            let half = open
                .entry(u64::from_le_bytes(*position))
                .or_insert(HalfMessage {
                    queue_offset: QueueOffset(UNKNOWN),
                    due_ms: 0,
                    checks: 0,
                });
            half.checks = half.checks.max(checks);
        }
        rest.is_empty().then_some(())
    }

    /// Takes a record of [`Self::records`].
    pub(crate) fn replay_open(&self, payload: &[u8]) -> Option<()> {
        let (known_to, entries) = payload.split_first_chunk()?;
        let known_to = i64::from_le_bytes(*known_to);
        self.known_to.set(self.known_to.get().max(known_to));
        let (entries, rest) = entries.as_chunks::<OPEN_LEN>();
        for entry in entries {
            let [position, queue_offset, due_ms, checks] = *entry.as_chunks::<8>().0 else {
                return None;
            };
            let half = HalfMessage {
                queue_offset: QueueOffset(i64::from_le_bytes(queue_offset)),
                due_ms: i64::from_le_bytes(due_ms),
                checks: u64::from_le_bytes(checks) as u32,
            };
            self.merge(u64::from_le_bytes(position), half);
        }
        rest.is_empty().then_some(())
    }

    fn merge(&self, position: u64, half: HalfMessage) {
        let mut open = self.open.borrow_mut();
        let known = open.entry(position).or_insert(half);
        let checks = known.checks.max(half.checks);
        let newer = if half.queue_offset.0 == UNKNOWN {
            *known
        } else {
            half
        };
        *known = HalfMessage { checks, ..newer };
    }

    /// The whole state as records of about `len_max` bytes, with their kinds.
    pub(crate) fn records(&self, len_max: usize) -> Vec<(u16, Vec<u8>)> {
        // A checkpoint may come before recovery has ended.
        let decided = self.decided.borrow();
        let decided = decided.chunks((len_max / 8).max(1)).map(|part| {
            let payload = part.iter().flat_map(|position| position.to_le_bytes());
            (kinds::HALF_MESSAGES_DECIDED, payload.collect())
        });
        let open = self.open_records(len_max).into_iter();
        let open = open.map(|payload| (kinds::HALF_MESSAGES_OPEN, payload));
        open.chain(decided).collect()
    }

    fn open_records(&self, len_max: usize) -> Vec<Vec<u8>> {
        if self.known_to.get() == 0 && self.is_empty() {
            return Vec::new();
        }
        let head = self.known_to.get().to_le_bytes();
        let mut records = vec![head.to_vec()];
        for (position, half) in self.open.borrow().iter() {
            if records
                .last()
                .is_some_and(|record| record.len() + OPEN_LEN > len_max)
            {
                records.push(head.to_vec());
            }
            if let Some(record) = records.last_mut() {
                record.extend(position.to_le_bytes());
                record.extend(half.queue_offset.0.to_le_bytes());
                record.extend(half.due_ms.to_le_bytes());
                record.extend(u64::from(half.checks).to_le_bytes());
            }
        }
        records
    }

    /// A record of how often producers were asked.
    pub fn checks_record(&self, asked: &[PhyOffset]) -> Vec<u8> {
        let mut record = Vec::with_capacity(asked.len() * CHECK_LEN);
        for at in asked {
            if let Some(half) = self.find(*at) {
                record.extend(at.position().0.to_le_bytes());
                record.extend(half.checks.to_le_bytes());
            }
        }
        record
    }
}

const CHECK_LEN: usize = 12;
const OPEN_LEN: usize = 32;
/// The place of one that is known by its checks only, until the index tells it.
const UNKNOWN: i64 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId::new(3);

    fn at(position: u64) -> PhyOffset {
        PhyOffset::new(SHARD, LogPosition(position))
    }

    fn places(halves: &HalfMessages) -> Vec<u64> {
        halves.open.borrow().keys().copied().collect()
    }

    /// The table after a start: `records` as the checkpoint or the log gave them, and the part of
    /// the index behind.
    fn recover(records: &[(u16, Vec<u8>)], found: &[(u64, i64)]) -> HalfMessages {
        let halves = HalfMessages::default();
        for (kind, record) in records {
            assert_eq!(*kind, kinds::HALF_MESSAGES_OPEN);
            halves.replay_open(record).unwrap();
        }
        let known_to = halves.known_to();
        let found = found
            .iter()
            .filter(|(_, offset)| *offset >= known_to.0)
            .map(|(position, offset)| (at(*position), QueueOffset(*offset), 5));
        halves.recovered(found);
        halves
    }

    #[test]
    fn what_is_decided_leaves_once_and_what_is_due_comes_in_log_order() {
        let halves = HalfMessages::default();
        for (n, position) in [100, 200, 300, 400].into_iter().enumerate() {
            halves.add(at(position), QueueOffset(n as i64), 10 + n as i64);
        }
        assert!(halves.decide(at(200)));
        assert!(!halves.decide(at(200)));
        assert_eq!(halves.find(at(200)), None);
        assert_eq!(halves.find(at(300)).unwrap().queue_offset, QueueOffset(2));
        let due = |after, now_ms| -> Vec<u64> {
            let due = halves.due(SHARD, after, now_ms, 2);
            due.iter().map(|(at, _)| at.position().0).collect()
        };
        assert_eq!(due(None, 9), [0; 0]);
        assert_eq!(due(None, 12), [100, 300]);
        assert_eq!(due(Some(at(300)), 99), [400]);
        assert_eq!(halves.note_check(at(300)), 1);
        assert_eq!(halves.note_check(at(300)), 2);
        assert_eq!(halves.note_check(at(200)), 0);
        assert_eq!((halves.len(), halves.oldest_due_ms()), (3, Some(10)));
    }

    #[test]
    fn snapshot_and_later_records_give_the_table_again_however_often_they_are_applied() {
        let halves = HalfMessages::default();
        for n in 0..10 {
            halves.add(at(100 * (n + 1)), QueueOffset(n as i64), 5);
        }
        halves.decide(at(100));
        halves.note_check(at(200));
        let snapshot = halves.records(100);
        assert!(snapshot.len() > 1);
        let checks = {
            halves.note_check(at(200));
            halves.checks_record(&[at(200)])
        };
        halves.decide(at(300));
        let decided = at(300).to_wire().to_le_bytes();
        let twice = HalfMessages::default();
        for _ in 0..2 {
            for (_, record) in &snapshot {
                twice.replay_open(record).unwrap();
            }
            twice.replay_checks(&checks).unwrap();
            twice.replay_decided(&decided).unwrap();
        }
        twice.recovered(std::iter::empty());
        assert_eq!(*twice.open.borrow(), *halves.open.borrow());
        assert_eq!(twice.known_to(), halves.known_to());
    }

    #[test]
    fn without_a_snapshot_the_index_and_the_decisions_are_enough() {
        let halves = HalfMessages::default();
        halves
            .replay_decided(&at(200).to_wire().to_le_bytes())
            .unwrap();
        let mut checks = 100_u64.to_le_bytes().to_vec();
        checks.extend(4_u32.to_le_bytes());
        checks.extend(999_u64.to_le_bytes());
        checks.extend(1_u32.to_le_bytes());
        halves.replay_checks(&checks).unwrap();
        let found = [(at(100), QueueOffset(0), 7), (at(200), QueueOffset(1), 7)];
        halves.recovered(found.into_iter());
        let expected = HalfMessage {
            queue_offset: QueueOffset(0),
            due_ms: 7,
            checks: 4,
        };
        assert_eq!(halves.find(at(100)), Some(expected));
        assert_eq!(places(&halves), [100]);
    }

    #[test]
    fn the_index_is_read_behind_the_snapshot_only() {
        let halves = HalfMessages::default();
        halves.add(at(100), QueueOffset(0), 5);
        halves.add(at(200), QueueOffset(1), 5);
        halves.decide(at(100));
        let index = [(100, 0), (200, 1), (300, 2)];
        assert_eq!(places(&recover(&halves.records(100), &index)), [200, 300]);
        assert_eq!(places(&recover(&[], &index)), [100, 200, 300]);
    }

    #[test]
    fn a_checkpoint_before_the_end_of_recovery_keeps_the_decisions() {
        let early = HalfMessages::default();
        early
            .replay_decided(&at(200).to_wire().to_le_bytes())
            .unwrap();
        let mut checks = 100_u64.to_le_bytes().to_vec();
        checks.extend(4_u32.to_le_bytes());
        early.replay_checks(&checks).unwrap();
        let halves = HalfMessages::default();
        for (kind, record) in early.records(1_000) {
            if kind == kinds::HALF_MESSAGES_DECIDED {
                halves.replay_decided(&record).unwrap();
            } else {
                halves.replay_open(&record).unwrap();
            }
        }
        let found = [(at(100), QueueOffset(0), 7), (at(200), QueueOffset(1), 7)];
        halves.recovered(found.into_iter());
        assert_eq!(places(&halves), [100]);
        assert_eq!(halves.find(at(100)).unwrap().checks, 4);
    }

    #[test]
    fn a_part_of_a_record_is_none() {
        let halves = HalfMessages::default();
        halves.add(at(100), QueueOffset(0), 5);
        let (_, record) = halves.records(1_000).remove(0);
        let checks = halves.checks_record(&[at(100)]);
        for len in 1..record.len() {
            if len != 8 {
                let part = HalfMessages::default().replay_open(&record[..len]);
                assert_eq!(part, None, "{len}");
            }
        }
        for len in 1..checks.len() {
            assert_eq!(HalfMessages::default().replay_checks(&checks[..len]), None);
        }
        for len in 1..8 {
            assert_eq!(HalfMessages::default().replay_decided(&[0; 8][..len]), None);
        }
        let negative = (-1_i64).to_le_bytes();
        assert_eq!(HalfMessages::default().replay_decided(&negative), None);
    }
}
