//! The tail ring: what is acknowledged and not yet in the log, in memory that outlives the process.
//!
//! Owned by the log of a shard that acknowledges before it writes (`ASYNC_FLUSH`); there is none
//! under `SYNC_FLUSH`. A file is mapped and divided into slots of one log block each. The open block
//! has a slot, or several that follow each other when its record is longer; records are copied there
//! before their acknowledgement can leave, and the slot is free again when the block's write has
//! completed.
//! Low slots are taken first, so that a log that keeps up touches little memory.
//! Invariant: a record counts only with the word that was stored after it, which holds length and
//! checksum of everything in the slot; only blocks of the life that the file's head names count.

use crate::block::{HEADER_LEN, u16_at, u32_at, u64_at};
use base::ShardId;
use rt::SharedMap;
use std::collections::VecDeque;

const FILE_MAGIC: [u8; 4] = *b"RqT0";
const SLOT_MAGIC: [u8; 4] = *b"RqT1";
/// Where the first slot starts, in bytes.
const SLOTS_AT: usize = 4_096;
const FILE_HEAD_LEN: usize = 36;
const FILE_SUM_AT: usize = 32;
const SLOT_SUM_AT: usize = 12;
/// Head of a slot without the word that commits its records.
const SLOT_HEAD_LEN: usize = 56;
const COMMIT_AT: usize = 56;
const _: () = assert!(COMMIT_AT + 8 == HEADER_LEN && COMMIT_AT.is_multiple_of(8));
/// Longest ring that is read back, in bytes.
pub(crate) const RING_LEN_MAX: usize = 1 << 33;

/// Who writes a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingOwner {
    pub(crate) shard: ShardId,
    /// The secret of the shard's log.
    pub(crate) secret: u32,
    /// Drawn at each start: slots of another life never count.
    pub(crate) life: u64,
}

/// What a slot says of its block before any record is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotHead {
    /// Generation of the segment that the block lies in.
    pub(crate) generation: u32,
    pub(crate) position: u64,
    /// Where the block before ended: at `position`, or in the segment before.
    pub(crate) previous_end: u64,
    /// Checksum of the records of the block before, when it is of the same life: a power cut may
    /// leave an earlier state of that block, which this one does not follow.
    pub(crate) previous_sum: u32,
    pub(crate) opened_ms: i64,
    /// Longest that the block can become, in bytes.
    pub(crate) capacity: u32,
}

struct Held {
    position: u64,
    first_slot: usize,
    slots: usize,
}

/// See the module.
pub(crate) struct TailRing<M> {
    map: M,
    owner: RingOwner,
    slot_len: usize,
    taken: Vec<bool>,
    longest_free: usize,
    /// Blocks that are not written, oldest first; the last may be open.
    held: VecDeque<Held>,
}

/// Length of the file of a ring of `slots` slots, in bytes.
pub(crate) fn ring_len(slot_len: usize, slots: usize) -> usize {
    SLOTS_AT + slot_len * slots
}

impl<M: SharedMap> TailRing<M> {
    /// An empty ring in a mapped file. Nothing may rely on it before the map is synced: until then a
    /// power cut could bring back the life before.
    pub(crate) fn new(map: M, owner: RingOwner, slot_len: usize) -> Self {
        let slots = (map.size() - SLOTS_AT) / slot_len;
        let mut head = [0; FILE_HEAD_LEN];
        head[0..4].copy_from_slice(&FILE_MAGIC);
        head[4..6].copy_from_slice(&crate::layout::FORMAT_VERSION.to_le_bytes());
        head[6..8].copy_from_slice(&owner.shard.as_u16().to_le_bytes());
        head[8..16].copy_from_slice(&owner.life.to_le_bytes());
        head[16..20].copy_from_slice(&owner.secret.to_le_bytes());
        head[20..24].copy_from_slice(&(slot_len as u32).to_le_bytes());
        head[24..28].copy_from_slice(&(slots as u32).to_le_bytes());
        let sum = crc32fast::hash(&head[..FILE_SUM_AT]);
        head[FILE_SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        map.store(0, &head);
        Self {
            map,
            owner,
            slot_len,
            taken: vec![false; slots],
            longest_free: slots,
            held: VecDeque::new(),
        }
    }

    pub(crate) fn map(&self) -> &M {
        &self.map
    }

    /// Whether a block of `capacity` bytes could be opened now.
    pub(crate) fn has_room(&self, capacity: usize) -> bool {
        capacity.div_ceil(self.slot_len) <= self.longest_free
    }

    /// Whether blocks of these capacities could all be opened now, one after the other.
    pub(crate) fn has_room_for(&self, capacities: &[usize]) -> bool {
        let mut taken = self.taken.clone();
        capacities.iter().all(|capacity| {
            let slots = capacity.div_ceil(self.slot_len);
            let first = free_run(&taken, slots);
            if let Some(first) = first {
                taken[first..first + slots].fill(true);
            }
            first.is_some()
        })
    }

    /// Most bytes that it can hold.
    pub(crate) fn capacity(&self) -> u64 {
        (self.taken.len() * self.slot_len) as u64
    }

    /// Takes a slot for a block.
    ///
    /// # Panics
    /// When there is no room; ask [`Self::has_room`] first.
    pub(crate) fn open_block(&mut self, head: &SlotHead) {
        let slots = (head.capacity as usize).div_ceil(self.slot_len);
        let first_slot = free_run(&self.taken, slots).expect("asked before");
        self.taken[first_slot..first_slot + slots].fill(true);
        self.longest_free = longest_run(&self.taken);
        let before = self.held.back().map_or(0, |held| held.position);
        assert!(before <= head.position, "blocks are opened in log order");
        self.held.push_back(Held {
            position: head.position,
            first_slot,
            slots,
        });
        let at = self.slot_at(first_slot);
        // Whatever the slot held is gone before its head says something else.
        self.map.store_word(at + COMMIT_AT, 0);
        self.map.store(at, &head.encode(&self.owner));
    }

    /// Copies records of the newest block, which lie `at` bytes after the block's start. `committed`
    /// is the length and checksum of all records of the block with these.
    pub(crate) fn records(&self, at: usize, records: &[u8], committed: (usize, u32)) {
        let held = self.held.back();
        let held = held.expect("records follow their block's head");
        let slot = self.slot_at(held.first_slot);
        assert!(at + records.len() <= held.slots * self.slot_len);
        self.map.store(slot + at, records);
        let word = committed.0 as u64 | u64::from(committed.1) << 32;
        self.map.store_word(slot + COMMIT_AT, word);
    }

    /// Everything before `position` is written: slots of blocks before it are free.
    pub(crate) fn written(&mut self, position: u64) {
        let before = self.held.len();
        while let Some(held) = self.held.front().filter(|held| held.position < position) {
            self.taken[held.first_slot..held.first_slot + held.slots].fill(false);
            self.held.pop_front();
        }
        if self.held.len() < before {
            self.longest_free = longest_run(&self.taken);
        }
    }

    fn slot_at(&self, slot: usize) -> usize {
        SLOTS_AT + slot * self.slot_len
    }
}

/// First of so many slots that follow each other and are free.
fn free_run(taken: &[bool], wanted: usize) -> Option<usize> {
    let mut run = 0;
    for (slot, taken) in taken.iter().enumerate() {
        run = if *taken { 0 } else { run + 1 };
        if run == wanted {
            return Some(slot + 1 - wanted);
        }
    }
    None
}

fn longest_run(taken: &[bool]) -> usize {
    let runs = taken.split(|taken| *taken);
    runs.map(<[bool]>::len).max().unwrap_or(0)
}

impl SlotHead {
    fn encode(&self, owner: &RingOwner) -> [u8; SLOT_HEAD_LEN] {
        let mut head = [0; SLOT_HEAD_LEN];
        head[0..4].copy_from_slice(&SLOT_MAGIC);
        head[4..6].copy_from_slice(&crate::layout::FORMAT_VERSION.to_le_bytes());
        head[6..8].copy_from_slice(&owner.shard.as_u16().to_le_bytes());
        head[8..12].copy_from_slice(&self.generation.to_le_bytes());
        head[16..24].copy_from_slice(&self.position.to_le_bytes());
        head[24..32].copy_from_slice(&self.previous_end.to_le_bytes());
        head[32..40].copy_from_slice(&owner.life.to_le_bytes());
        head[40..48].copy_from_slice(&self.opened_ms.to_le_bytes());
        head[48..52].copy_from_slice(&self.capacity.to_le_bytes());
        head[52..56].copy_from_slice(&self.previous_sum.to_le_bytes());
        let sum = slot_sum(owner.secret, &head);
        head[SLOT_SUM_AT..SLOT_SUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        head
    }

    fn decode(owner: &RingOwner, head: &[u8]) -> Option<Self> {
        let fits = head[0..4] == SLOT_MAGIC
            && u16_at(head, 4) == crate::layout::FORMAT_VERSION
            && u16_at(head, 6) == owner.shard.as_u16()
            && u64_at(head, 32) == owner.life
            && u32_at(head, SLOT_SUM_AT) == slot_sum(owner.secret, head);
        fits.then(|| Self {
            generation: u32_at(head, 8),
            position: u64_at(head, 16),
            previous_end: u64_at(head, 24),
            opened_ms: u64_at(head, 40).cast_signed(),
            capacity: u32_at(head, 48),
            previous_sum: u32_at(head, 52),
        })
    }
}

fn slot_sum(secret: u32, head: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(secret);
    hasher.update(&head[..SLOT_SUM_AT]);
    hasher.update(&head[SLOT_SUM_AT + 4..SLOT_HEAD_LEN]);
    hasher.finalize()
}

/// What a life left in its ring.
pub(crate) struct RingContent {
    bytes: Vec<u8>,
    owner: RingOwner,
    slot_len: usize,
}

/// A block in a ring that checks out.
pub(crate) struct RingBlock<'a> {
    pub(crate) head: SlotHead,
    /// Records, whole.
    pub(crate) payload: &'a [u8],
    /// Their checksum.
    pub(crate) sum: u32,
}

impl RingContent {
    /// Reads a ring's file; `None` when it is damaged, or of another shard or log.
    pub(crate) fn parse(shard: ShardId, secret: u32, bytes: Vec<u8>) -> Option<Self> {
        let head = bytes.get(..FILE_HEAD_LEN)?;
        let slot_len = u32_at(head, 20) as usize;
        let fits = head[0..4] == FILE_MAGIC
            && u16_at(head, 4) == crate::layout::FORMAT_VERSION
            && u16_at(head, 6) == shard.as_u16()
            && u32_at(head, 16) == secret
            && slot_len > HEADER_LEN
            && u32_at(head, FILE_SUM_AT) == crc32fast::hash(&head[..FILE_SUM_AT]);
        let life = u64_at(head, 8);
        let owner = RingOwner {
            shard,
            secret,
            life,
        };
        fits.then_some(Self {
            bytes,
            owner,
            slot_len,
        })
    }

    /// Length of a full block of the life that wrote it, in bytes.
    pub(crate) fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// All blocks that check out, in the order of their positions.
    pub(crate) fn blocks(&self) -> Vec<RingBlock<'_>> {
        let slots = self.bytes.get(SLOTS_AT..).unwrap_or_default();
        let starts = (0..slots.len()).step_by(self.slot_len);
        let mut blocks: Vec<_> = starts
            .filter_map(|start| self.block(&slots[start..]))
            .collect();
        blocks.sort_by_key(|block| block.head.position);
        blocks
    }

    fn block<'a>(&self, slot: &'a [u8]) -> Option<RingBlock<'a>> {
        let head = SlotHead::decode(&self.owner, slot.get(..SLOT_HEAD_LEN)?)?;
        let word = u64_at(slot.get(..HEADER_LEN)?, COMMIT_AT);
        let (len, sum) = (word as u32 as usize, (word >> 32) as u32);
        let fits = len > 0 && HEADER_LEN + len <= head.capacity as usize;
        let payload = slot.get(HEADER_LEN..HEADER_LEN + len).filter(|_| fits)?;
        (crc32fast::hash(payload) == sum).then_some(RingBlock { head, payload, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Memory(RefCell<Vec<u8>>);

    impl SharedMap for Memory {
        fn size(&self) -> usize {
            self.0.borrow().len()
        }
        fn store(&self, at: usize, bytes: &[u8]) {
            self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        }
        fn store_word(&self, at: usize, word: u64) {
            self.store(at, &word.to_le_bytes());
        }
        fn load(&self, at: usize, len: usize) -> Vec<u8> {
            self.0.borrow()[at..at + len].to_vec()
        }
        async fn sync(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const OWNER: RingOwner = RingOwner {
        shard: ShardId::new(2),
        secret: 77,
        life: 5,
    };

    fn ring(slots: usize) -> TailRing<Memory> {
        let map = Memory(RefCell::new(vec![0; ring_len(512, slots)]));
        TailRing::new(map, OWNER, 512)
    }

    fn head(position: u64, capacity: u32) -> SlotHead {
        SlotHead {
            generation: 3,
            position,
            previous_end: position,
            previous_sum: 1,
            opened_ms: 9,
            capacity,
        }
    }

    fn content(ring: &TailRing<Memory>) -> Vec<u8> {
        ring.map.load(0, ring.map.size())
    }

    fn parse(bytes: Vec<u8>) -> Option<RingContent> {
        RingContent::parse(OWNER.shard, OWNER.secret, bytes)
    }

    fn put(ring: &mut TailRing<Memory>, position: u64, payload: &[u8]) {
        let capacity = (HEADER_LEN + payload.len()).next_multiple_of(512) as u32;
        ring.open_block(&head(position, capacity));
        ring.records(
            HEADER_LEN,
            payload,
            (payload.len(), crc32fast::hash(payload)),
        );
    }

    #[test]
    fn a_block_reads_back_with_the_records_that_were_committed() {
        let mut ring = ring(4);
        ring.open_block(&head(512, 512));
        assert!(parse(content(&ring)).unwrap().blocks().is_empty());
        ring.records(64, b"one", (3, crc32fast::hash(b"one")));
        ring.records(67, b"two", (6, crc32fast::hash(b"onetwo")));
        // A copy that was not committed: the process died before the word.
        ring.map.store(SLOTS_AT + 70, b"three");
        let content = parse(content(&ring)).unwrap();
        let blocks = content.blocks();
        assert_eq!(blocks.len(), 1);
        assert_eq!(
            (blocks[0].head, blocks[0].payload),
            (head(512, 512), &b"onetwo"[..])
        );
    }

    #[test]
    fn slots_are_used_again_lowest_first_once_their_block_is_written() {
        let mut ring = ring(4);
        for position in [512, 1_024, 1_536] {
            put(&mut ring, position, &position.to_le_bytes());
        }
        assert!(ring.has_room(512) && !ring.has_room(513));
        ring.written(1_024);
        assert!(ring.has_room(512));
        put(&mut ring, 2_048, b"again");
        let content = parse(content(&ring)).unwrap();
        let positions: Vec<_> = content.blocks().iter().map(|b| b.head.position).collect();
        assert_eq!(positions, [1_024, 1_536, 2_048]);
        assert!(ring.taken[0] && !ring.taken[3]);
    }

    #[test]
    fn a_long_block_takes_slots_that_follow_each_other() {
        let mut ring = ring(6);
        put(&mut ring, 512, b"first");
        let long = vec![7; 1_100];
        put(&mut ring, 1_024, &long);
        put(&mut ring, 2_560, b"last");
        ring.written(1_024);
        // Two are free, and they do not follow each other.
        assert!(ring.has_room(512) && !ring.has_room(1_000));
        let content = parse(content(&ring)).unwrap();
        assert_eq!(content.blocks()[1].payload, long);
        ring.written(2_560);
        assert!(ring.has_room(4 * 512));
    }

    #[test]
    fn a_changed_byte_costs_the_block_and_nothing_wrong_is_read() {
        let mut ring = ring(2);
        put(&mut ring, 512, b"some records");
        let whole = content(&ring);
        for at in (0..FILE_HEAD_LEN).chain(SLOTS_AT..SLOTS_AT + HEADER_LEN + 12) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let found = parse(bytes);
            let blocks = found.as_ref().map_or(0, |content| content.blocks().len());
            assert_eq!(blocks, 0, "byte {at}");
        }
        for len in 0..SLOTS_AT + HEADER_LEN + 12 {
            let found = parse(whole[..len].to_vec());
            assert!(found.is_none_or(|content| content.blocks().is_empty()));
        }
    }

    #[test]
    fn what_another_life_left_does_not_count() {
        let mut first = ring(2);
        put(&mut first, 512, b"old");
        let TailRing { map, .. } = first;
        let owner = RingOwner { life: 6, ..OWNER };
        let second = TailRing::new(map, owner, 512);
        assert!(parse(content(&second)).unwrap().blocks().is_empty());
        assert!(RingContent::parse(OWNER.shard, 78, content(&second)).is_none());
        assert!(RingContent::parse(ShardId::new(0), OWNER.secret, content(&second)).is_none());
    }
}
