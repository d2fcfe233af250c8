//! Records inside a block: stored messages as RocketMQ lays them out, and our own kinds.
//!
//! Each record is a tag word of 8 bytes and a unit that starts with its total length and a magic
//! number, both big-endian. For a message the tag word is the tags code of its index entry, so that
//! recovery derives the queue index without reading properties. Pure. Invariant: every function is
//! total; a unit that does not check out is `None`.

use base::{PhyOffset, QueueId, QueueOffset};

/// Length of the tag word before each unit, in bytes.
pub(crate) const TAG_LEN: usize = 8;
/// Length of an internal unit's head: total length and magic.
pub(crate) const INTERNAL_HEAD_LEN: usize = 8;

const MESSAGE_MAGIC_V1: u32 = 0xDAA3_20A7;
const MESSAGE_MAGIC_V2: u32 = 0xDAA3_20AB;
const INTERNAL_MAGIC: u32 = 0x5249_4E47;
const SYS_FLAG_BORN_HOST_V6: u32 = 0x10;
const SYS_FLAG_STORE_HOST_V6: u32 = 0x20;

/// What an internal record is about. The payload is opaque to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKind(pub u16);

impl RecordKind {
    /// Half messages that are decided: physical offsets, 8 bytes each, little-endian. Whoever
    /// rolls one back appends such a record. A message that names its half message
    /// (`prepared transaction offset`) decides it by itself: recovery gives a record for it.
    pub const HALF_MESSAGES_DECIDED: Self = Self(7);
    /// Kinds from here on belong to the store itself.
    pub const RESERVED: Self = Self(0xFF00);
    /// A queue was deleted; its offsets start again at 0.
    pub(crate) const QUEUE_DELETED: Self = Self(0xFF01);
    /// How far queues had come when the start of the log moved: what was told by segments that are
    /// gone.
    pub(crate) const QUEUES_KEPT: Self = Self(0xFF02);
    /// In a checkpoint: the clock of retention and when segments were left.
    pub(crate) const RETENTION: Self = Self(0xFF03);
}

/// A record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Message { tags_code: i64, unit: &'a [u8] },
    Internal { kind: RecordKind, payload: &'a [u8] },
}

/// The record at the start of `bytes`, and the length it takes with its tag word.
pub(crate) fn first(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let tag = i64::from_le_bytes(*bytes.first_chunk()?);
    let rest = &bytes[TAG_LEN..];
    let total = be_u32(rest, 0)? as usize;
    let unit = rest.get(..total)?;
    let record = match be_u32(unit, 4)? {
        MESSAGE_MAGIC_V1 | MESSAGE_MAGIC_V2 => Record::Message {
            tags_code: tag,
            unit,
        },
        INTERNAL_MAGIC => {
            let kind = RecordKind(u16::try_from(tag).ok()?);
            Record::Internal {
                kind,
                payload: &unit[INTERNAL_HEAD_LEN..],
            }
        }
        _ => return None,
    };
    Some((record, TAG_LEN + total))
}

/// How many records `payload` holds.
pub(crate) fn count(mut payload: &[u8]) -> u32 {
    let mut count = 0;
    while let Some((_, len)) = first(payload) {
        payload = &payload[len..];
        count += 1;
    }
    count
}

/// Writes an internal record, tag word first. `out` is exactly as long as [`internal_len`] says.
pub(crate) fn write_internal(kind: RecordKind, payload: &[u8], out: &mut [u8]) {
    assert_eq!(out.len(), internal_len(payload.len()));
    let total = (INTERNAL_HEAD_LEN + payload.len()) as u32;
    out[..TAG_LEN].copy_from_slice(&i64::from(kind.0).to_le_bytes());
    out[8..12].copy_from_slice(&total.to_be_bytes());
    out[12..16].copy_from_slice(&INTERNAL_MAGIC.to_be_bytes());
    out[16..].copy_from_slice(payload);
}

/// Length of an internal record with its tag word.
pub(crate) fn internal_len(payload_len: usize) -> usize {
    TAG_LEN + INTERNAL_HEAD_LEN + payload_len
}

/// The payload of a [`RecordKind::QUEUE_DELETED`] record.
pub(crate) fn deleted_queue_payload(topic: &str, queue: QueueId) -> Vec<u8> {
    let mut payload = queue.0.to_le_bytes().to_vec();
    payload.extend_from_slice(topic.as_bytes());
    payload
}

/// Which queue a [`RecordKind::QUEUE_DELETED`] record means.
pub(crate) fn deleted_queue(payload: &[u8]) -> Option<(&str, QueueId)> {
    let (id, topic) = payload.split_first_chunk()?;
    Some((
        std::str::from_utf8(topic).ok()?,
        QueueId(u32::from_le_bytes(*id)),
    ))
}

/// Adds a queue to the payload of a [`RecordKind::QUEUES_KEPT`] record.
pub(crate) fn push_kept_queue(payload: &mut Vec<u8>, topic: &str, queue: QueueId, next: i64) {
    payload.extend((topic.len() as u16).to_le_bytes());
    payload.extend(topic.as_bytes());
    payload.extend(queue.0.to_le_bytes());
    payload.extend(next.to_le_bytes());
}

/// The queues of a [`RecordKind::QUEUES_KEPT`] record, with the offset that was next in each.
pub(crate) fn kept_queues(mut payload: &[u8]) -> impl Iterator<Item = (&str, QueueId, i64)> {
    std::iter::from_fn(move || {
        let (len, rest) = payload.split_first_chunk()?;
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let (id, rest) = rest.split_first_chunk()?;
        let (next, rest) = rest.split_first_chunk()?;
        payload = rest;
        let id = QueueId(u32::from_le_bytes(*id));
        Some((
            std::str::from_utf8(topic).ok()?,
            id,
            i64::from_le_bytes(*next),
        ))
    })
}

/// What recovery and reads need to know of a stored message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageHead<'a> {
    pub(crate) queue_id: QueueId,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) phy_offset: PhyOffset,
    pub(crate) topic: &'a str,
}

/// Reads the head of a stored message. The widths are those of Java `MessageDecoder`.
pub(crate) fn message_head(unit: &[u8]) -> Option<MessageHead<'_>> {
    let (topic, _) = topic(unit, topic_at(unit, be_u32(unit, 36)?)?)?;
    let queue_offset = be_i64(unit, 20)?;
    (queue_offset >= 0).then_some(())?;
    Some(MessageHead {
        queue_id: QueueId(be_u32(unit, 12)?),
        queue_offset: QueueOffset(queue_offset),
        phy_offset: PhyOffset::from_wire(be_i64(unit, 28)?)?,
        topic: std::str::from_utf8(topic).ok()?,
    })
}

/// What the key index needs to know of a stored message: text as it stands, not checked to be any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageText<'a> {
    pub(crate) topic: &'a [u8],
    pub(crate) properties: &'a [u8],
    pub(crate) sys_flag: u32,
}

/// Bits of the system flag that tell a transaction's state, and the state of a rolled-back one.
/// Java: `MessageSysFlag`.
pub(crate) const TRANSACTION_MASK: u32 = 0x3 << 2;
pub(crate) const TRANSACTION_ROLLBACK: u32 = 0x3 << 2;

/// Finds topic and properties of a stored message.
pub(crate) fn message_text(unit: &[u8]) -> Option<MessageText<'_>> {
    let sys_flag = be_u32(unit, 36)?;
    let topic_at = topic_at(unit, sys_flag)?;
    let (topic, rest) = topic(unit, topic_at)?;
    let len = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let properties = rest.get(2..)?.get(..len)?;
    Some(MessageText {
        topic,
        properties,
        sys_flag,
    })
}

/// Where the length of the topic stands: behind the fixed fields of 68 bytes, the hosts and the body.
fn topic_at(unit: &[u8], sys_flag: u32) -> Option<usize> {
    let born = host_len(sys_flag, SYS_FLAG_BORN_HOST_V6);
    let body_len_at = 68 + born + host_len(sys_flag, SYS_FLAG_STORE_HOST_V6);
    let body_len = be_u32(unit, body_len_at)? as usize;
    body_len_at.checked_add(4)?.checked_add(body_len)
}

/// The topic, and what follows it.
fn topic(unit: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = if be_u32(unit, 4)? == MESSAGE_MAGIC_V1 {
        let (len, rest) = unit.get(at..)?.split_first()?;
        (usize::from(*len), rest)
    } else {
        let (len, rest) = unit.get(at..)?.split_first_chunk()?;
        (usize::from(u16::from_be_bytes(*len)), rest)
    };
    rest.split_at_checked(len)
}

/// The half message that a stored message says it decides; `None` for any other message.
pub(crate) fn prepared_offset(unit: &[u8]) -> Option<PhyOffset> {
    let flags = be_u32(unit, 36)?;
    let hosts = host_len(flags, SYS_FLAG_BORN_HOST_V6) + host_len(flags, SYS_FLAG_STORE_HOST_V6);
    let offset = be_i64(unit, 60 + hosts)?;
    PhyOffset::from_wire(offset).filter(|_| offset > 0)
}

/// The physical offset that a stored message carries.
pub(crate) fn phy_offset(unit: &[u8]) -> Option<PhyOffset> {
    PhyOffset::from_wire(be_i64(unit, 28)?)
}

/// When a stored message was taken, in milliseconds since the epoch.
pub(crate) fn store_timestamp_ms(unit: &[u8]) -> Option<i64> {
    let flags = be_u32(unit, 36)?;
    be_i64(unit, 48 + host_len(flags, SYS_FLAG_BORN_HOST_V6))
}

/// Total length of the unit at the start of `bytes`.
pub(crate) fn unit_len(bytes: &[u8]) -> Option<usize> {
    be_u32(bytes, 0).map(|len| len as usize)
}

fn host_len(flags: u32, bit: u32) -> usize {
    if flags & bit == 0 { 8 } else { 20 }
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be_i64(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unit observed from the official broker, topic `T1`.
    const SAMPLE: &str = "000000b4daa320a73610a68600000000000000000000000000000000\
        000000000000000000000000000001a1f7d036db7f0000010000b58a000001a1f7d036e97f00000100002a9f\
        00000000000000000000000000000005";

    fn sample() -> Vec<u8> {
        let digits: Vec<u8> = SAMPLE.bytes().filter(u8::is_ascii_hexdigit).collect();
        let mut unit: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        unit.extend_from_slice(b"hello\x02T1\x00\x00");
        let total = unit.len() as u32;
        unit[..4].copy_from_slice(&total.to_be_bytes());
        unit
    }

    #[test]
    fn the_head_of_an_official_message_is_read() {
        let unit = sample();
        let head = message_head(&unit).unwrap();
        assert_eq!(
            (head.topic, head.queue_id, head.queue_offset),
            ("T1", QueueId(0), QueueOffset(0))
        );
        assert_eq!(store_timestamp_ms(&unit), Some(0x01a1_f7d0_36e9));
        for len in 0..unit.len() - 2 {
            assert_eq!(message_head(&unit[..len]), None, "cut at {len}");
        }
    }

    #[test]
    fn kept_queues_read_back_and_none_is_read_from_a_part() {
        let mut payload = Vec::new();
        push_kept_queue(&mut payload, "T1", QueueId(3), 1 << 40);
        push_kept_queue(&mut payload, "TopicTest", QueueId(0), 7);
        let all: Vec<_> = kept_queues(&payload).collect();
        assert_eq!(
            all,
            [("T1", QueueId(3), 1 << 40), ("TopicTest", QueueId(0), 7)]
        );
        for len in 0..payload.len() {
            assert!(kept_queues(&payload[..len]).count() < 2, "cut at {len}");
        }
    }

    #[test]
    fn records_read_back_and_none_is_read_from_a_part() {
        let mut bytes = vec![0; internal_len(5)];
        write_internal(RecordKind(9), b"hello", &mut bytes);
        let expected = Record::Internal {
            kind: RecordKind(9),
            payload: b"hello",
        };
        assert_eq!(first(&bytes), Some((expected, bytes.len())));
        let mut message = (-5_i64).to_le_bytes().to_vec();
        message.extend(sample());
        let expected = Record::Message {
            tags_code: -5,
            unit: &sample(),
        };
        assert_eq!(first(&message), Some((expected, message.len())));
        for whole in [bytes, message] {
            for len in 0..whole.len() {
                assert_eq!(first(&whole[..len]), None, "cut at {len}");
            }
        }
    }
}
