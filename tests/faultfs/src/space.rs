//! How much the file system holds: pages of 4 KiB per file, and a limit that can be moved.
//!
//! Owned by the mount. Counts as a disk does: a page costs when it is first written or allocated,
//! a hole costs nothing, and a removed file gives back with its last open handle. Invariant: an
//! operation that is refused has claimed nothing.

use std::collections::BTreeMap;

pub(crate) const PAGE_LEN: u64 = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Space {
    limit: Option<u64>,
    pages: u64,
    files: BTreeMap<u64, Vec<u64>>,
}

impl Space {
    pub(crate) fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(crate) fn used(&self) -> u64 {
        self.pages * PAGE_LEN
    }

    /// Takes the pages of a range; false, and nothing taken, when the limit forbids it.
    pub(crate) fn claim(&mut self, node: u64, offset: u64, len: u64) -> bool {
        if len == 0 {
            return true;
        }
        let (first, last) = (offset / PAGE_LEN, (offset + len - 1) / PAGE_LEN);
        let bits = self.files.entry(node).or_default();
        let words = (last / 64 + 1) as usize;
        let is_set = |bits: &[u64], page: u64| {
            bits.get((page / 64) as usize)
                .is_some_and(|word| word >> (page % 64) & 1 == 1)
        };
        let fresh = (first..=last).filter(|page| !is_set(bits, *page)).count() as u64;
        let after = (self.pages + fresh) * PAGE_LEN;
        if fresh > 0 && self.limit.is_some_and(|limit| after > limit) {
            return false;
        }
        if bits.len() < words {
            bits.resize(words, 0);
        }
        for page in first..=last {
            bits[(page / 64) as usize] |= 1 << (page % 64);
        }
        self.pages += fresh;
        true
    }

    /// Gives back what lies behind the new end of a file.
    pub(crate) fn cut(&mut self, node: u64, len: u64) {
        let Some(bits) = self.files.get_mut(&node) else {
            return;
        };
        let keep = len.div_ceil(PAGE_LEN);
        for (index, word) in bits.iter_mut().enumerate() {
            let base = index as u64 * 64;
            let mask = match keep.saturating_sub(base) {
                0 => 0,
                64.. => u64::MAX,
                bits => (1 << bits) - 1,
            };
            self.pages -= u64::from((*word & !mask).count_ones());
            *word &= mask;
        }
    }

    /// Gives back a whole file.
    pub(crate) fn remove(&mut self, node: u64) {
        self.cut(node, 0);
        self.files.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fresh_pages_cost_and_a_cut_gives_them_back() {
        let mut space = Space::default();
        space.set_limit(Some(3 * PAGE_LEN));
        assert!(space.claim(1, 0, 8_192));
        assert!(space.claim(1, 100, 5_000), "rewriting is free");
        assert!(!space.claim(2, 0, 8_192));
        assert_eq!(space.used(), 8_192, "a refused claim takes nothing");
        assert!(space.claim(2, 400 * PAGE_LEN, 1));
        space.cut(1, 4_097);
        assert_eq!(space.used(), 3 * PAGE_LEN);
        space.cut(1, 4_096);
        space.remove(2);
        assert_eq!(space.used(), PAGE_LEN);
    }
}
