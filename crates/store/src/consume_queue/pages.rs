//! Pages of the queue index: full chunks of units, 4 KiB each, shared by all queues of a shard.
//!
//! Owned by the shard. New pages stay in memory until they are written, and some of the newest and
//! of the recently read after that. Invariant: a page that a checkpoint on disk may name is never
//! given to another chunk before two later checkpoints are on disk.

use super::{UNIT_LEN, Unit, UnitBytes};
use crate::block::{u16_at, u32_at, u64_at};
use base::{HashMap, QueueId, ShardId};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// Length of a page, in bytes.
pub(crate) const PAGE_LEN: usize = 4_096;
const HEADER_LEN: usize = 36;
/// Units in a full page.
pub(crate) const UNITS_PER_PAGE: usize = (PAGE_LEN - HEADER_LEN) / UNIT_LEN;
const MAGIC: [u8; 4] = *b"RqI1";
const SUM_AT: usize = 4;
const _: () = assert!(HEADER_LEN + UNITS_PER_PAGE * UNIT_LEN == PAGE_LEN);

/// What ties a page to its place and its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageKey {
    pub(crate) shard: ShardId,
    pub(crate) page: u32,
    /// [`Page::fingerprint`] of the queue.
    pub(crate) queue: u32,
    /// Which chunk of the queue.
    pub(crate) chunk: i64,
}

impl PageKey {
    /// The key of another page of the same queue.
    pub(crate) fn neighbour(self, chunk: i64, page: u32) -> Self {
        Self {
            page,
            chunk,
            ..self
        }
    }
}

/// A page in memory.
#[derive(Clone)]
pub(crate) struct Page(Rc<[u8]>);

impl Page {
    pub(crate) fn encode(key: PageKey, units: &[UnitBytes]) -> Self {
        assert_eq!(units.len(), UNITS_PER_PAGE);
        let mut bytes = vec![0; PAGE_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&crate::layout::FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&key.shard.as_u16().to_le_bytes());
        bytes[12..16].copy_from_slice(&key.page.to_le_bytes());
        bytes[16..20].copy_from_slice(&key.queue.to_le_bytes());
        bytes[20..28].copy_from_slice(&key.chunk.to_le_bytes());
        bytes[HEADER_LEN..].copy_from_slice(units.as_flattened());
        let sum = crc32fast::hash(&bytes[SUM_AT + 4..]);
        bytes[SUM_AT..SUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        Self(bytes.into())
    }

    /// Reads a page; `None` when it is damaged or another one.
    pub(crate) fn decode(key: PageKey, bytes: &[u8]) -> Option<Self> {
        let fits = bytes.len() == PAGE_LEN
            && bytes[0..4] == MAGIC
            && u16_at(bytes, 8) == crate::layout::FORMAT_VERSION
            && u16_at(bytes, 10) == key.shard.as_u16()
            && u32_at(bytes, 12) == key.page
            && u32_at(bytes, 16) == key.queue
            && u64_at(bytes, 20).cast_signed() == key.chunk
            && u32_at(bytes, SUM_AT) == crc32fast::hash(&bytes[SUM_AT + 4..]);
        fits.then(|| Self(bytes.into()))
    }

    pub(crate) fn unit(&self, at: usize) -> Unit {
        let start = HEADER_LEN + at * UNIT_LEN;
        Unit::decode(
            self.0[start..]
                .first_chunk()
                .expect("at is below UNITS_PER_PAGE"),
        )
    }

    /// All units, in order.
    pub(crate) fn units(&self) -> impl DoubleEndedIterator<Item = Unit> {
        (0..UNITS_PER_PAGE).map(|at| self.unit(at))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A number that tells queues apart well enough to notice a page at the wrong place.
    pub(crate) fn fingerprint(topic: &str, queue: QueueId) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(topic.as_bytes());
        hasher.update(&queue.0.to_le_bytes());
        hasher.finalize()
    }
}

/// Which pages are in use, and which are in memory.
pub(crate) struct Pages {
    /// First page that was never used.
    next: u32,
    /// The lowest is used first, so that the end of the files becomes free.
    free: BTreeSet<u32>,
    /// Given back since the last checkpoint, and since the one before.
    given_back: [Vec<u32>; 2],
    in_memory: HashMap<u32, Page>,
    /// Order of entry of those in memory that are written.
    clean: VecDeque<u32>,
    dirty: Vec<u32>,
    clean_max: usize,
}

impl Pages {
    /// Knows that `used` are in use and all others are free.
    pub(crate) fn new(used: &[u32], cache_bytes: usize) -> Self {
        let next = used.iter().max().map_or(0, |last| last + 1);
        let taken: base::HashSet<u32> = used.iter().copied().collect();
        Self {
            next,
            free: (0..next).filter(|page| !taken.contains(page)).collect(),
            given_back: [Vec::new(), Vec::new()],
            in_memory: HashMap::default(),
            clean: VecDeque::new(),
            dirty: Vec::new(),
            clean_max: (cache_bytes / PAGE_LEN).max(1),
        }
    }

    /// Makes the page of a full chunk. It is to be written later.
    pub(crate) fn add(
        &mut self,
        shard: ShardId,
        queue: u32,
        chunk: i64,
        units: &[UnitBytes],
    ) -> u32 {
        let page = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let encoded = Page::encode(
            PageKey {
                shard,
                page,
                queue,
                chunk,
            },
            units,
        );
        // A page that was read before it was given back may still be in memory.
        if self.in_memory.insert(page, encoded).is_some() {
            self.clean.retain(|other| *other != page);
        }
        self.dirty.push(page);
        page
    }

    pub(crate) fn get(&self, page: u32) -> Option<&Page> {
        self.in_memory.get(&page)
    }

    /// Keeps a page that was read.
    pub(crate) fn keep(&mut self, page: u32, read: Page) {
        if self.in_memory.insert(page, read).is_none() {
            self.clean.push_back(page);
        }
        self.shrink();
    }

    /// Pages to write, in the order of their numbers.
    pub(crate) fn dirty(&mut self) -> Vec<(u32, Page)> {
        self.dirty.sort_unstable();
        self.dirty
            .iter()
            .map(|page| (*page, self.in_memory[page].clone()))
            .collect()
    }

    /// Whether a page is only in memory yet.
    pub(crate) fn is_dirty(&self, page: u32) -> bool {
        self.dirty.contains(&page)
    }

    pub(crate) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// `page` is written; its memory may go.
    pub(crate) fn written(&mut self, page: u32) {
        if let Some(index) = self.dirty.iter().position(|dirty| *dirty == page) {
            self.dirty.swap_remove(index);
            self.clean.push_back(page);
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.clean.len() > self.clean_max {
            let oldest = self.clean.pop_front().expect("there is one");
            self.in_memory.remove(&oldest);
        }
    }

    /// Takes back the pages of a deleted queue.
    pub(crate) fn give_back(&mut self, pages: &[u32]) {
        for page in pages {
            self.in_memory.remove(page);
        }
        self.dirty.retain(|page| self.in_memory.contains_key(page));
        self.clean.retain(|page| self.in_memory.contains_key(page));
        self.given_back[0].extend_from_slice(pages);
    }

    /// What was given back before the checkpoint that is being taken.
    pub(crate) fn checkpoint_begins(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.given_back[0])
    }

    /// The checkpoint that began was not written.
    pub(crate) fn checkpoint_failed(&mut self, given_back: Vec<u32>) {
        self.given_back[0].extend(given_back);
    }

    /// Forgets free pages behind all others. Gives the number of pages that are left.
    pub(crate) fn cut_free_end(&mut self) -> u32 {
        while self.next > 0 && self.free.remove(&(self.next - 1)) {
            self.next -= 1;
        }
        self.next
    }

    /// A checkpoint that does not name `given_back` is on disk.
    pub(crate) fn checkpoint_done(&mut self, given_back: Vec<u32>) {
        let free = std::mem::replace(&mut self.given_back[1], given_back);
        self.free.extend(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(page: u32) -> PageKey {
        PageKey {
            shard: ShardId::new(1),
            page,
            queue: 77,
            chunk: 5,
        }
    }

    fn units() -> Vec<UnitBytes> {
        (0..UNITS_PER_PAGE)
            .map(|i| Unit::new(512, 576, i as u32 + 1, -1, 512).encode())
            .collect()
    }

    #[test]
    fn a_page_counts_only_at_its_place_and_unchanged() {
        let page = Page::encode(key(9), &units());
        assert_eq!(
            Page::decode(key(9), page.bytes()).unwrap().unit(202).len,
            203
        );
        for other in [
            key(8),
            PageKey { queue: 1, ..key(9) },
            PageKey { chunk: 4, ..key(9) },
        ] {
            assert!(Page::decode(other, page.bytes()).is_none());
        }
        for byte in (0..PAGE_LEN).filter(|byte| !(28..36).contains(byte)) {
            let mut flipped = page.bytes().to_vec();
            flipped[byte] ^= 1;
            assert!(Page::decode(key(9), &flipped).is_none(), "byte {byte}");
        }
    }

    #[test]
    fn a_page_given_back_is_used_again_only_after_two_checkpoints() {
        let mut pages = Pages::new(&[0, 2], 1 << 20);
        let shard = ShardId::new(0);
        assert_eq!(pages.add(shard, 1, 0, &units()), 1);
        pages.give_back(&[0]);
        for expected in [3, 4] {
            assert_eq!(pages.add(shard, 1, 0, &units()), expected);
            let given_back = pages.checkpoint_begins();
            pages.checkpoint_done(given_back);
        }
        assert_eq!(pages.add(shard, 1, 0, &units()), 0);
    }

    #[test]
    fn free_pages_at_the_end_are_forgotten_and_those_between_are_used_first() {
        let mut pages = Pages::new(&[1, 4, 9], 1 << 20);
        assert_eq!(pages.cut_free_end(), 10);
        pages.give_back(&[9]);
        for left in [10, 5] {
            let given_back = pages.checkpoint_begins();
            pages.checkpoint_done(given_back);
            assert_eq!(pages.cut_free_end(), left);
        }
        let next = [0, 2, 3, 5].map(|_| pages.add(ShardId::new(0), 1, 0, &units()));
        assert_eq!(next, [0, 2, 3, 5]);
    }

    #[test]
    fn an_unwritten_page_stays_in_memory() {
        let mut pages = Pages::new(&[], PAGE_LEN);
        for _ in 0..5 {
            pages.add(ShardId::new(0), 1, 0, &units());
        }
        assert_eq!(pages.dirty().len(), 5);
        for page in 0..5 {
            assert!(pages.get(page).is_some());
            pages.written(page);
        }
        assert_eq!((0..5).filter(|page| pages.get(*page).is_some()).count(), 1);
        assert_eq!(pages.dirty_len(), 0);
    }
}
