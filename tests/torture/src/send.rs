//! Producers: synchronous sends and batches of self-describing messages, each one an event.
//!
//! A message whose outcome is unknown or failed is sent again with the same bytes, or given up.
//! Invariant: one producer has one request in flight, and its sequence numbers have no gaps.

use crate::journal::Journal;
use anyhow::{Context, Result};
use harness::wire::{Connection, Frame, SEND_BATCH_MESSAGE, SEND_MESSAGE_V2};
use rmq_check::body::{self, Body};
use rmq_check::draw::Draw;
use rmq_check::outcome::{self, CODE_CONNECTION_LOST, CODE_TIMEOUT};
use rmq_check::record::{FLAG_SYNC, Kind, Op, Record, uid};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The property that carries the uid.
pub(crate) const UID_PROPERTY: &str = "rmqUid";
/// How long a send may take.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);
const BATCH_LEN: usize = 8;
const FILLER_LEN_MAX: u64 = 1200;
const ATTEMPTS_MAX: u8 = 4;

/// Topics and queues that a campaign loads.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    pub(crate) topics: Vec<String>,
    pub(crate) queues: u16,
}

/// How a send ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    /// Answered with something else; the connection goes on.
    Refused,
    /// No answer; the connection is of no more use.
    Lost,
}

/// Sums over all producers of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) acknowledged: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// One message as it is sent, kept until its outcome is known.
#[derive(Debug, Clone)]
struct Outgoing {
    sequence: u64,
    attempt: u8,
    topic: usize,
    queue: u16,
    digest: u32,
    properties: String,
    body: Vec<u8>,
}

/// One producer with its own sequence.
pub(crate) struct Producer {
    number: u16,
    proc: u16,
    journal: Journal,
    targets: Targets,
    topic_ids: Vec<u16>,
    sums: Arc<Sums>,
    draw: Draw,
    next_sequence: u64,
    again: Vec<Outgoing>,
}

impl Producer {
    /// `number` is unique in the run.
    pub(crate) fn new(
        number: u16,
        journal: &Journal,
        targets: &Targets,
        sums: &Arc<Sums>,
    ) -> Result<Self> {
        let topic_ids: Result<Vec<u16>> =
            targets.topics.iter().map(|t| journal.string(t)).collect();
        Ok(Self {
            number,
            proc: journal.proc(),
            journal: journal.clone(),
            targets: targets.clone(),
            topic_ids: topic_ids?,
            sums: Arc::clone(sums),
            draw: Draw::new(journal.run() ^ u64::from(number) << 32),
            next_sequence: 0,
            again: Vec::new(),
        })
    }

    /// Sends until told to stop; connects again whenever the connection is lost.
    pub(crate) fn run(&mut self, address: &str, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut connection) = Connection::open(address) else {
                std::thread::sleep(RECONNECT_PAUSE);
                continue;
            };
            connection.stream.set_read_timeout(Some(SEND_TIMEOUT))?;
            while !stop.load(Ordering::Relaxed) {
                let ending = if self.again.is_empty() && self.draw.one_in(6) {
                    self.send_batch(&mut connection)?
                } else {
                    self.send_one(&mut connection)?
                };
                match ending {
                    Ending::Acknowledged => {}
                    Ending::Refused => std::thread::sleep(RECONNECT_PAUSE),
                    Ending::Lost => break,
                }
            }
        }
        Ok(())
    }

    /// Sends one message: one whose outcome is open, or a new one.
    pub(crate) fn send_one(&mut self, connection: &mut Connection) -> Result<Ending> {
        let message = if let Some(message) = self.again.pop() {
            message
        } else {
            let topic = self.draw.below(self.targets.topics.len() as u64) as usize;
            let queue = self.draw.below(u64::from(self.targets.queues)) as u16;
            self.make(topic, queue)
        };
        let (topic, queue) = (message.topic, message.queue);
        let fields = self.fields(topic, queue, &message.properties);
        let frame_body = message.body.clone();
        self.send(
            connection,
            Op::Send,
            SEND_MESSAGE_V2,
            &fields,
            &frame_body,
            vec![message],
        )
    }

    fn send_batch(&mut self, connection: &mut Connection) -> Result<Ending> {
        let topic = self.draw.below(self.targets.topics.len() as u64) as usize;
        let queue = self.draw.below(u64::from(self.targets.queues)) as u16;
        let messages: Vec<_> = (0..BATCH_LEN).map(|_| self.make(topic, queue)).collect();
        let mut frame_body = Vec::new();
        for message in &messages {
            append_to_batch(&mut frame_body, &message.body, &message.properties)?;
        }
        let mut fields = self.fields(topic, queue, "");
        fields.push(("m", "true".to_owned()));
        self.send(
            connection,
            Op::SendBatch,
            SEND_BATCH_MESSAGE,
            &fields,
            &frame_body,
            messages,
        )
    }

    fn make(&mut self, topic: usize, queue: u16) -> Outgoing {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let body = Body {
            run: self.journal.run(),
            producer: self.number,
            sequence,
            attempt: 1,
            queue_wanted: queue.cast_signed(),
            ..Body::default()
        };
        let filler_len = self.draw.below(FILLER_LEN_MAX) as usize;
        let body = body.encode(filler_len);
        let uid_text = uid_text(self.journal.run(), self.number, sequence);
        let tags = ["TagA", "TagB"][self.draw.below(2) as usize];
        let properties = format!(
            "KEYS\u{1}{uid_text}\u{2}{UID_PROPERTY}\u{1}{uid_text}\u{2}UNIQ_KEY\u{1}{uid_text}\u{2}\
             WAIT\u{1}true\u{2}TAGS\u{1}{tags}\u{2}"
        );
        Outgoing {
            sequence,
            attempt: 0,
            topic,
            queue,
            digest: body::digest(
                &self.targets.topics[topic],
                tags,
                &uid_text,
                &uid_text,
                &body,
            ),
            properties,
            body,
        }
    }

    fn fields(&self, topic: usize, queue: u16, properties: &str) -> Vec<(&'static str, String)> {
        vec![
            ("a", "PID_torture".to_owned()),
            ("b", self.targets.topics[topic].clone()),
            ("c", "TBW102".to_owned()),
            ("d", "4".to_owned()),
            ("e", queue.to_string()),
            ("f", "0".to_owned()),
            ("g", "1700000000000".to_owned()),
            ("h", "0".to_owned()),
            ("i", properties.to_owned()),
        ]
    }

    /// One request of one or more messages of one queue, with its events.
    fn send(
        &mut self,
        connection: &mut Connection,
        op: Op,
        code: i32,
        fields: &[(&'static str, String)],
        frame_body: &[u8],
        mut messages: Vec<Outgoing>,
    ) -> Result<Ending> {
        for message in &mut messages {
            message.attempt += 1;
        }
        self.journal
            .batch(op, Kind::Invoke, messages.len(), |index, record| {
                self.describe(&messages[index], record);
                record.digest = messages[index].digest;
                record.aux = SEND_TIMEOUT.as_millis() as i64;
            })?;
        let fields: Vec<_> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let answer = connection.call(code, &fields, frame_body);
        let code = answer.as_ref().map_or_else(code_of_failure, |a| a.code);
        let kind = outcome::of_send(code);
        let receipts = match &answer {
            Ok(answer) if kind == Kind::Ok => receipts(answer, messages.len())?,
            _ => vec![(-1, -1); messages.len()],
        };
        self.journal
            .batch(op, kind, messages.len(), |index, record| {
                self.describe(&messages[index], record);
                record.code = code;
                (record.offset, record.phy) = receipts[index];
            })?;
        let sum = match kind {
            Kind::Ok => &self.sums.acknowledged,
            Kind::Fail => &self.sums.failed,
            _ => &self.sums.unknown,
        };
        sum.fetch_add(messages.len() as u64, Ordering::Relaxed);
        if kind == Kind::Ok {
            return Ok(Ending::Acknowledged);
        }
        for message in messages {
            if message.attempt < ATTEMPTS_MAX && self.draw.one_in(2) {
                self.again.push(message);
            }
        }
        Ok(if answer.is_ok() {
            Ending::Refused
        } else {
            Ending::Lost
        })
    }

    fn describe(&self, message: &Outgoing, record: &mut Record) {
        record.uid = uid(self.number, message.sequence);
        record.proc = self.proc;
        record.topic = self.topic_ids[message.topic];
        record.queue = message.queue;
        record.attempt = message.attempt;
        record.flags = FLAG_SYNC;
    }
}

/// The text of a uid, in KEYS and in a property.
pub(crate) fn uid_text(run: u64, producer: u16, sequence: u64) -> String {
    format!("{run:016x}-{producer}-{sequence}")
}

/// Offset in the queue and in the log of each message that an answer acknowledges.
fn receipts(answer: &Frame, count: usize) -> Result<Vec<(i64, i64)>> {
    let first = answer.number("queueOffset")?;
    let ids = answer.fields.get("msgId").context("no msgId")?;
    let ids: Vec<_> = ids.split(',').collect();
    anyhow::ensure!(ids.len() == count, "{} ids of {count} messages", ids.len());
    ids.iter()
        .zip(first..)
        .map(|(id, offset)| Ok((offset, phy_of(id)?)))
        .collect()
}

/// The physical offset in an offset message id: its last 16 digits.
pub(crate) fn phy_of(id: &str) -> Result<i64> {
    let digits = id.len().checked_sub(16).and_then(|at| id.get(at..));
    let digits = digits.with_context(|| format!("message id {id}"))?;
    Ok(u64::from_str_radix(digits, 16)?.cast_signed())
}

/// Why there was no answer.
pub(crate) fn code_of_failure(error: &anyhow::Error) -> i32 {
    let kind = error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    match kind {
        Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => CODE_TIMEOUT,
        _ => CODE_CONNECTION_LOST,
    }
}

/// `i32 size | i32 magic | i32 crc | i32 flag | i32 length, body | i16 length, properties`.
fn append_to_batch(batch: &mut Vec<u8>, body: &[u8], properties: &str) -> Result<()> {
    let size = 22 + body.len() + properties.len();
    for word in [size, 0, 0, 0, body.len()] {
        batch.extend_from_slice(&i32::try_from(word)?.to_be_bytes());
    }
    batch.extend_from_slice(body);
    batch.extend_from_slice(&i16::try_from(properties.len())?.to_be_bytes());
    batch.extend_from_slice(properties.as_bytes());
    Ok(())
}
