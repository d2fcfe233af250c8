//! What can be had of a block that does not match its checksum.
//!
//! Pure. Two ways, in this order. One flipped bit is found by the arithmetic of the checksum and put
//! right in memory: every single bit leaves a remainder of its own. Failing that, messages are taken
//! one by one, by what each carries itself: lengths, its own position and the checksum of its body.
//! Invariant: a block counts as whole only when it matches its checksum and its records add up; a
//! message counts alone only when its own marks agree and the damage was met elsewhere in the block.

use crate::block::{BlockHeader, HEADER_LEN, Identity, u32_at};
use crate::record::{self, Record, TAG_LEN};
use base::LogPosition;
use remoting::message::decode_message;

/// What is left of a damaged block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Salvaged {
    /// One bit was flipped; this is the block as it was sealed.
    Whole(BlockHeader, Vec<u8>),
    /// The positions of messages that are proven good; often none.
    Parts(Vec<u64>),
}

/// Looks at `bytes`, which begin where a block did and hold at least all of it, as far as known.
pub(crate) fn salvage(identity: Identity, position: u64, bytes: &[u8]) -> Salvaged {
    if let Some((header, block)) = repair(identity, position, bytes) {
        return Salvaged::Whole(header, block);
    }
    Salvaged::Parts(proven_messages(identity, position, bytes))
}

/// The block as it was sealed, when one bit of it was flipped since.
fn repair(identity: Identity, position: u64, bytes: &[u8]) -> Option<(BlockHeader, Vec<u8>)> {
    if bytes.len() < HEADER_LEN {
        return None;
    }
    if let Some(header) = BlockHeader::peek(identity, LogPosition(position), bytes)
        && let Some(block) = bytes.get(..header.used_len())
    {
        let bit = flipped_bit(identity.secret, block);
        let repaired = bit.and_then(|bit| with_bit(identity, position, block, bit));
        if repaired.is_some() {
            return repaired;
        }
    }
    // The header says its length wrong, or does not look like one: try each of its bits.
    let mut head = *bytes.first_chunk::<HEADER_LEN>()?;
    for bit in 0..HEADER_LEN * 8 {
        head[bit / 8] ^= 1 << (bit % 8);
        let header = BlockHeader::peek(identity, LogPosition(position), &head);
        head[bit / 8] ^= 1 << (bit % 8);
        let block = header.and_then(|header| bytes.get(..header.used_len()));
        let repaired = block.and_then(|block| with_bit(identity, position, block, bit));
        if repaired.is_some() {
            return repaired;
        }
    }
    None
}

/// `block` with one bit turned, when it is right then.
fn with_bit(
    identity: Identity,
    position: u64,
    block: &[u8],
    bit: usize,
) -> Option<(BlockHeader, Vec<u8>)> {
    let mut block = block.to_vec();
    *block.get_mut(bit / 8)? ^= 1 << (bit % 8);
    let header = BlockHeader::peek(identity, LogPosition(position), &block)?;
    let whole = header.used_len() == block.len()
        && header.verify(identity, &block)
        && adds_up(position, header.record_count, &block[HEADER_LEN..]);
    whole.then_some((header, block))
}

/// Whether a payload is so many records, and each message says its own place and matches its body.
/// Several flipped bits may look like another single one to the block's checksum alone.
fn adds_up(block: u64, count: u32, payload: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    while let Some((found, len)) = payload.get(at..).and_then(record::first) {
        let position = block + (HEADER_LEN + at + TAG_LEN) as u64;
        if matches!(found, Record::Message { unit, .. } if !is_proven(position, unit)) {
            return false;
        }
        at += len;
        seen += 1;
    }
    at == payload.len() && seen == count
}

/// Which bit of a block was flipped, if it was one behind the header's length fields.
fn flipped_bit(secret: u32, block: &[u8]) -> Option<usize> {
    let mut remainder = u32_at(block, HEADER_LEN - 4) ^ crate::block::checksum(secret, block);
    if remainder.is_power_of_two() {
        // The checksum itself, stored little-endian.
        return Some((HEADER_LEN - 4) * 8 + remainder.trailing_zeros() as usize);
    }
    // A flipped bit leaves POLYNOMIAL in the register, and every later bit turns it once.
    let payload_bits = (block.len() - HEADER_LEN) * 8;
    let bits = payload_bits + (HEADER_LEN - 4) * 8;
    for from_end in 0..bits {
        if remainder == POLYNOMIAL {
            let bit = bits - 1 - from_end;
            let head_bits = (HEADER_LEN - 4) * 8;
            // The checksum's own four bytes are not part of what it covers.
            return Some(if bit < head_bits { bit } else { bit + 32 });
        }
        remainder = if remainder >> 31 == 1 {
            (remainder ^ POLYNOMIAL) << 1 | 1
        } else {
            remainder << 1
        };
    }
    None
}

/// CRC-32 (IEEE), bits reflected.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// Messages that say their own place and match the checksum of their body, when something else in
/// the block does not: a block in which everything looks right is damaged at an unknown place.
fn proven_messages(identity: Identity, position: u64, bytes: &[u8]) -> Vec<u64> {
    let header = BlockHeader::peek(identity, LogPosition(position), bytes);
    let payload_end = header.map_or(bytes.len(), |header| header.used_len().min(bytes.len()));
    let mut found_damage = header.is_none();
    let mut proven = Vec::new();
    let mut at = HEADER_LEN;
    while at < payload_end {
        let Some((record, len)) = record::first(&bytes[at..payload_end]) else {
            found_damage = true;
            break;
        };
        let unit_at = position + (at + TAG_LEN) as u64;
        if let Record::Message { unit, .. } = record {
            if is_proven(unit_at, unit) {
                proven.push(unit_at);
            } else {
                found_damage = true;
            }
        }
        at += len;
    }
    if found_damage { proven } else { Vec::new() }
}

/// Whether a message says its own place and its body is what was stored.
pub(crate) fn is_proven(position: u64, unit: &[u8]) -> bool {
    decode_message(unit).is_ok_and(|(message, len)| {
        let place = base::PhyOffset::from_wire(message.phy_offset);
        len == unit.len()
            && place.is_some_and(|place| place.position().0 == position)
            && message.body_crc_matches()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessagePlace;
    use base::{PhyOffset, QueueId, QueueOffset, ShardId};

    const IDENTITY: Identity = Identity {
        shard: ShardId::new(1),
        generation: 3,
        secret: 0xABCD,
    };
    const POSITION: u64 = 8_192;

    /// A sealed block of five messages and a metadata record; positions of the messages.
    fn block() -> (Vec<u8>, Vec<u64>) {
        let mut bytes = vec![0; HEADER_LEN];
        let mut positions = Vec::new();
        for number in 0..5_i64 {
            let position = POSITION + (bytes.len() + TAG_LEN) as u64;
            positions.push(position);
            let place = MessagePlace {
                queue_offset: QueueOffset(number),
                phy_offset: PhyOffset::new(IDENTITY.shard, LogPosition(position)),
                store_timestamp_ms: 9,
            };
            bytes.extend(7_i64.to_le_bytes());
            let body = crate::testing::body(number as u64, 60);
            bytes.extend(crate::testing::message(place, "T", QueueId(0), &body));
        }
        let at = bytes.len();
        bytes.resize(at + record::internal_len(9), 0);
        record::write_internal(crate::RecordKind(4), b"some bits", &mut bytes[at..]);
        let header = BlockHeader {
            position: LogPosition(POSITION),
            payload_len: (bytes.len() - HEADER_LEN) as u32,
            block_len: 4_096,
            record_count: 6,
            durable_before: LogPosition(POSITION),
            sealed_ms: 5,
            end_of_segment: false,
        };
        header.seal(IDENTITY, &mut bytes);
        (bytes, positions)
    }

    #[test]
    fn any_single_flipped_bit_is_found_and_put_right() {
        let (good, _) = block();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad.resize(4_096, 0);
            match salvage(IDENTITY, POSITION, &bad) {
                Salvaged::Whole(_, repaired) => assert_eq!(repaired, good, "bit {bit}"),
                Salvaged::Parts(_) => panic!("bit {bit} is not found"),
            }
        }
    }

    #[test]
    fn more_damage_costs_the_messages_it_hits_and_no_body_is_ever_wrong() {
        let (good, positions) = block();
        let mut rng = sim::Rng::for_subject(1, "salvage");
        for _ in 0..3_000 {
            let mut bad = good.clone();
            for _ in 0..rng.between(2, 40) {
                let bit = rng.index(bad.len() * 8);
                bad[bit / 8] ^= 1 << (bit % 8);
            }
            if bad == good {
                continue;
            }
            let Salvaged::Parts(proven) = salvage(IDENTITY, POSITION, &bad) else {
                panic!("several bits were taken for one");
            };
            for position in proven {
                assert!(positions.contains(&position));
                let at = (position - POSITION) as usize;
                let body = at + 88..at + 148;
                assert_eq!(bad[body.clone()], good[body]);
            }
        }
    }

    #[test]
    fn a_message_whose_body_is_torn_leaves_its_neighbours() {
        let (mut bad, positions) = block();
        let at = (positions[2] - POSITION) as usize + 90;
        bad[at..at + 20].fill(0xFF);
        let expected = [positions[0], positions[1], positions[3], positions[4]];
        assert_eq!(
            salvage(IDENTITY, POSITION, &bad),
            Salvaged::Parts(expected.to_vec())
        );
        // Damage that nothing but the block's checksum sees could be anywhere.
        let (mut bad, positions) = block();
        let born_at = (positions[2] - POSITION) as usize + 40;
        bad[born_at..born_at + 4].fill(0x5A);
        assert_eq!(
            salvage(IDENTITY, POSITION, &bad),
            Salvaged::Parts(Vec::new())
        );
    }
}
