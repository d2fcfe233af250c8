//! Asking the index: the newest messages of a topic that have a key.
//!
//! Sources are asked from the newest to the oldest: the open block of the log, what is gathered in
//! memory, the runs. Each hit is read from the log and compared, so a hash that two keys share, a
//! message that consumers do not see yet, or one of a deleted queue never gets out. Invariant: what
//! was acknowledged before the query is found, unless the answer says that it is not complete.
//! Answers to Java's `DefaultMessageStore.queryMessage` and `IndexService.queryOffset`.

use super::RunRef;
use super::batch::Batch;
use super::follow::Followed;
use super::keys::{Entry, KeyHasher, KeyKind, Keys};
use crate::block::HEADER_LEN;
use crate::cold::ColdBlock;
use crate::cold_read::{each_message, message_in};
use crate::error::ReadError;
use crate::record;
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use base::{LogPosition, PhyOffset};
use rt::Rt;
use std::time::Duration;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct KeyQuery<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The key, without blanks in it.
    pub key: &'a str,
    /// Which keys of a message count.
    pub kind: KeyKind,
    /// Most messages.
    pub count_max: usize,
    /// Most bytes of messages; one message is given whatever its length.
    pub bytes_max: usize,
    /// Least and greatest store time, both included, in milliseconds since the epoch.
    pub times_ms: (i64, i64),
}

/// A message that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedMessage {
    /// When it was stored, in milliseconds since the epoch.
    pub store_timestamp_ms: i64,
    /// Its place.
    pub phy_offset: PhyOffset,
    /// The stored message.
    pub unit: Vec<u8>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAnswer {
    /// The last message of the log first.
    pub messages: Vec<KeyedMessage>,
    /// Whether every message before the query was looked at, as far as its limits let it. It is not
    /// while the index is being made again.
    pub is_complete: bool,
    /// Store time and place of the last message with a key, when there is one.
    pub last: Option<(i64, PhyOffset)>,
}

/// Longest time that a query waits for the index and for the disk, in milliseconds.
const QUERY_MS: u64 = 5_000;
/// Hits of one source that are looked at.
const HITS_MAX: usize = 4_096;

/// A query on its way.
struct Search<'a> {
    query: &'a KeyQuery<'a>,
    answer: KeyAnswer,
    bytes: usize,
    last_position: Option<u64>,
    deadline_us: u64,
}

impl<R: Rt> Inner<R> {
    /// Finds the newest messages with a key.
    pub(crate) async fn query_keys(&self, query: &KeyQuery<'_>) -> Result<KeyAnswer, ReadError> {
        let mut search = Search {
            query,
            answer: KeyAnswer {
                messages: Vec::new(),
                is_complete: true,
                last: None,
            },
            bytes: 0,
            last_position: None,
            deadline_us: self.rt.monotonic_us() + QUERY_MS * 1_000,
        };
        add(&self.counters.key_queries, 1);
        base::reached!(KeysAsked);
        search.answer.is_complete &= self.catch_up(search.deadline_us).await;
        // From here to the copy of the list of runs nothing is awaited: a message is in one source.
        let hash = self.key_hash(query);
        let (mut hits, last) = self.in_open_block(query);
        hits.extend(self.keys.gathering.borrow().find(hash, HITS_MAX));
        if let Some(full) = self.keys.full.borrow().as_ref() {
            hits.extend(full.find(hash, HITS_MAX));
        }
        let runs: Vec<RunRef<R>> = self.keys.runs.borrow().iter().rev().cloned().collect();
        search.answer.is_complete &= self.key_gaps().is_empty();
        search.answer.last = self.last_keyed(last, &runs);
        self.look_at(&mut search, &hits).await?;
        for run in runs {
            let (least, greatest) = run.head.times;
            let in_time = least <= query.times_ms.1 && query.times_ms.0 <= greatest;
            if search.is_full() || !in_time {
                continue;
            }
            if run.is_damaged.get() {
                search.answer.is_complete = false;
                continue;
            }
            match run.find(hash, HITS_MAX).await {
                Ok(hits) => self.look_at(&mut search, &hits).await?,
                Err(error) => {
                    self.damaged_run(&run, &error);
                    search.answer.is_complete = false;
                }
            }
        }
        Ok(search.answer)
    }

    fn key_hash(&self, query: &KeyQuery<'_>) -> u64 {
        let secret = self.log.borrow().secret;
        KeyHasher::new(secret, query.topic.as_bytes()).hash(query.key.as_bytes())
    }

    /// Brings the index up to the sealed end of the log. False when that took too long.
    async fn catch_up(&self, deadline_us: u64) -> bool {
        if !self.keys.is_on() {
            return false;
        }
        // What comes in meanwhile is younger than the query; the open block may be sealed, though.
        let target = self.log.borrow().appended();
        loop {
            let seen = self.keys.moved.count();
            match self.follow_in_memory(u64::MAX / 4) {
                Followed::ToEnd | Followed::More => return true,
                Followed::OnDisk | Followed::NoRoom => {}
            }
            if self.keys.followed_to() >= target {
                return true;
            }
            let left_us = deadline_us.saturating_sub(self.rt.monotonic_us());
            if left_us == 0 || self.closing.get() {
                return false;
            }
            self.keys.is_hurried.set(true);
            self.keys.follow_wanted.notify();
            let timer = self.rt.sleep(Duration::from_micros(left_us));
            first_of(self.keys.moved.wait_past(seen), timer).await;
        }
    }

    /// Messages of the open block that have the key, the last one first, and place and store time of
    /// the last one that has any.
    fn in_open_block(&self, query: &KeyQuery<'_>) -> (Vec<Entry>, Option<(u64, i64)>) {
        let log = self.log.borrow();
        let (mut hits, mut last) = (Vec::new(), None);
        let Some((block, bytes)) = log.open_block() else {
            return (hits, last);
        };
        each_message(block, &bytes[HEADER_LEN..], |position, _, unit| {
            if has_key(unit, query) {
                hits.push(Entry::new(0, block, position, self.settings.block_align));
            }
            let text = record::message_text(unit);
            if text.is_some_and(|text| Keys::of(&text).iter().next().is_some()) {
                last = Some((position, record::store_timestamp_ms(unit).unwrap_or(0)));
            }
        });
        hits.reverse();
        (hits, last)
    }

    /// Store time and place of the last message that has a key.
    fn last_keyed(&self, open: Option<(u64, i64)>, runs: &[RunRef<R>]) -> Option<(i64, PhyOffset)> {
        let full = self.keys.full.borrow();
        let batches = [
            Some(self.keys.gathering.borrow().head()),
            full.as_ref().map(Batch::head),
        ];
        let heads = batches
            .into_iter()
            .flatten()
            .chain(runs.iter().map(|run| run.head));
        let (position, time) = heads.map(|head| head.last).chain(open).max()?;
        let place = PhyOffset::new(self.settings.shard, LogPosition(position));
        (position > 0).then_some((time, place))
    }

    /// Reads hits, the last one of the log first, and takes those that are what is asked.
    async fn look_at(&self, search: &mut Search<'_>, hits: &[Entry]) -> Result<(), ReadError> {
        for hit in hits {
            if search.is_full() {
                return Ok(());
            }
            if self.rt.monotonic_us() > search.deadline_us {
                search.answer.is_complete = false;
                return Ok(());
            }
            let position = hit.position();
            if search.last_position.replace(position) == Some(position) {
                continue; // a message may have a key twice
            }
            let Some(unit) = self.message_at(*hit).await? else {
                continue;
            };
            let Some(time) = record::store_timestamp_ms(&unit) else {
                continue;
            };
            let (least, greatest) = search.query.times_ms;
            let wanted = has_key(&unit, search.query) && (least..=greatest).contains(&time);
            if wanted && self.is_visible(&unit, position).await? {
                search.take(
                    unit,
                    time,
                    PhyOffset::new(self.settings.shard, LogPosition(position)),
                );
            }
        }
        // There may be older ones that were not given.
        search.answer.is_complete &= hits.len() < HITS_MAX || search.is_full();
        Ok(())
    }

    /// The message of an entry; `None` when its log is gone or damaged.
    async fn message_at(&self, entry: Entry) -> Result<Option<Vec<u8>>, ReadError> {
        let (block, position) = (entry.block(self.settings.block_align), entry.position());
        let end = self.log.borrow().appended();
        for brought in [false, true] {
            {
                let log = self.log.borrow();
                if position < log.segments.start() {
                    return Ok(None);
                }
                if let Some((start, bytes)) = log.in_memory(position) {
                    return Ok(message_in(start, &bytes[HEADER_LEN..], position, end));
                }
            }
            match self.cold.borrow().get(block) {
                Some(ColdBlock::Good(bytes)) => {
                    return Ok(message_in(block, &bytes[HEADER_LEN..], position, end));
                }
                Some(ColdBlock::Salvaged(bytes, proven)) if proven.contains(&position) => {
                    let unit = bytes.get((position - block) as usize..).unwrap_or(&[]);
                    let len = record::unit_len(unit);
                    return Ok(len.and_then(|len| unit.get(..len).map(<[u8]>::to_vec)));
                }
                Some(ColdBlock::Salvaged(..) | ColdBlock::Damaged) => return Ok(None),
                None if brought => return Ok(None),
                None => {}
            }
            self.bring_blocks(block, self.settings.block_bytes).await?;
        }
        Ok(None)
    }

    /// Whether consumers see this message: its queue has it at its offset.
    async fn is_visible(&self, unit: &[u8], position: u64) -> Result<bool, ReadError> {
        let Some(head) = record::message_head(unit) else {
            return Ok(false);
        };
        let found = self.queues.borrow().find(head.topic, head.queue_id);
        let Some(queue) = found else {
            return Ok(false);
        };
        let place = |unit: &[u8]| record::phy_offset(unit).map(|phy| phy.position().0);
        let place = self.view_message(queue, head.queue_offset, place).await?;
        Ok(place == Some(position))
    }
}

impl Search<'_> {
    fn is_full(&self) -> bool {
        self.answer.messages.len() >= self.query.count_max
            || (!self.answer.messages.is_empty() && self.bytes >= self.query.bytes_max)
    }

    fn take(&mut self, unit: Vec<u8>, store_timestamp_ms: i64, phy_offset: PhyOffset) {
        let len = unit.len();
        if !self.answer.messages.is_empty() && self.bytes + len > self.query.bytes_max {
            self.bytes = self.query.bytes_max; // the newest that fit, without a gap
            return;
        }
        self.bytes += len;
        self.answer.messages.push(KeyedMessage {
            store_timestamp_ms,
            phy_offset,
            unit,
        });
    }
}

/// Whether a stored message is of the topic and has the key.
fn has_key(unit: &[u8], query: &KeyQuery<'_>) -> bool {
    record::message_text(unit).is_some_and(|text| {
        text.topic == query.topic.as_bytes()
            && Keys::of(&text).has(query.kind, query.key.as_bytes())
    })
}
