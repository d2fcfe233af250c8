//! Entries of a part of the log that are only in memory, in the order of the log.
//!
//! Owned by the shard. Bounded: it takes blocks until it is full, and goes beyond by one block at
//! most. Invariant: it holds every key of every message of `from..to`, and nothing else.

use super::keys::{Entry, KeyHasher, Keys};
use super::page::RunHead;
use crate::cold_read::each_message;
use crate::record;

/// See the module.
pub(crate) struct Batch {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) entries: Vec<Entry>,
    times: (i64, i64),
    last: (u64, i64),
}

impl Batch {
    /// Empty, from `from` on.
    pub(crate) fn new(from: u64) -> Self {
        Self {
            from,
            to: from,
            entries: Vec::new(),
            times: (i64::MAX, i64::MIN),
            last: (0, 0),
        }
    }

    /// Takes the messages of the block at `block`, with which it now ends at `to`.
    pub(crate) fn add_block(
        &mut self,
        block: u64,
        payload: &[u8],
        to: u64,
        secret: u32,
        align: usize,
    ) {
        each_message(block, payload, |position, _, unit| {
            let Some(text) = record::message_text(unit) else {
                return;
            };
            let before = self.entries.len();
            let keys = Keys::of(&text);
            let hasher = KeyHasher::new(secret, text.topic);
            for key in keys.iter() {
                let entry = Entry::new(hasher.hash(key), block, position, align);
                self.entries.push(entry);
            }
            if self.entries.len() > before {
                let time = record::store_timestamp_ms(unit).unwrap_or(0);
                self.times = (self.times.0.min(time), self.times.1.max(time));
                self.last = (position, time);
            }
        });
        self.to = to;
    }

    /// Its entries of `hash`, the last one in the log first.
    pub(crate) fn find(&self, hash: u64, count_max: usize) -> impl Iterator<Item = Entry> {
        let mut found: Vec<Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.hash == hash)
            .copied()
            .collect();
        // While the batch is being written its entries are in the order of their hashes.
        found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.position()));
        found.into_iter().take(count_max)
    }

    /// What the run says that is made of it.
    pub(crate) fn head(&self) -> RunHead {
        RunHead {
            from: self.from,
            to: self.to,
            entries: self.entries.len() as u64,
            times: self.times,
            last: self.last,
        }
    }
}
