//! What one shard gives to a pop: messages of its queues of the topic, and of its queues of the
//! group's retry topic.
//!
//! Owned by the shard of the queues. Reading and taking happen without waiting when the messages
//! are in memory; a read from the disk marks the queue, so that nobody else takes the same. Every
//! taking is a record of the log. Invariant: messages leave in an answer only when that record is
//! acknowledged by the log. Java: `PopMessageProcessor.popMsgFromQueue`, `PopConsumerService`.

use super::handle::{Lists, NewHandle};
use super::{PopError, order, retry_topic_of};
use crate::assemble::Services;
use crate::offset::is_young;
use crate::send::{find_property, wait_flushed};
use crate::stats::topic_at_group;
use crate::subscription::MessageFilter;
use crate::topics::TopicHandle;
use base::{LogPosition, QueueOffset, ShardId};
use remoting::message::{MessageFields, decode_message, layout};
use rt::Rt;
use shard::pops::{Check, CheckId, Op, PopKeyRef};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;
use store::{GetResult, GetStatus, QueueRef, ReadError, ReadLimits, TailRead};

/// What a shard is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) topic: Arc<str>,
    pub(super) group: Arc<str>,
    /// Below zero for all queues of the topic.
    pub(super) queue_id: i32,
    pub(super) count_max: usize,
    pub(super) pop_time_ms: i64,
    pub(super) invisible_ms: i64,
    /// Whether a new group begins at the end of a queue.
    pub(super) begins_at_end: bool,
    pub(super) filter: Arc<MessageFilter>,
    pub(super) is_order: bool,
    pub(super) attempt_id: Box<str>,
    pub(super) retry_first: bool,
    /// Who wants to be told of later messages when there are none.
    pub(super) told: Option<ShardId>,
}

/// What it gives.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) body: Vec<u8>,
    pub(super) count: usize,
    pub(super) rest: i64,
    /// Something was looked at and passed over: looking again may find more.
    pub(super) has_moved: bool,
    pub(super) lists: Lists,
}

/// Serves a pop from the queues of this shard.
pub(super) async fn serve<R: Rt>(services: &Rc<Services<R>>, ask: &Ask) -> Result<Part, PopError> {
    if let Some(shard) = ask.told {
        let watch = super::wait::watch(services, &ask.topic, &ask.group);
        watch.add_listener(shard, services.shard.rt.monotonic_us());
    }
    let mut reader = Reader {
        services,
        ask,
        part: Part::default(),
        end: LogPosition(0),
    };
    let read = reader.read_all().await;
    let Reader { part, end, .. } = reader;
    match read {
        // What was taken before goes out.
        Err(error) if part.count == 0 => return Err(error),
        Err(error) => tracing::warn!(topic = &*ask.topic, %error, "a pop gives less"),
        Ok(()) => {}
    }
    if end > services.shard.store.acknowledged() {
        wait_flushed(services, end).await?;
    }
    Ok(part)
}

/// A pop at work on one shard.
pub(super) struct Reader<'a, R: Rt> {
    pub(super) services: &'a Rc<Services<R>>,
    pub(super) ask: &'a Ask,
    pub(super) part: Part,
    /// The end of the last record.
    pub(super) end: LogPosition,
}

impl<R: Rt> Reader<'_, R> {
    async fn read_all(&mut self) -> Result<(), PopError> {
        let (services, ask) = (self.services, self.ask);
        let find = |name: &str| services.topics.find(&services.shard, name);
        let topic = find(&ask.topic);
        let topic = topic.ok_or_else(|| PopError::UnknownTopic(ask.topic.to_string()))?;
        let retry = find(&retry_topic_of(&ask.topic, &ask.group)).filter(|_| !ask.is_order);
        if let Some(retry) = retry.as_ref().filter(|_| ask.retry_first) {
            self.read_topic(retry, true).await?;
        }
        match u32::try_from(ask.queue_id) {
            Ok(queue_id) => self.read_queue(&topic, queue_id, false).await?,
            Err(_) => self.read_topic(&topic, false).await?,
        }
        if let Some(retry) = retry.as_ref().filter(|_| !ask.retry_first) {
            self.read_topic(retry, true).await?;
        }
        Ok(())
    }

    /// All queues of a topic that are of this shard, beginning with one at random.
    async fn read_topic(&mut self, topic: &TopicHandle, is_retry: bool) -> Result<(), PopError> {
        let shard = &self.services.shard;
        let mut queues = own_queues(self.services, topic);
        if !queues.is_empty() {
            let first = shard.rt.random_u64() as usize % queues.len();
            queues.rotate_left(first);
        }
        for queue_id in queues {
            self.read_queue(topic, queue_id, is_retry).await?;
        }
        Ok(())
    }

    async fn read_queue(
        &mut self,
        topic: &TopicHandle,
        queue_id: u32,
        is_retry: bool,
    ) -> Result<(), PopError> {
        let (services, ask) = (self.services, self.ask);
        let shard = &services.shard;
        let key = PopKeyRef {
            topic: &topic.name,
            group: &ask.group,
            queue_id,
        };
        let queue = topic.queue(shard, queue_id);
        let next = self.begin(key, queue)?;
        if ask.is_order {
            return order::read(self, key, queue, next).await;
        }
        let left = (shard.store.max_offset(queue).0 - next).max(0);
        let place = shard.pops.place(key).expect("begun above");
        let settings = &services.settings;
        if place.count >= settings.pop.popped_max
            || shard.pops.count() >= settings.pop.popped_shard_max
        {
            // Acknowledgements make room, and wake who waits.
            return Ok(());
        }
        if self.part.count >= ask.count_max || place.is_read {
            self.part.rest += left;
            return Ok(());
        }
        let mut units = Vec::new();
        let Some(result) = self.read_units(key, queue, next, &mut units).await? else {
            return Ok(());
        };
        self.part.rest += (result.max.0 - result.next_offset.0).max(0);
        if result.count > 0 {
            return self.take(key, next, &result, &units, is_retry);
        }
        if result.next_offset.0 > next {
            shard.pops.pass_over(key, result.next_offset.0);
            if let Some(place) = shard.pops.place(key) {
                let commit = |offset| shard.offsets.commit(key.topic, key.group, queue_id, offset);
                commit(place.committed);
            }
            self.part.has_moved = true;
        }
        Ok(())
    }

    /// Where the group's next pop of a queue begins, which is noted at its first.
    fn begin(&mut self, key: PopKeyRef<'_>, queue: QueueRef) -> Result<i64, PopError> {
        let shard = &self.services.shard;
        if let Some(place) = shard.pops.place(key) {
            return Ok(place.next);
        }
        let committed = shard.offsets.find(key.topic, key.group, key.queue_id);
        let is_retry = key.topic.starts_with(crate::names::RETRY_PREFIX);
        let next = committed.unwrap_or_else(|| {
            let store = &shard.store;
            if is_retry || !self.ask.begins_at_end {
                store.min_offset(queue).0
            } else if is_young(self.services, queue) {
                0
            } else {
                // Java PopMessageProcessor.getInitOffset: the last message is popped too.
                (store.max_offset(queue).0 - 1).max(0)
            }
        });
        self.end = shard.change_pops(key, vec![Op::Reset { next }])?;
        Ok(next)
    }

    /// Reads from `next` on; `None` when somebody else has moved the group meanwhile.
    async fn read_units(
        &mut self,
        key: PopKeyRef<'_>,
        queue: QueueRef,
        next: i64,
        units: &mut Vec<u8>,
    ) -> Result<Option<GetResult>, PopError> {
        let shard = &self.services.shard;
        let result = read(self.services, self.ask, self.part.count, queue, next, units);
        let result = match result {
            TailRead::Done(result) => result,
            TailRead::NotInMemory => {
                shard.pops.set_read(key, true);
                let read = self.read_from_disk(queue, next, units).await;
                shard.pops.set_read(key, false);
                // Meanwhile offsets may have been reset, or the topic deleted.
                let is_same = shard
                    .pops
                    .place(key)
                    .is_some_and(|place| place.next == next);
                let result = read?;
                if result.max > result.next_offset {
                    super::wait::signal_queue(self.services, key);
                }
                if !is_same {
                    self.part.has_moved = true;
                    return Ok(None);
                }
                result
            }
        };
        let is_wrong = match result.status {
            GetStatus::OffsetOverflowBadly => true,
            GetStatus::NoMessageInQueue | GetStatus::NoMatchedLogicQueue => next > 0,
            _ => false,
        };
        if is_wrong {
            let next = result.next_offset.0;
            self.end = shard.change_pops(key, vec![Op::Reset { next }])?;
            self.part.has_moved = true;
            return Ok(None);
        }
        Ok(Some(result))
    }

    async fn read_from_disk(
        &self,
        queue: QueueRef,
        next: i64,
        units: &mut Vec<u8>,
    ) -> Result<GetResult, ReadError> {
        let limits = limits(self.services, self.ask, self.part.count);
        let mut accept = &*self.ask.filter;
        let store = &self.services.shard.store;
        store
            .read(queue, QueueOffset(next), limits, &mut accept, units)
            .await
    }

    /// Notes that the messages are popped, and puts them into the answer.
    fn take(
        &mut self,
        key: PopKeyRef<'_>,
        start: i64,
        result: &GetResult,
        units: &[u8],
        is_retry: bool,
    ) -> Result<(), PopError> {
        let ask = self.ask;
        let id = CheckId {
            start,
            pop_time_ms: ask.pop_time_ms,
        };
        let offsets = offsets_of(units);
        let visible_at_ms = ask.pop_time_ms.saturating_add(ask.invisible_ms.max(0));
        let check = Check::new(start, visible_at_ms, &offsets);
        let next = result.next_offset.0;
        let op = Op::Take { id, check, next };
        self.end = self.services.shard.change_pops(key, vec![op])?;
        if is_retry {
            self.put_retried(id, units);
        } else {
            self.part.body.extend_from_slice(units);
        }
        self.part
            .lists
            .push(key.topic, key.queue_id, start, &offsets);
        self.count(result);
        Ok(())
    }

    /// Counts messages that are in the answer.
    pub(super) fn count(&mut self, result: &GetResult) {
        self.part.count += result.count;
        let rate_key = topic_at_group(&self.ask.topic, &self.ask.group);
        let (messages, bytes) = (result.count as u64, result.bytes as u64);
        self.services.stats.pulled(&rate_key, messages, bytes);
    }

    /// Messages of a retry topic are shown under the topic that was asked for, and bring their
    /// handle along, from which the consumer learns the topic to acknowledge them under.
    fn put_retried(&mut self, id: CheckId, mut units: &[u8]) {
        while let Ok((message, len)) = decode_message(units) {
            units = &units[len..];
            let handle = NewHandle {
                id,
                invisible_ms: self.ask.invisible_ms,
                topic: message.topic,
                broker: &self.services.settings.name,
                queue_id: message.queue_id,
                offset: message.queue_offset,
            };
            let own = format!("POP_CK\u{1}{}\u{2}", handle.text());
            let has_own = find_property(message.properties, "POP_CK").is_some();
            let open = !message.properties.is_empty() && !message.properties.ends_with('\u{2}');
            let parts: [&[u8]; 3] = [
                message.properties.as_bytes(),
                if open && !has_own { b"\x02" } else { b"" },
                if has_own { b"" } else { own.as_bytes() },
            ];
            let fields = MessageFields {
                topic: &self.ask.topic,
                queue_id: message.queue_id,
                flag: message.flag,
                sys_flag: message.sys_flag,
                born_timestamp_ms: message.born_timestamp_ms,
                born_host: message.born_host,
                store_host: message.store_host,
                reconsume_times: message.reconsume_times,
                prepared_transaction_offset: message.prepared_transaction_offset,
                body: message.body,
                properties: &parts,
            };
            let at = self.part.body.len();
            self.part.body.resize(at + fields.encoded_len(), 0);
            fields.encode_into(
                &mut self.part.body[at..],
                message.queue_offset,
                message.phy_offset,
                message.store_timestamp_ms,
            );
        }
    }
}

/// Reads what is in memory.
pub(super) fn read<R: Rt>(
    services: &Services<R>,
    ask: &Ask,
    count: usize,
    queue: QueueRef,
    next: i64,
    units: &mut Vec<u8>,
) -> TailRead {
    let mut accept = &*ask.filter;
    let limits = limits(services, ask, count);
    let store = &services.shard.store;
    store.read_tail(queue, QueueOffset(next), limits, &mut accept, units)
}

pub(super) fn limits<R: Rt>(services: &Services<R>, ask: &Ask, count: usize) -> ReadLimits {
    ReadLimits {
        count_max: ask.count_max.saturating_sub(count).max(1),
        bytes_max: services.settings.transfer_bytes_max,
        scan_max: SCAN_MAX,
    }
}

/// The queues of a topic that consumers read and this shard owns.
pub(super) fn own_queues<R: Rt>(
    services: &Services<R>,
    topic: &TopicHandle,
) -> SmallVec<[u32; 16]> {
    let shard = &services.shard;
    let count = topic.config.read_queue_nums.max(0).cast_unsigned();
    let is_own = |queue_id: &u32| shard.owner_of(&topic.name, *queue_id) == shard.id();
    (0..count).filter(is_own).collect()
}

/// The queue offsets of stored messages.
pub(super) fn offsets_of(mut units: &[u8]) -> SmallVec<[i64; 32]> {
    let mut offsets = SmallVec::new();
    while let Some(len) = units.first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let at = layout::QUEUE_OFFSET_AT;
        let offset = units.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
        let (Some(offset), Some(rest)) = (offset, units.get(len..)) else {
            break;
        };
        offsets.push(i64::from_be_bytes(*offset));
        units = rest;
    }
    offsets
}

/// As of pulls: Java looks at 800 places of the queue.
const SCAN_MAX: usize = 800;
