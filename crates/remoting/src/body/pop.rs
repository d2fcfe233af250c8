//! Bodies of popping: acknowledgements of many messages, who gets which queue, and how.
//!
//! What must always hold: a bit set takes memory in proportion to its text. Java:
//! `BatchAckMessageRequestBody`, `BatchAck`, `QueryAssignmentRequestBody`,
//! `QueryAssignmentResponseBody`, `SetMessageRequestModeRequestBody`.

use super::MessageQueue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// The body of `BATCH_ACK_MESSAGE` (200151).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckMessageRequestBody {
    /// The broker.
    pub broker_name: Option<String>,
    /// The messages.
    pub acks: Vec<BatchAck>,
}

/// Messages of one pop of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// The group.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    /// The topic that was asked for.
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
    /// `0` for the topic itself, `1` for the group's retry topic of it.
    #[serde(rename = "r", alias = "retry")]
    pub retry: String,
    /// Where the pop began.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// The queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// 999 for an orderly pop.
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue_id: i32,
    /// When it was popped, in milliseconds since the epoch.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// For how long, in milliseconds.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// Bit `i` stands for the message at `start_offset + i`.
    #[serde(rename = "b", alias = "bitSet")]
    pub bit_set: BitSet,
}

/// Bits as Java's `BitSet.toByteArray` gives them, written as Base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BitSet(Vec<u8>);

impl BitSet {
    /// The numbers of the bits that are set, in order.
    pub fn bits(&self) -> impl Iterator<Item = u32> {
        let bytes = self.0.iter().enumerate();
        bytes.flat_map(|(at, byte)| {
            let set = (0..8_u32).filter(move |bit| byte & (1 << bit) != 0);
            set.map(move |bit| at as u32 * 8 + bit)
        })
    }
}

impl FromIterator<u32> for BitSet {
    fn from_iter<T: IntoIterator<Item = u32>>(bits: T) -> Self {
        let mut bytes = Vec::new();
        for bit in bits {
            let at = bit as usize / 8;
            if bytes.len() <= at {
                bytes.resize(at + 1, 0);
            }
            bytes[at] |= 1 << (bit % 8);
        }
        Self(bytes)
    }
}

impl Serialize for BitSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_base64(&text);
        bytes
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("the bit set is not Base64"))
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let word = piece
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - piece.len()));
        for at in 0..4 {
            if at <= piece.len() {
                let six = word >> (18 - 6 * at) & 63;
                text.push(char::from(LETTERS[six as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for piece in text.chunks(4) {
        let mut word = 0_u32;
        for letter in piece {
            let six = LETTERS.iter().position(|known| known == letter)?;
            word = word << 6 | six as u32;
        }
        let count = match piece.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        word <<= 6 * (4 - piece.len());
        bytes.extend_from_slice(&word.to_be_bytes()[1..=count]);
    }
    Some(bytes)
}

/// The body of `QUERY_ASSIGNMENT` (400).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentRequestBody {
    /// The topic.
    pub topic: String,
    /// The group.
    pub consumer_group: String,
    /// Who asks.
    pub client_id: String,
    /// `AVG` or `AVG_BY_CIRCLE`.
    pub strategy_name: String,
    /// `CLUSTERING` or `BROADCASTING`.
    pub message_model: String,
}

/// The answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentResponseBody {
    /// Absent: the client keeps what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
}

/// A queue of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueueAssignment {
    /// Always empty here.
    pub attachments: BTreeMap<String, String>,
    /// The queue; id -1 stands for all of the broker.
    pub message_queue: MessageQueue,
    /// How to get its messages.
    pub mode: MessageRequestMode,
}

/// How a group gets the messages of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MessageRequestMode {
    /// A queue belongs to one client, who pulls.
    #[default]
    Pull,
    /// Clients share the queues and pop.
    Pop,
}

/// The body of `SET_MESSAGE_REQUEST_MODE` (401).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetMessageRequestModeRequestBody {
    /// The topic.
    pub topic: String,
    /// The group.
    pub consumer_group: String,
    /// How its clients get the topic's messages.
    pub mode: MessageRequestMode,
    /// How many of the next clients' queues a client shares; 0 and below: all share all.
    pub pop_share_queue_num: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::dialect;

    #[test]
    fn bits_are_read_and_written_as_java_does() {
        for (bits, text) in [
            (vec![], ""),
            (vec![0], "AQ=="),
            (vec![0, 9], "AQI="),
            (vec![31], "AAAAgA=="),
            (vec![0, 8, 16], "AQEB"),
        ] {
            let set: BitSet = bits.iter().copied().collect();
            assert_eq!(serde_json::to_string(&set).unwrap(), format!("{text:?}"));
            let read: BitSet = serde_json::from_str(&format!("{text:?}")).unwrap();
            assert_eq!(read.bits().collect::<Vec<_>>(), bits, "{text}");
        }
        for text in ["A", "AQ!=", "ä"] {
            assert!(
                serde_json::from_str::<BitSet>(&format!("{text:?}")).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_batch_is_read_with_short_names_and_long_ones() {
        let short = r#"{"acks":[{"b":"Aw==","c":"g","it":60000,"pt":7,"q":1,"r":"0","rq":0,"so":5,"t":"T"}],"brokerName":"b"}"#;
        let long = r#"{"acks":[{"bitSet":"Aw==","consumerGroup":"g","invisibleTime":60000,"popTime":7,"queueId":1,"retry":"0","reviveQueueId":0,"startOffset":5,"topic":"T"}],"brokerName":"b"}"#;
        let body: BatchAckMessageRequestBody = dialect::from_slice(short.as_bytes()).unwrap();
        let same: BatchAckMessageRequestBody = dialect::from_slice(long.as_bytes()).unwrap();
        assert_eq!(body, same);
        assert_eq!(body.acks[0].start_offset, 5);
        assert_eq!(body.acks[0].bit_set.bits().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn an_assignment_is_written_as_java_reads_it() {
        let body = QueryAssignmentResponseBody {
            message_queue_assignments: Some(vec![MessageQueueAssignment {
                message_queue: MessageQueue::new("T", "b", -1),
                mode: MessageRequestMode::Pop,
                attachments: BTreeMap::new(),
            }]),
        };
        let text = serde_json::to_string(&body).unwrap();
        let expected = r#"{"messageQueueAssignments":[{"attachments":{},"messageQueue":{"brokerName":"b","queueId":-1,"topic":"T"},"mode":"POP"}]}"#;
        assert_eq!(text, expected);
        let none = QueryAssignmentResponseBody::default();
        assert_eq!(serde_json::to_string(&none).unwrap(), "{}");
    }
}
