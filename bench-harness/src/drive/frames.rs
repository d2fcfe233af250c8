//! Ready-made frames: a send is a template in which numbers of fixed width are replaced.
//!
//! So that the generator costs little: per message it copies the header and writes the request id,
//! the unique key and the length. Ids have ten digits, so that the JSON form keeps its length.

use crate::scenario::Codec;
use anyhow::{Context, Result};
use remoting::command::{SerializeType, write_request};
use remoting::header::send::SendMessageRequestHeaderV2;
use remoting::message::batch::{self, BatchMessage};

/// The smallest request id with ten digits; ids of sends lie in the 30 bits above it.
pub(crate) const OPAQUE_MIN: i32 = 1_000_000_000;

const UNIQUE_KEY: &str = "7F00000100012A9F0000000000000000";
const SEND_MESSAGE_V2: i32 = 310;
const SEND_BATCH_MESSAGE: i32 = 320;
/// In the binary form: length, mark, code, language and version come before it.
const BINARY_OPAQUE_AT: usize = 4 + 4 + 2 + 1 + 2;
pub(crate) const PRODUCER_GROUP: &str = "ringmq-bench";

/// How the messages of a run look, apart from topic and queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) codec: Codec,
    pub(crate) batch: u32,
    pub(crate) delay_level: u32,
    pub(crate) born_ms: i64,
}

/// A frame's header with holes.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    head: Vec<u8>,
    opaque_at: usize,
    key_at: usize,
    codec: Codec,
}

impl Template {
    /// A send to one queue.
    pub(crate) fn send(form: Form, topic: &str, queue_id: i32) -> Result<Self> {
        let mut properties = properties();
        if form.delay_level > 0 {
            properties.extend(["DELAY\u{1}", &form.delay_level.to_string(), "\u{2}"]);
        }
        let is_batch = form.batch > 1;
        let header = SendMessageRequestHeaderV2 {
            producer_group: PRODUCER_GROUP,
            topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id,
            sys_flag: 0,
            born_timestamp_ms: form.born_ms,
            flag: 0,
            properties: Some(&properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(is_batch),
            broker_name: None,
        };
        let (serialize, code) = (
            serialize_type(form.codec),
            if is_batch {
                SEND_BATCH_MESSAGE
            } else {
                SEND_MESSAGE_V2
            },
        );
        let mut head = Vec::new();
        write_request(&mut head, serialize, code, OPAQUE_MIN, false, &header, b"");
        let opaque_at = match form.codec {
            Codec::Binary => BINARY_OPAQUE_AT,
            Codec::Json => position(&head, OPAQUE_MIN.to_string().as_bytes())?,
        };
        let key_at = position(&head, UNIQUE_KEY.as_bytes())?;
        Ok(Self {
            head,
            opaque_at,
            key_at,
            codec: form.codec,
        })
    }

    /// Appends the frame of a body that `body` appends, with its own id and key.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        opaque: i32,
        key: u64,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        body(out);
        let frame = &mut out[start..];
        let len = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        match self.codec {
            Codec::Binary => frame[self.opaque_at..][..4].copy_from_slice(&opaque.to_be_bytes()),
            Codec::Json => {
                write_decimal(&mut frame[self.opaque_at..][..10], opaque.cast_unsigned());
            }
        }
        write_hex(&mut frame[self.key_at..][16..32], key);
    }
}

/// The unit of a batch, ready but for its body and key.
#[derive(Debug, Clone)]
pub(crate) struct BatchUnit {
    /// Up to the body.
    head: Vec<u8>,
    /// Behind it.
    tail: Vec<u8>,
    key_at: usize,
}

impl BatchUnit {
    /// For bodies of `size` bytes.
    pub(crate) fn new(size: usize) -> Result<Self> {
        let properties = properties();
        let mut unit = Vec::new();
        let body = vec![0; size];
        batch::append(
            &mut unit,
            BatchMessage {
                flag: 0,
                body: &body,
                properties: &properties,
            },
        );
        let tail = unit.split_off(UNIT_HEAD_LEN + size);
        unit.truncate(UNIT_HEAD_LEN);
        let key_at = position(&tail, UNIQUE_KEY.as_bytes())?;
        Ok(Self {
            head: unit,
            tail,
            key_at,
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, key: u64, body: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.head);
        body(out);
        let at = out.len() + self.key_at;
        out.extend_from_slice(&self.tail);
        write_hex(&mut out[at..][16..32], key);
    }
}

/// Size, magic, checksum, flag and length of the body.
const UNIT_HEAD_LEN: usize = 20;

pub(crate) fn serialize_type(codec: Codec) -> SerializeType {
    match codec {
        Codec::Binary => SerializeType::RocketMq,
        Codec::Json => SerializeType::Json,
    }
}

fn properties() -> String {
    format!("UNIQ_KEY\u{1}{UNIQUE_KEY}\u{2}WAIT\u{1}true\u{2}")
}

fn position(bytes: &[u8], wanted: &[u8]) -> Result<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .context("the field is there")
}

fn write_decimal(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn write_hex(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remoting::message::batch::split;

    fn form(codec: Codec, batch: u32) -> Form {
        Form {
            codec,
            batch,
            delay_level: 2,
            born_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_frame_carries_its_own_id_key_and_body_in_both_forms() {
        for codec in [Codec::Binary, Codec::Json] {
            let template = Template::send(form(codec, 1), "T", 3).unwrap();
            let mut out = b"earlier".to_vec();
            template.write(&mut out, 1_234_567_890, 0xABC, |out| {
                out.extend_from_slice(b"body");
            });
            let frame = &out[7..];
            assert_eq!(
                u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize,
                frame.len() - 4
            );
            let command = remoting::command::decode(&frame[4..]).unwrap();
            assert_eq!((command.code, command.opaque), (310, 1_234_567_890));
            assert_eq!(command.fields.get("e"), Some("3"));
            let properties = command.fields.get("i").unwrap();
            assert!(properties.contains("0000000000000ABC"), "{properties}");
            assert!(properties.contains("DELAY\u{1}2\u{2}"), "{properties}");
            assert_eq!(command.body, b"body");
        }
    }

    #[test]
    fn a_batch_has_units_that_read() {
        let template = Template::send(form(Codec::Binary, 2), "T", 0).unwrap();
        let unit = BatchUnit::new(5).unwrap();
        let mut out = Vec::new();
        template.write(&mut out, OPAQUE_MIN, 1, |out| {
            unit.write(out, 0xA, |out| out.extend_from_slice(b"first"));
            unit.write(out, 0xB, |out| out.extend_from_slice(b"again"));
        });
        let command = remoting::command::decode(&out[4..]).unwrap();
        assert_eq!((command.code, command.fields.get("m")), (320, Some("true")));
        let units: Vec<_> = split(command.body).map(Result::unwrap).collect();
        assert_eq!(
            units.iter().map(|unit| unit.body).collect::<Vec<_>>(),
            [b"first", b"again"]
        );
        assert!(units[1].properties.contains("000000000000000B"));
    }
}
