//! Ready-made frames: a send is a template in which three numbers of fixed width are replaced.
//!
//! So that the generator costs little: per message it copies the template and writes the request
//! id and the message's unique key. Ids have ten digits, so that the JSON form keeps its length.

use crate::{Codec, Load};
use anyhow::{Context, Result};
use remoting::command::{SerializeType, write_request};
use remoting::header::send::SendMessageRequestHeaderV2;

/// The smallest request id with ten digits.
pub(crate) const OPAQUE_MIN: i32 = 1_000_000_000;

const UNIQUE_KEY: &str = "7F00000100012A9F0000000000000000";
const SEND_MESSAGE_V2: i32 = 310;

/// A frame with holes.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    opaque_at: usize,
    key_at: usize,
    codec: Codec,
}

impl Template {
    /// A send of `load.size` bytes to one queue.
    pub(crate) fn send(load: &Load, queue_id: i32, born_ms: i64) -> Result<Self> {
        let properties = format!("UNIQ_KEY\u{1}{UNIQUE_KEY}\u{2}WAIT\u{1}true\u{2}");
        let header = SendMessageRequestHeaderV2 {
            producer_group: "ringmq-load",
            topic: &load.topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id,
            sys_flag: 0,
            born_timestamp_ms: born_ms,
            flag: 0,
            properties: Some(&properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: None,
        };
        let serialize = match load.codec {
            Codec::Binary => SerializeType::RocketMq,
            Codec::Json => SerializeType::Json,
        };
        let body = vec![b'x'; load.size];
        let mut bytes = Vec::new();
        write_request(
            &mut bytes,
            serialize,
            SEND_MESSAGE_V2,
            OPAQUE_MIN,
            false,
            &header,
            &body,
        );
        let opaque_at = match load.codec {
            Codec::Binary => BINARY_OPAQUE_AT,
            Codec::Json => position(&bytes, OPAQUE_MIN.to_string().as_bytes())?,
        };
        let key_at = position(&bytes, UNIQUE_KEY.as_bytes())?;
        Ok(Self {
            bytes,
            opaque_at,
            key_at,
            codec: load.codec,
        })
    }

    /// Appends the frame with its own id and key.
    pub(crate) fn write(&self, out: &mut Vec<u8>, opaque: i32, number: u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        match self.codec {
            Codec::Binary => {
                frame[self.opaque_at..][..4].copy_from_slice(&opaque.to_be_bytes());
            }
            Codec::Json => {
                write_decimal(&mut frame[self.opaque_at..][..10], opaque.cast_unsigned());
            }
        }
        write_hex(&mut frame[self.key_at..][16..32], number);
    }
}

/// In the binary form: length, mark, code, language and version come before it.
const BINARY_OPAQUE_AT: usize = 4 + 4 + 2 + 1 + 2;

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
    use crate::CommandLine;
    use clap::Parser;

    #[test]
    fn a_template_carries_its_own_id_in_both_forms() {
        for codec in ["binary", "json"] {
            let line = CommandLine::parse_from(["x", "--codec", codec, "--size", "10"]);
            let template = Template::send(&line.load, 3, 1_700_000_000_000).unwrap();
            let mut out = Vec::new();
            template.write(&mut out, 1_234_567_890, 0xABC);
            let command = remoting::command::decode(&out[4..]).unwrap();
            assert_eq!(command.opaque, 1_234_567_890);
            assert_eq!(command.fields.get("e"), Some("3"));
            assert!(
                command
                    .fields
                    .get("i")
                    .unwrap()
                    .contains("0000000000000ABC")
            );
            assert_eq!(command.body, b"xxxxxxxxxx");
        }
    }
}
