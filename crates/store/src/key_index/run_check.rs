//! Checking a run page by page, from its first to its last.
//!
//! Pure. Invariant: a run without a finding is one that a search and a merge read without an error.

use super::keys::Entry;
use super::page::{ENTRIES_PER_PAGE, RunHead, RunKey, decode_head, decode_page};
use base::ShardId;

/// See the module.
pub(crate) struct RunCheck {
    shard: ShardId,
    secret: u32,
    number: u64,
    head: Option<(RunKey, RunHead)>,
    place: u64,
    good: u64,
    last: Option<Entry>,
    entries: u64,
    /// The first page with something wrong, and what.
    bad: Option<(u64, &'static str)>,
}

impl RunCheck {
    pub(crate) fn new(shard: ShardId, secret: u32, number: u64) -> Self {
        Self {
            shard,
            secret,
            number,
            head: None,
            place: 0,
            good: 0,
            last: None,
            entries: 0,
            bad: None,
        }
    }

    /// The next page.
    pub(crate) fn page(&mut self, bytes: &[u8]) {
        match self.judge(bytes) {
            Ok(()) => self.good += 1,
            Err(what) => self.bad = self.bad.or(Some((self.place, what))),
        }
        self.place += 1;
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if self.place == 0 {
            self.head = decode_head(self.shard, self.secret, self.number, bytes);
            return self.head.map(drop).ok_or("is damaged");
        }
        // Without a head nothing more can be said.
        let Some((key, head)) = self.head else {
            return Ok(());
        };
        if self.place > head.pages() {
            return Err("is one too many");
        }
        let entries = decode_page(key, self.place as u32, bytes);
        let is_last = self.place == head.pages();
        let entries = entries.filter(|entries| is_last || entries.len() == ENTRIES_PER_PAGE);
        let entries = entries.ok_or("is damaged")?;
        self.entries += entries.len() as u64;
        for entry in entries {
            let follows = self.last.is_none_or(|last| last.order() <= entry.order());
            let is_inside = (head.from..head.to).contains(&entry.position());
            self.last = Some(entry);
            if !follows || !is_inside {
                return Err("has entries in a wrong order or of another part of the log");
            }
        }
        Ok(())
    }

    /// Good pages, and the first one with something wrong.
    pub(crate) fn end(self) -> (u64, Option<(u64, &'static str)>) {
        let is_whole = self
            .head
            .is_some_and(|(_, head)| self.entries == head.entries);
        let missing = (!is_whole).then_some((self.place, "is missing"));
        (self.good, self.bad.or(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::{PAGE_LEN, encode_head, encode_page};
    use super::*;

    const KEY: RunKey = RunKey {
        shard: ShardId::new(1),
        secret: 5,
        number: 9,
        mark: 77,
    };

    fn run(entries: &[Entry]) -> Vec<Vec<u8>> {
        let head = RunHead {
            from: 512,
            to: 1 << 20,
            entries: entries.len() as u64,
            times: (1, 2),
            last: (0, 0),
        };
        let mut pages = vec![vec![0; PAGE_LEN]];
        encode_head(KEY, &head, &mut pages[0]);
        for (i, entries) in entries.chunks(ENTRIES_PER_PAGE).enumerate() {
            let mut page = vec![0; PAGE_LEN];
            encode_page(KEY, i as u32 + 1, entries, &mut page);
            pages.push(page);
        }
        pages
    }

    fn judged(pages: &[Vec<u8>]) -> (u64, Option<u64>) {
        let mut check = RunCheck::new(KEY.shard, KEY.secret, KEY.number);
        for page in pages {
            check.page(page);
        }
        let (good, bad) = check.end();
        (good, bad.map(|(page, _)| page))
    }

    #[test]
    fn a_run_with_anything_wrong_is_told_by_its_first_bad_page() {
        let mut entries: Vec<_> = (0..600)
            .map(|i| Entry::new(i * 7, 512, 600 + i, 512))
            .collect();
        let pages = run(&entries);
        assert_eq!(judged(&pages), (4, None));
        assert_eq!(judged(&run(&[])), (1, None));
        for (index, page) in pages.iter().enumerate() {
            let mut pages = pages.clone();
            pages[index] = page.clone();
            pages[index][100] ^= 1;
            assert_eq!(judged(&pages).1, Some(index as u64));
        }
        assert_eq!(judged(&pages[..3]).1, Some(3), "cut");
        assert_eq!(judged(&[]).1, Some(0), "empty");
        assert_eq!(judged(&[&pages[..], &pages[3..]].concat()).1, Some(4));
        entries.swap(300, 301);
        assert_eq!(judged(&run(&entries)).1, Some(2), "order");
        entries.sort_by_key(|entry| entry.order());
        entries[599] = Entry::new(u64::MAX, 1 << 21, 1 << 21, 512);
        assert_eq!(judged(&run(&entries)).1, Some(3), "outside");
    }
}
