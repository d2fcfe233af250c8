//! After a life: recovery, itself crashed at any poll, and the whole store against the model.
//!
//! Part of a run. Every queue is read from its first to its last offset and compared byte for
//! byte; what is missing must lie where the run damaged the disk, and where recovery looked it
//! must have said so.

use super::life::{META, meta_of, snapshot};
use super::message::units;
use super::model::{Key, State};
use super::shape::Trouble;
use super::{Opened, Run};
use base::{PhyOffset, QueueId, QueueOffset};
use sim::{Crash, DiskOp, Fault, Rule, Sim, Stop};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use store::{Boundary, GetStatus, OpenError, ReadLimits, ShardStore};

/// Crashes of one recovery, at most.
const RECOVERY_CRASHES_MAX: u64 = 5;

impl Run {
    /// Opens the store, crashing on the way now and then. `None` when a disk that lied made that
    /// impossible.
    pub(super) fn recover(&mut self, lied: bool) -> Option<Opened> {
        for _ in 0..RECOVERY_CRASHES_MAX {
            if !self.rng.one_in(self.shape.crash_recovery_one_in) {
                break;
            }
            self.summary.recovery_crashes += 1;
            let crash = self.shape.draw_crash(&mut self.rng);
            if crash == Crash::Power {
                self.killed_at = None;
            }
            let polls = self.rng.skewed(1, 400);
            self.host.crash_after(polls, crash);
            if self.shape.trouble == Trouble::Eio && self.rng.coin() {
                let op = *self.rng.pick(&[DiskOp::Read, DiskOp::Write, DiskOp::Sync]);
                let rule = Rule::nth(op, "", self.rng.below(10), Fault::Eio);
                self.host.add_fault(rule);
            }
            let opened = self.open();
            self.host.clear_faults();
            if self.host.spare() {
                drop(opened);
                self.host.crash(crash); // it opened, or failed, before
            }
        }
        match self.open() {
            Ok(Ok(opened)) => Some(opened),
            Ok(Err(error)) => {
                assert!(lied, "the store does not open: {error}");
                None
            }
            Err(stop) => panic!("the store never opens: {stop:?}"),
        }
    }

    fn open(&mut self) -> Result<Result<Opened, OpenError>, Stop> {
        let settings = self.shape.settings.clone();
        let shard = settings.shard.as_u16();
        let model = Rc::clone(&self.model);
        self.host.try_block_on(shard, move |sim| async move {
            let (store, recovered) = ShardStore::open(sim.clone(), settings).await?;
            // Before the next await: a checkpoint may be taken as soon as tasks run.
            store.set_snapshot_source(Box::new(move || snapshot(&model)));
            Ok(Opened {
                sim,
                store,
                recovered,
            })
        })
    }

    /// Compares what the store shows at once with the model, which forgets what was given up.
    pub(super) fn check_recovered(&mut self, opened: &Opened) {
        let mut shown = State::default();
        let mut mins = Vec::new();
        for (topic, queue, min, max) in opened.store.queues_present() {
            let key = (topic.to_string(), queue.0);
            mins.push((key.clone(), min.0));
            shown.lens.insert(key, max.0);
        }
        for (kind, payload) in &opened.recovered.records {
            assert_eq!(*kind, META);
            let (slot, version) = meta_of(payload).expect("as it was written");
            shown.metas.insert(slot, version);
        }
        let report = &opened.recovered.report;
        let found = self
            .model
            .borrow_mut()
            .recovered(&shown, report.records_end.0);
        match found {
            Ok(given_up) => self.summary.given_up += given_up as u64,
            Err(sentence) => panic!("{sentence}\n  report: {report:?}"),
        }
        assert!(opened.store.durable().0 >= self.model.borrow().end());
        self.note_start(opened);
        for (key, min) in mins {
            self.model.borrow().check_min(&key, min);
        }
        if self.model.borrow().is_undamaged() {
            assert_eq!(report.quarantined, [], "damage where nobody did any");
            assert_eq!((report.lost_messages, report.restarted_queues), (0, 0));
        }
    }

    /// Where the log starts now.
    fn note_start(&self, opened: &Opened) {
        let start = opened.store.stats().start;
        let lies = self.shape.trouble == Trouble::Lying;
        self.model.borrow_mut().starts_at(start, lies);
    }

    /// Reads everything.
    pub(super) fn verify(&mut self, opened: &Opened) {
        let keys: Vec<Key> = {
            let rows = opened.store.queues_present();
            let keys = rows.iter().map(|row| (row.0.to_string(), row.1.0));
            keys.collect()
        };
        let shard = self.shape.settings.shard.as_u16();
        let limits = ReadLimits {
            count_max: self.rng.skewed(1, 64) as usize,
            bytes_max: self.rng.skewed(1_000, 1 << 20) as usize,
            scan_max: 1_000,
        };
        let mut read = BTreeMap::new();
        for key in keys {
            let (store, key2) = (opened.store.clone(), key.clone());
            let all = self
                .host
                .block_on(shard, move |_| read_all(store, key2, limits));
            read.insert(key, all);
        }
        // Segments may have gone meanwhile.
        self.note_start(opened);
        self.compare(opened, &read);
        self.look_up(opened);
        self.look_up_times(opened);
        self.look_up_keys(opened);
    }

    fn compare(&mut self, opened: &Opened, read: &BTreeMap<Key, Vec<u8>>) {
        let model = self.model.borrow();
        let report = &opened.recovered.report;
        let lied = self.shape.trouble == Trouble::Lying && self.host.faults_struck() > 0;
        for (key, bytes) in read {
            let mut next = 0;
            let mut missing = Vec::new();
            for unit in units(bytes) {
                let offset = model.check_unit(key, unit);
                assert!(offset >= next, "{key:?}: {offset} comes after {next}");
                missing.extend(next..offset);
                next = offset + 1;
            }
            missing.extend(next..model.len(key));
            missing.retain(|offset| !lied && !model.is_gone(key, *offset));
            for offset in missing {
                self.summary.lost += 1;
                assert!(
                    model.may_be_missing(key, offset),
                    "{key:?}: message {offset} cannot be read\n  report: {report:?}"
                );
                let at = model.message(key, offset).expect("dense").phy_position;
                let told = report.quarantined.iter();
                assert!(
                    at < report.scanned_from.0
                        || told.clone().any(|part| part.from.0 <= at && at < part.to.0),
                    "{key:?}: message {offset} at {at} is lost and recovery did not say so: \
                     {report:?}"
                );
            }
        }
        for key in model.keys() {
            assert!(lied || read.contains_key(&key) || model.len(&key) == 0);
        }
        self.summary.verified += read
            .values()
            .map(|bytes| units(bytes).len() as u64)
            .sum::<u64>();
    }

    /// A few messages by physical offset and by time.
    fn look_up(&mut self, opened: &Opened) {
        let keys = self.model.borrow().keys();
        let shard = self.shape.settings.shard.as_u16();
        for key in keys {
            let len = self.model.borrow().len(&key);
            if len == 0 {
                continue;
            }
            let offset = self.rng.below(len as u64) as i64;
            let Some(stored) = self.model.borrow().message(&key, offset) else {
                continue;
            };
            let store = opened.store.clone();
            let at = PhyOffset::new(
                self.shape.settings.shard,
                base::LogPosition(stored.phy_position),
            );
            let found = self
                .host
                .block_on(shard, move |_| async move { store.read_message(at).await });
            self.note_start(opened);
            let missing = self.shape.trouble == Trouble::Lying
                || self.model.borrow().is_gone(&key, offset)
                || self.model.borrow().may_be_missing(&key, offset);
            match found {
                Ok(Some(unit)) => assert_eq!(unit, stored.unit, "read by physical offset"),
                Ok(None) => assert!(
                    missing,
                    "{key:?} at {offset}: not found at {at:?}, damage at {:?}",
                    self.model.borrow().damaged_parts()
                ),
                Err(error) => panic!("read by physical offset: {error}"),
            }
        }
    }

    /// The place of a store time in each queue, where nothing was damaged.
    fn look_up_times(&mut self, opened: &Opened) {
        if !self.model.borrow().is_undamaged() || self.shape.trouble == Trouble::Lying {
            return;
        }
        let keys = self.model.borrow().keys();
        let shard = self.shape.settings.shard.as_u16();
        for key in keys {
            let Some(queue) = opened.store.queue(&key.0, QueueId(key.1)) else {
                continue;
            };
            let times: Vec<i64> = {
                let model = self.model.borrow();
                let messages = model.messages(&key).iter();
                messages.map(|stored| stored.store_timestamp_ms).collect()
            };
            let wanted = times.get(self.rng.index(times.len())).copied().unwrap_or(0);
            let min = opened.store.min_offset(queue);
            let store = opened.store.clone();
            let found = self.host.block_on(shard, move |_| async move {
                store.offset_by_time(queue, wanted, Boundary::Lower).await
            });
            if opened.store.min_offset(queue) != min {
                continue; // the oldest messages went meanwhile
            }
            let first = times.partition_point(|time| *time < wanted) as i64;
            let first = first.max(min.0);
            let found = found.unwrap_or_else(|error| panic!("search by time: {error}"));
            assert_eq!(found.0, first, "{key:?}: first message not before {wanted}");
        }
    }

    /// Makes the file system nearly full for a while.
    pub(super) fn fill_disk(&mut self) {
        if self.shape.trouble != Trouble::Full || self.rng.one_in(3) {
            return;
        }
        let used: u64 = self.host.files().iter().map(|file| file.1).sum();
        let left = self.rng.skewed(512, 256 << 10);
        self.host.shape_disk(|disk| disk.capacity = used + left);
        let sleep = self
            .world
            .sleep(Duration::from_millis(self.rng.skewed(1, 5_000)));
        let host = self.host.clone();
        self.world.spawn(async move {
            sleep.await;
            host.shape_disk(|disk| disk.capacity = 1 << 40);
        });
    }

    /// Flips a bit of something stored: half of the time of what recovery will scan.
    pub(super) fn damage(&mut self, told: u64) {
        if self.rots >= 2 || self.rng.one_in(4) {
            return;
        }
        let damaged = if self.rng.one_in(3) {
            self.damage_derived()
        } else {
            self.damage_log(told)
        };
        self.rots += u64::from(damaged);
    }

    /// Damages the queue index or a checkpoint, of which nothing may be noticed but the time.
    fn damage_derived(&mut self) -> bool {
        let mine = format!("shard-{:03}", self.shape.settings.shard.as_u16());
        let mut files = self.host.files();
        files.retain(|(path, _, durable)| {
            let path = path.to_string_lossy();
            path.contains(&mine) && !path.contains("commitlog") && *durable > 0
        });
        if files.is_empty() {
            return false;
        }
        let (path, _, durable) = self.rng.pick(&files);
        let (position, mask) = (self.rng.below(*durable), 1 << self.rng.below(8));
        assert!(self.host.rot(path, position, mask));
        true
    }

    /// Damages the log somewhere below `told`.
    fn damage_log(&mut self, told: u64) -> bool {
        let settings = &self.shape.settings;
        let align = settings.block_align as u64;
        let near = if self.rng.coin() { 8 << 10 } else { told };
        let position = told.saturating_sub(1 + self.rng.below(near.max(1)));
        let mine = format!("shard-{:03}/commitlog", settings.shard.as_u16());
        let files = self.host.files();
        let segment = files.iter().find_map(|(path, len, _)| {
            let name = path.file_name()?.to_string_lossy();
            let start: u64 = name.parse().ok()?;
            let inside = start + align <= position && position < start + len;
            (inside && path.to_string_lossy().contains(&mine)).then_some((path, start))
        });
        let Some((path, start)) = segment else {
            return false;
        };
        let block = settings.block_bytes.max(settings.record_len_max + 200) as u64;
        let margin = block.next_multiple_of(align) + align;
        self.model.borrow_mut().damaged(position, margin);
        let mask = 1 << self.rng.below(8);
        assert!(self.host.rot(path, position - start, mask));
        true
    }
}

/// Everything that a queue gives, from its first offset on.
async fn read_all(store: ShardStore<Sim>, key: Key, limits: ReadLimits) -> Vec<u8> {
    let queue = store.queue(&key.0, QueueId(key.1)).expect("it is present");
    let max = store.max_offset(queue);
    let mut from = store.min_offset(queue);
    let mut out = Vec::new();
    while from < max {
        let result = store
            .read(queue, from, limits, &mut |_| true, &mut out)
            .await
            .unwrap_or_else(|error| panic!("read of {key:?} at {from:?}: {error}"));
        assert!(result.next_offset > from, "a read moves on: {result:?}");
        if result.status == GetStatus::OffsetTooSmall {
            assert_eq!(
                result.next_offset, result.min,
                "it goes on where messages are"
            );
            from = result.next_offset;
            continue;
        }
        assert!(result.max >= max && result.next_offset <= result.max);
        let expected = if result.count > 0 {
            GetStatus::Found
        } else {
            GetStatus::MessageWasRemoving
        };
        assert_eq!(result.status, expected, "{key:?} at {from:?}");
        from = QueueOffset(result.next_offset.0);
    }
    out
}
