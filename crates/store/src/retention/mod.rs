//! Retention: which segments go, and when. Answers to Java's `CleanCommitLogService`.
//!
//! Owned by the shard; a task of low priority that looks at the disk now and then and takes the
//! oldest segments away one by one, with pauses. A segment that goes becomes the next one to be
//! prepared, or is cut step by step and removed. Invariants: the active segment stays; nothing goes
//! before both checkpoints on disk lie behind it; what it told of queues and metadata that is kept
//! is in the log again; the file has lost its name durably before anybody sees a first offset move.

mod clock;
mod policy;
mod spares;
mod times;
mod trim;

pub(crate) use clock::StoreClock;
pub use policy::{Limit, Retention, Shortage};
pub(crate) use spares::Spare;
pub(crate) use times::{Ended, Times};

use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use base::activity::{Activity, Busy};
use policy::{Verdict, used};
use rt::sync::Event;
use rt::{Disk, Rt, Space};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What retention knows.
pub(crate) struct State {
    pub(crate) times: RefCell<Times>,
    /// Segments that are no longer part of the log, oldest first.
    pub(crate) spares: RefCell<VecDeque<Spare>>,
    /// Positions of the checkpoints on disk that can be read; 0 for one that cannot.
    slots: Cell<[u64; 2]>,
    /// Both checkpoints are to lie at or above this position.
    checkpoints_from: Cell<u64>,
    checkpointed: Event,
    /// Messages are refused because the file system is fuller than it may be.
    pub(crate) shortage: RefCell<Option<Arc<Shortage>>>,
    /// The log told metadata and queues again here, in this life.
    pub(super) repeated_at: Cell<u64>,
    /// Rounds that take expired segments at any hour.
    asked: Cell<u32>,
    pub(crate) wanted: Event,
}

impl State {
    pub(crate) fn new(times: Times, slots: [u64; 2], spares: VecDeque<Spare>) -> Self {
        Self {
            times: RefCell::new(times),
            spares: RefCell::new(spares),
            slots: Cell::new(slots),
            checkpoints_from: Cell::new(0),
            checkpointed: Event::new(),
            shortage: RefCell::default(),
            repeated_at: Cell::new(0),
            asked: Cell::new(0),
            wanted: Event::new(),
        }
    }

    /// A checkpoint is on disk.
    pub(crate) fn checkpoint_done(&self, slot: usize, position: u64) {
        let mut slots = self.slots.get();
        slots[slot] = position;
        self.slots.set(slots);
        self.checkpointed.notify();
    }

    /// Whether a checkpoint is wanted so that old segments can go.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let [a, b] = self.slots.get();
        a.min(b) < self.checkpoints_from.get()
    }
}

/// Looks at the disk until the store closes.
pub(crate) async fn retention_task<R: Rt>(inner: Rc<Inner<R>>) {
    loop {
        let seen = inner.retention.wanted.count();
        if inner.stops() {
            break;
        }
        let settings = &inner.settings.retention;
        let wanted = inner.retention.wanted.wait_past(seen);
        if !settings.is_on() {
            wanted.await;
            continue;
        }
        inner.retain().await;
        let pause = Duration::from_millis(inner.look_interval_ms());
        first_of(wanted, inner.rt.sleep(pause)).await;
    }
}

/// Refuses messages and takes them again as space goes and comes, whatever retention waits for.
pub(crate) async fn space_task<R: Rt>(inner: Rc<Inner<R>>) {
    while inner.settings.retention.is_on() && !inner.stops() {
        inner.look().await;
        let pause = Duration::from_millis(inner.look_interval_ms());
        first_of(inner.closed.wait(), inner.rt.sleep(pause)).await;
    }
}

impl<R: Rt> Inner<R> {
    fn look_interval_ms(&self) -> u64 {
        let interval_ms = self.settings.retention.check_interval_ms;
        if self.has_shortage() {
            interval_ms.min(self.settings.no_space_retry_ms)
        } else {
            interval_ms
        }
    }

    fn stops(&self) -> bool {
        self.closing.get() || self.fenced.borrow().is_some()
    }

    /// Whether messages are refused for want of space, or soon will be.
    pub(crate) fn has_shortage(&self) -> bool {
        self.retention.shortage.borrow().is_some() || self.no_space.borrow().is_some()
    }

    pub(crate) fn present_shortage(&self) -> Option<Arc<Shortage>> {
        let shortage = self.retention.shortage.borrow().clone();
        shortage.or_else(|| self.no_space.borrow().clone())
    }

    /// What a checkpoint carries: the start of the log that its queues know, then clock and times.
    pub(crate) fn retention_record(&self, start: u64) -> Vec<u8> {
        let mut bytes = start.to_le_bytes().to_vec();
        bytes.extend(self.retention.times.borrow().encode());
        bytes
    }

    /// Takes over what the checkpoint told, before anything else runs.
    pub(crate) async fn restore_retention(&self, told: Option<Vec<u8>>) -> io::Result<()> {
        let told = told.as_deref().and_then(<[u8]>::split_first_chunk::<8>);
        let start = told.map_or(0, |(start, _)| u64::from_le_bytes(*start));
        let now_us = self.rt.monotonic_us();
        let times = told.and_then(|(_, rest)| Times::decode(rest, now_us));
        self.restore_times(times).await?;
        if self.log.borrow().segments.start() > start {
            self.trim_to_start().await?;
        }
        Ok(())
    }

    /// Without a checkpoint the blocks tell when they were sealed: a segment was left when the
    /// first block after it was made. The clock begins at the newest time that is known.
    async fn restore_times(&self, known: Option<Times>) -> io::Result<()> {
        let starts: Vec<u64> = {
            let log = self.log.borrow();
            log.segments.iter().map(|segment| segment.start).collect()
        };
        let mut stamps = Vec::new();
        for pair in starts.windows(2) {
            let is_known = known.as_ref().is_some_and(|times| times.knows(pair[0]));
            if !is_known && let Some(sealed_ms) = self.first_sealed_ms(pair[1]).await? {
                stamps.push((pair[0], sealed_ms));
            }
        }
        let newest = stamps.iter().map(|(_, sealed_ms)| *sealed_ms).max();
        let times = known.unwrap_or_else(|| {
            let wall_ms = self.rt.now_ms();
            let now_ms = newest.map_or(wall_ms, |newest| newest.min(wall_ms));
            Times::new(StoreClock::new(now_ms, self.rt.monotonic_us()))
        });
        self.retention.times.replace(times);
        for (start, sealed_ms) in stamps {
            self.retention.times.borrow_mut().insert(start, sealed_ms);
        }
        Ok(())
    }

    /// When the first block of a segment was sealed, if that block is good.
    async fn first_sealed_ms(&self, start: u64) -> io::Result<Option<i64>> {
        let position = start + self.settings.block_align as u64;
        let block = self.read_block(position).await.map_err(io::Error::other)?;
        Ok(block.map(|(header, _)| header.sealed_ms))
    }

    /// Has expired segments go now, whatever the hour.
    pub(crate) fn delete_expired_now(&self) {
        // Java MAX_MANUAL_DELETE_FILE_TIMES.
        self.retention.asked.set(20);
        self.retention.wanted.notify();
    }

    /// One look: notes what the disk has, takes segments away, cuts what is left over.
    async fn retain(&self) {
        let asked = self.retention.asked.get();
        self.retention.asked.set(asked.saturating_sub(1));
        for _ in 0..self.settings.retention.batch_max {
            if self.stops() {
                return;
            }
            let Some(space) = self.look().await else {
                return;
            };
            let verdict = self.verdict(space, asked > 0);
            let Some(end) = self.next_to_go(verdict) else {
                self.retention.asked.set(0);
                return self.cut_spares().await;
            };
            match self.remove_first(end, verdict == Verdict::Oldest).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(shard = %self.settings.shard, %error, "an old segment stays for now");
                    return;
                }
            }
            self.cut_spares().await;
            self.pause().await;
        }
        self.retention.wanted.notify();
    }

    async fn pause(&self) {
        let pause = Duration::from_millis(self.settings.retention.delete_interval_ms);
        first_of(self.closed.wait(), self.rt.sleep(pause)).await;
    }

    /// Asks the file system for its space and moves the clock on.
    async fn look(&self) -> Option<Space> {
        let space = self.rt.disk().space(&self.paths.commit_log).await;
        let (wall_ms, us) = (self.rt.now_ms(), self.rt.monotonic_us());
        let ended = self.log.borrow().ended_segments();
        self.retention.times.borrow_mut().note(wall_ms, us, &ended);
        match space {
            Ok(space) => {
                self.note_space(space);
                Some(space)
            }
            Err(error) => {
                tracing::warn!(shard = %self.settings.shard, %error, "the disk's space is unknown");
                None
            }
        }
    }

    /// Refuses messages, or takes them again.
    fn note_space(&self, space: Space) {
        let limit = self.settings.retention.limit(space);
        let had = self.has_shortage();
        let shortage = limit.map(|limit| self.shortage_of(space, limit));
        match (&shortage, had) {
            (Some(shortage), false) => {
                tracing::warn!(shard = %self.settings.shard, %shortage, "messages are refused");
            }
            (None, true) => {
                tracing::info!(shard = %self.settings.shard, "there is space again");
            }
            _ => {}
        }
        let has = shortage.is_some();
        self.retention.shortage.replace(shortage.map(Arc::new));
        if had != has {
            self.room.notify();
        }
    }

    /// What is said of a limit that was passed.
    pub(crate) fn shortage_of(&self, space: Space, limit: Limit) -> Shortage {
        Shortage {
            path: self.paths.commit_log.clone(),
            used: used(space),
            available: space.available,
            limit,
        }
    }

    fn verdict(&self, space: Space, asked: bool) -> Verdict {
        let settings = &self.settings.retention;
        let due = asked || settings.is_hour(self.rt.now_ms());
        let bytes = {
            let log = self.log.borrow();
            log.sealed() - log.segments.start()
        };
        settings.verdict(space, bytes, self.settings.shard_count, due)
    }

    /// The end of the oldest segment, when it may go.
    fn next_to_go(&self, verdict: Verdict) -> Option<u64> {
        let first = self.log.borrow().ended_segments().first().copied()?;
        let expired = || {
            let times = self.retention.times.borrow();
            times.is_older(first.start, self.settings.retention.reserved_ms)
        };
        let goes = match verdict {
            Verdict::Nothing => false,
            Verdict::Expired => expired(),
            Verdict::Oldest => true,
        };
        goes.then_some(first.end)
    }

    /// Takes the first segment, which ends at `end`, out of the log. Tells whether it is gone.
    async fn remove_first(&self, end: u64, in_need: bool) -> io::Result<bool> {
        let _busy = Busy::begin(Activity::Retention);
        if !self.checkpoints_behind(end).await {
            return Ok(false);
        }
        let trims = self.plan_trim(end).await?;
        if !self.repeat_in_log(end).await && !in_need {
            return Ok(false);
        }
        let start = self.log.borrow().segments.start();
        self.rename_to_spare(start).await?;
        self.wait_thawed().await;
        let behind = self.retention.slots.get().into_iter().all(|at| at >= end);
        base::always!(TrimWithinCheckpoints, behind);
        base::reached!(SegmentGone);
        self.trim(end, trims);
        add(&self.counters.segments_removed, 1);
        tracing::info!(shard = %self.settings.shard, start, end, "an old segment is gone");
        Ok(true)
    }

    /// Waits until both checkpoints lie at or above `position`; false when that cannot be now.
    async fn checkpoints_behind(&self, position: u64) -> bool {
        let state = &self.retention;
        state.checkpoints_from.set(position);
        loop {
            let seen = state.checkpointed.count();
            if !state.wants_checkpoint() {
                return true;
            }
            if self.stops() {
                return false;
            }
            self.checkpoint_wanted.notify();
            let limit = async {
                let limit = self.rt.sleep(Duration::from_millis(CHECKPOINT_WAIT_MS));
                first_of(self.closed.wait(), limit).await;
            };
            let came = first_of(state.checkpointed.wait_past(seen), limit).await;
            if !came {
                // A full disk takes no checkpoint; the next look tries again.
                return false;
            }
        }
    }
}

/// How long a round of retention waits for a checkpoint.
const CHECKPOINT_WAIT_MS: u64 = 10_000;
