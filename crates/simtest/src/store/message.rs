//! Stored messages whose bytes follow from a number, written independently of the codec.
//!
//! A message's number is in its body, and body, length and tags code are functions of it, so that
//! a checker that holds the number holds the bytes. Layout: wire format V1 of a stored message.

use store::MessagePlace;

/// A message that is not placed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) uid: u64,
    pub(crate) topic: String,
    pub(crate) queue: u32,
    pub(crate) body_len: usize,
    pub(crate) has_keys: bool,
}

const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Everything but body, topic and properties, with two IPv4 hosts.
const FIXED_LEN: usize = 91;

impl Message {
    pub(crate) fn encoded_len(&self) -> usize {
        FIXED_LEN + self.body_len + self.topic.len() + self.properties().len()
    }

    /// Keys that the message can be found by: one of its own, and words that others share.
    pub(crate) fn keys(&self) -> Vec<String> {
        if !self.has_keys {
            return Vec::new();
        }
        let mut keys = vec![format!("u{}", self.uid)];
        keys.extend((0..self.uid % 3).map(|word| format!("w{}", (self.uid + word) % 7)));
        keys
    }

    fn properties(&self) -> String {
        match self.keys().split_first() {
            Some((unique, words)) => {
                format!(
                    "KEYS\u{1}{}\u{2}UNIQ_KEY\u{1}{unique}\u{2}",
                    words.join(" ")
                )
            }
            None => String::new(),
        }
    }

    /// Tags codes repeat, so that filters find something.
    pub(crate) fn tags_code(&self) -> i64 {
        (self.uid % 5) as i64 - 1
    }

    /// The stored bytes at a place.
    pub(crate) fn encode(&self, place: MessagePlace) -> Vec<u8> {
        let properties = self.properties();
        let len = FIXED_LEN + self.body_len + self.topic.len() + properties.len();
        let mut out = Vec::with_capacity(len);
        let mut word = |value: u32| out.extend(value.to_be_bytes());
        word(len as u32);
        word(MAGIC_V1);
        word(self.uid as u32); // stands for the body's checksum
        word(self.queue);
        word(0); // flag
        out.extend(place.queue_offset.0.to_be_bytes());
        out.extend(place.phy_offset.to_wire().to_be_bytes());
        out.extend(0_u32.to_be_bytes()); // system flag: both hosts IPv4
        out.extend(place.store_timestamp_ms.to_be_bytes()); // born
        out.extend([10, 0, 0, 1, 0, 0, 0x2A, 0x9F]);
        out.extend(place.store_timestamp_ms.to_be_bytes());
        out.extend([10, 0, 0, 1, 0, 0, 0x2A, 0x9F]);
        out.extend(0_u32.to_be_bytes()); // reconsume times
        out.extend(0_u64.to_be_bytes()); // prepared transaction offset
        out.extend((self.body_len as u32).to_be_bytes());
        self.fill_body(&mut out);
        out.push(self.topic.len() as u8);
        out.extend(self.topic.as_bytes());
        out.extend((properties.len() as u16).to_be_bytes());
        out.extend(properties.as_bytes());
        assert_eq!(out.len(), len);
        out
    }

    fn fill_body(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut state = self.uid.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while out.len() < start + self.body_len {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            out.extend(state.to_le_bytes());
        }
        out.truncate(start + self.body_len);
    }
}

/// The queue offset that a stored message carries.
pub(crate) fn queue_offset_of(unit: &[u8]) -> i64 {
    let bytes = unit.get(20..).and_then(|rest| rest.first_chunk());
    bytes.map_or(-1, |bytes| i64::from_be_bytes(*bytes))
}

/// Splits what a read gave into stored messages.
pub(crate) fn units(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some(len) = bytes.first_chunk() {
        let len = u32::from_be_bytes(*len) as usize;
        assert!(
            len >= FIXED_LEN && len <= bytes.len(),
            "a read gives whole messages"
        );
        let (unit, rest) = bytes.split_at(len);
        units.push(unit);
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a read ends with a whole message");
    units
}
