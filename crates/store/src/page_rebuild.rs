//! Making damaged pages of the queue index again, from the log.
//!
//! A damaged page is made again together with its damaged neighbours in the queue, in one pass over
//! that part of the log which the next good pages on both sides leave open, and written back. Places
//! whose message cannot be read any more are marked as lost. Invariant: a page is written only while
//! its queue names it.

use crate::block::{BlockHeader, HEADER_LEN};
use crate::consume_queue::pages::{Page, PageKey, UNITS_PER_PAGE};
use crate::consume_queue::{Queue, Unit, UnitBytes};
use crate::damage::Left;
use crate::error::ReadError;
use crate::record::{self, Record, RecordKind, TAG_LEN};
use crate::store::Inner;
use rt::Rt;
use std::borrow::Cow;
use std::ops::Range;

/// Pages that are made again at once, at most; each takes 4 KiB of memory meanwhile.
const STRETCH_MAX: usize = 1_024;

/// Damaged pages of one queue that follow each other.
struct Stretch {
    /// Of the first page.
    first: PageKey,
    pages: Vec<u32>,
    /// Where their messages lie in the log; it begins where a block does.
    log: Range<u64>,
    units: Vec<UnitBytes>,
}

/// A page made again.
pub(crate) struct Rebuilt {
    pub(crate) page: Page,
    /// Whether it is on the disk again.
    pub(crate) is_written: bool,
}

impl<R: Rt> Inner<R> {
    /// Makes a damaged page again, and the damaged pages around it.
    pub(crate) async fn rebuild_page(&self, key: PageKey) -> Result<Rebuilt, ReadError> {
        let mut stretch = self.stretch_around(key).await;
        for page in &stretch.pages {
            self.damaged_page(*page);
            base::reached!(PageRebuilt);
        }
        self.collect(&mut stretch).await?;
        let chunks = stretch.units.chunks_exact(UNITS_PER_PAGE);
        let mut pages: Vec<(PageKey, Page)> = (0..)
            .zip(chunks)
            .map(|(i, units)| (stretch.key(i), Page::encode(stretch.key(i), units)))
            .collect();
        let asked = pages.iter().find(|(other, _)| *other == key);
        let page = asked.expect("the stretch is around it").1.clone();
        // The queue may be gone meanwhile, or have lost its beginning.
        pages.retain(|(key, _)| self.names_page(*key));
        let is_written = self.write_back(&pages).await;
        Ok(Rebuilt { page, is_written })
    }

    /// What fails here fails again where it counts: at the next checkpoint.
    async fn write_back(&self, pages: &[(PageKey, Page)]) -> bool {
        if self.fenced.borrow().is_some() {
            return false;
        }
        let mut pages: Vec<_> = pages.iter().map(|(key, p)| (key.page, p.clone())).collect();
        pages.sort_unstable_by_key(|(page, _)| *page);
        self.page_files.write(&pages, |_| {}).await.is_ok()
    }

    /// Whether a queue has this page now.
    fn names_page(&self, key: PageKey) -> bool {
        let queues = self.queues.borrow();
        queues.iter().any(|queue| has_page(queue, key))
    }

    /// The damaged pages around one that is damaged, and what part of the log they are about.
    async fn stretch_around(&self, key: PageKey) -> Stretch {
        let (chunks, end) = {
            let queues = self.queues.borrow();
            let queue = queues.iter().find(|queue| has_page(queue, key));
            let chunks = queue.map(|queue| (queue.first_chunk(), queue.pages.clone()));
            let tail = queue.and_then(|queue| queue.tail.first()).map(Unit::decode);
            let end = tail
                .filter(|unit| !unit.is_lost())
                .map(|unit| unit.position);
            (chunks, end)
        };
        let (start, written) = {
            let log = self.log.borrow();
            (log.segments.start(), log.written())
        };
        let mut stretch = Stretch {
            first: key,
            pages: vec![key.page],
            log: start..written,
            units: Vec::new(),
        };
        if let Some((first_chunk, pages)) = chunks {
            let at = usize::try_from(key.chunk - first_chunk).expect("the queue has the page");
            let (mut from, mut to) = (at, at + 1);
            let mut before = None;
            while from > 0 && before.is_none() && to - from < STRETCH_MAX {
                let other = key.neighbour(first_chunk + from as i64 - 1, pages[from - 1]);
                before = self.good_page(other).await;
                from -= usize::from(before.is_none());
            }
            let mut after = None;
            while to < pages.len() && after.is_none() && to - from < STRETCH_MAX {
                let other = key.neighbour(first_chunk + to as i64, pages[to]);
                after = self.good_page(other).await;
                to += usize::from(after.is_none());
            }
            stretch.first = key.neighbour(first_chunk + from as i64, pages[from]);
            stretch.pages = pages[from..to].to_vec();
            let last = before.and_then(|page| page.units().rfind(|unit| !unit.is_lost()));
            let align = self.settings.block_align;
            stretch.log.start = last.map_or(start, |unit| unit.block(align).max(start));
            let next = after.and_then(|page| page.units().find(|unit| !unit.is_lost()));
            let next = next.map(|unit| unit.position);
            let next = if to == pages.len() { end } else { next };
            stretch.log.end = next.map_or(written, |next| next.min(written));
        }
        stretch.units = vec![Unit::LOST.encode(); stretch.pages.len() * UNITS_PER_PAGE];
        stretch
    }

    async fn good_page(&self, key: PageKey) -> Option<Page> {
        if let Some(page) = self.pages.borrow().get(key.page) {
            return Some(page.clone());
        }
        let bytes = self.page_files.read(key.page).await.ok()?;
        Page::decode(key, &bytes)
    }

    /// Goes through the stretch's part of the log once.
    async fn collect(&self, stretch: &mut Stretch) -> Result<(), ReadError> {
        let mut position = stretch.log.start;
        // Only what begins where a block ends is looked at when it is damaged.
        let mut is_start = true;
        while position < stretch.log.end {
            let settled = self.skip_segment_header(position);
            is_start |= settled > position;
            position = settled;
            let bytes = self.read_for_rebuild(position).await?;
            let checked = self.checked(position, &bytes);
            let good = checked.map(|(header, block)| (header, Cow::Borrowed(block)));
            let good: Option<(BlockHeader, Cow<'_, [u8]>)> = match good {
                None if is_start && bytes.iter().any(|byte| *byte != 0) => {
                    match self.damaged_block(position, &bytes) {
                        Left::Whole(header, block) => Some((header, Cow::Owned(block))),
                        Left::Parts(proven) => {
                            self.collect_proven(stretch, position, &bytes, &proven);
                            None
                        }
                    }
                }
                good => good,
            };
            is_start = good.is_some();
            let Some((header, block)) = good else {
                // Segments may have gone meanwhile.
                let start = self.log.borrow().segments.start();
                position = (position + self.settings.block_align as u64).max(start);
                continue;
            };
            self.collect_units(stretch, position, &block[HEADER_LEN..]);
            let segment_bytes = self.settings.segment_bytes;
            position = if header.end_of_segment {
                position - position % segment_bytes + segment_bytes
            } else {
                header.end()
            };
        }
        Ok(())
    }

    async fn read_for_rebuild(&self, position: u64) -> Result<Vec<u8>, ReadError> {
        let bytes = self
            .read_log(position, 2 * self.settings.block_bytes)
            .await?;
        let need = self
            .peek(position, &bytes)
            .map_or(0, |header| header.used_len());
        if need > bytes.len() && self.may_be_block(need) {
            return self.read_log(position, need).await;
        }
        Ok(bytes)
    }

    /// Takes over the messages of a damaged block that are proven good.
    fn collect_proven(&self, stretch: &mut Stretch, block: u64, bytes: &[u8], proven: &[u64]) {
        for position in proven {
            let at = (position - block) as usize - TAG_LEN;
            let found = bytes.get(at..).and_then(record::first);
            if let Some((Record::Message { tags_code, unit }, _)) = found {
                self.place_unit(stretch, block, *position, tags_code, unit);
            }
        }
    }

    /// Takes over the units of a block's messages. A queue of that name that was deleted in between
    /// leaves nothing.
    fn collect_units(&self, stretch: &mut Stretch, block: u64, payload: &[u8]) {
        let mut at = 0;
        while let Some((record, len)) = payload.get(at..).and_then(record::first) {
            match record {
                Record::Message { tags_code, unit } => {
                    let position = block + (HEADER_LEN + at + TAG_LEN) as u64;
                    self.place_unit(stretch, block, position, tags_code, unit);
                }
                Record::Internal {
                    kind: RecordKind::QUEUE_DELETED,
                    payload,
                } => {
                    let deleted = record::deleted_queue(payload);
                    let fingerprint = stretch.first.queue;
                    if deleted
                        .is_some_and(|(topic, id)| Page::fingerprint(topic, id) == fingerprint)
                    {
                        stretch.units.fill(Unit::LOST.encode());
                    }
                }
                Record::Internal { .. } => {}
            }
            at += len;
        }
    }

    fn place_unit(
        &self,
        stretch: &mut Stretch,
        block: u64,
        position: u64,
        tags_code: i64,
        unit: &[u8],
    ) {
        let first = stretch.first.chunk * UNITS_PER_PAGE as i64;
        let fingerprint = stretch.first.queue;
        let head = record::message_head(unit)
            .filter(|head| Page::fingerprint(head.topic, head.queue_id) == fingerprint);
        let index = head.map_or(-1, |head| head.queue_offset.0 - first);
        let place = usize::try_from(index).ok();
        if let Some(place) = place.and_then(|i| stretch.units.get_mut(i)) {
            let align = self.settings.block_align;
            *place = Unit::new(block, position, unit.len() as u32, tags_code, align).encode();
        }
    }
}

impl Stretch {
    /// Key of its page `index`.
    fn key(&self, index: usize) -> PageKey {
        let chunk = self.first.chunk + index as i64;
        self.first.neighbour(chunk, self.pages[index])
    }
}

fn has_page(queue: &Queue, key: PageKey) -> bool {
    let index = usize::try_from(key.chunk - queue.first_chunk()).ok();
    let page = index.and_then(|index| queue.pages.get(index));
    page == Some(&key.page) && queue.fingerprint() == key.queue
}
