//! One shard's store: the public face of log, queues, recovery and reads. Answers to Java's
//! `DefaultMessageStore`.
//!
//! Owned by the shard; a clone is another handle to the same store. What must hold:
//! `min <= durable <= written <= appended`; consumers see a message only once it may be
//! acknowledged; after a fence nothing more is acknowledged.

use crate::append::{AppendReceipt, MessagePlace};
use crate::cold::ColdCache;
use crate::commit_log::CommitLog;
use crate::consume_queue::page_io::PageFiles;
use crate::consume_queue::pages::Pages;
use crate::consume_queue::{Frozen, Queue, QueueRef, QueueTable};
use crate::damage::LineBudget;
use crate::error::{AppendError, FenceReason, FlushError, OpenError, ReadError};
use crate::key_index::{KeyAnswer, KeyIndex, KeyQuery, load};
use crate::layout::{ShardPaths, prepare_root_of};
use crate::read::{Accept, GetResult, IndexEntry, ReadLimits, TailRead};
use crate::record::RecordKind;
use crate::recover::{Recovered, RecoveryReport, State, recover};
use crate::retention::{self, Shortage, StoreClock, Times};
use crate::search::Boundary;
use crate::settings::{FlushMode, Settings};
use crate::stall::Stall;
use crate::start::{make_directories, make_ring};
use crate::stats::{Counters, StoreStats};
use crate::stopwatch::Stopwatch;
use base::activity::{Activity, Busy};
use base::{LogPosition, PhyOffset, QueueId, QueueOffset};
use remoting::message::MessageFields;
use rt::Rt;
use rt::sync::{Event, Gate};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

type Records = Vec<(RecordKind, Vec<u8>)>;

/// Gives the metadata that a checkpoint carries. See [`ShardStore::set_snapshot_source`].
pub type SnapshotSource = dyn Fn() -> Records;

/// Everything of one shard's store, shared by its tasks.
pub(crate) struct Inner<R: Rt> {
    pub(crate) rt: R,
    pub(crate) settings: Settings,
    pub(crate) paths: ShardPaths,
    pub(crate) log: RefCell<CommitLog<R::Disk>>,
    pub(crate) queues: RefCell<QueueTable>,
    pub(crate) pages: RefCell<Pages>,
    pub(crate) page_files: PageFiles<R::Disk>,
    pub(crate) cold: RefCell<ColdCache>,
    pub(crate) keys: KeyIndex<R>,
    /// Messages that are not durable yet, in log order: end and queue. Bounded by what may wait.
    pub(crate) pending: RefCell<VecDeque<(u64, QueueRef)>>,
    pub(crate) arrivals: RefCell<Vec<QueueRef>>,
    pub(crate) snapshot_source: RefCell<Option<Rc<SnapshotSource>>>,
    /// Metadata records that a checkpoint carries on as they are while there is no source.
    pub(crate) carried: RefCell<Vec<(RecordKind, Vec<u8>)>>,
    pub(crate) counters: Counters,
    pub(crate) fenced: RefCell<Option<FenceReason>>,
    /// What was acknowledged when the shard was fenced: nothing more ever is.
    pub(crate) fenced_at: Cell<Option<u64>>,
    /// What a simulated fault may be said to have struck.
    pub(crate) busy_with: RefCell<Vec<Busy>>,
    pub(crate) stall: Stall,
    pub(crate) damage_lines: LineBudget,
    /// The log cannot grow: the file system is full.
    pub(crate) no_space: RefCell<Option<Arc<Shortage>>>,
    pub(crate) full: RefCell<Option<Busy>>,
    pub(crate) retention: retention::State,
    pub(crate) closing: Cell<bool>,
    pub(crate) tasks: Rc<Gate>,
    /// Something may have to be written.
    pub(crate) work: Event,
    /// The written position moved, or a sync is wanted.
    pub(crate) written: Event,
    pub(crate) progress: Event,
    pub(crate) room: Event,
    pub(crate) arrived: Event,
    pub(crate) zero_wanted: Event,
    pub(crate) checkpoint_wanted: Event,
    /// Something is not durable, and before everything was.
    pub(crate) unsynced_began: Event,
    /// What is acknowledged waits for its sync for too long: nothing more is acknowledged.
    pub(crate) is_sync_late: Cell<bool>,
    pub(crate) closed: Event,
    /// The writing task waits for an append, and whether only for a full block.
    pub(crate) writer_waits: Cell<bool>,
    pub(crate) writer_gathers: Cell<bool>,
    /// The time of every append while a [`Moment`] lasts: milliseconds since the epoch, and
    /// microseconds of the steady clock.
    pub(crate) moment: Cell<Option<(i64, u64)>>,
    /// What the running or last sync covers.
    pub(crate) sync_target: Cell<u64>,
    /// Somebody needs everything before this durable, whatever the mode.
    pub(crate) sync_wanted: Cell<u64>,
    pub(crate) next_generation: Cell<u32>,
    pub(crate) first_start: u64,
    /// Checkpoints that are wanted whatever was appended.
    pub(crate) checkpoints_owed: Cell<u32>,
    pub(crate) checkpoint_sequence: Cell<u64>,
    pub(crate) checkpoint_position: Cell<u64>,
    /// What a checkpoint that is being written has still to take over.
    pub(crate) frozen: RefCell<Option<Frozen>>,
    /// A checkpoint ended.
    pub(crate) thawed: Event,
}

/// See the module.
pub struct ShardStore<R: Rt>(Rc<Inner<R>>);

/// See [`ShardStore::one_moment`].
pub struct Moment<'a, R: Rt>(&'a Inner<R>);

impl<R: Rt> Drop for Moment<'_, R> {
    fn drop(&mut self) {
        self.0.moment.set(None);
        // Nobody holds the log but an append that panics.
        if let Ok(mut log) = self.0.log.try_borrow_mut() {
            log.gathers = false;
            log.keep();
        }
    }
}

impl<R: Rt> std::fmt::Debug for Moment<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Moment").field(&self.0.moment.get()).finish()
    }
}

impl<R: Rt> Clone for ShardStore<R> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<R: Rt> std::fmt::Debug for ShardStore<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardStore")
            .field("shard", &self.0.settings.shard)
            .finish_non_exhaustive()
    }
}

impl<R: Rt> ShardStore<R> {
    /// Opens a shard's store, making it when it is not there, and recovers what is. Done when
    /// messages can be appended.
    ///
    /// # Errors
    /// Settings that do not fit together, a store of another layout, a directory that cannot be
    /// written, no space, or a failing disk.
    pub async fn open(rt: R, mut settings: Settings) -> Result<(Self, Recovered), OpenError> {
        let _busy = Busy::begin(Activity::Start);
        let mut watch = Stopwatch::start(rt.clone());
        let (disk, root) = (rt.disk().clone(), settings.dir.clone());
        let count = settings.shard_count;
        let layout = prepare_root_of(&rt, &root, count, settings.block_align).await?;
        settings.block_align = layout.block_align;
        settings.check().map_err(OpenError::Settings)?;
        let paths = ShardPaths::new(&root, settings.shard);
        make_directories(&disk, &root, &paths).await?;
        watch.lap("directories");
        let page_files = PageFiles::new(disk.clone(), paths.clone(), settings.index_file_pages);
        let secret = rt.random_u64() as u32;
        let mut state = recover(
            &disk,
            &mut settings,
            &paths,
            &page_files,
            secret,
            &mut watch,
        )
        .await?;
        settings.check().map_err(OpenError::Settings)?;
        let (start, end) = (state.segments.start(), state.end);
        let runs = load(&disk, &settings, &paths, state.secret, start, end).await;
        let keys = KeyIndex::new(&settings, runs);
        watch.lap("key index");
        let ring = make_ring(&rt, &mut settings, &paths, state.secret).await?;
        watch.lap("new tail ring");
        let told = state.retention.take();
        let window_on_disk = state.window_on_disk;
        let (inner, records, report) = Inner::new(rt, settings, paths, page_files, keys, state);
        inner.log.borrow_mut().ring = ring;
        let inner = Rc::new(inner);
        inner.restore_retention(told).await.map_err(|source| {
            OpenError::io("trimming the queue index", &inner.paths.index, source)
        })?;
        watch.lap("retention");
        inner.prepare_first_room().await?;
        watch.lap("room");
        inner.record_window(window_on_disk).await?;
        let serves = Busy::begin(Activity::Serve);
        inner.busy_with.borrow_mut().push(serves);
        watch.lap("window");
        inner.start_tasks();
        let recovered = Recovered {
            records,
            report,
            watch,
        };
        Ok((Self(inner), recovered))
    }

    /// The queue of a topic, when it is known here.
    pub fn queue(&self, topic: &str, queue: QueueId) -> Option<QueueRef> {
        self.0.queues.borrow().find(topic, queue)
    }

    /// The queue of a topic, known from now on. An empty queue leaves nothing on disk.
    pub fn queue_or_create(&self, topic: &str, queue: QueueId) -> QueueRef {
        self.0.queues.borrow_mut().find_or_create(topic, queue)
    }

    /// Appends a message. The tags code goes into its index entry. Done when it is in memory; it may
    /// be acknowledged once [`Self::acknowledged`] has reached the receipt's end.
    ///
    /// # Errors
    /// Nothing was appended; the variant says why.
    ///
    /// # Panics
    /// When the message is for another queue than `queue`.
    pub fn append(
        &self,
        queue: QueueRef,
        message: &MessageFields<'_>,
        tags_code: i64,
    ) -> Result<AppendReceipt, AppendError> {
        if let Some(known) = self.0.queues.borrow().get(queue) {
            let same = known.id.0.cast_signed() == message.queue_id;
            assert!(
                same && known.topic.as_ref() == message.topic,
                "a message goes to its queue"
            );
        }
        self.0
            .append_message(queue, message.encoded_len(), tags_code, |out, place| {
                let (offset, phy_offset) = (place.queue_offset.0, place.phy_offset.to_wire());
                message.encode_into(out, offset, phy_offset, place.store_timestamp_ms);
            })
    }

    /// Appends a stored message of exactly `len` bytes that `encode` writes for its place.
    ///
    /// # Errors
    /// Nothing was appended; the variant says why.
    pub fn append_with(
        &self,
        queue: QueueRef,
        len: usize,
        tags_code: i64,
        encode: impl FnOnce(&mut [u8], MessagePlace),
    ) -> Result<AppendReceipt, AppendError> {
        self.0.append_message(queue, len, tags_code, encode)
    }

    /// Makes one moment of all appends until the answer is dropped: they have one time, and go into
    /// the tail ring together when it is dropped. That must be before the next await, and before
    /// an acknowledgement of one of them, or a message that one of them added, leaves the process.
    pub fn one_moment(&self) -> Moment<'_, R> {
        let rt = &self.0.rt;
        self.0.moment.set(Some((rt.now_ms(), rt.monotonic_us())));
        self.0.log.borrow_mut().gathers = true;
        Moment(&self.0)
    }

    /// The steady clock in microseconds, as it was when the present moment began if there is one.
    pub fn moment_us(&self) -> u64 {
        let moment = self.0.moment.get();
        moment.map_or_else(|| self.0.rt.monotonic_us(), |(_, us)| us)
    }

    /// Whether messages of these encoded lengths would all be appended now, one after the other;
    /// for what has to be appended whole or not at all. It holds until the next await.
    ///
    /// # Errors
    /// Why one of them would not be; counted as one refusal.
    pub fn check_room(&self, lens: &[usize]) -> Result<(), AppendError> {
        self.0.check_room(lens)
    }

    /// Appends a metadata record. Its effect must be visible in what the snapshot source gives as
    /// soon as this returns. Gives the record's end.
    ///
    /// # Errors
    /// Nothing was appended; the variant says why.
    ///
    /// # Panics
    /// When the kind is one of the store's own.
    pub fn append_record(
        &self,
        kind: RecordKind,
        payload: &[u8],
    ) -> Result<LogPosition, AppendError> {
        assert!(kind < RecordKind::RESERVED, "the kind is free for use");
        self.0.append_internal(kind, payload)
    }

    /// Tells where a checkpoint takes metadata from, so that it needs no older log. It is asked
    /// without notice and must not call the store; its answer must include every record whose
    /// append has returned, and applying newer records to it again must change nothing. Before a
    /// source is set, checkpoints carry the recovered records and those appended since.
    pub fn set_snapshot_source(&self, source: Box<SnapshotSource>) {
        self.0.snapshot_source.replace(Some(Rc::from(source)));
        self.0.carried.take();
    }

    /// Everything before this may be acknowledged.
    pub fn acknowledged(&self) -> LogPosition {
        self.0.acknowledged()
    }

    /// The end of the last record.
    pub fn appended(&self) -> LogPosition {
        LogPosition(self.0.log.borrow().appended())
    }

    /// Everything before this survives a power cut.
    pub fn durable(&self) -> LogPosition {
        LogPosition(self.0.log.borrow().durable())
    }

    /// Happens when [`Self::durable`] moved (and with it, in synchronous mode,
    /// [`Self::acknowledged`]), or when the shard was fenced: once per group commit. In asynchronous
    /// mode an append is acknowledged when it returns, and nothing happens for it.
    pub fn progress(&self) -> &Event {
        &self.0.progress
    }

    /// Whether a write or sync of the log has been under way for longer than the limit.
    pub fn is_stalled(&self) -> bool {
        self.0.stall.is_stalled()
    }

    /// Why the shard takes no more writes, when it does not.
    pub fn fenced(&self) -> Option<FenceReason> {
        self.0.fenced.borrow().clone()
    }

    /// Completes when everything before `end` may be acknowledged.
    ///
    /// # Errors
    /// The shard was fenced or closed before; whether the record survives is unknown.
    pub async fn wait_acknowledged(&self, end: LogPosition) -> Result<(), FlushError> {
        loop {
            let seen = self.0.progress.count();
            if self.acknowledged() >= end {
                return Ok(());
            }
            if let Some(reason) = self.fenced() {
                return Err(FlushError::Fenced(reason));
            }
            self.0.progress.wait_past(seen).await;
        }
    }

    /// Completes when everything before `end` survives a power cut, in asynchronous mode too: for
    /// what is rare, and what other shards rely on. A sync begins for it at once.
    ///
    /// # Errors
    /// The shard was fenced before; whether the record survives is unknown.
    pub async fn wait_durable(&self, end: LogPosition) -> Result<(), FlushError> {
        if self.0.wait_durable(end.0).await {
            return Ok(());
        }
        self.0.fenced_or_ok()
    }

    /// Whether more should be read from producers. Turns false before appends are refused; stays
    /// true where waiting would not help (full disk, disk that stands still, fence), so that refusals
    /// reach the producers.
    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }

    /// Completes when there is room.
    pub async fn wait_room(&self) {
        loop {
            let seen = self.0.room.count();
            if self.0.has_room() {
                return;
            }
            self.0.room.wait_past(seen).await;
        }
    }

    /// First offset of a queue.
    pub fn min_offset(&self, queue: QueueRef) -> QueueOffset {
        QueueOffset(
            self.0
                .queues
                .borrow()
                .get(queue)
                .map_or(0, |queue| queue.min),
        )
    }

    /// The offset after the last message that consumers see.
    pub fn max_offset(&self, queue: QueueRef) -> QueueOffset {
        QueueOffset(
            self.0
                .queues
                .borrow()
                .get(queue)
                .map_or(0, |queue| queue.visible),
        )
    }

    /// Queues in which consumers see more than at the last call, each once.
    pub fn take_arrivals(&self) -> Vec<QueueRef> {
        let arrivals = self.0.arrivals.take();
        let mut queues = self.0.queues.borrow_mut();
        for reference in &arrivals {
            if let Some(queue) = queues.get_mut(*reference) {
                queue.arrived = false;
            }
        }
        arrivals
    }

    /// Happens when [`Self::take_arrivals`] is no longer empty.
    pub fn arrived(&self) -> &Event {
        &self.0.arrived
    }

    /// Reads messages that are in memory, appending them to `out`. `accept` is asked for each
    /// message, in order.
    pub fn read_tail(
        &self,
        queue: QueueRef,
        from: QueueOffset,
        limits: ReadLimits,
        accept: &mut dyn Accept,
        out: &mut Vec<u8>,
    ) -> TailRead {
        self.0.read_tail(queue, from, limits, accept, out)
    }

    /// Reads messages from wherever they lie, appending them to `out`. After an error `out` may
    /// hold messages that no result tells of.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn read(
        &self,
        queue: QueueRef,
        from: QueueOffset,
        limits: ReadLimits,
        accept: &mut dyn Accept,
        out: &mut Vec<u8>,
    ) -> Result<GetResult, ReadError> {
        self.0.read(queue, from, limits, accept, out).await
    }

    /// The stored message at a physical offset; `None` when no visible message starts there.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn read_message(&self, at: PhyOffset) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.read_message(at).await
    }

    /// What the index knows of a queue's messages from an offset on, also of those that consumers do
    /// not see yet; lost ones are left out.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn index_entries(
        &self,
        queue: QueueRef,
        from: QueueOffset,
    ) -> Result<Vec<IndexEntry>, ReadError> {
        self.0.index_entries(queue, from).await
    }

    /// The newest messages of a topic that have a key.
    ///
    /// # Errors
    /// The disk failed where the log is.
    pub async fn query_keys(&self, query: &KeyQuery<'_>) -> Result<KeyAnswer, ReadError> {
        self.0.query_keys(query).await
    }

    /// When the message at an offset was taken, in milliseconds since the epoch; `None` when there
    /// is no such message.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn store_timestamp_at(
        &self,
        queue: QueueRef,
        offset: QueueOffset,
    ) -> Result<Option<i64>, ReadError> {
        self.0.store_timestamp_at(queue, offset).await
    }

    /// The offset that belongs to a store time.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn offset_by_time(
        &self,
        queue: QueueRef,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError> {
        self.0.offset_by_time(queue, timestamp_ms, boundary).await
    }

    /// All queues that ever had a message here: topic, queue, first offset and the one after the
    /// last visible.
    pub fn queues_present(&self) -> Vec<(Rc<str>, QueueId, QueueOffset, QueueOffset)> {
        let queues = self.0.queues.borrow();
        let present = queues.iter().filter(|queue| queue.next > 0);
        let row = |q: &Queue| {
            (
                Rc::clone(&q.topic),
                q.id,
                QueueOffset(q.min),
                QueueOffset(q.visible),
            )
        };
        present.map(row).collect()
    }

    /// Names of topics that have messages here, each once, sorted.
    pub fn topics_present(&self) -> Vec<Rc<str>> {
        let mut topics: Vec<_> = self.queues_present().into_iter().map(|row| row.0).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Deletes a queue: its offsets start again at 0. Gives the end of the record that says so,
    /// `None` when there is no such queue.
    ///
    /// # Errors
    /// The record could not be appended; the queue is as it was.
    pub fn delete_queue(
        &self,
        topic: &str,
        queue: QueueId,
    ) -> Result<Option<LogPosition>, AppendError> {
        self.0.delete_queue(topic, queue)
    }

    /// Has segments that are older than the reserved time go now, whatever the hour of the day.
    pub fn delete_expired_now(&self) {
        self.0.delete_expired_now();
    }

    /// Why messages are refused for want of space, when they are.
    pub fn shortage(&self) -> Option<Arc<Shortage>> {
        self.0.present_shortage()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> StoreStats {
        let log = self.0.log.borrow();
        StoreStats {
            queues: self.0.queues.borrow().len() as u64,
            tail_cache_bytes: log.tail.bytes() as u64,
            key_runs: self.0.keys.run_count() as u64,
            start: log.segments.start(),
            appended: log.appended(),
            written: log.written(),
            durable: log.durable(),
            frontier: log.segments.frontier(),
            unsynced_bytes: log.unsynced(),
            unsynced_ms: self.0.unsynced_ms(&log),
            unsynced_bytes_max: self.0.settings.window(),
            unsynced_ms_max: self.0.settings.unsynced_ms_max,
            fenced: u64::from(self.0.fenced.borrow().is_some()),
            stalled: u64::from(self.0.stall.is_stalled()),
            ..self.0.counters.copy()
        }
    }

    /// Writes and syncs everything, takes a checkpoint and stops. Appends are refused from now on;
    /// reads go on.
    ///
    /// # Errors
    /// The shard was fenced, or is by this: not everything may survive.
    pub async fn close(&self) -> Result<(), FlushError> {
        let inner = &self.0;
        if inner.closing.replace(true) {
            inner.tasks.empty().await;
            return inner.fenced_or_ok();
        }
        let _busy = Busy::begin(Activity::Stop);
        inner.wake_all();
        inner.tasks.empty().await;
        inner.fenced_or_ok()?;
        {
            let log = inner.log.borrow();
            base::always!(ClosedIsDurable, log.appended() <= log.durable());
        }
        inner.close_keys().await;
        if let Err(error) = inner.checkpoint().await {
            // The log holds everything; only the next start takes longer.
            tracing::warn!(shard = %inner.settings.shard, %error, "no checkpoint at the end");
        }
        inner.progress.notify();
        inner.fenced_or_ok()
    }
}

impl<R: Rt> Inner<R> {
    fn new(
        rt: R,
        settings: Settings,
        paths: ShardPaths,
        page_files: PageFiles<R::Disk>,
        keys: KeyIndex<R>,
        state: State<R::Disk>,
    ) -> (Self, Records, RecoveryReport) {
        let first_start = state.segments.start();
        let disk = rt.disk().clone();
        let log = CommitLog::new(disk, &settings, state.secret, state.segments, state.end);
        let times = Times::new(StoreClock::new(rt.now_ms(), rt.monotonic_us()));
        let inner = Self {
            log: RefCell::new(log),
            queues: RefCell::new(state.queues),
            pages: RefCell::new(state.pages),
            cold: RefCell::new(ColdCache::new(settings.cold_cache_bytes)),
            keys,
            rt,
            settings,
            paths,
            page_files,
            pending: RefCell::default(),
            arrivals: RefCell::default(),
            snapshot_source: RefCell::default(),
            carried: RefCell::new(state.records.clone()),
            counters: Counters::default(),
            fenced: RefCell::default(),
            fenced_at: Cell::new(None),
            busy_with: RefCell::default(),
            stall: Stall::default(),
            damage_lines: LineBudget::default(),
            no_space: RefCell::default(),
            full: RefCell::default(),
            retention: retention::State::new(times, state.slots, state.spares),
            closing: Cell::new(false),
            tasks: Rc::default(),
            work: Event::new(),
            written: Event::new(),
            progress: Event::new(),
            room: Event::new(),
            arrived: Event::new(),
            zero_wanted: Event::new(),
            checkpoint_wanted: Event::new(),
            unsynced_began: Event::new(),
            is_sync_late: Cell::new(false),
            closed: Event::new(),
            writer_waits: Cell::new(false),
            writer_gathers: Cell::new(false),
            moment: Cell::new(None),
            sync_target: Cell::new(state.end),
            sync_wanted: Cell::new(0),
            next_generation: Cell::new(state.next_generation),
            first_start,
            checkpoints_owed: Cell::new(0),
            checkpoint_sequence: Cell::new(state.checkpoint_sequence),
            checkpoint_position: Cell::new(state.checkpoint_position),
            frozen: RefCell::default(),
            thawed: Event::new(),
        };
        (inner, state.records, state.report)
    }

    /// Zeroed room that is kept free before producers are held back, in bytes.
    pub(crate) fn room_kept(&self) -> u64 {
        let settings = &self.settings;
        // The longest record may leave as much of a segment's end unused.
        let wanted = 2 * (settings.record_len_max + settings.block_bytes) as u64;
        wanted.min(settings.zero_low_bytes())
    }

    pub(crate) fn acknowledged(&self) -> LogPosition {
        let log = self.log.borrow();
        base::always!(
            PositionsOrdered,
            log.segments.start() <= log.durable()
                && log.durable() <= log.written()
                && log.written() <= log.sealed()
        );
        let acknowledged = match self.settings.flush {
            FlushMode::Sync if base::bug!(AckBeforeSync) => log.written(),
            FlushMode::Sync => log.durable(),
            FlushMode::Async => log.appended().max(log.durable()),
        };
        if let Some(end) = self.fenced_at.get() {
            base::always!(FenceHolds, acknowledged <= end);
        }
        LogPosition(acknowledged)
    }

    fn has_room(&self) -> bool {
        if self.fenced.borrow().is_some() || self.closing.get() || self.stall.is_stalled() {
            return true;
        }
        let log = self.log.borrow();
        let zeroed = log.segments.frontier() >= log.sealed() + self.room_kept();
        let longest = self.settings.block_len_max();
        let fits = log.ring.as_ref().is_none_or(|ring| ring.has_room(longest));
        let kept_up = fits
            && !self.is_sync_late.get()
            && log.unsynced() <= self.settings.unsynced_high()
            && self.waiting_bytes(&log) <= self.settings.unflushed_bytes_max as u64;
        if !zeroed {
            self.zero_wanted.notify();
        }
        kept_up && (zeroed || self.has_shortage())
    }

    /// Bytes that wait for the disk: to be synced in synchronous mode, else to be written.
    pub(crate) fn waiting_bytes(&self, log: &CommitLog<R::Disk>) -> u64 {
        match self.settings.flush {
            FlushMode::Sync => log.unsynced(),
            FlushMode::Async => log.unwritten(),
        }
    }

    /// A message more of `queue` may be seen by consumers.
    pub(crate) fn became_visible(&self, queue: &mut Queue, reference: QueueRef) {
        queue.visible += 1;
        base::always!(
            VisibleWithinQueue,
            queue.min <= queue.visible && queue.visible <= queue.next
        );
        if !queue.arrived {
            queue.arrived = true;
            let mut arrivals = self.arrivals.borrow_mut();
            arrivals.push(reference);
            if arrivals.len() == 1 {
                self.arrived.notify();
            }
        }
    }

    /// Stops all writing for good.
    pub(crate) fn fence(&self, reason: FenceReason) {
        if self.fenced.borrow().is_none() {
            tracing::error!(
                shard = %self.settings.shard,
                "shard fenced: {reason}. It takes no more writes, nothing that was not synced is \
                 acknowledged, reads go on. Check the disk, then restart the broker"
            );
            match reason {
                FenceReason::Write { .. } => base::reached!(FencedByWrite),
                FenceReason::Sync { .. } => base::reached!(FencedBySync),
                FenceReason::Index { .. } => base::reached!(FencedByIndex),
                FenceReason::Prepare { .. } => base::reached!(FencedByPreparing),
            }
            self.fenced_at.set(Some(self.acknowledged().0));
            self.fenced.replace(Some(reason));
            let fenced = Busy::begin(Activity::Fenced);
            self.busy_with.borrow_mut().push(fenced);
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        for event in [
            &self.work,
            &self.written,
            &self.progress,
            &self.room,
            &self.zero_wanted,
            &self.checkpoint_wanted,
            &self.retention.wanted,
            &self.unsynced_began,
            &self.closed,
            &self.thawed,
        ] {
            event.notify();
        }
        self.keys.wake_all();
    }

    fn fenced_or_ok(&self) -> Result<(), FlushError> {
        match self.fenced.borrow().as_ref() {
            Some(reason) => Err(FlushError::Fenced(reason.clone())),
            None => Ok(()),
        }
    }
}
