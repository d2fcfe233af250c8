//! The bytes of one file: what programs see, what is durable, and what lies between.
//!
//! Owned by a file system. Live bytes are what a read returns; durable bytes are what certainly
//! survives a power cut; pending changes were made after the last successful sync, and a power
//! cut keeps any subset of their 512-byte sectors. Growth is metadata: unless synced, it is lost
//! or kept as a whole, and a kept length over a lost sector reads as zeros.

use crate::seed::Rng;
use std::collections::BTreeSet;

/// What a device writes or loses as a whole, in bytes.
pub(crate) const SECTOR: usize = 512;

/// One change since the last sync.
#[derive(Debug)]
pub(crate) enum Change {
    Write { position: u64, bytes: Vec<u8> },
    Truncate { len: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Inode {
    pub(crate) live: Vec<u8>,
    durable: Vec<u8>,
    /// In the order of completion, each with its number.
    pending: Vec<(u64, Change)>,
    next_change: u64,
    /// Writes handed to the device and not reported done yet.
    in_flight: Vec<(u64, u64, Vec<u8>)>,
    /// Room reserved beyond the length.
    pub(crate) reserved: u64,
    /// Open handles.
    pub(crate) handles: usize,
    /// Pages that were stored to through a map since they last reached the disk.
    mapped: BTreeSet<usize>,
    /// Syncs that failed.
    pub(crate) failed_syncs: u64,
    /// Whether anything changed since live and durable bytes were last made equal.
    is_changed: bool,
}

/// The unit in which the kernel writes mapped files back, in bytes.
const PAGE: usize = 4_096;

/// Which sectors of unsynced writes a power cut keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    Everything,
    WholeWrites,
    Prefixes,
    Sectors,
}

impl Inode {
    /// What the file occupies.
    pub(crate) fn room(&self) -> u64 {
        (self.live.len() as u64).max(self.reserved)
    }

    /// Starts a write; its bytes may reach the disk from now on. Gives its number.
    pub(crate) fn begin_write(&mut self, position: u64, bytes: Vec<u8>) -> u64 {
        let number = self.next_number();
        self.in_flight.push((number, position, bytes));
        number
    }

    /// Ends a write well: reads see it.
    pub(crate) fn finish_write(&mut self, number: u64) {
        if let Some((position, bytes)) = self.take_in_flight(number) {
            put(&mut self.live, position, &bytes);
            self.change(Change::Write { position, bytes });
        }
    }

    /// Ends a write with an error: any of its sectors may be there.
    pub(crate) fn fail_write(&mut self, number: u64, rng: &mut Rng) {
        if let Some((position, bytes)) = self.take_in_flight(number) {
            let keep = Keep::draw(rng);
            for (at, part) in kept_sectors(position, &bytes, keep, rng) {
                // A failed write does not grow the file.
                let end = at + part.len() as u64;
                if end <= self.live.len() as u64 {
                    let bytes = part.to_vec();
                    put(&mut self.live, at, &bytes);
                    self.change(Change::Write {
                        position: at,
                        bytes,
                    });
                }
            }
        }
    }

    /// Ends a write that the device lied about: reported done, never stored.
    pub(crate) fn lose_write(&mut self, number: u64) {
        if let Some((position, bytes)) = self.take_in_flight(number) {
            let end = position + bytes.len() as u64;
            if end > self.live.len() as u64 {
                self.truncate(end);
            }
        }
    }

    /// Cuts or extends the file.
    pub(crate) fn truncate(&mut self, len: u64) {
        self.live.resize(len as usize, 0);
        self.change(Change::Truncate { len });
    }

    /// Everything completed before this number is covered by a sync that starts now.
    pub(crate) fn watermark(&self) -> u64 {
        self.pending.last().map_or(0, |(number, _)| number + 1)
    }

    /// Makes the changes below `watermark` durable.
    pub(crate) fn finish_sync(&mut self, watermark: u64) {
        for change in self.take_below(watermark) {
            match change {
                Change::Write { position, bytes } => put(&mut self.durable, position, &bytes),
                Change::Truncate { len } => self.durable.resize(len as usize, 0),
            }
        }
    }

    /// A sync failed: any of the changes is durable now, and the rest never will be.
    pub(crate) fn fail_sync(&mut self, watermark: u64, rng: &mut Rng) {
        self.failed_syncs += 1;
        let changes = self.take_below(watermark);
        settle(&mut self.durable, changes, rng);
    }

    /// A store through a map: reads see it at once, and the kernel writes its pages back when it
    /// likes.
    pub(crate) fn store(&mut self, at: usize, bytes: &[u8], rng: &mut Rng) {
        assert!(
            at + bytes.len() <= self.live.len(),
            "a store lies in the map"
        );
        if bytes.is_empty() {
            return;
        }
        let pages = at / PAGE..=(at + bytes.len() - 1) / PAGE;
        if rng.one_in(64) {
            pages
                .clone()
                .for_each(|page| self.write_page_back(page, |_| true));
        }
        self.live[at..at + bytes.len()].copy_from_slice(bytes);
        self.mapped.extend(pages);
        self.is_changed = true;
    }

    /// Pages that a sync of the map that starts now covers.
    pub(crate) fn mapped(&self) -> Vec<usize> {
        self.mapped.iter().copied().collect()
    }

    /// A sync of the map ended well.
    pub(crate) fn finish_map_sync(&mut self, pages: &[usize], watermark: u64) {
        self.finish_sync(watermark);
        for page in pages {
            self.write_page_back(*page, |_| true);
            self.mapped.remove(page);
        }
    }

    /// Copies the sectors of a page that `keeps` says to the disk, as far as the file is long there.
    fn write_page_back(&mut self, page: usize, mut keeps: impl FnMut(usize) -> bool) {
        for sector in page * PAGE / SECTOR..(page + 1) * PAGE / SECTOR {
            let start = sector * SECTOR;
            let end = (start + SECTOR)
                .min(self.live.len())
                .min(self.durable.len());
            if start < end && keeps(sector) {
                self.durable[start..end].copy_from_slice(&self.live[start..end]);
            }
        }
    }

    /// A power cut: keeps a drawn part of what was not durable.
    pub(crate) fn cut_power(&mut self, rng: &mut Rng) {
        self.is_changed |= !self.in_flight.is_empty();
        let mut changes = std::mem::take(&mut self.pending);
        for (number, position, bytes) in std::mem::take(&mut self.in_flight) {
            changes.push((number, Change::Write { position, bytes }));
        }
        let changes = changes.into_iter().map(|(_, change)| change).collect();
        settle(&mut self.durable, changes, rng);
        for page in std::mem::take(&mut self.mapped) {
            match rng.below(3) {
                0 => {}
                1 => self.write_page_back(page, |_| true),
                _ => self.write_page_back(page, |_| rng.coin()),
            }
        }
        if std::mem::take(&mut self.is_changed) {
            self.live.clone_from(&self.durable);
        }
        self.reserved = self.reserved.min(self.live.len() as u64);
        self.handles = 0;
    }

    /// The process is killed: completed writes stay visible (and unsynced), those under way are
    /// drawn.
    pub(crate) fn kill(&mut self, rng: &mut Rng) {
        for number in self.in_flight.iter().map(|f| f.0).collect::<Vec<_>>() {
            if rng.coin() {
                self.finish_write(number);
            } else {
                self.fail_write(number, rng);
            }
        }
        self.handles = 0;
    }

    /// Damages bytes where they lie, for reads now and after any crash.
    pub(crate) fn rot(&mut self, position: u64, mask: u8) -> bool {
        let at = position as usize;
        let hit = at < self.live.len() && at < self.durable.len();
        if hit {
            self.live[at] ^= mask;
            self.durable[at] ^= mask;
        }
        hit
    }

    /// Length that certainly survives a power cut.
    pub(crate) fn durable_len(&self) -> u64 {
        self.durable.len() as u64
    }

    fn next_number(&mut self) -> u64 {
        self.next_change += 1;
        self.next_change
    }

    fn change(&mut self, change: Change) {
        let number = self.next_number();
        self.pending.push((number, change));
        self.is_changed = true;
    }

    fn take_in_flight(&mut self, number: u64) -> Option<(u64, Vec<u8>)> {
        let index = self.in_flight.iter().position(|f| f.0 == number)?;
        let (_, position, bytes) = self.in_flight.remove(index);
        Some((position, bytes))
    }

    fn take_below(&mut self, watermark: u64) -> Vec<Change> {
        let covered = self
            .pending
            .partition_point(|(number, _)| *number < watermark);
        self.pending
            .drain(..covered)
            .map(|(_, change)| change)
            .collect()
    }
}

impl Keep {
    fn draw(rng: &mut Rng) -> Self {
        *rng.pick(&[
            Self::Nothing,
            Self::Everything,
            Self::WholeWrites,
            Self::Prefixes,
            Self::Sectors,
        ])
    }
}

/// Applies a drawn part of `changes` to `durable`.
fn settle(durable: &mut Vec<u8>, changes: Vec<Change>, rng: &mut Rng) {
    if changes.is_empty() {
        return;
    }
    let keep = Keep::draw(rng);
    // Sizes go through the file system's journal: once one change of size is lost, later ones are.
    let mut may_resize = rng.coin();
    for change in changes {
        match change {
            Change::Truncate { len } => {
                may_resize = may_resize && !rng.one_in(3);
                if may_resize {
                    durable.resize(len as usize, 0);
                }
            }
            Change::Write { position, bytes } => {
                if may_resize && durable.len() < position as usize + bytes.len() {
                    durable.resize(position as usize + bytes.len(), 0);
                }
                for (at, part) in kept_sectors(position, &bytes, keep, rng) {
                    let room = durable.len().saturating_sub(at as usize);
                    put(durable, at, &part[..part.len().min(room)]);
                }
            }
        }
    }
}

/// The sectors of one write that are kept.
fn kept_sectors<'a>(
    position: u64,
    bytes: &'a [u8],
    keep: Keep,
    rng: &mut Rng,
) -> Vec<(u64, &'a [u8])> {
    let sectors = bytes.len().div_ceil(SECTOR);
    let (count, each) = match keep {
        Keep::Nothing => (0, false),
        Keep::Everything => (sectors, false),
        Keep::WholeWrites => (if rng.coin() { sectors } else { 0 }, false),
        Keep::Prefixes => (rng.index(sectors + 1), false),
        Keep::Sectors => (sectors, true),
    };
    let chosen = bytes.chunks(SECTOR).take(count).enumerate();
    chosen
        .filter(|_| !each || rng.coin())
        .map(|(index, part)| (position + (index * SECTOR) as u64, part))
        .collect()
}

fn put(target: &mut Vec<u8>, position: u64, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let start = position as usize;
    if target.len() < start + bytes.len() {
        target.resize(start + bytes.len(), 0);
    }
    target[start..start + bytes.len()].copy_from_slice(bytes);
}
