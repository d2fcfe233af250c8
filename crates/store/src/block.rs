//! Log blocks: the unit that is written, checked and recovered.
//!
//! A block is a header of 64 bytes and records, padded with zeros to the alignment. Pure: bytes in,
//! values out. What must hold: a block is valid only at its own position in its own shard and
//! segment generation, and only when header and payload match the checksum. The checksum starts
//! from a secret of the shard, so that no message body can pretend to be a block.

use base::{LogPosition, ShardId};

/// Length of a block's header, in bytes.
pub(crate) const HEADER_LEN: usize = 64;
const MAGIC: [u8; 4] = *b"RqB1";
const SUM_AT: usize = 60;
const FLAG_END_OF_SEGMENT: u32 = 1;

/// What ties a block to its place: shard, generation of its segment, secret of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The shard.
    pub(crate) shard: ShardId,
    /// Generation of the segment; a segment that is used again has a new one.
    pub(crate) generation: u32,
    /// Where every checksum of the shard starts from.
    pub(crate) secret: u32,
}

/// A block's header, without magic and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// Where the block starts.
    pub(crate) position: LogPosition,
    /// Bytes of records after the header.
    pub(crate) payload_len: u32,
    /// Length in the log, padding included.
    pub(crate) block_len: u32,
    /// How many records.
    pub(crate) record_count: u32,
    /// Everything before this position was durable when the block was sealed.
    pub(crate) durable_before: LogPosition,
    /// When it was sealed, in milliseconds since the epoch.
    pub(crate) sealed_ms: i64,
    /// Nothing follows in this segment.
    pub(crate) end_of_segment: bool,
}

impl BlockHeader {
    /// Header and records, in bytes.
    pub(crate) fn used_len(&self) -> usize {
        HEADER_LEN + self.payload_len as usize
    }

    /// Where the next block may start.
    pub(crate) fn end(&self) -> u64 {
        self.position.0 + u64::from(self.block_len)
    }

    /// Fills the header of `block`, whose payload is in place. `block` ends with the payload.
    ///
    /// # Panics
    /// When `block` is not exactly header and payload.
    pub(crate) fn seal(&self, identity: Identity, block: &mut [u8]) {
        self.fill(identity, block);
        let sum = checksum(identity.secret, block);
        block[SUM_AT..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
    }

    /// The same for a payload whose checksum, from zero, is known already.
    pub(crate) fn seal_summed(
        &self,
        identity: Identity,
        block: &mut [u8],
        payload: &crc32fast::Hasher,
    ) {
        self.fill(identity, block);
        let mut sum = crc32fast::Hasher::new_with_initial(identity.secret);
        sum.update(&block[..SUM_AT]);
        sum.combine(payload);
        block[SUM_AT..HEADER_LEN].copy_from_slice(&sum.finalize().to_le_bytes());
    }

    /// Writes the header without its checksum.
    fn fill(&self, identity: Identity, block: &mut [u8]) {
        assert_eq!(block.len(), self.used_len());
        assert!(block.len() <= self.block_len as usize);
        let flags = if self.end_of_segment {
            FLAG_END_OF_SEGMENT
        } else {
            0
        };
        block[0..4].copy_from_slice(&MAGIC);
        block[4..6].copy_from_slice(&crate::layout::FORMAT_VERSION.to_le_bytes());
        block[6..8].copy_from_slice(&identity.shard.as_u16().to_le_bytes());
        block[8..12].copy_from_slice(&identity.generation.to_le_bytes());
        block[12..16].copy_from_slice(&self.record_count.to_le_bytes());
        block[16..24].copy_from_slice(&self.position.0.to_le_bytes());
        block[24..28].copy_from_slice(&self.payload_len.to_le_bytes());
        block[28..32].copy_from_slice(&flags.to_le_bytes());
        block[32..40].copy_from_slice(&self.durable_before.0.to_le_bytes());
        block[40..48].copy_from_slice(&self.sealed_ms.to_le_bytes());
        block[48..52].copy_from_slice(&self.block_len.to_le_bytes());
        block[52..SUM_AT].fill(0);
    }

    /// Reads the header at `position`; `None` when it cannot be the header of a block there.
    /// Nothing but the checksum, which needs the payload, is left to check.
    pub(crate) fn peek(identity: Identity, position: LogPosition, bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEADER_LEN>()?;
        let fits = head[0..4] == MAGIC
            && u16_at(head, 4) == crate::layout::FORMAT_VERSION
            && u16_at(head, 6) == identity.shard.as_u16()
            && u32_at(head, 8) == identity.generation
            && u64_at(head, 16) == position.0;
        fits.then(|| Self {
            position,
            payload_len: u32_at(head, 24),
            block_len: u32_at(head, 48),
            record_count: u32_at(head, 12),
            durable_before: LogPosition(u64_at(head, 32)),
            sealed_ms: u64_at(head, 40).cast_signed(),
            end_of_segment: u32_at(head, 28) & FLAG_END_OF_SEGMENT != 0,
        })
    }

    /// Length in the log of a block of `used` bytes whose buffer has `capacity` bytes, where a full
    /// block has `full`. One that is nearly full takes all of its buffer, which can be used again.
    pub(crate) fn padded_len(used: usize, capacity: usize, full: usize, align: usize) -> usize {
        let nearly_full = used >= full - full / 8;
        if capacity == full && nearly_full {
            capacity
        } else {
            used.next_multiple_of(align)
        }
    }

    /// Whether `block`, which starts with this header, is whole and unchanged.
    pub(crate) fn verify(&self, identity: Identity, block: &[u8]) -> bool {
        let Some(block) = block.get(..self.used_len()) else {
            return false;
        };
        self.durable_before <= self.position
            && self.used_len() <= self.block_len as usize
            && u32_at(block, SUM_AT) == checksum(identity.secret, block)
    }
}

/// Checksum over the header without its last word, and the payload.
pub(crate) fn checksum(secret: u32, block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(secret);
    hasher.update(&block[..SUM_AT]);
    hasher.update(&block[HEADER_LEN..]);
    hasher.finalize()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        shard: ShardId::new(3),
        generation: 7,
        secret: 0x5eed,
    };

    fn sealed(payload: &[u8]) -> (BlockHeader, Vec<u8>) {
        let header = BlockHeader {
            position: LogPosition(8_192),
            payload_len: payload.len() as u32,
            block_len: 512,
            record_count: 2,
            durable_before: LogPosition(4_096),
            sealed_ms: 1_700_000_000_000,
            end_of_segment: false,
        };
        let mut block = vec![0; HEADER_LEN];
        block.extend_from_slice(payload);
        header.seal(IDENTITY, &mut block);
        (header, block)
    }

    #[test]
    fn a_sealed_block_reads_back() {
        let (header, block) = sealed(b"records");
        let read = BlockHeader::peek(IDENTITY, header.position, &block).unwrap();
        assert_eq!(read, header);
        assert!(read.verify(IDENTITY, &block));
        assert_eq!(read.end(), header.position.0 + 512);
    }

    #[test]
    fn a_checksum_that_grew_with_the_records_is_the_same() {
        for len in [0, 1, 7, 200] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (header, block) = sealed(&payload);
            let mut sum = crc32fast::Hasher::new();
            payload.chunks(3).for_each(|record| sum.update(record));
            let mut again = block.clone();
            again[..HEADER_LEN].fill(0);
            header.seal_summed(IDENTITY, &mut again, &sum);
            assert_eq!(again, block);
        }
    }

    #[test]
    fn a_block_is_refused_at_every_truncation_and_every_flipped_bit() {
        let (header, block) = sealed(b"some records of a block");
        let valid = |bytes: &[u8]| {
            BlockHeader::peek(IDENTITY, header.position, bytes)
                .is_some_and(|read| read.verify(IDENTITY, bytes))
        };
        for len in 0..block.len() {
            assert!(!valid(&block[..len]), "cut at {len}");
        }
        for bit in 0..block.len() * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!valid(&flipped), "bit {bit}");
        }
    }

    #[test]
    fn a_block_counts_only_at_its_place_in_its_shard_and_generation() {
        let (header, block) = sealed(b"records");
        let other = LogPosition(header.position.0 + 512);
        assert_eq!(BlockHeader::peek(IDENTITY, other, &block), None);
        for identity in [
            Identity {
                shard: ShardId::new(4),
                ..IDENTITY
            },
            Identity {
                generation: 8,
                ..IDENTITY
            },
        ] {
            assert_eq!(BlockHeader::peek(identity, header.position, &block), None);
        }
        let stranger = Identity {
            secret: 1,
            ..IDENTITY
        };
        let read = BlockHeader::peek(stranger, header.position, &block).unwrap();
        assert!(!read.verify(stranger, &block));
    }
}
