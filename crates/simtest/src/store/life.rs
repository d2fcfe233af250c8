//! One life of a store: producers, readers, metadata and deletions at once, each held to the model.
//!
//! Owned by one run; its tasks die with the host. Everything asserted here must hold at every
//! instant of every life: only acknowledged messages are visible, positions never go back, a
//! fenced shard acknowledges nothing more, and a read gives exactly what was appended.

use super::message::{Message, units};
use super::model::{Key, Model};
use super::shape::{Shape, Trouble};
use base::{LogPosition, QueueId, QueueOffset};
use rt::sync::Gate;
use rt::{Class, Rt};
use sim::{Rng, Sim};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use store::{
    AppendError, FlushError, FlushMode, GetResult, GetStatus, ReadLimits, RecordKind, ShardStore,
    TailRead,
};

/// The kind of the metadata records that the workload writes.
pub(crate) const META: RecordKind = RecordKind(7);
/// Longest time that an append or an acknowledgement may take without trouble.
const PATIENCE_MS: u64 = 600_000;

/// What the tasks of one life share.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) sim: Sim,
    pub(crate) store: ShardStore<Sim>,
    pub(crate) model: Rc<RefCell<Model>>,
    pub(crate) shape: Rc<Shape>,
    rng: Rc<RefCell<Rng>>,
    seen: Rc<Seen>,
}

/// Positions seen so far in this life.
#[derive(Default)]
struct Seen {
    acknowledged: Cell<u64>,
    durable: Cell<u64>,
    /// What was acknowledged when the fence was first seen.
    fenced_at: Cell<Option<u64>>,
    over: Cell<bool>,
}

impl Life {
    pub(crate) fn new(
        sim: Sim,
        store: ShardStore<Sim>,
        model: Rc<RefCell<Model>>,
        shape: Rc<Shape>,
        rng: Rng,
    ) -> Self {
        let rng = Rc::new(RefCell::new(rng));
        Self {
            sim,
            store,
            model,
            shape,
            rng,
            seen: Rc::default(),
        }
    }

    /// Runs the whole workload of this life.
    pub(crate) async fn run(self) {
        let work = Rc::new(Gate::default());
        for _ in 0..self.shape.producers {
            self.start(&work, |life| async move { life.produce().await });
        }
        self.start(&work, |life| async move { life.write_metas().await });
        let watch = Rc::new(Gate::default());
        self.start(&watch, |life| async move { life.watch_progress().await });
        self.start(&watch, |life| async move { life.follow_arrivals().await });
        for _ in 0..self.shape.readers {
            self.start(&watch, |life| async move { life.read_around().await });
        }
        if self.shape.keyed_one_in > 0 && self.shape.settings.key_index {
            self.start(&watch, |life| async move { life.ask_around().await });
        }
        work.empty().await;
        self.seen.over.set(true);
        self.sim.sleep(Duration::from_millis(1_200)).await;
        self.check_positions();
    }

    fn start<F: Future<Output = ()> + 'static>(
        &self,
        gate: &Rc<Gate>,
        task: impl FnOnce(Self) -> F,
    ) {
        let pass = gate.enter();
        let task = task(self.clone());
        self.sim.spawn(Class::Request, async move {
            task.await;
            drop(pass);
        });
    }

    async fn produce(&self) {
        let mut unacknowledged = Vec::new();
        for _ in 0..self.shape.messages {
            let message = self.draw_message();
            let Some(end) = self.append(&message).await else {
                return;
            };
            unacknowledged.push(end);
            let full = unacknowledged.len() as u64 >= self.shape.window;
            if full && !self.wait_all(&mut unacknowledged).await {
                return;
            }
            self.delete_now_and_then();
            self.pause().await;
        }
        self.wait_all(&mut unacknowledged).await;
    }

    /// Appends, waiting while the store has no room. `None` when the shard is fenced.
    async fn append(&self, message: &Message) -> Option<LogPosition> {
        let begin_us = self.sim.monotonic_us();
        loop {
            let queue = self
                .store
                .queue_or_create(&message.topic, QueueId(message.queue));
            let result = self.store.append_with(
                queue,
                message.encoded_len(),
                message.tags_code(),
                |out, place| out.copy_from_slice(&message.encode(place)),
            );
            match result {
                Ok(receipt) => {
                    assert!(
                        self.store.fenced().is_none(),
                        "a fenced shard takes no message"
                    );
                    self.model.borrow_mut().appended(message, &receipt);
                    self.check_positions();
                    return Some(receipt.end);
                }
                Err(AppendError::Fenced(_)) => {
                    assert!(self.store.fenced().is_some());
                    return None;
                }
                Err(
                    AppendError::Busy { .. }
                    | AppendError::SyncLate { .. }
                    | AppendError::Stalled { .. }
                    | AppendError::NoSpace(_),
                ) => {
                    self.sim.sleep(Duration::from_millis(1)).await;
                    self.store.wait_room().await;
                }
                Err(other) => panic!("append refused: {other}"),
            }
            let waited_ms = (self.sim.monotonic_us() - begin_us) / 1_000;
            assert!(waited_ms < PATIENCE_MS, "the store never has room again");
        }
    }

    /// Waits until all are acknowledged; false when the shard was fenced before.
    async fn wait_all(&self, ends: &mut Vec<LogPosition>) -> bool {
        let begin_us = self.sim.monotonic_us();
        for end in ends.drain(..) {
            match self.store.wait_acknowledged(end).await {
                Ok(()) => assert!(self.store.acknowledged() >= end),
                Err(FlushError::Fenced(_)) => return false,
                Err(FlushError::Closed) => panic!("nobody closed the store"),
            }
        }
        self.check_positions();
        let waited_ms = (self.sim.monotonic_us() - begin_us) / 1_000;
        assert!(waited_ms < PATIENCE_MS, "acknowledging took for ever");
        true
    }

    fn draw_message(&self) -> Message {
        let mut rng = self.rng.borrow_mut();
        let (topic, queue) = rng.pick(&self.shape.queues).clone();
        Message {
            uid: self.model.borrow_mut().new_uid(),
            topic,
            queue,
            body_len: rng.skewed(1, self.shape.body_len_max) as usize,
            has_keys: rng.one_in(self.shape.keyed_one_in),
        }
    }

    fn delete_now_and_then(&self) {
        let key = {
            let mut rng = self.rng.borrow_mut();
            if !rng.one_in(self.shape.delete_one_in) {
                return;
            }
            rng.pick(&self.shape.queues).clone()
        };
        if let Ok(Some(end)) = self.store.delete_queue(&key.0, QueueId(key.1)) {
            self.model.borrow_mut().deleted(&key, end.0);
        }
    }

    async fn write_metas(&self) {
        for _ in 0..self.shape.metas {
            let version = self.model.borrow_mut().new_version();
            let slot = self.rng.borrow_mut().below(4) as u8;
            match self.store.append_record(META, &meta_payload(slot, version)) {
                Ok(end) => {
                    let mut model = self.model.borrow_mut();
                    model.meta_appended(slot, version, end.0);
                }
                Err(AppendError::Fenced(_)) => return,
                Err(
                    AppendError::Busy { .. }
                    | AppendError::SyncLate { .. }
                    | AppendError::Stalled { .. }
                    | AppendError::NoSpace(_),
                ) => {
                    self.store.wait_room().await;
                }
                Err(other) => panic!("record refused: {other}"),
            }
            let us = 100 + self.rng.borrow_mut().below(20_000);
            self.sim.sleep(Duration::from_micros(us)).await;
        }
    }

    async fn pause(&self) {
        let us = self.rng.borrow_mut().below(self.shape.pause_us_max + 1);
        if us == 0 {
            self.sim.yield_now().await;
        } else {
            self.sim.sleep(Duration::from_micros(us)).await;
        }
    }

    /// Positions only grow, a fenced shard acknowledges no more, and `SYNC_FLUSH` acknowledges
    /// only what is durable.
    pub(crate) fn check_positions(&self) {
        let acknowledged = self.store.acknowledged().0;
        let durable = self.store.durable().0;
        if let Some(at) = self.seen.fenced_at.get() {
            assert_eq!(acknowledged, at, "a fenced shard acknowledges nothing");
        } else if self.store.fenced().is_some() {
            self.seen.fenced_at.set(Some(acknowledged));
        }
        let before = self.seen.acknowledged.replace(acknowledged);
        assert!(before <= acknowledged, "acknowledged went back");
        let start = self.store.stats().start;
        assert!(start <= durable, "what is not durable is gone");
        let lies = self.shape.trouble == Trouble::Lying;
        self.model.borrow_mut().starts_at(start, lies);
        let before = self.seen.durable.replace(durable);
        assert!(before <= durable, "durable went back");
        if self.shape.settings.flush == FlushMode::Sync {
            assert!(acknowledged <= durable, "acknowledged what is not durable");
        }
        if self.shape.trouble != Trouble::Eio && self.shape.trouble != Trouble::Lying {
            let fenced = self.store.fenced();
            assert!(
                fenced.is_none(),
                "fenced without an error of the disk: {fenced:?}"
            );
        }
    }

    async fn watch_progress(&self) {
        loop {
            let seen = self.store.progress().count();
            self.check_positions();
            self.store.progress().wait_past(seen).await;
        }
    }

    /// Every queue whose visible end moves is announced.
    async fn follow_arrivals(&self) {
        loop {
            let seen = self.store.arrived().count();
            for queue in self.store.take_arrivals() {
                let max = self.store.max_offset(queue);
                assert!(max >= self.store.min_offset(queue));
            }
            self.store.arrived().wait_past(seen).await;
        }
    }

    async fn read_around(&self) {
        while !self.seen.over.get() {
            let keys = self.model.borrow().keys();
            if !keys.is_empty() {
                let key = self.rng.borrow_mut().pick(&keys).clone();
                self.read_once(&key).await;
            }
            let us = 50 + self.rng.borrow_mut().below(5_000);
            self.sim.sleep(Duration::from_micros(us)).await;
        }
    }

    /// Asks for keys while messages come: what is acknowledged is found, nothing else is.
    async fn ask_around(&self) {
        while !self.seen.over.get() {
            let (topic, key, count_max) = {
                let mut rng = self.rng.borrow_mut();
                let topic = rng.pick(&self.shape.queues).0.clone();
                (
                    topic,
                    super::keys::draw(&mut rng, &self.model.borrow()),
                    rng.skewed(1, 64) as usize,
                )
            };
            super::keys::ask(self, &topic, &key, count_max).await;
            let us = 500 + self.rng.borrow_mut().below(50_000);
            self.sim.sleep(Duration::from_micros(us)).await;
        }
    }

    async fn read_once(&self, key: &Key) {
        let Some(queue) = self.store.queue(&key.0, QueueId(key.1)) else {
            return;
        };
        let (from, limits, wanted) = self.draw_read(key);
        let mut accept = |code: i64| wanted.is_none_or(|wanted| code == wanted);
        let mut out = Vec::new();
        let tail = self
            .store
            .read_tail(queue, QueueOffset(from), limits, &mut accept, &mut out);
        let result = match tail {
            TailRead::Done(result) => result,
            TailRead::NotInMemory => {
                let read = self
                    .store
                    .read(queue, QueueOffset(from), limits, &mut accept, &mut out);
                match read.await {
                    Ok(result) => result,
                    Err(_) if self.shape.trouble == Trouble::Eio => return,
                    Err(error) => panic!("read failed: {error}"),
                }
            }
        };
        if self.store.queue(&key.0, QueueId(key.1)) != Some(queue) {
            return; // the queue was deleted meanwhile; another of its name may be longer by now
        }
        if from < result.min.0 {
            // Nothing but what it has: the first offset, or messages that went while it read.
            let too_small = result.status == GetStatus::OffsetTooSmall;
            assert!(!too_small || result.next_offset == result.min);
            return;
        }
        self.check_read(key, from, limits, wanted, &result, &out);
    }

    fn draw_read(&self, key: &Key) -> (i64, ReadLimits, Option<i64>) {
        let mut rng = self.rng.borrow_mut();
        let len = self.model.borrow().len(key);
        let from = rng.below(len as u64 + 2) as i64;
        let limits = ReadLimits {
            count_max: rng.skewed(1, 64) as usize,
            bytes_max: rng.skewed(100, 64 << 10) as usize,
            scan_max: rng.skewed(1, 1_000) as usize,
        };
        let wanted = rng.one_in(3).then(|| rng.below(5) as i64 - 1);
        (from, limits, wanted)
    }

    fn check_read(
        &self,
        key: &Key,
        from: i64,
        limits: ReadLimits,
        wanted: Option<i64>,
        result: &GetResult,
        out: &[u8],
    ) {
        let model = self.model.borrow();
        let units = units(out);
        assert_eq!((result.count, result.bytes), (units.len(), out.len()));
        assert!(result.count <= limits.count_max);
        assert!(result.count <= 1 || result.bytes <= limits.bytes_max);
        let acknowledged = self.store.acknowledged().0;
        let mut next = from;
        let rots = matches!(self.shape.trouble, Trouble::Rot | Trouble::Lying);
        for unit in &units {
            let offset = model.check_unit(key, unit);
            assert!(
                offset >= next,
                "offsets of a read grow: {offset} after {next}"
            );
            for skipped in next..offset {
                let stored = model.message(key, skipped).expect("dense");
                let unwanted = wanted.is_some_and(|code| stored.tags_code != code);
                assert!(unwanted || rots, "{key:?}: {skipped} was skipped");
            }
            let stored = model.message(key, offset).expect("checked");
            assert!(wanted.is_none_or(|code| stored.tags_code == code));
            assert!(
                stored.end <= acknowledged,
                "visible before it was acknowledged"
            );
            next = offset + 1;
        }
        assert!(result.next_offset.0 >= next || result.status != GetStatus::Found);
        assert!(
            result.max.0 <= model.len(key),
            "more visible than was appended"
        );
        if let Some(last) = (result.max.0 > 0).then_some(result.max.0 - 1) {
            let last = model.message(key, last).expect("below the end");
            assert!(
                last.end <= acknowledged,
                "visible before it was acknowledged"
            );
        }
        if from < result.max.0 && wanted.is_none() && !rots {
            assert_eq!(
                result.status,
                GetStatus::Found,
                "{key:?} at {from}: {result:?}"
            );
            assert_eq!(result.next_offset.0, from + units.len() as i64);
        }
    }
}

/// All metadata, as records.
pub(crate) fn snapshot(model: &Rc<RefCell<Model>>) -> Vec<(RecordKind, Vec<u8>)> {
    let model = model.borrow();
    let records = model
        .metas()
        .iter()
        .map(|(slot, version)| (META, meta_payload(*slot, *version)));
    records.collect()
}

fn meta_payload(slot: u8, version: u64) -> Vec<u8> {
    let mut payload = vec![slot];
    payload.extend(version.to_le_bytes());
    payload
}

/// Slot and version of a metadata record.
pub(crate) fn meta_of(payload: &[u8]) -> Option<(u8, u64)> {
    let (slot, version) = payload.split_first()?;
    Some((*slot, u64::from_le_bytes(version.try_into().ok()?)))
}
