//! Merging runs, so that a query asks few of them.
//!
//! Which runs are merged is a pure choice over their sizes; merging itself reads a few pages of each
//! and writes one run that covers what they covered, as far as the log still has it. Invariant: the
//! merged run has its name before the old ones lose theirs, and covers what is left of exactly their
//! parts of the log, so that whatever a crash leaves behind, a start can tell which ones count.

use super::keys::Entry;
use super::page::RunHead;
use super::run::{PageError, Run, RunWriter};
use super::{FileOf, RunRef};
use crate::stats::add;
use crate::store::Inner;
use rt::{File, Rt};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::vec;

/// Runs of one size that are merged.
const MERGE_MIN: usize = 8;
/// Runs that are merged at once, at most: the smaller ones between those of one size come along.
const MERGE_MAX: usize = 16;
/// Runs at which the smallest neighbours are merged whatever their size.
pub(super) const RUNS_MAX: usize = 64;
/// Pages of each run in memory.
const READ_PAGES: u64 = 8;

/// What the choice looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) entries: u64,
}

/// Which neighbours should be merged, by their places in `runs`: eight of one size, or eight that are
/// smallest together when there are too many. A merged run covers at most `span_max` of the log
/// unless there are too many, so that it can be removed when the log is.
pub(super) fn choose(runs: &[Size], unit: u64, span_max: u64) -> Option<Range<usize>> {
    for (from, to) in neighbours(runs) {
        for tier in 0..=TIER_MAX {
            let of_tier = |size: &Size| tier_of(size.entries, unit);
            let mut begin = from;
            while begin < to {
                // A stretch without a larger run.
                let rest = &runs[begin..to];
                let len = rest.iter().take_while(|size| of_tier(size) <= tier).count();
                let found = in_stretch(&rest[..len], |size| of_tier(size) == tier, span_max);
                if let Some(found) = found {
                    return Some(begin + found.start..begin + found.end);
                }
                begin += len + 1;
            }
        }
    }
    if runs.len() < RUNS_MAX {
        return None;
    }
    let windows = neighbours(runs)
        .into_iter()
        .flat_map(|(from, to)| from..to.saturating_sub(1))
        .map(|at| (at, runs[at].entries + runs[at + 1].entries));
    let smallest = windows.min_by_key(|(_, entries)| *entries)?.0;
    Some(smallest..smallest + 2)
}

const TIER_MAX: u32 = 21;

fn tier_of(entries: u64, unit: u64) -> u32 {
    (entries / unit.max(1))
        .checked_ilog2()
        .map_or(0, |log| 1 + log / MERGE_MIN.ilog2())
}

/// Ranges of runs that follow each other without a gap.
fn neighbours(runs: &[Size]) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut from = 0;
    for at in 1..=runs.len() {
        if at == runs.len() || runs[at].from != runs[at - 1].to {
            all.push((from, at));
            from = at;
        }
    }
    all
}

/// The oldest runs of a stretch that hold enough of those that `counts`.
fn in_stretch(
    stretch: &[Size],
    counts: impl Fn(&Size) -> bool,
    span_max: u64,
) -> Option<Range<usize>> {
    for from in 0..stretch.len() {
        let mut counted = 0;
        for (len, size) in stretch[from..].iter().take(MERGE_MAX).enumerate() {
            if size.to - stretch[from].from > span_max {
                break;
            }
            counted += usize::from(counts(size));
            if counted == MERGE_MIN {
                return Some(from..from + len + 1);
            }
        }
    }
    None
}

/// One run as it is read from its first entry to its last.
struct Reader<F> {
    run: Rc<Run<F>>,
    next_page: u64,
    entries: vec::IntoIter<Entry>,
}

impl<F: File> Reader<F> {
    /// Reads more when nothing is in memory.
    async fn fill(&mut self) -> Result<(), PageError> {
        if self.is_dry() {
            let entries = self.run.pages(self.next_page, READ_PAGES).await?;
            self.entries = entries.into_iter();
            self.next_page += READ_PAGES;
        }
        Ok(())
    }

    /// Whether more has to be read before the next entry is known.
    fn is_dry(&self) -> bool {
        self.is_empty() && self.next_page < self.run.head.pages()
    }

    fn is_done(&self) -> bool {
        self.is_empty() && self.next_page >= self.run.head.pages()
    }

    fn is_empty(&self) -> bool {
        self.entries.as_slice().is_empty()
    }

    /// Order of its first entry in memory.
    fn least(&self) -> Option<(u64, u64)> {
        self.entries.as_slice().first().map(|entry| entry.order())
    }
}

impl<R: Rt> Inner<R> {
    /// Merges `inputs` into one run without what the log has lost. Without effect when one of them
    /// turns out to be damaged, or is removed meanwhile.
    pub(super) async fn merge_runs(&self, inputs: &[RunRef<R>]) -> io::Result<()> {
        let mut readers: Vec<_> = inputs
            .iter()
            .map(|run| Reader {
                run: Rc::clone(run),
                next_page: 0,
                entries: Vec::new().into_iter(),
            })
            .collect();
        let start = self.log.borrow().segments.start();
        let mut writer = self.run_writer().await?;
        let merged = self.merge_into(&mut writer, &mut readers, start).await;
        let is_whole = !matches!(merged, Ok(None));
        let stopped = || io::Error::from(io::ErrorKind::Interrupted);
        let count = merged.and_then(|count| count.ok_or_else(stopped));
        let head = count.map(|count| head_of(inputs, count, start));
        let merged = match self.finish_run(writer, head).await {
            Err(_) if !is_whole => return Ok(()),
            finished => finished?,
        };
        if !self.swap_runs(inputs, &merged) {
            self.remove_run_file(&merged).await;
            return Ok(());
        }
        for input in inputs {
            self.remove_run_file(input).await;
        }
        Ok(())
    }

    /// Writes all entries in order. Gives their number; `None` when a run turned out to be damaged
    /// or the store closes.
    async fn merge_into(
        &self,
        writer: &mut RunWriter<R::Disk>,
        readers: &mut [Reader<FileOf<R>>],
        start: u64,
    ) -> io::Result<Option<u64>> {
        let mut count = 0;
        loop {
            for reader in &mut *readers {
                if let Err(error) = reader.fill().await {
                    self.damaged_run(&reader.run, &error);
                    return Ok(None);
                }
            }
            let take = |entry: Entry| {
                let is_kept = entry.position() >= start;
                count += u64::from(is_kept);
                is_kept && writer.push(entry)
            };
            if take_least(readers, take) {
                add(&self.counters.key_run_bytes, writer.write().await?);
            }
            if self.closing.get() || self.fenced.borrow().is_some() {
                return Ok(None);
            }
            if readers.iter().all(Reader::is_done) {
                return Ok(Some(count));
            }
            self.rt.yield_now().await;
        }
    }

    /// Puts the merged run in the place of its inputs; false when one of them is gone or damaged.
    fn swap_runs(&self, inputs: &[RunRef<R>], merged: &RunRef<R>) -> bool {
        let mut runs = self.keys.runs.borrow_mut();
        let is_there = |input: &RunRef<R>| {
            !input.is_damaged.get() && runs.iter().any(|run| Rc::ptr_eq(run, input))
        };
        if !inputs.iter().all(is_there) {
            return false;
        }
        runs.retain(|run| !inputs.iter().any(|input| Rc::ptr_eq(run, input)));
        drop(runs);
        self.keys.add_run(Rc::clone(merged));
        true
    }
}

/// Takes entries in order until a reader is empty or `take` says that it is enough. True in the
/// latter case.
fn take_least<F>(readers: &mut [Reader<F>], mut take: impl FnMut(Entry) -> bool) -> bool
where
    F: File,
{
    if readers.iter().any(Reader::is_dry) {
        return false;
    }
    let firsts = readers.iter().enumerate();
    let mut heap: BinaryHeap<_> = firsts
        .filter_map(|(index, reader)| reader.least().map(|order| Reverse((order, index))))
        .collect();
    while let Some(mut least) = heap.peek_mut() {
        let reader = &mut readers[least.0.1];
        let entry = reader.entries.next().expect("it has a first entry");
        let is_dry = reader.is_dry();
        match reader.least() {
            Some(order) => least.0.0 = order,
            None => drop(PeekMut::pop(least)),
        }
        if take(entry) {
            return true;
        }
        if is_dry {
            return false;
        }
    }
    false
}

fn head_of<F>(inputs: &[Rc<Run<F>>], entries: u64, start: u64) -> RunHead {
    let heads = || inputs.iter().map(|run| run.head);
    let from = heads().map(|head| head.from).min().unwrap_or(0);
    let to = heads().map(|head| head.to).max().unwrap_or(0);
    RunHead {
        from: from.max(start).min(to),
        to,
        entries,
        times: (
            heads().map(|head| head.times.0).min().unwrap_or(i64::MAX),
            heads().map(|head| head.times.1).max().unwrap_or(i64::MIN),
        ),
        last: heads().map(|head| head.last).max().unwrap_or((0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of so many entries, a hundred bytes of log each, one after the other.
    fn sizes(entries: &[u64]) -> Vec<Size> {
        let size = |(i, entries): (usize, &u64)| Size {
            from: i as u64 * 100,
            to: (i as u64 + 1) * 100,
            entries: *entries,
        };
        entries.iter().enumerate().map(size).collect()
    }

    fn check(entries: &[u64], expected: impl Into<Option<Range<usize>>>) {
        assert_eq!(
            choose(&sizes(entries), 10, u64::MAX),
            expected.into(),
            "{entries:?}"
        );
    }

    #[test]
    fn eight_runs_of_one_size_are_merged_and_small_ones_between_come_along() {
        check(&[], None);
        check(&[10; 7], None);
        check(&[10; 8], Some(0..8));
        check(&[99, 10, 10, 10, 10, 10, 10, 10, 10, 10], Some(1..9));
        check(&[10, 10, 10, 0, 10, 10, 10, 10, 10], Some(0..9));
        check(&[10, 10, 10, 99, 10, 10, 10, 10, 10], None);
    }

    #[test]
    fn runs_apart_are_not_merged() {
        let mut runs = sizes(&[10; 8]);
        runs[7].from += 1;
        assert_eq!(choose(&runs, 10, u64::MAX), None);
    }

    #[test]
    fn a_merged_run_covers_no_more_than_it_may() {
        let runs = sizes(&[10; 9]);
        assert_eq!(choose(&runs, 10, 800), Some(0..8));
        assert_eq!(choose(&runs, 10, 799), None);
    }

    #[test]
    fn too_many_runs_lead_to_the_smallest_two_neighbours() {
        let mut entries = vec![1 << 30; RUNS_MAX];
        (entries[40], entries[41]) = (1 << 20, 1 << 20);
        let runs = sizes(&entries);
        assert_eq!(choose(&runs, 10, 100), Some(40..42));
        assert_eq!(choose(&runs[1..], 10, 100), None);
    }

    #[test]
    fn the_number_of_runs_stays_small_however_many_come() {
        let mut runs: Vec<Size> = Vec::new();
        let mut moved = 0;
        for i in 0..20_000_u64 {
            runs.push(Size {
                from: i * 100,
                to: (i + 1) * 100,
                entries: 10,
            });
            let log = (i + 1) * 100;
            while let Some(range) = choose(&runs, 10, (log / 8).max(800)) {
                let merged = Size {
                    from: runs[range.start].from,
                    to: runs[range.end - 1].to,
                    entries: runs[range.clone()].iter().map(|size| size.entries).sum(),
                };
                moved += merged.entries;
                runs.splice(range, [merged]);
            }
            assert!(runs.len() < RUNS_MAX, "{}", runs.len());
        }
        assert!(
            moved <= 20_000 * 10 * 6,
            "an entry is written about {} times",
            moved / 200_000
        );
    }
}
