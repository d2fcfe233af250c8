//! The shard: its log and everything that is derived from it.
//!
//! Owned by one executor; every task of it may use it. Invariant: no borrow of its cells lives
//! across an `.await`. Java: the parts of `BrokerController` that belong to a store.

use crate::consumer_offsets::ConsumerOffsets;
use crate::control::ControlError;
use crate::half_messages::HalfMessages;
use crate::lanes::Lanes;
use crate::modes::Modes;
use crate::pops::{Op, PopKeyRef, Pops};
use crate::records::{self, ReplayError, kinds};
use crate::table::{ConfigTable, GroupTable, TopicTable};
use base::{LogPosition, QueueId, ShardId, owner_of, shard_of_group};
use remoting::body::subscription_group::SubscriptionGroupConfig;
use remoting::body::topic_config::{DataVersion, TopicConfig};
use rt::Rt;
use rt::sync::Event;
use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::{AppendError, RecordKind, ShardStore};

/// Bounds of one shard.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Topics of the broker.
    pub topics_max: usize,
    /// Subscription groups of the broker.
    pub groups_max: usize,
    /// How often changed consumer offsets are written, in milliseconds.
    pub flush_consumer_offset_interval_ms: u64,
}

/// How far the messages of each delay level were delivered on this shard: the queue offset of the
/// next one, by level from 1.
pub type DelayProgress = std::collections::BTreeMap<u32, i64>;

/// One shard.
pub struct Shard<R: Rt> {
    /// Its runtime.
    pub rt: R,
    /// Its log.
    pub store: ShardStore<R>,
    /// Its lanes to the other shards.
    pub lanes: Rc<Lanes<R>>,
    /// Committed offsets of its queues.
    pub offsets: ConsumerOffsets,
    /// Its undecided half messages.
    pub halves: HalfMessages,
    /// What groups have popped of its queues.
    pub pops: Pops,
    /// On shard 0: how groups get the messages of topics.
    pub modes: Modes,
    /// Its bounds.
    pub limits: Limits,
    topics: RefCell<Arc<TopicTable>>,
    groups: RefCell<Arc<GroupTable>>,
    /// On shard 0: the tables as its log has them, ahead of what was published.
    pub(crate) written_topics: RefCell<Arc<TopicTable>>,
    pub(crate) written_groups: RefCell<Arc<GroupTable>>,
    adopted: Event,
    delay_progress: RefCell<DelayProgress>,
    is_delay_progress_changed: Cell<bool>,
    services: OnceCell<Rc<dyn Any>>,
}

impl<R: Rt> Shard<R> {
    /// Builds the shard's state from what its log gave at recovery.
    ///
    /// # Errors
    /// When a metadata record cannot be read.
    pub fn new(
        rt: R,
        store: ShardStore<R>,
        records: &[(RecordKind, Vec<u8>)],
        lanes: Rc<Lanes<R>>,
        limits: Limits,
    ) -> Result<Rc<Self>, ReplayError> {
        let shard = Rc::new(Self {
            rt,
            store,
            lanes,
            offsets: ConsumerOffsets::default(),
            halves: HalfMessages::default(),
            pops: Pops::default(),
            modes: Modes::default(),
            limits,
            topics: RefCell::default(),
            groups: RefCell::default(),
            written_topics: RefCell::default(),
            written_groups: RefCell::default(),
            adopted: Event::new(),
            delay_progress: RefCell::default(),
            is_delay_progress_changed: Cell::new(false),
            services: OnceCell::new(),
        });
        for (kind, payload) in records {
            shard.replay(kind.0, payload)?;
        }
        shard.join_pops_and_offsets();
        let source = Rc::downgrade(&shard);
        shard.store.set_snapshot_source(Box::new(move || {
            source.upgrade().map_or_else(Vec::new, |s| s.snapshot())
        }));
        Ok(shard)
    }

    /// This shard's id.
    pub fn id(&self) -> ShardId {
        self.rt.shard()
    }

    /// The topics that this shard knows.
    pub fn topics(&self) -> Arc<TopicTable> {
        self.topics.borrow().clone()
    }

    /// The version of [`Shard::topics`], without counting a reference.
    pub fn topics_version(&self) -> u64 {
        self.topics.borrow().version
    }

    /// The groups that this shard knows.
    pub fn groups(&self) -> Arc<GroupTable> {
        self.groups.borrow().clone()
    }

    /// Takes snapshots that shard 0 published; older ones than the present are left out.
    pub fn adopt(&self, topics: Arc<TopicTable>, groups: Arc<GroupTable>) {
        if topics.version >= self.topics.borrow().version {
            self.topics.replace(topics);
        }
        if groups.version >= self.groups.borrow().version {
            self.groups.replace(groups);
        }
        self.adopted.notify();
    }

    /// Completes when shard 0 has published for the first time.
    pub async fn wait_adopted(&self) {
        while self.adopted.count() == 0 {
            self.adopted.wait().await;
        }
    }

    /// The shard that owns a queue.
    pub fn owner_of(&self, topic: &str, queue_id: u32) -> ShardId {
        owner_of(topic, QueueId(queue_id), self.rt.shard_count())
    }

    /// The shard that owns a group.
    pub fn owner_of_group(&self, group: &str) -> ShardId {
        shard_of_group(group, self.rt.shard_count())
    }

    /// Appends a metadata record.
    ///
    /// # Errors
    /// As the log's append.
    pub fn append_record(&self, kind: u16, payload: &[u8]) -> Result<LogPosition, AppendError> {
        self.store.append_record(RecordKind(kind), payload)
    }

    /// Hands over the broker's services, which calls from other shards run with.
    ///
    /// # Panics
    /// When called twice.
    pub fn install(&self, services: Rc<dyn Any>) {
        let installed = self.services.set(services);
        assert!(installed.is_ok(), "services are installed once");
    }

    /// The broker's services.
    ///
    /// # Panics
    /// When they are of another type or not installed.
    pub fn services<S: 'static>(&self) -> Rc<S> {
        let services = self.services.get().expect("installed before lanes start");
        Rc::clone(services)
            .downcast()
            .expect("one type of services per broker")
    }

    /// Changes what a group has popped of a queue, and its committed offset with it. Gives the end
    /// of the record; the change may be told of when that is acknowledged.
    ///
    /// # Errors
    /// As the log's append; nothing has changed then.
    pub fn change_pops(
        &self,
        key: PopKeyRef<'_>,
        ops: Vec<Op>,
    ) -> Result<LogPosition, AppendError> {
        let end = self.append_record(kinds::POPS, &Pops::record(key, &ops))?;
        for op in ops {
            self.pops.apply(key, op);
        }
        if let Some(place) = self.pops.place(key) {
            self.offsets
                .commit(key.topic, key.group, key.queue_id, place.committed);
        }
        Ok(end)
    }

    /// Commits an offset on behalf of a client or a tool. What the group has popped of the queue
    /// is forgotten, and its next pop begins there.
    ///
    /// # Errors
    /// As the log's append, when the group pops; nothing has changed then.
    pub fn commit_offset(&self, key: PopKeyRef<'_>, offset: i64) -> Result<(), AppendError> {
        if self.pops.place(key).is_some_and(|p| p.committed != offset) {
            self.change_pops(key, vec![Op::Reset { next: offset }])?;
        }
        self.offsets
            .commit(key.topic, key.group, key.queue_id, offset);
        Ok(())
    }

    /// Forgets what groups have popped, where topic and group match. Gives how many queues.
    ///
    /// # Errors
    /// As the log's append; what comes later in no particular order is not forgotten then.
    pub fn forget_pops(&self, matches: impl Fn(&str, &str) -> bool) -> Result<usize, AppendError> {
        let keys = self.pops.matching(matches);
        for key in &keys {
            self.append_record(kinds::POPS, &Pops::record(key.by_ref(), &[Op::Forget]))?;
            self.pops.apply(key.by_ref(), Op::Forget);
        }
        Ok(keys.len())
    }

    /// After a replay: committed offsets follow what is popped, which is written sooner. Where
    /// nothing is popped, a greater offset tells of messages that a filter passed over.
    fn join_pops_and_offsets(&self) {
        let mut passed = Vec::new();
        self.pops.for_each_committed(|key, place| {
            let known = self.offsets.find(key.topic, key.group, key.queue_id);
            let known = known.unwrap_or(i64::MIN);
            if place.count == 0 && known > place.next {
                let key = (key.topic.to_owned(), key.group.to_owned(), key.queue_id);
                passed.push((key, known));
            } else {
                self.offsets
                    .commit(key.topic, key.group, key.queue_id, place.committed);
            }
        });
        for ((topic, group, queue_id), next) in passed {
            let key = PopKeyRef {
                topic: &topic,
                group: &group,
                queue_id,
            };
            self.pops.pass_over(key, next);
        }
    }

    /// Where delivery of a delay level goes on.
    pub fn delay_progress(&self, level: u32) -> i64 {
        self.delay_progress
            .borrow()
            .get(&level)
            .copied()
            .unwrap_or(0)
    }

    /// Notes that the messages of `level` before `next_offset` were delivered.
    pub fn set_delay_progress(&self, level: u32, next_offset: i64) {
        self.delay_progress.borrow_mut().insert(level, next_offset);
        self.is_delay_progress_changed.set(true);
    }

    /// Writes changed consumer offsets and delivery progress as records.
    ///
    /// # Errors
    /// As the log's append; what was not written is written by the next call.
    pub fn write_changes(&self) -> Result<(), AppendError> {
        for part in self.offsets.changes(RECORD_LEN_MAX) {
            self.append_record(kinds::CONSUMER_OFFSETS, &part)?;
        }
        self.offsets.changes_are_written();
        self.write_delay_progress()
    }

    /// Writes changed consumer offsets and waits until they, and all that was appended before, survive
    /// a power cut.
    ///
    /// # Errors
    /// The log refused or lost them.
    pub async fn keep_changes(&self) -> Result<(), ControlError> {
        let refused = |error: AppendError| ControlError::Log(error.to_string());
        self.write_changes().map_err(refused)?;
        let kept = self.store.wait_durable(self.store.appended()).await;
        kept.map_err(|error| ControlError::Log(error.to_string()))
    }

    /// Writes delivery progress as a record, when it changed.
    ///
    /// # Errors
    /// As the log's append.
    pub fn write_delay_progress(&self) -> Result<(), AppendError> {
        if self.is_delay_progress_changed.replace(false) {
            let payload = encode_progress(&self.delay_progress.borrow());
            let appended = self.append_record(kinds::DELAY_PROGRESS, &payload);
            self.is_delay_progress_changed.set(appended.is_err());
            appended?;
        }
        Ok(())
    }

    /// Calls [`Shard::write_changes`] every interval, until `stop` says so.
    pub async fn keep_writing_changes(&self, stop: &rt::sync::Latch) {
        let interval = Duration::from_millis(self.limits.flush_consumer_offset_interval_ms.max(10));
        while !stop.is_set() {
            self.rt.sleep(interval).await;
            if let Err(error) = self.write_changes() {
                tracing::error!(shard = %self.id(), %error, "consumer offsets were not written");
            }
        }
    }

    fn replay(&self, kind: u16, payload: &[u8]) -> Result<(), ReplayError> {
        let check = |read: Option<()>| {
            read.ok_or_else(|| unreadable(kind, payload, &"its length or a number is wrong"))
        };
        match kind {
            kinds::TOPIC => {
                let (version, row) = records::decode_row::<TopicConfig>(kind, payload)?;
                let name = row.topic_name.clone();
                set_row(&self.written_topics, &name, Some(Arc::new(row)), version);
            }
            kinds::TOPIC_REMOVED => {
                let (version, name) = records::decode_row::<String>(kind, payload)?;
                set_row(&self.written_topics, &name, None, version);
            }
            kinds::GROUP => {
                let (version, row) = records::decode_row::<SubscriptionGroupConfig>(kind, payload)?;
                let name = row.group_name.clone();
                set_row(&self.written_groups, &name, Some(Arc::new(row)), version);
            }
            kinds::GROUP_REMOVED => {
                let (version, name) = records::decode_row::<String>(kind, payload)?;
                set_row(&self.written_groups, &name, None, version);
            }
            kinds::CONSUMER_OFFSETS => {
                let replayed = self.offsets.replay(payload);
                replayed.map_err(|error| unreadable(kind, payload, &error))?;
            }
            kinds::DELAY_PROGRESS => {
                let progress = decode_progress(payload)
                    .ok_or_else(|| unreadable(kind, payload, &"its length is wrong"))?;
                self.delay_progress.replace(progress);
            }
            kinds::HALF_MESSAGES_DECIDED => check(self.halves.replay_decided(payload))?,
            kinds::HALF_MESSAGES_CHECKED => check(self.halves.replay_checks(payload))?,
            kinds::HALF_MESSAGES_OPEN => check(self.halves.replay_open(payload))?,
            kinds::POPS => {
                let replayed = self.pops.replay(payload);
                replayed.ok_or_else(|| unreadable(kind, payload, &"it ends early"))?;
            }
            kinds::REQUEST_MODE => {
                let read = serde_json::from_slice(payload);
                let (row, is_there) = read.map_err(|error| unreadable(kind, payload, &error))?;
                self.modes.apply(row, is_there);
            }
            _ => return Err(unreadable(kind, payload, &"its kind is unknown")),
        }
        Ok(())
    }

    /// The whole state as records, for a checkpoint of the log.
    fn snapshot(&self) -> Vec<(RecordKind, Vec<u8>)> {
        let mut all = Vec::new();
        if self.id() == ShardId::CONTROL {
            let topics = self.written_topics.borrow();
            for (_, row) in topics.iter() {
                let payload = records::encode_row(&topics.data_version, &**row);
                all.push((RecordKind(kinds::TOPIC), payload));
            }
            let groups = self.written_groups.borrow();
            for (_, row) in groups.iter() {
                let payload = records::encode_row(&groups.data_version, &**row);
                all.push((RecordKind(kinds::GROUP), payload));
            }
        }
        for row in self.modes.records() {
            all.push((RecordKind(kinds::REQUEST_MODE), row));
        }
        for part in self.offsets.records(RECORD_LEN_MAX) {
            all.push((RecordKind(kinds::CONSUMER_OFFSETS), part));
        }
        let progress = encode_progress(&self.delay_progress.borrow());
        all.push((RecordKind(kinds::DELAY_PROGRESS), progress));
        for (kind, part) in self.halves.records(RECORD_LEN_MAX) {
            all.push((RecordKind(kind), part));
        }
        for part in self.pops.records(RECORD_LEN_MAX) {
            all.push((RecordKind(kinds::POPS), part));
        }
        all
    }
}

/// Records of consumer offsets are cut at about this length, in bytes.
const RECORD_LEN_MAX: usize = 64 << 10;

fn set_row<T>(
    table: &RefCell<Arc<ConfigTable<T>>>,
    name: &str,
    row: Option<Arc<T>>,
    version: DataVersion,
) {
    let mut table = table.borrow_mut();
    let table = Arc::get_mut(&mut table).expect("nobody else sees the table during recovery");
    table.set(name, row, version);
}

fn unreadable(kind: u16, payload: &[u8], reason: &dyn std::fmt::Display) -> ReplayError {
    ReplayError {
        kind,
        len: payload.len(),
        reason: reason.to_string(),
    }
}

fn encode_progress(progress: &DelayProgress) -> Vec<u8> {
    let mut payload = Vec::with_capacity(progress.len() * 12);
    for (level, next_offset) in progress {
        payload.extend_from_slice(&level.to_le_bytes());
        payload.extend_from_slice(&next_offset.to_le_bytes());
    }
    payload
}

fn decode_progress(payload: &[u8]) -> Option<DelayProgress> {
    let (entries, rest) = payload.as_chunks::<12>();
    let read = |entry: &[u8; 12]| {
        let (level, next_offset) = entry.split_first_chunk()?;
        let next_offset = next_offset.first_chunk()?;
        Some((u32::from_le_bytes(*level), i64::from_le_bytes(*next_offset)))
    };
    if !rest.is_empty() {
        return None;
    }
    entries.iter().map(read).collect()
}
