//! The self-describing body of a message, and the digest by which sender and reader are compared.
//!
//! Layout, big-endian: `magic u32 | run u64 | producer u16 | sequence u64 | attempt u8 | kind u8 |
//! order_key u32 | queue_wanted i16 | deliver_at_mono_ns u64 | deliver_at_wall_ms u64 | txn_plan u8 |
//! len u32 | filler | crc32c u32`, the checksum over all before it. Invariant: any bytes give a body
//! or `None`.

/// `RMQB`.
pub const BODY_MAGIC: u32 = 0x524D_5142;

/// Bytes before the filler.
pub const BODY_HEAD_LEN: usize = 4 + 8 + 2 + 8 + 1 + 1 + 4 + 2 + 8 + 8 + 1 + 4;

/// The shortest body.
pub const BODY_LEN_MIN: usize = BODY_HEAD_LEN + 4;

/// What a body says about itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Body {
    /// The run, the same in every history of it.
    pub run: u64,
    /// The producer, from 1 on.
    pub producer: u16,
    /// Its message's number.
    pub sequence: u64,
    /// 1 for the first attempt.
    pub attempt: u8,
    /// What consumers shall do with it: see the `KIND_` constants.
    pub kind: u8,
    /// By which orderly consumers order.
    pub order_key: u32,
    /// The queue that was asked for, -1 for any.
    pub queue_wanted: i16,
    /// When it is due, on the monotonic clock; 0 for at once.
    pub deliver_at_mono_ns: u64,
    /// The same by the wall clock, in ms since the epoch.
    pub deliver_at_wall_ms: u64,
    /// What its transaction shall end as.
    pub txn_plan: u8,
}

/// Consume it.
pub const KIND_PLAIN: u8 = 0;
/// Fail it once, then consume it.
pub const KIND_LATER_ONCE: u8 = 1;
/// Fail it always, so that it becomes a dead letter.
pub const KIND_POISON: u8 = 2;

impl Body {
    /// The body with `filler_len` bytes of filler. The attempt is not part of what is compared: see
    /// [`digest`].
    pub fn encode(&self, filler_len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(BODY_LEN_MIN + filler_len);
        out.extend_from_slice(&BODY_MAGIC.to_be_bytes());
        out.extend_from_slice(&self.run.to_be_bytes());
        out.extend_from_slice(&self.producer.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.push(self.attempt);
        out.push(self.kind);
        out.extend_from_slice(&self.order_key.to_be_bytes());
        out.extend_from_slice(&self.queue_wanted.to_be_bytes());
        out.extend_from_slice(&self.deliver_at_mono_ns.to_be_bytes());
        out.extend_from_slice(&self.deliver_at_wall_ms.to_be_bytes());
        out.push(self.txn_plan);
        out.extend_from_slice(&(filler_len as u32).to_be_bytes());
        out.extend((0..filler_len).map(|at| filler(self.sequence, at)));
        let crc = crc32c(0, &out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a body; the flag tells whether its checksum matches. `None` for what is no such body.
    pub fn decode(bytes: &[u8]) -> Option<(Self, bool)> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let mut rest = content;
        if u32::from_be_bytes(take(&mut rest)?) != BODY_MAGIC {
            return None;
        }
        let body = Self {
            run: u64::from_be_bytes(take(&mut rest)?),
            producer: u16::from_be_bytes(take(&mut rest)?),
            sequence: u64::from_be_bytes(take(&mut rest)?),
            attempt: u8::from_be_bytes(take(&mut rest)?),
            kind: u8::from_be_bytes(take(&mut rest)?),
            order_key: u32::from_be_bytes(take(&mut rest)?),
            queue_wanted: i16::from_be_bytes(take(&mut rest)?),
            deliver_at_mono_ns: u64::from_be_bytes(take(&mut rest)?),
            deliver_at_wall_ms: u64::from_be_bytes(take(&mut rest)?),
            txn_plan: u8::from_be_bytes(take(&mut rest)?),
        };
        let len = u32::from_be_bytes(take(&mut rest)?);
        let intact = rest.len() == len as usize && crc32c(0, content) == u32::from_be_bytes(*crc);
        Some((body, intact))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (word, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*word)
}

fn filler(sequence: u64, at: usize) -> u8 {
    b'a' + ((sequence as usize).wrapping_mul(7).wrapping_add(at) % 26) as u8
}

/// What sender and reader must agree on: topic, tags, keys, the uid property and the body, each with
/// its length before it. The attempt's byte in the body and its checksum count like all others: a
/// message is sent again with the bytes of its first attempt.
pub fn digest(topic: &str, tags: &str, keys: &str, uid_property: &str, body: &[u8]) -> u32 {
    let mut crc = 0;
    for text in [topic, tags, keys, uid_property] {
        crc = crc32c(crc, &(text.len() as u32).to_be_bytes());
        crc = crc32c(crc, text.as_bytes());
    }
    crc32c(crc, body)
}

/// CRC-32C (Castagnoli), going on from `crc`; 0 begins.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let mut state = !crc;
    for byte in bytes {
        state = state >> 8 ^ TABLE[((state ^ u32::from(*byte)) & 0xFF) as usize];
    }
    !state
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut word = index as u32;
        let mut bit = 0;
        while bit < 8 {
            word = if word & 1 == 1 {
                word >> 1 ^ 0x82F6_3B78
            } else {
                word >> 1
            };
            bit += 1;
        }
        table[index] = word;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xE306_9283);
    }

    #[test]
    fn a_body_reads_back_and_every_changed_bit_shows() {
        let body = Body {
            run: 7,
            producer: 3,
            sequence: 9,
            attempt: 1,
            kind: KIND_POISON,
            queue_wanted: -1,
            ..Body::default()
        };
        let bytes = body.encode(20);
        assert_eq!(bytes.len(), BODY_LEN_MIN + 20);
        assert_eq!(Body::decode(&bytes), Some((body, true)));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Body::decode(&changed).is_none_or(|(_, intact)| !intact));
        }
        for len in 0..bytes.len() {
            assert!(Body::decode(&bytes[..len]).is_none_or(|(_, intact)| !intact));
        }
    }

    #[test]
    fn each_part_of_a_message_is_in_its_digest() {
        let all = digest("t", "g", "k", "u", b"b");
        for other in [
            digest("T", "g", "k", "u", b"b"),
            digest("t", "G", "k", "u", b"b"),
            digest("t", "g", "K", "u", b"b"),
            digest("t", "g", "k", "U", b"b"),
            digest("t", "g", "k", "u", b"B"),
            digest("tg", "", "k", "u", b"b"),
        ] {
            assert_ne!(other, all);
        }
    }
}
