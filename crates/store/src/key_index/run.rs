//! Runs: files of sorted entries that never change, how they are written and searched.
//!
//! Owned by the shard. A run is written under another name and gets its own when it is whole and
//! synced, so a file with a run's name is a run. It is searched by guessing the page from the hash,
//! which is spread evenly, and costs no memory. Invariant: entries are in order of hash and place.

use super::keys::Entry;
use super::page::{
    ENTRIES_PER_PAGE, PAGE_LEN, RunHead, RunKey, decode_head, decode_page, encode_head, encode_page,
};
use crate::fresh_file::fresh_file;
use crate::layout::ShardPaths;
use base::ShardId;
use rt::{Disk, File, IoBuf, OpenMode};
use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

/// Pages that are written at once.
const WRITE_PAGES: usize = 64;
/// Guesses from the hash before a search halves what is left.
const GUESSES_MAX: u32 = 4;

/// A run on disk.
pub(crate) struct Run<F> {
    pub(crate) key: RunKey,
    pub(crate) head: RunHead,
    pub(crate) path: PathBuf,
    /// A page did not check out or could not be read: the run is to be made again.
    pub(crate) is_damaged: Cell<bool>,
    file: F,
}

/// What went wrong with a page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("page {place} is damaged")]
    Damaged { place: u64 },
    #[error("page {place} cannot be read: {source}")]
    Io { place: u64, source: io::Error },
}

impl<F: File> Run<F> {
    /// Opens a run and reads its head; `None` when the file is not a whole run of this shard.
    pub(crate) async fn open<D: Disk<File = F>>(
        disk: &D,
        shard: ShardId,
        secret: u32,
        number: u64,
        path: PathBuf,
    ) -> io::Result<Option<Self>> {
        let file = disk.open(&path, OpenMode::Read).await?;
        let page = file.read_at(0, PAGE_LEN).await?;
        let Some((key, head)) = decode_head(shard, secret, number, &page) else {
            return Ok(None);
        };
        let is_whole = file.size().await? >= (1 + head.pages()) * PAGE_LEN as u64;
        Ok(is_whole.then_some(Self {
            key,
            head,
            path,
            is_damaged: Cell::new(false),
            file,
        }))
    }

    /// Entries of a page; pages of entries are counted from 0 here.
    async fn page(&self, index: u64) -> Result<Vec<Entry>, PageError> {
        let place = index + 1;
        let read = self.file.read_at(place * PAGE_LEN as u64, PAGE_LEN).await;
        let bytes = read.map_err(|source| PageError::Io { place, source })?;
        let is_last = place == self.head.pages();
        let entries = decode_page(self.key, place as u32, &bytes)
            .filter(|entries| is_last || entries.len() == ENTRIES_PER_PAGE);
        entries.ok_or(PageError::Damaged { place })
    }

    /// The page in which the last entry of `hash` or a lower one lies.
    async fn page_of(&self, hash: u64) -> Result<Option<(u64, Vec<Entry>)>, PageError> {
        // The first entry of page `low` is not above, that of page `high` is.
        let (mut low, mut high) = (0, self.head.pages());
        let (mut low_hash, mut high_hash) = (0, u64::MAX);
        let mut low_page = None;
        let mut guesses = 0;
        while low < high {
            let middle = if guesses < GUESSES_MAX {
                guess(hash, low..high, low_hash..high_hash)
            } else {
                low + (high - low) / 2
            };
            guesses += 1;
            let middle = if low_page.is_some() {
                middle.max(low + 1)
            } else {
                middle
            };
            if middle >= high {
                break;
            }
            let page = self.page(middle).await?;
            let (first, last) = (page[0].hash, page[page.len() - 1].hash);
            if first > hash {
                (high, high_hash) = (middle, first);
            } else if last > hash {
                return Ok(Some((middle, page)));
            } else {
                (low, low_hash, low_page) = (middle, last, Some(page));
                if low + 1 == high {
                    break;
                }
            }
        }
        Ok(low_page.map(|page| (low, page)))
    }

    /// Up to `count_max` entries of `hash` that lie before `before`, the last one in the log first.
    pub(crate) async fn find(&self, hash: u64, count_max: usize) -> Result<Vec<Entry>, PageError> {
        let mut found = Vec::new();
        let Some((mut index, mut page)) = self.page_of(hash).await? else {
            return Ok(found);
        };
        loop {
            let end = page.partition_point(|entry| entry.hash <= hash);
            let same = page[..end]
                .iter()
                .rev()
                .take_while(|entry| entry.hash == hash);
            found.extend(same.take(count_max - found.len()));
            let goes_on = page[0].hash == hash && index > 0 && found.len() < count_max;
            if !goes_on {
                return Ok(found);
            }
            index -= 1;
            page = self.page(index).await?;
        }
    }

    /// Entries of up to `count` pages from `index` on.
    pub(crate) async fn pages(&self, index: u64, count: u64) -> Result<Vec<Entry>, PageError> {
        let place = index + 1;
        let count = count.min(self.head.pages().saturating_sub(index));
        let len = count as usize * PAGE_LEN;
        let read = self.file.read_at(place * PAGE_LEN as u64, len).await;
        let bytes = read.map_err(|source| PageError::Io { place, source })?;
        let mut entries = Vec::with_capacity(count as usize * ENTRIES_PER_PAGE);
        for i in 0..count {
            let at = i as usize * PAGE_LEN;
            let page = bytes.get(at..at + PAGE_LEN).unwrap_or(&[]);
            let page = decode_page(self.key, (place + i) as u32, page);
            entries.extend(page.ok_or(PageError::Damaged { place: place + i })?);
        }
        Ok(entries)
    }
}

/// Where in `pages` the last entry of `hash` should lie when hashes from `hashes` fill them evenly.
fn guess(hash: u64, pages: std::ops::Range<u64>, hashes: std::ops::Range<u64>) -> u64 {
    let span = u128::from(hashes.end.saturating_sub(hashes.start)).max(1);
    let into = u128::from(hash.saturating_sub(hashes.start)).min(span);
    let steps = u128::from(pages.end - pages.start) * into / span;
    (pages.start + steps as u64).min(pages.end - 1)
}

/// Writes one run, entries in order.
pub(crate) struct RunWriter<D: Disk> {
    disk: D,
    key: RunKey,
    file: D::File,
    beside: PathBuf,
    path: PathBuf,
    dir: PathBuf,
    /// Entries of pages that are not written yet.
    waiting: Vec<Entry>,
    /// Pages of entries that are written.
    written: u64,
    entries: u64,
}

impl<D: Disk> RunWriter<D> {
    pub(crate) async fn create(disk: &D, paths: &ShardPaths, key: RunKey) -> io::Result<Self> {
        let path = paths.key_run(key.number);
        let beside = paths.key_run_beside(key.number);
        Ok(Self {
            file: fresh_file(disk, &beside).await?,
            disk: disk.clone(),
            key,
            beside,
            path,
            dir: paths.keys.clone(),
            waiting: Vec::with_capacity(WRITE_PAGES * ENTRIES_PER_PAGE),
            written: 0,
            entries: 0,
        })
    }

    /// Adds an entry; true when it is time to [`Self::write`].
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        self.waiting.push(entry);
        self.entries += 1;
        self.waiting.len() >= WRITE_PAGES * ENTRIES_PER_PAGE
    }

    /// Writes the pages that wait. Gives their length in bytes.
    pub(crate) async fn write(&mut self) -> io::Result<u64> {
        if self.waiting.is_empty() {
            return Ok(0);
        }
        let pages = self.waiting.chunks(ENTRIES_PER_PAGE);
        let mut buf = self.disk.alloc(pages.len() * PAGE_LEN);
        let count = pages.len() as u64;
        for (i, (slot, entries)) in buf
            .as_bytes_mut()
            .chunks_exact_mut(PAGE_LEN)
            .zip(pages)
            .enumerate()
        {
            let place = self.written + 1 + i as u64;
            encode_page(self.key, place as u32, entries, slot);
        }
        let position = (self.written + 1) * PAGE_LEN as u64;
        self.file.write_at(Rc::new(buf), position).await?;
        self.waiting.clear();
        self.written += count;
        Ok(count * PAGE_LEN as u64)
    }

    /// Writes the rest and the head, syncs, and gives the file its name: the run is durable. Without
    /// a head, or when that fails, the file goes.
    pub(crate) async fn finish(mut self, head: io::Result<RunHead>) -> io::Result<Run<D::File>> {
        let finished = match head {
            Ok(head) => self.finish_file(head).await.map(|()| head),
            Err(error) => Err(error),
        };
        match finished {
            Ok(head) => Ok(Run {
                key: self.key,
                head,
                path: self.path,
                is_damaged: Cell::new(false),
                file: self.file,
            }),
            Err(error) => {
                // What cannot be removed now is removed by the next start.
                let _ = self.disk.remove(&self.beside).await;
                Err(error)
            }
        }
    }

    async fn finish_file(&mut self, head: RunHead) -> io::Result<()> {
        assert_eq!(head.entries, self.entries);
        self.write().await?;
        assert_eq!(head.pages(), self.written);
        let mut buf = self.disk.alloc(PAGE_LEN);
        encode_head(self.key, &head, buf.as_bytes_mut());
        self.file.write_at(Rc::new(buf), 0).await?;
        self.file.datasync().await?;
        self.disk.rename(&self.beside, &self.path).await?;
        self.disk.sync_dir(&self.dir).await
    }
}
