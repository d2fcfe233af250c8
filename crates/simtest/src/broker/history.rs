//! The clients' history of a run in the form of `rmq-check`, and that checker's verdict.
//!
//! Owned by one run; filled beside the exact model by the same clients, so that two judges that know nothing
//! of each other look at the same run. Kept for seeds whose promises the checker knows: `SYNC_FLUSH` on
//! disks that keep what they are given, without delayed sends and transactions, whose receipts name another queue.
//! Invariant: a history that cannot be judged fails the seed.

use super::Run;
use super::inspect;
use super::model::{Key, Topic, group_name};
use super::plan::Trouble;
use super::shape::{Shape, broker_name};
use super::shared::Shared;
use rmq_check::body::digest;
use rmq_check::check::check;
use rmq_check::outcome;
use rmq_check::record::{FLAG_EXPECTED, FLAG_SYNC, Fault, Kind, Op, Record, Setting, uid};
use rmq_check::source::Memory;
use sim::Sim;
use std::rc::Rc;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The consumer of a group.
    Group(u64),
    /// The one that looks at what a recovery found.
    Inspector,
    /// The closing dump.
    Dump,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    is_kept: bool,
    is_even: bool,
    events: Memory,
    /// Producer and topic of each message, by the model's number less 1.
    messages: Vec<(u64, u64)>,
}

/// Milliseconds after which a client no longer waits, as the checker is told.
const TIMEOUT_MS: i64 = 30_000;
/// A listener that failed, as the checker is told.
const LATER: i32 = 1;
/// The numbers of the tasks that act for groups begin here.
const FIRST_GROUP_PROC: u64 = 2_000;
/// How often a message may be sent back, as the clients of the run ask for.
const RETRIES_MAX: i64 = 1;

impl History {
    /// The history of a run of this shape; keeps nothing when the checker cannot judge it.
    pub(crate) fn new(shape: &Shape, is_even: bool, window_ms: u64) -> Self {
        let is_plain = shape.delay_one_in == 0 && shape.transaction_one_in == 0;
        let is_kept = shape.is_sync && shape.trouble.is_honest() && is_plain;
        let mut history = Self {
            is_kept,
            is_even,
            ..Self::default()
        };
        let (code, mut window) = (
            Setting::OffsetWindowNs as i32,
            Record::new(0, Op::Setting, Kind::Ok),
        );
        // A shard that is fenced, or finds no room, writes no commits.
        let is_sure = shape.trouble == Trouble::None;
        window.aux = if is_sure {
            window_ms as i64 * 1_000_000
        } else {
            i64::MAX
        };
        window.code = code;
        history.push(window);
        for group in 0..shape.consumers {
            let mut limit = Record::new(0, Op::Setting, Kind::Ok);
            (limit.code, limit.aux) = (Setting::MaxReconsumeTimes as i32, RETRIES_MAX);
            limit.group = history.name(&group_name(group));
            history.push(limit);
        }
        for fault in faults_of(shape.trouble) {
            history.fault(0, *fault, Kind::Invoke);
        }
        history
    }

    fn push(&mut self, record: Record) {
        if self.is_kept {
            self.events.records.push(record);
        }
    }

    fn name(&mut self, text: &str) -> u16 {
        let interned = self.events.strings.intern(text);
        interned.expect("a run has few names")
    }

    fn record(&mut self, now_ms: u64, op: Op, kind: Kind, key: Key) -> Record {
        let mut record = Record::new(now_ms * 1_000_000, op, kind);
        record.topic = self.name(&key.topic.name());
        record.broker = self.name(&broker_name(key.broker));
        record.queue = key.queue as u16;
        record
    }

    fn uid_of(&self, number: u64) -> u64 {
        let (producer, _) = self.messages[number as usize - 1];
        uid(producer as u16 + 1, number)
    }

    /// Messages with these numbers and bodies are sent.
    pub(crate) fn sends(
        &mut self,
        now_ms: u64,
        (key, producer): (Key, u64),
        numbers: &[u64],
        bodies: &[Vec<u8>],
    ) {
        let Topic::Plain(topic) = key.topic else {
            panic!("producers send to plain topics");
        };
        for (number, body) in numbers.iter().zip(bodies) {
            self.messages.push((producer, topic));
            assert_eq!(
                self.messages.len() as u64,
                *number,
                "numbers follow each other"
            );
            if !self.is_kept {
                continue;
            }
            let mut record = self.record(now_ms, Op::Send, Kind::Invoke, key);
            record.uid = self.uid_of(*number);
            record.proc = producer as u16 + 1;
            record.aux = TIMEOUT_MS;
            record.digest = digest(&key.topic.name(), "", "", "", body);
            (record.attempt, record.flags) = (1, FLAG_SYNC);
            self.push(record);
        }
    }

    /// They were answered with this code and first offset.
    pub(crate) fn sent(
        &mut self,
        now_ms: u64,
        key: Key,
        numbers: &[u64],
        answer: Option<(i32, Option<i64>)>,
    ) {
        if !self.is_kept {
            return;
        }
        let (code, offset) = answer.unwrap_or((outcome::CODE_CONNECTION_LOST, None));
        let kind = outcome::of_send(code);
        for (at, number) in (0..).zip(numbers) {
            let mut record = self.record(now_ms, Op::Send, kind, key);
            record.uid = self.uid_of(*number);
            record.proc = self.messages[*number as usize - 1].0 as u16 + 1;
            (record.code, record.attempt) = (code, 1);
            if kind == Kind::Ok {
                record.offset = offset.map_or(-1, |offset| offset + at);
            }
            self.push(record);
        }
    }

    /// A message was read.
    pub(crate) fn read(
        &mut self,
        now_ms: u64,
        reader: Reader,
        (key, offset): (Key, i64),
        (number, body, reconsume_times): (u64, &[u8], i32),
    ) {
        if !self.is_kept || self.messages.len() < number as usize {
            return; // of a message that nobody sent the model tells
        }
        let op = match reader {
            Reader::Dump => Op::LogDump,
            Reader::Group(_) | Reader::Inspector => Op::Deliver,
        };
        let mut record = self.record(now_ms, op, Kind::Ok, key);
        let (_, topic) = self.messages[number as usize - 1];
        record.uid = self.uid_of(number);
        record.offset = offset;
        record.digest = digest(&Topic::Plain(topic).name(), "", "", "", body);
        record.aux = i64::from(reconsume_times);
        if let Reader::Group(group) = reader {
            record.group = self.name(&group_name(group));
            record.proc = proc_of(group);
        } else if reader == Reader::Inspector {
            record.aux = 0;
        }
        self.push(record);
    }

    /// A group sends a message back that has failed `failures` times before.
    pub(crate) fn sends_back(
        &mut self,
        now_ms: u64,
        (group, key): (u64, Key),
        number: u64,
        (failures, delay_ms): (i32, u64),
    ) {
        if !self.is_kept {
            return;
        }
        let mut record = self.record(now_ms, Op::ConsumeEnd, Kind::Ok, key);
        record.uid = self.uid_of(number);
        record.code = LATER;
        record.offset = i64::from(failures);
        record.aux = if self.is_even { delay_ms as i64 } else { 0 };
        record.group = self.name(&group_name(group));
        record.proc = proc_of(group);
        self.push(record);
    }

    /// A group asks for its offset, or commits one (`op`), or was answered.
    pub(crate) fn offset(
        &mut self,
        now_ms: u64,
        (op, kind): (Op, Kind),
        (group, key): (u64, Key),
        offset: i64,
    ) {
        if !self.is_kept {
            return;
        }
        let mut record = self.record(now_ms, op, kind, key);
        record.offset = offset;
        record.group = self.name(&group_name(group));
        record.proc = proc_of(group);
        if kind == Kind::Invoke {
            record.aux = TIMEOUT_MS;
        }
        self.push(record);
    }

    /// A broker serves.
    pub(crate) fn broker_serves(&mut self, now_ms: u64, broker: usize) {
        for op in [Op::BrokerStart, Op::BrokerReady] {
            let mut record = Record::new(now_ms * 1_000_000, op, Kind::Ok);
            record.broker = self.name(&broker_name(broker));
            self.push(record);
        }
    }

    /// The run ended a broker.
    pub(crate) fn broker_died(&mut self, now_ms: u64, broker: usize) {
        let mut record = Record::new(now_ms * 1_000_000, Op::BrokerExit, Kind::Ok);
        record.broker = self.name(&broker_name(broker));
        (record.flags, record.aux) = (FLAG_EXPECTED, 1);
        self.push(record);
    }

    /// From now on nothing fails.
    pub(crate) fn healed(&mut self, now_ms: u64, trouble: Trouble) {
        for fault in faults_of(trouble) {
            self.fault(now_ms, *fault, Kind::Ok);
        }
    }

    fn fault(&mut self, now_ms: u64, fault: Fault, kind: Kind) {
        let mut record = Record::new(now_ms * 1_000_000, Op::Fault, kind);
        record.aux = fault as i64;
        self.push(record);
    }

    fn dump_begins(&mut self, now_ms: u64, key: Key, max: i64) {
        let mut record = self.record(now_ms, Op::DumpBegin, Kind::Ok, key);
        (record.offset, record.aux) = (0, max);
        self.push(record);
    }
}

/// What may go wrong in a run besides crashes, for the checker's table of codes. Any disk of the simulation
/// is slow now and then, and brokers are asked to stop.
fn faults_of(trouble: Trouble) -> &'static [Fault] {
    match trouble {
        Trouble::Failing => &[Fault::Stop, Fault::Stall, Fault::Eio, Fault::Enospc],
        Trouble::Full => &[Fault::Stop, Fault::Stall, Fault::Enospc],
        Trouble::None | Trouble::Rot | Trouble::Lying => &[Fault::Stop, Fault::Stall],
    }
}

fn proc_of(group: u64) -> u16 {
    (FIRST_GROUP_PROC + group) as u16
}

impl Run {
    /// Reads every queue from its first message on, and has the checker judge everything.
    pub(crate) fn judge_history(&mut self) {
        if !self.shared.history.borrow().is_kept {
            return;
        }
        for broker in 0..self.brokers.len() {
            let shared = Rc::clone(&self.shared);
            self.inspect_with(move |sim| dump(sim, shared, broker));
        }
        let history = self.shared.history.take();
        self.summary.judged += history.events.records.len() as u64;
        let report = check(&history.events);
        let report = report.unwrap_or_else(|error| panic!("rmq-check cannot judge: {error}"));
        if let Some(first) = report.violations.first() {
            let count: u64 = report.counts.values().sum();
            panic!(
                "rmq-check: {:?} {}: {} ({count} in all)\n{}",
                first.property,
                first.property.name(),
                first.sentence,
                first.excerpt.join("\n")
            );
        }
    }
}

async fn dump(sim: Sim, shared: Rc<Shared>, broker: usize) {
    let client = inspect::connect(&sim, &shared, broker).await;
    let mut client = client.expect("the broker serves");
    for key in shared.keys(broker) {
        let max = inspect::max_offset(&mut client, key).await;
        let max = max.unwrap_or_else(|why| panic!("the broker runs: {why:?}"));
        let max = max.unwrap_or_else(|| panic!("{key:?} cannot be read"));
        let now_ms = client.now_ms();
        shared.history.borrow_mut().dump_begins(now_ms, key, max);
        let mut from = 0;
        while from < max {
            let pulled = inspect::pull_some(&mut client, &shared, key, from, Reader::Dump).await;
            let pulled = pulled.unwrap_or_else(|why| panic!("the broker runs: {why:?}"));
            from = pulled.map_or_else(|| panic!("{key:?} cannot be read"), |pulled| pulled.next);
        }
    }
}
