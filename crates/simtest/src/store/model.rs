//! The exact model of one shard's store: what was appended, what must be kept, what may be gone.
//!
//! Owned by one run. Appends are events in the order of the log. A recovery keeps some prefix of
//! them, at least everything that was durable or acknowledged; the model finds out which by what
//! the store shows, and forgets the rest, so that a record that was given up and comes back is
//! seen as wrong bytes. Invariant: offsets of a queue are dense.

use super::message::{Message, queue_offset_of};
use std::collections::BTreeMap;
use std::rc::Rc;
use store::AppendReceipt;

/// A queue by topic and number.
pub(crate) type Key = (String, u32);

/// One record of the log.
#[derive(Debug, Clone)]
struct Entry {
    event: Event,
    /// Its end in the log.
    end: u64,
}

#[derive(Debug, Clone)]
enum Event {
    Message(Rc<Stored>),
    Meta { slot: u8, version: u64 },
    Delete { key: Key },
}

/// A message with its place.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) unit: Vec<u8>,
    pub(crate) tags_code: i64,
    pub(crate) phy_position: u64,
    pub(crate) end: u64,
    pub(crate) store_timestamp_ms: i64,
    pub(crate) keys: Vec<String>,
}

/// What can be seen of a store at once.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// How many messages each queue has; queues without any are left out.
    pub(crate) lens: BTreeMap<Key, i64>,
    /// Version of each metadata slot.
    pub(crate) metas: BTreeMap<u8, u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Model {
    entries: Vec<Entry>,
    queues: BTreeMap<Key, Vec<Rc<Stored>>>,
    /// Messages of these queues by their keys, in log order.
    by_key: BTreeMap<String, Vec<Rc<Stored>>>,
    metas: BTreeMap<u8, u64>,
    /// How many entries certainly survive.
    kept: usize,
    /// Metadata that the last recovery showed.
    metas_shown: BTreeMap<u8, u64>,
    /// Log regions that were damaged on the disk, with a margin.
    damaged: Vec<(u64, u64)>,
    /// The latest start of the log that was seen.
    start: u64,
    next_uid: u64,
    next_version: u64,
}

impl Model {
    pub(crate) fn new_uid(&mut self) -> u64 {
        self.next_uid += 1;
        self.next_uid
    }

    pub(crate) fn new_version(&mut self) -> u64 {
        self.next_version += 1;
        self.next_version
    }

    /// A message was appended: checks its place and remembers its bytes.
    pub(crate) fn appended(&mut self, message: &Message, receipt: &AppendReceipt) {
        let key = (message.topic.clone(), message.queue);
        let queue = self.queues.entry(key.clone()).or_default();
        assert_eq!(
            receipt.queue_offset.0,
            queue.len() as i64,
            "offsets of a queue are dense: {key:?}"
        );
        let start = receipt.phy_offset.position().0;
        let before = self.entries.last().map_or(0, |entry| entry.end);
        assert!(
            start >= before,
            "records do not overlap: {start} before {before}"
        );
        assert_eq!(receipt.end.0, start + message.encoded_len() as u64);
        let place = store::MessagePlace {
            queue_offset: receipt.queue_offset,
            phy_offset: receipt.phy_offset,
            store_timestamp_ms: receipt.store_timestamp_ms,
        };
        let stored = Rc::new(Stored {
            key,
            unit: message.encode(place),
            tags_code: message.tags_code(),
            phy_position: start,
            end: receipt.end.0,
            store_timestamp_ms: receipt.store_timestamp_ms,
            keys: message.keys(),
        });
        queue.push(Rc::clone(&stored));
        note_keys(&mut self.by_key, &stored);
        self.push(Event::Message(stored), receipt.end.0);
    }

    /// A metadata record was appended.
    pub(crate) fn meta_appended(&mut self, slot: u8, version: u64, end: u64) {
        self.metas.insert(slot, version);
        self.push(Event::Meta { slot, version }, end);
    }

    /// A queue was deleted.
    pub(crate) fn deleted(&mut self, key: &Key, end: u64) {
        self.queues.remove(key);
        forget_keys(&mut self.by_key, key);
        self.push(Event::Delete { key: key.clone() }, end);
    }

    /// Everything that ends at or before `position` must be kept from now on.
    pub(crate) fn must_keep(&mut self, position: u64) {
        let covered = self.entries.partition_point(|entry| entry.end <= position);
        self.kept = self.kept.max(covered);
    }

    /// The end of the log so far.
    pub(crate) fn end(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.end)
    }

    /// How many messages a queue has.
    pub(crate) fn len(&self, key: &Key) -> i64 {
        self.queues.get(key).map_or(0, |queue| queue.len() as i64)
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.queues.keys().cloned().collect()
    }

    /// The metadata with every record that was appended.
    pub(crate) fn metas(&self) -> &BTreeMap<u8, u64> {
        &self.metas
    }

    /// How many messages were made in all lives.
    pub(crate) fn appended_count(&self) -> u64 {
        self.next_uid
    }

    pub(crate) fn message(&self, key: &Key, offset: i64) -> Option<Rc<Stored>> {
        let queue = self.queues.get(key)?;
        queue.get(usize::try_from(offset).ok()?).cloned()
    }

    /// A queue's messages, in order.
    pub(crate) fn messages(&self, key: &Key) -> &[Rc<Stored>] {
        self.queues.get(key).map_or(&[], Vec::as_slice)
    }

    /// Messages of a topic that have a key, the last one of the log first.
    pub(crate) fn with_key(&self, topic: &str, key: &str) -> Vec<Rc<Stored>> {
        let all = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
        let found = all.iter().rev().filter(|stored| stored.key.0 == topic);
        found.cloned().collect()
    }

    /// Whether the run damaged nothing in the log so far.
    pub(crate) fn is_undamaged(&self) -> bool {
        self.damaged.is_empty()
    }

    /// Log regions that were damaged, with their margins.
    pub(crate) fn damaged_parts(&self) -> &[(u64, u64)] {
        &self.damaged
    }

    /// The log starts at `start` now. A disk that lied may have brought old segments back.
    pub(crate) fn starts_at(&mut self, start: u64, lies: bool) {
        assert!(
            self.start <= start || lies,
            "the start of the log went back"
        );
        self.start = start;
    }

    /// Whether a message went with the oldest segments.
    pub(crate) fn is_gone(&self, key: &Key, offset: i64) -> bool {
        self.message(key, offset)
            .is_some_and(|stored| stored.phy_position < self.start)
    }

    /// Checks the first offset of a queue: the first message that lies in the log, or in one that
    /// nobody can read any more.
    pub(crate) fn check_min(&self, key: &Key, min: i64) {
        let messages = self.messages(key);
        let expected = messages.partition_point(|stored| stored.phy_position < self.start) as i64;
        let may_differ = |offset| self.may_be_missing(key, offset);
        assert!(
            min == expected || (expected.min(min)..expected.max(min)).all(may_differ),
            "{key:?} begins at {min}, its first message in the log is {expected} of {}",
            messages.len()
        );
    }

    /// Notes damage done to stored bytes; messages within `margin` may be lost to it.
    pub(crate) fn damaged(&mut self, position: u64, margin: u64) {
        let region = (position.saturating_sub(margin), position + margin);
        self.damaged.push(region);
    }

    /// After a recovery that ended the log at `end`: checks that the store shows exactly the
    /// records before it, and forgets the rest. Gives the number of records that were given up.
    pub(crate) fn recovered(&mut self, shown: &State, end: u64) -> Result<usize, String> {
        let count = self.entries.partition_point(|entry| entry.end <= end);
        self.check_metas(shown, count)?;
        let mut lens = BTreeMap::new();
        for entry in &self.entries[..count] {
            entry.event.count_in(&mut lens);
        }
        if count < self.kept || !self.fits(&lens, &shown.lens) {
            return Err(self.explain(shown, end));
        }
        let given_up = self.entries.len() - count;
        self.entries.truncate(count);
        self.metas_shown.clone_from(&shown.metas);
        self.rebuild();
        self.drop_damaged_ends(&shown.lens);
        self.kept = self.entries.len();
        Ok(given_up)
    }

    /// A slot shows what must be kept, or something newer that is among the `count` entries that the
    /// log still has: a checkpoint tells of nothing that a power cut could take.
    fn check_metas(&self, shown: &State, count: usize) -> Result<(), String> {
        let newest_of = |entries: &[Entry]| {
            let mut newest = self.metas_shown.clone();
            for entry in entries {
                if let Event::Meta { slot, version } = entry.event {
                    newest.insert(slot, version);
                }
            }
            newest
        };
        let mut least = newest_of(&self.entries[..self.kept]);
        let mut most = newest_of(&self.entries[..count.max(self.kept)]);
        if !self.is_undamaged() {
            // Any of them may have been in the damaged part.
            least.clear();
            most.clone_from(&self.metas);
        }
        for slot in self.metas.keys() {
            let newest = most.get(slot).copied().unwrap_or(0);
            let version = shown.metas.get(slot).copied().unwrap_or(0);
            let least = least.get(slot).copied().unwrap_or(0);
            if version < least || version > newest {
                return Err(format!(
                    "metadata slot {slot} is {version} after recovery: at least {least} was \
                     durable, at most {newest} is left"
                ));
            }
        }
        Ok(())
    }

    /// Whether a store may show `shown` when the log holds `lens`: the same, but for messages at
    /// the end of a queue that lie in damaged parts.
    fn fits(&self, lens: &BTreeMap<Key, i64>, shown: &BTreeMap<Key, i64>) -> bool {
        if self.damaged.is_empty() {
            return lens == shown;
        }
        let known = shown.keys().all(|key| lens.contains_key(key));
        known
            && lens.iter().all(|(key, len)| {
                let shown = shown.get(key).copied().unwrap_or(0);
                let missing = shown..*len;
                shown <= *len
                    && missing.into_iter().all(|offset| {
                        self.message(key, offset)
                            .is_some_and(|stored| self.is_damaged(stored.phy_position, stored.end))
                    })
            })
    }

    /// Messages at the end of a queue that were lost to damage free their offsets again.
    fn drop_damaged_ends(&mut self, shown: &BTreeMap<Key, i64>) {
        let kept = |event: &Event| match event {
            Event::Message(stored) => {
                let shown = shown.get(&stored.key).copied().unwrap_or(0);
                queue_offset_of(&stored.unit) < shown
            }
            _ => true,
        };
        if !self.damaged.is_empty() {
            self.entries.retain(|entry| kept(&entry.event));
            self.rebuild();
        }
    }

    fn is_damaged(&self, from: u64, to: u64) -> bool {
        self.damaged
            .iter()
            .any(|(start, end)| from < *end && *start < to)
    }

    /// Whether a message lies where damage was done, and may be missing.
    pub(crate) fn may_be_missing(&self, key: &Key, offset: i64) -> bool {
        self.message(key, offset)
            .is_some_and(|stored| self.is_damaged(stored.phy_position, stored.end))
    }

    /// Checks one stored message that a read gave for a queue. Gives its offset.
    pub(crate) fn check_unit(&self, key: &Key, unit: &[u8]) -> i64 {
        let offset = queue_offset_of(unit);
        let Some(stored) = self.message(key, offset) else {
            panic!("phantom: {key:?} has no message at {offset}");
        };
        if stored.unit != unit {
            let at = stored.unit.iter().zip(unit).position(|(a, b)| a != b);
            panic!("wrong bytes in {key:?} at {offset}: first difference at byte {at:?}");
        }
        offset
    }

    fn push(&mut self, event: Event, end: u64) {
        assert!(self.end() < end, "the log goes on");
        self.entries.push(Entry { event, end });
    }

    fn rebuild(&mut self) {
        self.queues.clear();
        self.by_key.clear();
        self.metas.clone_from(&self.metas_shown);
        for entry in &self.entries {
            match &entry.event {
                Event::Message(stored) => {
                    let queue = self.queues.entry(stored.key.clone()).or_default();
                    queue.push(Rc::clone(stored));
                    note_keys(&mut self.by_key, stored);
                }
                Event::Meta { .. } => {}
                Event::Delete { key } => {
                    self.queues.remove(key);
                    forget_keys(&mut self.by_key, key);
                }
            }
        }
    }

    fn explain(&self, shown: &State, end: u64) -> String {
        let state_at = |count: usize| {
            let mut lens = BTreeMap::new();
            for entry in &self.entries[..count] {
                entry.event.count_in(&mut lens);
            }
            lens
        };
        let (kept, all) = (self.kept, self.entries.len());
        let end_of = |count: usize| {
            count
                .checked_sub(1)
                .map_or(0, |last| self.entries[last].end)
        };
        format!(
            "after recovery the store does not show what its log holds, or not what must be kept\n  \
             shown:  {shown:?} (end {end})\n  kept:   {:?} ({kept} records, end {})\n  all:    \
             {:?} ({all} records, end {})",
            state_at(kept),
            end_of(kept),
            state_at(all),
            end_of(all),
        )
    }
}

impl Event {
    fn count_in(&self, lens: &mut BTreeMap<Key, i64>) {
        match self {
            Self::Message(stored) => *lens.entry(stored.key.clone()).or_default() += 1,
            Self::Meta { .. } => {}
            Self::Delete { key } => {
                lens.remove(key);
            }
        }
    }
}

fn note_keys(by_key: &mut BTreeMap<String, Vec<Rc<Stored>>>, stored: &Rc<Stored>) {
    for key in &stored.keys {
        by_key
            .entry(key.clone())
            .or_default()
            .push(Rc::clone(stored));
    }
}

fn forget_keys(by_key: &mut BTreeMap<String, Vec<Rc<Stored>>>, queue: &Key) {
    by_key.retain(|_, all| {
        all.retain(|stored| stored.key != *queue);
        !all.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{LogPosition, PhyOffset, QueueOffset, ShardId};

    /// A model of one queue with three messages of 100 bytes of body.
    fn three() -> (Model, Vec<Vec<u8>>) {
        let mut model = Model::default();
        for offset in 0..3 {
            let message = Message {
                uid: model.new_uid(),
                topic: "T".to_owned(),
                queue: 0,
                body_len: 100,
                has_keys: false,
            };
            let start = 512 + offset as u64 * 512;
            let receipt = AppendReceipt {
                phy_offset: PhyOffset::new(ShardId::CONTROL, LogPosition(start)),
                queue_offset: QueueOffset(offset),
                store_timestamp_ms: 1,
                end: LogPosition(start + message.encoded_len() as u64),
                encoded_len: message.encoded_len(),
            };
            model.appended(&message, &receipt);
        }
        let units = model.messages(&key()).iter().map(|s| s.unit.clone());
        let units = units.collect();
        (model, units)
    }

    fn key() -> Key {
        ("T".to_owned(), 0)
    }

    fn shown(len: i64) -> State {
        let lens = (len > 0).then(|| (key(), len)).into_iter().collect();
        State {
            lens,
            metas: BTreeMap::new(),
        }
    }

    #[test]
    fn a_recovery_may_give_up_what_was_not_promised_and_nothing_else() {
        let (mut model, _) = three();
        model.must_keep(1_100); // the first only
        assert_eq!(model.recovered(&shown(2), 1_300), Ok(1));
        assert_eq!(model.len(&key()), 2);
        let (mut model, _) = three();
        model.must_keep(2_000);
        assert!(model.recovered(&shown(2), 1_300).is_err());
    }

    #[test]
    fn a_store_that_shows_more_or_less_than_its_log_is_noticed() {
        for len in [0, 1, 3] {
            let (mut model, _) = three();
            assert!(model.recovered(&shown(len), 1_300).is_err(), "{len}");
        }
    }

    #[test]
    fn a_message_that_was_given_up_is_a_phantom_when_it_comes_back() {
        let (mut model, units) = three();
        model.recovered(&shown(2), 1_300).unwrap();
        assert_eq!(model.check_unit(&key(), &units[1]), 1);
        let back = std::panic::catch_unwind(|| model.check_unit(&key(), &units[2]));
        assert!(back.is_err());
    }

    #[test]
    fn every_changed_byte_of_a_message_is_noticed() {
        let (model, units) = three();
        for at in 0..units[1].len() {
            let mut unit = units[1].clone();
            unit[at] ^= 1;
            let seen = std::panic::catch_unwind(|| model.check_unit(&key(), &unit));
            assert!(seen.is_err(), "byte {at}");
        }
    }
}
