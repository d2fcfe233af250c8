//! The key index of one shard: which messages of a topic have a key. Answers to Java's
//! `IndexService` and `IndexFile`.
//!
//! Owned by the shard and derived from the log alone. A task follows the log block by block behind
//! its writer and gathers keys in memory; a full batch becomes a sorted run on disk once its part of
//! the log is durable; runs are merged, and made again where they are missing or damaged. Nothing of
//! this is on the way to an acknowledgement, and no failure of it fences the shard. Invariant: runs
//! and batches cover parts of the log that do not overlap, each completely.

mod batch;
mod follow;
mod keep;
mod keys;
mod load;
mod merge;
mod page;
mod query;
mod run;
mod run_check;
mod tend;

pub(crate) use follow::follow_task;
pub(crate) use keep::keep_task;
pub use keys::KeyKind;
pub(crate) use load::load;
pub(crate) use page::PAGE_LEN;
pub use query::{KeyAnswer, KeyQuery, KeyedMessage};
pub(crate) use run_check::RunCheck;
pub(crate) use tend::tend_task;

use crate::settings::Settings;
use batch::Batch;
use keys::ENTRY_LEN;
use rt::sync::Event;
use rt::{Disk, Rt};
use run::Run;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

type FileOf<R> = <<R as Rt>::Disk as Disk>::File;
type RunRef<R> = Rc<Run<FileOf<R>>>;

/// See the module.
pub(crate) struct KeyIndex<R: Rt> {
    /// Whether keys are indexed at all.
    is_on: bool,
    /// What follows the log.
    gathering: RefCell<Batch>,
    /// What is full and waits to be on disk.
    full: RefCell<Option<Batch>>,
    /// Oldest part of the log first.
    runs: RefCell<Vec<RunRef<R>>>,
    next_number: Cell<u64>,
    /// A query waits for the task that follows the log.
    is_hurried: Cell<bool>,
    /// There may be something to follow.
    pub(crate) follow_wanted: Event,
    /// There is a full batch.
    keep_wanted: Event,
    /// Runs may have to be merged, removed or made again.
    pub(crate) tend_wanted: Event,
    /// The gathering batch went on, or the full one is on disk.
    moved: Event,
}

/// What was found on disk.
pub(crate) struct Loaded<F> {
    runs: Vec<Rc<Run<F>>>,
    next_number: u64,
    /// Where the log is followed from.
    follow_from: u64,
}

impl<R: Rt> KeyIndex<R> {
    pub(crate) fn new(settings: &Settings, loaded: Loaded<FileOf<R>>) -> Self {
        Self {
            is_on: settings.key_index,
            gathering: RefCell::new(Batch::new(loaded.follow_from)),
            full: RefCell::default(),
            runs: RefCell::new(loaded.runs),
            next_number: Cell::new(loaded.next_number),
            is_hurried: Cell::new(false),
            follow_wanted: Event::new(),
            keep_wanted: Event::new(),
            tend_wanted: Event::new(),
            moved: Event::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Up to where the log is followed.
    pub(crate) fn followed_to(&self) -> u64 {
        self.gathering.borrow().to
    }

    /// Wakes every task of the index.
    pub(crate) fn wake_all(&self) {
        for event in [
            &self.follow_wanted,
            &self.keep_wanted,
            &self.tend_wanted,
            &self.moved,
        ] {
            event.notify();
        }
    }

    /// How many runs there are.
    pub(crate) fn run_count(&self) -> usize {
        self.runs.borrow().len()
    }

    fn next_number(&self) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        number
    }

    /// Adds a run in its place.
    fn add_run(&self, run: RunRef<R>) {
        let mut runs = self.runs.borrow_mut();
        let at = runs.partition_point(|other| other.head.from < run.head.from);
        let before = at
            .checked_sub(1)
            .is_none_or(|i| runs[i].head.to <= run.head.from);
        let after = runs
            .get(at)
            .is_none_or(|other| run.head.to <= other.head.from);
        assert!(
            before && after,
            "runs cover parts of the log that do not overlap"
        );
        runs.insert(at, run);
    }
}

/// Entries that fill a batch: a quarter of the index's memory. One batch gathers, one waits for the
/// disk, one is being made again, and what is left serves sorting and merging.
pub(crate) fn batch_entries_max(settings: &Settings) -> usize {
    (settings.key_index_bytes / 4 / ENTRY_LEN).max(1)
}
