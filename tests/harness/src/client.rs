//! The requests that the checks make: create a topic, send, pull, commit and read offsets.
//!
//! Built on [`crate::wire`]; stored messages are parsed here again, independently of the product.

use crate::wire::{
    Connection, Frame, GET_MAX_OFFSET, GET_MIN_OFFSET, HEART_BEAT, PULL_MESSAGE,
    QUERY_CONSUMER_OFFSET, SEND_MESSAGE_V2, SUCCESS, UPDATE_AND_CREATE_TOPIC,
    UPDATE_CONSUMER_OFFSET,
};
use anyhow::{Context, Result, ensure};
use serde_json::json;

/// Pull flags: 2 = may be parked, 4 = the request carries its subscription.
const SUBSCRIPTION: &str = "4";

/// What a consumer gets of one stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its queue.
    pub queue_id: i32,
    /// Its place in the queue.
    pub queue_offset: i64,
    /// Its place in the log, with the shard in the high bits.
    pub phy_offset: i64,
    /// How often it failed to be consumed.
    pub reconsume_times: i32,
    /// The topic that stores it.
    pub topic: String,
    /// Its properties as they are stored.
    pub properties: String,
    /// As it was sent.
    pub body: Vec<u8>,
}

impl Unit {
    /// A property by its name.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.split('\u{2}').find_map(|pair| {
            let (key, value) = pair.split_once('\u{1}')?;
            (key == name).then_some(value)
        })
    }
}

/// An answer to a pull.
#[derive(Debug)]
pub struct Pulled {
    /// The response code.
    pub code: i32,
    /// Where to go on.
    pub next_offset: i64,
    /// The offset of the queue's first message.
    pub min_offset: i64,
    /// The offset after the queue's last message.
    pub max_offset: i64,
    /// The messages.
    pub units: Vec<Unit>,
}

/// The fields of a send, in the letters of code 310.
pub fn send_fields<'a>(topic: &'a str, queue: &'a str) -> [(&'a str, &'a str); 9] {
    [
        ("a", "PID_e2e"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", "TAGS\u{1}TagA\u{2}"),
    ]
}

impl Connection {
    /// Makes a topic.
    ///
    /// # Errors
    /// Any other answer than success.
    pub fn create_topic(&mut self, topic: &str, queues: u32) -> Result<()> {
        let queues = queues.to_string();
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        self.call(UPDATE_AND_CREATE_TOPIC, &fields, &[])?
            .expect(SUCCESS)?;
        Ok(())
    }

    /// Sends and gives whatever answer comes.
    pub fn try_send(&mut self, topic: &str, queue: i32, body: &[u8]) -> Result<Frame> {
        let queue = queue.to_string();
        self.call(SEND_MESSAGE_V2, &send_fields(topic, &queue), body)
    }

    /// Sends; the queue offset of the stored message.
    pub fn send(&mut self, topic: &str, queue: i32, body: &[u8]) -> Result<i64> {
        self.try_send(topic, queue, body)?
            .expect(SUCCESS)?
            .number("queueOffset")
    }

    /// Pulls as a consumer that carries its subscription and does not wait.
    pub fn pull(&mut self, topic: &str, queue: i32, offset: i64) -> Result<Pulled> {
        let answer = self.try_pull(topic, &queue.to_string(), &offset.to_string())?;
        Ok(Pulled {
            code: answer.code,
            next_offset: answer.number("nextBeginOffset")?,
            min_offset: answer.number("minOffset")?,
            max_offset: answer.number("maxOffset")?,
            units: units(&answer.body)?,
        })
    }

    /// Pulls and gives whatever answer comes.
    pub fn try_pull(&mut self, topic: &str, queue: &str, offset: &str) -> Result<Frame> {
        let fields = [
            ("consumerGroup", "CID_e2e"),
            ("topic", topic),
            ("queueId", queue),
            ("queueOffset", offset),
            ("maxMsgNums", "32"),
            ("sysFlag", SUBSCRIPTION),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ];
        self.call(PULL_MESSAGE, &fields, &[])
    }

    /// Everything from `offset` to the end of a queue.
    pub fn pull_all(&mut self, topic: &str, queue: i32, offset: i64) -> Result<Vec<Unit>> {
        let mut all = Vec::new();
        let mut next = offset;
        let end = self.max_offset(topic, queue)?;
        while next < end {
            let pulled = self.pull(topic, queue, next)?;
            ensure!(
                pulled.code == SUCCESS && pulled.next_offset > next,
                "a pull of {topic}/{queue} from {next} of {} gave code {} and next offset {}",
                pulled.max_offset,
                pulled.code,
                pulled.next_offset
            );
            next = pulled.next_offset;
            all.extend(pulled.units);
        }
        Ok(all)
    }

    /// The offset after a queue's last message.
    ///
    /// # Errors
    /// Any other answer than success.
    pub fn max_offset(&mut self, topic: &str, queue: i32) -> Result<i64> {
        self.offset_of(GET_MAX_OFFSET, topic, queue)
    }

    /// The offset of a queue's first message.
    ///
    /// # Errors
    /// Any other answer than success.
    pub fn min_offset(&mut self, topic: &str, queue: i32) -> Result<i64> {
        self.offset_of(GET_MIN_OFFSET, topic, queue)
    }

    fn offset_of(&mut self, code: i32, topic: &str, queue: i32) -> Result<i64> {
        let queue = queue.to_string();
        let fields = [("topic", topic), ("queueId", queue.as_str())];
        self.call(code, &fields, &[])?
            .expect(SUCCESS)?
            .number("offset")
    }

    /// Registers a consumer of `group`, so that its offsets have an owner.
    pub fn heartbeat(&mut self, group: &str, topic: &str) -> Result<()> {
        let body = json!({
            "clientID": "127.0.0.1@e2e",
            "producerDataSet": [{"groupName": "PID_e2e"}],
            "consumerDataSet": [{
                "groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": false,
                "subscriptionDataSet": [{
                    "topic": topic, "subString": "*", "tagsSet": [], "codeSet": [], "subVersion": 1,
                    "expressionType": "TAG", "classFilterMode": false,
                }],
            }],
        });
        self.call(HEART_BEAT, &[], body.to_string().as_bytes())?
            .expect(SUCCESS)?;
        Ok(())
    }

    /// Commits the offset of a group.
    ///
    /// # Errors
    /// Any other answer than success.
    pub fn commit(&mut self, group: &str, topic: &str, queue: i32, offset: i64) -> Result<()> {
        let (queue, offset) = (queue.to_string(), offset.to_string());
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue),
            ("commitOffset", &offset),
        ];
        self.call(UPDATE_CONSUMER_OFFSET, &fields, &[])?
            .expect(SUCCESS)?;
        Ok(())
    }

    /// The committed offset, or the broker's answer when it has none.
    pub fn committed(&mut self, group: &str, topic: &str, queue: i32) -> Result<i64> {
        let queue = queue.to_string();
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue),
        ];
        self.call(QUERY_CONSUMER_OFFSET, &fields, &[])?
            .expect(SUCCESS)?
            .number("offset")
    }
}

const MAGIC_V1: u32 = 0xDAA3_20A7;
const MAGIC_V2: u32 = 0xDAA3_20AB;
const SYS_FLAG_BORN_HOST_V6: u32 = 0x10;
const SYS_FLAG_STORE_HOST_V6: u32 = 0x20;

/// Cuts a pull's body into stored messages.
///
/// # Errors
/// Bytes that are no messages.
pub fn units(mut bytes: &[u8]) -> Result<Vec<Unit>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let size = u32_at(bytes, 0)? as usize;
        let unit = bytes
            .get(..size)
            .with_context(|| format!("a unit of {size} bytes in {} bytes", bytes.len()))?;
        let magic = u32_at(unit, 4)?;
        ensure!(
            magic == MAGIC_V1 || magic == MAGIC_V2,
            "magic code {magic:#x}"
        );
        let sys_flag = u32_at(unit, 36)?;
        let host = |bit| if sys_flag & bit == 0 { 8 } else { 20 };
        // … born time at 40 (8), born host, store time (8), store host, reconsume times (4), prepared offset (8).
        let at = 48 + host(SYS_FLAG_BORN_HOST_V6) + 8 + host(SYS_FLAG_STORE_HOST_V6) + 12;
        let body_len = u32_at(unit, at)? as usize;
        let mut rest = unit.get(at + 4..).context("a unit without a body")?;
        let body = take(&mut rest, body_len, "body")?;
        let topic_len = if magic == MAGIC_V1 {
            usize::from(take(&mut rest, 1, "topic")?[0])
        } else {
            u16_of(take(&mut rest, 2, "topic")?)
        };
        let topic = take(&mut rest, topic_len, "topic")?;
        let properties_len = u16_of(take(&mut rest, 2, "properties")?);
        let properties = take(&mut rest, properties_len, "properties")?;
        ensure!(rest.is_empty(), "{} bytes after a unit's end", rest.len());
        all.push(Unit {
            queue_id: u32_at(unit, 12)?.cast_signed(),
            queue_offset: i64_at(unit, 20)?,
            phy_offset: i64_at(unit, 28)?,
            reconsume_times: u32_at(unit, at - 12)?.cast_signed(),
            topic: std::str::from_utf8(topic)?.to_owned(),
            properties: std::str::from_utf8(properties)?.to_owned(),
            body: body.to_vec(),
        });
        bytes = &bytes[size..];
    }
    Ok(all)
}

fn take<'a>(rest: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8]> {
    let (bytes, left) = rest
        .split_at_checked(len)
        .with_context(|| format!("a unit shorter than its {what}"))?;
    *rest = left;
    Ok(bytes)
}

fn u16_of(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn i64_at(bytes: &[u8], at: usize) -> Result<i64> {
    let word = u64::from(u32_at(bytes, at)?) << 32 | u64::from(u32_at(bytes, at + 4)?);
    Ok(word.cast_signed())
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes
        .get(at..at + 4)
        .context("a unit shorter than its fields")?;
    Ok(u32::from_be_bytes(word.try_into()?))
}
