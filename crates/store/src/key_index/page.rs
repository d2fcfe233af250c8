//! Pages of a run of the key index: 4 KiB, each with its checksum and its own name.
//!
//! Pure: bytes in, values out. Page 0 is the head of the run, the others hold entries in order.
//! Invariant: a page counts only in its own run, at its own place, whole and unchanged; the
//! checksum starts from the shard's secret, so that no other store's page is taken for one.

use super::keys::{ENTRY_LEN, Entry};
use crate::block::{u16_at, u32_at, u64_at};
use base::ShardId;

/// Length of a page, in bytes.
pub(crate) const PAGE_LEN: usize = 4_096;
const HEADER_LEN: usize = 32;
/// How many entries a page holds; all but the last page of a run are full.
pub(crate) const ENTRIES_PER_PAGE: usize = (PAGE_LEN - HEADER_LEN) / ENTRY_LEN;
const HEAD_MAGIC: [u8; 4] = *b"RqK1";
const PAGE_MAGIC: [u8; 4] = *b"RqK2";
const SUM_AT: usize = 4;

/// What ties a page to its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunKey {
    pub(crate) shard: ShardId,
    pub(crate) secret: u32,
    /// Names the file; counts up.
    pub(crate) number: u64,
    /// Drawn anew for each run: a number may be used again after its run is gone.
    pub(crate) mark: u32,
}

/// What a run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunHead {
    /// Every key of every message that lies in `from..to` of the log is in the run.
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) entries: u64,
    /// Least and greatest store time of the messages; the least is above when there is none.
    pub(crate) times: (i64, i64),
    /// Position and store time of the last message with a key; 0 when there is none.
    pub(crate) last: (u64, i64),
}

impl RunHead {
    /// Pages of entries, after the head.
    pub(crate) fn pages(&self) -> u64 {
        self.entries.div_ceil(ENTRIES_PER_PAGE as u64)
    }
}

/// Fills the page of a run's head.
pub(crate) fn encode_head(key: RunKey, head: &RunHead, out: &mut [u8]) {
    out[32..40].copy_from_slice(&head.from.to_le_bytes());
    out[40..48].copy_from_slice(&head.to.to_le_bytes());
    out[48..56].copy_from_slice(&head.entries.to_le_bytes());
    out[56..64].copy_from_slice(&head.times.0.to_le_bytes());
    out[64..72].copy_from_slice(&head.times.1.to_le_bytes());
    out[72..80].copy_from_slice(&head.last.0.to_le_bytes());
    out[80..88].copy_from_slice(&head.last.1.to_le_bytes());
    seal(HEAD_MAGIC, key, 0, 0, out);
}

/// Reads the page of a run's head. The mark is what the page says.
pub(crate) fn decode_head(
    shard: ShardId,
    secret: u32,
    number: u64,
    page: &[u8],
) -> Option<(RunKey, RunHead)> {
    let mark = u32_at(page.get(..PAGE_LEN)?, 24);
    let key = RunKey {
        shard,
        secret,
        number,
        mark,
    };
    check(HEAD_MAGIC, key, 0, page)?;
    let head = RunHead {
        from: u64_at(page, 32),
        to: u64_at(page, 40),
        entries: u64_at(page, 48),
        times: (
            u64_at(page, 56).cast_signed(),
            u64_at(page, 64).cast_signed(),
        ),
        last: (u64_at(page, 72), u64_at(page, 80).cast_signed()),
    };
    (head.from <= head.to).then_some((key, head))
}

/// Fills page `place` (from 1) of a run with entries.
pub(crate) fn encode_page(key: RunKey, place: u32, entries: &[Entry], out: &mut [u8]) {
    assert!((1..=ENTRIES_PER_PAGE).contains(&entries.len()));
    let slots = out[HEADER_LEN..].chunks_exact_mut(ENTRY_LEN);
    slots
        .zip(entries)
        .for_each(|(slot, entry)| entry.encode(slot));
    seal(PAGE_MAGIC, key, place, entries.len() as u16, out);
}

/// Entries of page `place` of a run, in order; `None` when it is damaged or another one.
pub(crate) fn decode_page(key: RunKey, place: u32, page: &[u8]) -> Option<Vec<Entry>> {
    let count = usize::from(check(PAGE_MAGIC, key, place, page)?);
    if !(1..=ENTRIES_PER_PAGE).contains(&count) {
        return None;
    }
    let slots = page[HEADER_LEN..].chunks_exact(ENTRY_LEN);
    Some(slots.take(count).map(Entry::decode).collect())
}

fn seal(magic: [u8; 4], key: RunKey, place: u32, count: u16, out: &mut [u8]) {
    assert_eq!(out.len(), PAGE_LEN);
    out[0..4].copy_from_slice(&magic);
    out[8..10].copy_from_slice(&crate::layout::FORMAT_VERSION.to_le_bytes());
    out[10..12].copy_from_slice(&key.shard.as_u16().to_le_bytes());
    out[12..20].copy_from_slice(&key.number.to_le_bytes());
    out[20..24].copy_from_slice(&place.to_le_bytes());
    out[24..28].copy_from_slice(&key.mark.to_le_bytes());
    out[28..30].copy_from_slice(&count.to_le_bytes());
    let sum = checksum(key.secret, out);
    out[SUM_AT..SUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Checks everything that does not depend on the kind of page. Gives the number of entries.
fn check(magic: [u8; 4], key: RunKey, place: u32, page: &[u8]) -> Option<u16> {
    let fits = page.len() == PAGE_LEN
        && page[0..4] == magic
        && u16_at(page, 8) == crate::layout::FORMAT_VERSION
        && u16_at(page, 10) == key.shard.as_u16()
        && u64_at(page, 12) == key.number
        && u32_at(page, 20) == place
        && u32_at(page, 24) == key.mark
        && u32_at(page, SUM_AT) == checksum(key.secret, page);
    fits.then(|| u16_at(page, 28))
}

fn checksum(secret: u32, page: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(secret);
    hasher.update(&page[SUM_AT + 4..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RunKey = RunKey {
        shard: ShardId::new(3),
        secret: 11,
        number: 7,
        mark: 99,
    };

    fn entries() -> Vec<Entry> {
        (0..5)
            .map(|i| Entry::new(i * 1_000, 512, 600 + i, 512))
            .collect()
    }

    fn page() -> Vec<u8> {
        let mut page = vec![0; PAGE_LEN];
        encode_page(KEY, 4, &entries(), &mut page);
        page
    }

    #[test]
    fn a_page_counts_only_in_its_run_at_its_place_and_unchanged() {
        let page = page();
        assert_eq!(decode_page(KEY, 4, &page), Some(entries()));
        assert_eq!(decode_page(KEY, 5, &page), None);
        for key in [
            RunKey {
                shard: ShardId::new(2),
                ..KEY
            },
            RunKey { secret: 12, ..KEY },
            RunKey { number: 8, ..KEY },
            RunKey { mark: 98, ..KEY },
        ] {
            assert_eq!(decode_page(key, 4, &page), None);
        }
        for byte in 0..PAGE_LEN {
            let mut flipped = page.clone();
            flipped[byte] ^= 1;
            assert_eq!(decode_page(KEY, 4, &flipped), None, "byte {byte}");
        }
        for len in [0, 3, 31, 4_095] {
            assert_eq!(decode_page(KEY, 4, &page[..len]), None, "cut at {len}");
        }
        assert_eq!(decode_head(KEY.shard, KEY.secret, KEY.number, &page), None);
    }

    #[test]
    fn a_head_reads_back_and_a_damaged_one_does_not() {
        let head = RunHead {
            from: 512,
            to: 8_192,
            entries: 300,
            times: (-1, 1_700_000_000_000),
            last: (8_000, 1_600_000_000_000),
        };
        assert_eq!(head.pages(), 2);
        let mut page = vec![0; PAGE_LEN];
        encode_head(KEY, &head, &mut page);
        let decode = |page: &[u8]| decode_head(KEY.shard, KEY.secret, KEY.number, page);
        assert_eq!(decode(&page), Some((KEY, head)));
        for byte in 0..PAGE_LEN {
            let mut flipped = page.clone();
            flipped[byte] ^= 1;
            assert_eq!(decode(&flipped), None, "byte {byte}");
        }
        for len in [0, 27, 88, 4_095] {
            assert_eq!(decode(&page[..len]), None, "cut at {len}");
        }
    }
}
