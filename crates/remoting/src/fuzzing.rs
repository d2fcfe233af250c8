//! The bodies of the fuzz targets, and the mutations that the tests drive them with.
//!
//! Each takes any bytes and must return; where it can, it also checks that what was read is written
//! again. `fuzz/` calls them under libFuzzer, `tests/mutations.rs` over mutated recorded frames.

use crate::body::dialect;
use crate::body::heartbeat::HeartbeatData;
use crate::body::register_broker::RegisterBrokerBody;
use crate::body::route::TopicRouteData;
use crate::body::stats::TopicStatsTable;
use crate::command::{self, Command, SerializeType};
use crate::frame::FrameBuffer;
use crate::header::pull::PullMessageRequestHeader;
use crate::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use crate::header::{HeaderFields, RemotingHeader};
use crate::message::properties as property_text;
use crate::message::{MessageFields, batch as batches, decode_message, parse_offset_message_id};
use crate::serialize::{json, rocketmq};

/// A fuzz target: takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by the name of its file.
pub const TARGETS: [(&str, Target); 8] = [
    ("frame", frame),
    ("json_header", json_header),
    ("binary_header", binary_header),
    ("message", message),
    ("properties", properties),
    ("batch", batch),
    ("dialect", dialect_text),
    ("registration", registration),
];

/// The longest frame that the target `frame` lets through, in bytes.
const FRAME_LEN_MAX: usize = 1 << 20;

/// A byte stream: the first byte says how it is cut.
pub fn frame(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else {
        return;
    };
    let mut frames = FrameBuffer::new(FRAME_LEN_MAX);
    for chunk in stream.chunks(usize::from(*cut) + 1) {
        frames.spare_mut(chunk.len())[..chunk.len()].copy_from_slice(chunk);
        frames.filled(chunk.len());
        loop {
            match frames.next_frame() {
                Ok(Some(place)) => read_command(frames.bytes(place)),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        frames.compact();
        assert!(frames.memory() <= 4 * (stream.len() + 1_024));
    }
}

/// A JSON header.
pub fn json_header(bytes: &[u8]) {
    let mut fields = HeaderFields::default();
    let read = json::decode(bytes, &mut fields);
    let mut general = HeaderFields::default();
    let expected = json::decode_any(bytes, &mut general);
    assert_eq!(
        read.as_ref().ok().map(|head| (head, &fields)),
        expected.as_ref().ok().map(|head| (head, &general)),
        "both readers agree"
    );
    if read.is_ok() {
        read_command(&framed(SerializeType::Json, bytes));
    }
}

/// A binary header.
pub fn binary_header(bytes: &[u8]) {
    if rocketmq::decode(bytes, &mut HeaderFields::default()).is_ok() {
        read_command(&framed(SerializeType::RocketMq, bytes));
    }
}

fn framed(form: SerializeType, header: &[u8]) -> Vec<u8> {
    let mut frame = (header.len() as u32 & 0xFF_FFFF).to_be_bytes().to_vec();
    frame[0] = form as u8;
    frame.extend_from_slice(header);
    frame
}

/// A command that reads is the same after it was written, in the limits of its form.
fn read_command(frame: &[u8]) {
    let mut again = Vec::new();
    let Ok(command) = command::decode(frame) else {
        return;
    };
    let _header = SendMessageRequestHeaderV2::decode(&command.fields);
    let _header = SendMessageRequestHeader::decode(&command.fields);
    let _header = PullMessageRequestHeader::decode(&command.fields);
    command::write_command(&mut again, &command);
    let read: Command<'_> = command::decode(&again[4..]).expect("what was written reads");
    assert_eq!(read, command);
}

/// A stored message.
pub fn message(bytes: &[u8]) {
    let Ok((message, size)) = decode_message(bytes) else {
        return;
    };
    properties(message.properties.as_bytes());
    let pieces = [message.properties.as_bytes()];
    let fields = MessageFields {
        topic: message.topic,
        queue_id: message.queue_id,
        flag: message.flag,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_host: message.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        properties: &pieces,
    };
    let mut again = vec![0; fields.encoded_len()];
    let (queue_offset, phy_offset) = (message.queue_offset, message.phy_offset);
    fields.encode_into(
        &mut again,
        queue_offset,
        phy_offset,
        message.store_timestamp_ms,
    );
    let is_canonical = message.body_crc_matches() && again.len() == size;
    assert!(!is_canonical || again == bytes[..size]);
}

/// The text of properties, and an offset message id.
pub fn properties(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _either = parse_offset_message_id(text);
    let changed = property_text::set(text, "TAGS", "a");
    assert_eq!(property_text::get(&changed, "TAGS"), Some("a"));
    for (key, _) in property_text::iter(text) {
        assert!(property_text::get(text, key).is_some());
        assert!(property_text::around(text, key).is_some());
        if key != "TAGS" {
            assert_eq!(
                property_text::get(&changed, key),
                property_text::get(text, key)
            );
        }
    }
}

/// The body of a batch.
pub fn batch(bytes: &[u8]) {
    let mut again = Vec::new();
    for unit in batches::split(bytes) {
        let Ok(unit) = unit else { return };
        batches::append(&mut again, unit);
    }
    assert_eq!(again.len(), bytes.len());
}

/// A JSON body.
pub fn dialect_text(bytes: &[u8]) {
    if let Ok(standard) = dialect::to_standard(bytes) {
        assert!(
            standard.len() <= 8 * bytes.len() + 8,
            "{} of {}",
            standard.len(),
            bytes.len()
        );
    }
    let _either = dialect::from_slice::<HeartbeatData>(bytes);
    let _either = dialect::from_slice::<TopicStatsTable>(bytes);
    if let Ok(route) = dialect::from_slice::<TopicRouteData>(bytes) {
        let written = route.to_fastjson().expect("plain data");
        let read = dialect::from_slice::<TopicRouteData>(&written).expect("what was written reads");
        assert_eq!(read, route);
    }
}

/// The body of a registration: the first byte says whether it is compressed.
pub fn registration(bytes: &[u8]) {
    if let Some((form, body)) = bytes.split_first() {
        let _either = RegisterBrokerBody::decode(body, form & 1 == 1, i32::from(*form) * 4);
    }
}

/// Deterministic changes of bytes.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Equal seeds give equal changes.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Changes a few places: flips bits, writes telling bytes, cuts, repeats and splices.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = TELLING[self.below(TELLING.len())],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
                4 => {
                    let len = self.below(16).min(bytes.len() - at);
                    let piece = bytes[at..at + len].to_vec();
                    bytes.splice(at..at, piece);
                }
                5 => {
                    let from = self.below(other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ if bytes.len() >= at + 4 => {
                    let word = [i32::MAX, i32::MIN, -1, 0, 1][self.below(5)];
                    bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
                }
                _ => {}
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64: every seed is good, and it needs no crate.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % bound.max(1)
    }
}

/// Bytes that mean something somewhere.
const TELLING: &[u8] = b"\x00\x01\x02\x7F\x80\xFF{}[]:,\"'\\ -0e.u";
