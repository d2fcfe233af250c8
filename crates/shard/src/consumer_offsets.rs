//! Consumer offsets of this shard's queues.
//!
//! Owned by the shard of the queue. Changes gather in memory and go to the log as one record per
//! interval and at close, so they survive `kill -9` but for the last interval. Invariant: what a
//! replay of the records gives equals what was last written. Java: `ConsumerOffsetManager`.

use base::{HashMap, HashSet};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// Committed offsets by topic, group and queue.
#[derive(Debug, Default)]
pub struct ConsumerOffsets {
    offsets: RefCell<HashMap<OffsetKey, BTreeMap<u32, i64>>>,
    changed: RefCell<HashSet<(OffsetKey, u32)>>,
}

/// A record of changed offsets that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of consumer offsets ends early, at byte {at} of {len}")]
pub struct OffsetRecordError {
    at: usize,
    len: usize,
}

impl ConsumerOffsets {
    /// The offset that `group` has committed for a queue.
    pub fn find(&self, topic: &str, group: &str, queue_id: u32) -> Option<i64> {
        let offsets = self.offsets.borrow();
        offsets
            .get(&OffsetKeyRef { topic, group })?
            .get(&queue_id)
            .copied()
    }

    /// Commits an offset; lower than before is allowed (Java logs it and goes on).
    pub fn commit(&self, topic: &str, group: &str, queue_id: u32, offset: i64) {
        let wanted = OffsetKeyRef { topic, group };
        let mut offsets = self.offsets.borrow_mut();
        let key = if let Some((key, queues)) = offsets.get_key_value_mut(&wanted) {
            if queues.insert(queue_id, offset) == Some(offset) {
                return;
            }
            key.clone()
        } else {
            let key = OffsetKey {
                topic: topic.into(),
                group: group.into(),
            };
            offsets.insert(key.clone(), BTreeMap::from([(queue_id, offset)]));
            key
        };
        self.changed.borrow_mut().insert((key, queue_id));
    }

    /// Forgets every offset that `matches` by topic and group, and gives how many there were.
    pub fn remove(&self, matches: impl Fn(&str, &str) -> bool) -> usize {
        let mut count = 0;
        let mut changed = self.changed.borrow_mut();
        self.offsets.borrow_mut().retain(|key, queues| {
            if !matches(&key.topic, &key.group) {
                return true;
            }
            count += queues.len();
            for queue_id in queues.keys() {
                changed.insert((key.clone(), *queue_id));
            }
            false
        });
        count
    }

    /// Calls `see` with topic, group, queue and offset of each one that `matches` by topic and
    /// group, in no particular order of keys.
    pub fn for_each(&self, mut see: impl FnMut(&str, &str, u32, i64)) {
        for (key, queues) in self.offsets.borrow().iter() {
            for (queue_id, offset) in queues {
                see(&key.topic, &key.group, *queue_id, *offset);
            }
        }
    }

    /// What changed since [`ConsumerOffsets::changes_are_written`], as log records of about
    /// `len_max` bytes at most.
    pub fn changes(&self, len_max: usize) -> Vec<Vec<u8>> {
        let mut records = Records::new(len_max);
        for (key, queue_id) in self.changed.borrow().iter() {
            let offset = self.find(&key.topic, &key.group, *queue_id);
            records.push(key, *queue_id, offset.unwrap_or(REMOVED));
        }
        records.all
    }

    /// Everything that [`ConsumerOffsets::changes`] gave is in the log.
    pub fn changes_are_written(&self) {
        self.changed.take();
    }

    /// Everything, as log records of about `len_max` bytes at most.
    pub fn records(&self, len_max: usize) -> Vec<Vec<u8>> {
        let mut records = Records::new(len_max);
        for (key, queues) in self.offsets.borrow().iter() {
            for (queue_id, offset) in queues {
                records.push(key, *queue_id, *offset);
            }
        }
        records.all
    }

    /// Takes a record of [`ConsumerOffsets::changes`] or [`ConsumerOffsets::records`] in.
    ///
    /// # Errors
    /// When it ends early; what stood before the end is taken in.
    pub fn replay(&self, record: &[u8]) -> Result<(), OffsetRecordError> {
        let mut rest = record;
        while !rest.is_empty() {
            let at = record.len() - rest.len();
            let len = record.len();
            let entry = decode(&mut rest).ok_or(OffsetRecordError { at, len })?;
            let mut offsets = self.offsets.borrow_mut();
            let queues = offsets.entry(entry.0).or_default();
            if entry.2 == REMOVED {
                queues.remove(&entry.1);
            } else {
                let kept = queues.get(&entry.1).copied();
                let kept = kept.filter(|_| base::bug!(CommitGoesBack));
                queues.insert(entry.1, kept.unwrap_or(entry.2));
            }
        }
        self.offsets
            .borrow_mut()
            .retain(|_, queues| !queues.is_empty());
        Ok(())
    }
}

const REMOVED: i64 = i64::MIN;

#[derive(Debug, Clone, PartialEq, Eq)]
struct OffsetKey {
    topic: Rc<str>,
    group: Rc<str>,
}

#[derive(Clone, Copy)]
struct OffsetKeyRef<'a> {
    topic: &'a str,
    group: &'a str,
}

impl Hash for OffsetKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (topic, group) = (&*self.topic, &*self.group);
        OffsetKeyRef { topic, group }.hash(state);
    }
}

impl Hash for OffsetKeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.topic.hash(state);
        self.group.hash(state);
    }
}

impl hashbrown::Equivalent<OffsetKey> for OffsetKeyRef<'_> {
    fn equivalent(&self, key: &OffsetKey) -> bool {
        *key.topic == *self.topic && *key.group == *self.group
    }
}

struct Records {
    all: Vec<Vec<u8>>,
    len_max: usize,
}

impl Records {
    fn new(len_max: usize) -> Self {
        let all = Vec::new();
        Self { all, len_max }
    }

    fn push(&mut self, key: &OffsetKey, queue_id: u32, offset: i64) {
        if self
            .all
            .last()
            .is_none_or(|last| last.len() >= self.len_max)
        {
            self.all.push(Vec::new());
        }
        let record = self.all.last_mut().expect("pushed above");
        for text in [&key.topic, &key.group] {
            record.extend_from_slice(&(text.len() as u16).to_le_bytes());
            record.extend_from_slice(text.as_bytes());
        }
        record.extend_from_slice(&queue_id.to_le_bytes());
        record.extend_from_slice(&offset.to_le_bytes());
    }
}

fn decode(rest: &mut &[u8]) -> Option<(OffsetKey, u32, i64)> {
    let topic = decode_text(rest)?;
    let group = decode_text(rest)?;
    let (queue_id, after) = rest.split_first_chunk()?;
    let (offset, after) = after.split_first_chunk()?;
    *rest = after;
    let key = OffsetKey { topic, group };
    let queue_id = u32::from_le_bytes(*queue_id);
    Some((key, queue_id, i64::from_le_bytes(*offset)))
}

fn decode_text(rest: &mut &[u8]) -> Option<Rc<str>> {
    let (len, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *rest = after;
    std::str::from_utf8(text).ok().map(Rc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(offsets: &ConsumerOffsets) -> Vec<(String, String, u32, i64)> {
        let mut all = Vec::new();
        offsets.for_each(|t, g, q, o| all.push((t.to_owned(), g.to_owned(), q, o)));
        all.sort();
        all
    }

    fn replay_changes(written: &ConsumerOffsets, read: &ConsumerOffsets) {
        for record in written.changes(30) {
            read.replay(&record).unwrap();
        }
        written.changes_are_written();
    }

    #[test]
    fn a_replay_of_the_changes_gives_the_same_offsets() {
        let (written, read) = (ConsumerOffsets::default(), ConsumerOffsets::default());
        written.commit("T", "g", 0, 5);
        written.commit("T", "g", 1, 7);
        written.commit("U", "g", 0, 1);
        replay_changes(&written, &read);
        assert_eq!(all(&read), all(&written));
        assert!(written.changes(10).is_empty());
        written.commit("T", "g", 0, 5);
        assert!(written.changes(10).is_empty(), "nothing changed");
        written.commit("T", "g", 0, 4);
        assert_eq!(written.remove(|topic, _| topic == "U"), 1);
        assert_eq!(
            written.changes(1_000),
            written.changes(1_000),
            "until they are written"
        );
        replay_changes(&written, &read);
        assert_eq!(all(&read), all(&written));
        assert_eq!(read.find("T", "g", 0), Some(4));
        assert_eq!(read.find("U", "g", 0), None);
    }

    #[test]
    fn a_record_cut_anywhere_is_refused_without_a_panic() {
        let written = ConsumerOffsets::default();
        written.commit("Topic", "group", 3, 9);
        let record = written.records(1_000).remove(0);
        for len in 1..record.len() {
            let read = ConsumerOffsets::default();
            assert!(read.replay(&record[..len]).is_err(), "{len}");
        }
    }
}
