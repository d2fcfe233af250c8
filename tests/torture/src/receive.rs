//! Consumers that pull, record every message and commit, and hand queues over to each other.
//!
//! A queue has at most one owner of a group at a time: who takes it over asks for the committed
//! offset and goes on there. Invariant: a message is recorded before an offset behind it is
//! committed.

use crate::journal::Journal;
use crate::send::{Targets, UID_PROPERTY, code_of_failure};
use anyhow::Result;
use harness::client::Unit;
use harness::wire::{Connection, SUCCESS};
use rmq_check::body::{self, Body};
use rmq_check::record::{FLAG_BODY_BAD, FOREIGN, Kind, Op, Record, uid};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

const IDLE_PAUSE: Duration = Duration::from_millis(5);
const QUERY_NOT_FOUND: i32 = 22;
const OFFSET_MOVED: i32 = 21;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Queues of a group: who holds the lock owns the queue.
pub(crate) struct Group {
    pub(crate) name: String,
    targets: Targets,
    locks: Vec<Mutex<()>>,
    /// Grows when queues shall change hands.
    pub(crate) epoch: AtomicU64,
    members: u64,
}

impl Group {
    pub(crate) fn new(name: &str, targets: &Targets, members: u64) -> Self {
        let queues = targets.topics.len() * usize::from(targets.queues);
        Self {
            name: name.to_owned(),
            targets: targets.clone(),
            locks: (0..queues).map(|_| Mutex::new(())).collect(),
            epoch: AtomicU64::new(0),
            members,
        }
    }

    fn place(&self, index: usize) -> (usize, u16) {
        let queues = usize::from(self.targets.queues);
        (index / queues, (index % queues) as u16)
    }
}

/// One consumer of a group.
pub(crate) struct Consumer<'a> {
    group: &'a Group,
    member: u64,
    proc: u16,
    journal: Journal,
    group_id: u16,
    topic_ids: Vec<u16>,
}

/// A queue that is owned, and where the owner is.
struct Owned<'a> {
    index: usize,
    next: i64,
    max: i64,
    _lock: MutexGuard<'a, ()>,
}

impl<'a> Consumer<'a> {
    pub(crate) fn new(group: &'a Group, member: u64, journal: &Journal) -> Result<Self> {
        let topics = &group.targets.topics;
        let topic_ids: Result<Vec<u16>> = topics.iter().map(|t| journal.string(t)).collect();
        Ok(Self {
            group,
            member,
            proc: journal.proc(),
            journal: journal.clone(),
            group_id: journal.string(&group.name)?,
            topic_ids: topic_ids?,
        })
    }

    /// Consumes until told to `drain`, then until every owned queue is at its end.
    pub(crate) fn run(&self, address: &str, drain: &AtomicBool) -> Result<()> {
        loop {
            let epoch = self.group.epoch.load(Ordering::Relaxed);
            let Ok(mut connection) = Connection::open(address) else {
                std::thread::sleep(IDLE_PAUSE);
                continue;
            };
            connection.stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            if connection
                .heartbeat(&self.group.name, &self.group.targets.topics[0])
                .is_err()
            {
                continue;
            }
            let Some(mut owned) = self.take_queues(&mut connection, epoch)? else {
                continue;
            };
            while self.group.epoch.load(Ordering::Relaxed) == epoch {
                let draining = drain.load(Ordering::Relaxed);
                let Some(progress) = self.turn(&mut connection, &mut owned)? else {
                    break;
                };
                if draining && !progress {
                    return self.say_drained(&owned);
                }
                if !progress {
                    std::thread::sleep(IDLE_PAUSE);
                }
            }
        }
    }

    fn say_drained(&self, owned: &[Owned<'_>]) -> Result<()> {
        for queue in owned {
            self.event(Op::Drained, Kind::Ok, queue.index, |record| {
                record.offset = queue.next;
            })?;
        }
        Ok(())
    }

    /// The queues of this member in this epoch; `None` when the connection broke.
    fn take_queues(
        &self,
        connection: &mut Connection,
        epoch: u64,
    ) -> Result<Option<Vec<Owned<'a>>>> {
        let mut owned = Vec::new();
        for (index, lock) in self.group.locks.iter().enumerate() {
            if (index as u64 + epoch) % self.group.members != self.member {
                continue;
            }
            let lock = lock
                .lock()
                .map_err(|_| anyhow::anyhow!("a consumer died with its queues"))?;
            self.event(Op::Assign, Kind::Ok, index, |_record| {})?;
            let Some(next) = self.query(connection, index)? else {
                return Ok(None);
            };
            owned.push(Owned {
                index,
                next,
                max: 0,
                _lock: lock,
            });
        }
        Ok(Some(owned))
    }

    fn query(&self, connection: &mut Connection, index: usize) -> Result<Option<i64>> {
        let (topic, queue) = self.group.place(index);
        self.event(Op::OffsetQuery, Kind::Invoke, index, |record| {
            record.aux = ANSWER_TIMEOUT.as_millis() as i64;
        })?;
        let queue = queue.to_string();
        let fields = [
            ("consumerGroup", self.group.name.as_str()),
            ("topic", &self.group.targets.topics[topic]),
            ("queueId", &queue),
        ];
        let answer = connection.call(harness::wire::QUERY_CONSUMER_OFFSET, &fields, &[]);
        let (kind, code, offset) = match &answer {
            Ok(frame) if frame.code == SUCCESS => (Kind::Ok, SUCCESS, frame.number("offset")?),
            Ok(frame) if frame.code == QUERY_NOT_FOUND => (Kind::Fail, frame.code, 0),
            Ok(frame) => (Kind::Info, frame.code, -1),
            Err(error) => (Kind::Info, code_of_failure(error), -1),
        };
        self.event(Op::OffsetQuery, kind, index, |record| {
            record.code = code;
            record.offset = offset;
        })?;
        Ok((kind != Kind::Info).then_some(offset))
    }

    /// One pull per queue: whether anything came; `None` when the connection broke.
    fn turn(&self, connection: &mut Connection, owned: &mut [Owned<'_>]) -> Result<Option<bool>> {
        let mut progress = false;
        for place in owned {
            let (topic, queue) = self.group.place(place.index);
            let topic = &self.group.targets.topics[topic];
            let Ok(pulled) = connection.pull(topic, i32::from(queue), place.next) else {
                return Ok(None);
            };
            if pulled.code == OFFSET_MOVED && pulled.next_offset != place.next {
                place.next = pulled.next_offset;
                progress = true;
            }
            place.max = pulled.max_offset;
            if pulled.units.is_empty() {
                continue;
            }
            progress = true;
            let found: Vec<_> = pulled
                .units
                .iter()
                .map(|u| found(u, self.journal.run()))
                .collect();
            let (topic, queue) = self.group.place(place.index);
            self.journal
                .batch(Op::Deliver, Kind::Ok, found.len(), |index, record| {
                    found[index].fill(record);
                    record.proc = self.proc;
                    record.topic = self.topic_ids[topic];
                    record.queue = queue;
                    record.group = self.group_id;
                    record.aux = i64::from(pulled.units[index].reconsume_times);
                })?;
            place.next = pulled.next_offset;
            if !self.commit(connection, place)? {
                return Ok(None);
            }
        }
        Ok(Some(progress))
    }

    fn commit(&self, connection: &mut Connection, place: &Owned<'_>) -> Result<bool> {
        let (topic, queue) = self.group.place(place.index);
        self.event(Op::OffsetCommit, Kind::Invoke, place.index, |record| {
            record.offset = place.next;
            record.aux = ANSWER_TIMEOUT.as_millis() as i64;
        })?;
        let topic = &self.group.targets.topics[topic];
        let done = connection.commit(&self.group.name, topic, i32::from(queue), place.next);
        let kind = if done.is_ok() { Kind::Ok } else { Kind::Info };
        self.event(Op::OffsetCommit, kind, place.index, |record| {
            record.offset = place.next;
        })?;
        Ok(done.is_ok())
    }

    fn event(
        &self,
        op: Op,
        kind: Kind,
        index: usize,
        mut fill: impl FnMut(&mut Record),
    ) -> Result<()> {
        let (topic, queue) = self.group.place(index);
        self.journal.event(op, kind, |record| {
            record.proc = self.proc;
            record.group = self.group_id;
            record.topic = self.topic_ids[topic];
            record.queue = queue;
            fill(record);
        })
    }
}

/// What a reader sees of a stored message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    uid: u64,
    digest: u32,
    flags: u8,
    offset: i64,
    phy: i64,
}

impl Found {
    /// Whether both are of one message.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.uid == other.uid
    }

    pub(crate) fn fill_uid(&self, record: &mut Record) {
        record.uid = self.uid;
    }

    pub(crate) fn fill(&self, record: &mut Record) {
        record.uid = self.uid;
        record.digest = self.digest;
        record.flags = self.flags;
        record.offset = self.offset;
        record.phy = self.phy;
    }
}

/// Reads a stored message as the checker wants it.
pub(crate) fn found(unit: &Unit, run: u64) -> Found {
    let property = |name| unit.property(name).unwrap_or_default();
    let topic = unit.property("RETRY_TOPIC").unwrap_or(&unit.topic);
    let (uid, flags) = match Body::decode(&unit.body) {
        Some((body, intact)) if body.run == run => (
            uid(body.producer, body.sequence),
            if intact { 0 } else { FLAG_BODY_BAD },
        ),
        _ => (FOREIGN, 0),
    };
    Found {
        uid,
        digest: body::digest(
            topic,
            property("TAGS"),
            property("KEYS"),
            property(UID_PROPERTY),
            &unit.body,
        ),
        flags,
        offset: unit.queue_offset,
        phy: unit.phy_offset,
    }
}
