//! What a shard's store does between recovery and its first append: directories, the tail ring, room
//! in the log, its tasks.
//!
//! Runs once, when a shard opens. Invariant: when the store is handed out, everything that an append
//! counts on is on disk: the ring, the window in both checkpoints, zeroed room.

use crate::checkpointer::checkpoint_task;
use crate::error::OpenError;
use crate::flush::{lateness_task, sync_task, write_task};
use crate::idle::idle_task;
use crate::key_index::{follow_task, keep_task, tend_task};
use crate::layout::ShardPaths;
use crate::retention::{retention_task, space_task};
use crate::scrub::scrub_task;
use crate::settings::{FlushMode, Settings};
use crate::stall::stall_task;
use crate::store::Inner;
use crate::tail_ring::{RingOwner, TailRing, ring_len};
use crate::zero_ahead::{is_full, zero_task};
use rt::{Class, Disk, Rt, SharedMap};
use std::rc::Rc;

/// The tail ring of this life, empty and durably so. What recovery took from the one before is in
/// the log by now.
pub(crate) async fn make_ring<R: Rt>(
    rt: &R,
    settings: &mut Settings,
    paths: &ShardPaths,
    secret: u32,
) -> Result<Option<TailRing<<R::Disk as Disk>::Map>>, OpenError> {
    let (disk, path) = (rt.disk(), paths.tail_ring());
    if settings.flush == FlushMode::Async {
        let slot_len = settings.block_bytes;
        let owner = RingOwner {
            shard: settings.shard,
            secret,
            life: rt.random_u64(),
        };
        let failed = |source| OpenError::io("preparing the tail ring", &path, source);
        let len = ring_len(slot_len, settings.ring_slots());
        match disk.map_shared(&path, len).await {
            Ok(map) => {
                let ring = TailRing::new(map, owner, slot_len);
                ring.map().sync().await.map_err(failed)?;
                return Ok(Some(ring));
            }
            Err(error) if is_full(&error) => {
                tracing::warn!(
                    shard = %settings.shard, path = %path.display(), len,
                    "no room for the tail ring: until the next start this shard acknowledges as \
                     under SYNC_FLUSH"
                );
                settings.flush = FlushMode::Sync;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    // A ring that nobody writes must not be there when a later start looks for one.
    match disk.remove(&path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::io("removal", &path, source)),
        Ok(()) => {
            let synced = disk.sync_dir(&paths.shard).await;
            synced.map_err(|source| OpenError::io("sync of a directory", &paths.shard, source))?;
            Ok(None)
        }
    }
}

pub(crate) async fn make_directories<D: Disk>(
    disk: &D,
    root: &std::path::Path,
    paths: &ShardPaths,
) -> Result<(), OpenError> {
    for dir in [&paths.commit_log, &paths.index, &paths.keys] {
        let failed = |source| OpenError::io("creation of a directory", dir, source);
        disk.create_dir_all(dir).await.map_err(failed)?;
    }
    // Also the names that an earlier start made and did not live to sync.
    for dir in [
        root,
        &paths.shard,
        &paths.commit_log,
        &paths.index,
        &paths.keys,
    ] {
        let failed = |source| OpenError::io("sync of a directory", dir, source);
        disk.sync_dir(dir).await.map_err(failed)?;
    }
    Ok(())
}

impl<R: Rt> Inner<R> {
    /// Has both checkpoints tell of the window before a block may use it, when it grew.
    pub(crate) async fn record_window(&self, on_disk: Option<u64>) -> Result<(), OpenError> {
        let window = self.log.borrow().window();
        let Some(known) = on_disk.filter(|known| *known < window) else {
            return Ok(());
        };
        for _ in 0..2 {
            match self.checkpoint().await {
                Ok(()) => {}
                Err(error) if is_full(&error) => {
                    // The next start tries again; until then what is on disk holds.
                    self.log.borrow_mut().narrow_window(known);
                    return Ok(());
                }
                Err(source) => {
                    let path = &self.paths.shard;
                    return Err(OpenError::io("writing a checkpoint", path, source));
                }
            }
        }
        Ok(())
    }

    /// Zeroes so much that the first appends have room.
    pub(crate) async fn prepare_first_room(&self) -> Result<(), OpenError> {
        let enough = self.room_kept();
        loop {
            let (frontier, sealed) = {
                let log = self.log.borrow();
                (log.segments.frontier(), log.sealed())
            };
            if frontier >= sealed + enough {
                return Ok(());
            }
            match self.zero_step().await {
                Ok(()) => {}
                Err(error) if is_full(&error) => {
                    self.note_full(&error).await;
                    if frontier == 0 {
                        let path = self.paths.commit_log.clone();
                        let shortage = self.no_space.take();
                        let available = shortage.map_or(0, |shortage| shortage.available);
                        return Err(OpenError::NoSpace { path, available });
                    }
                    // There is a log to read; appends are refused until there is space.
                    return Ok(());
                }
                Err(source) => {
                    let path = &self.paths.commit_log;
                    return Err(OpenError::io("preparing the log", path, source));
                }
            }
        }
    }

    pub(crate) fn start_tasks(self: &Rc<Self>) {
        self.start(Class::Flush, write_task(Rc::clone(self)));
        self.start(Class::Flush, sync_task(Rc::clone(self)));
        if self.settings.flush == FlushMode::Async {
            self.start(Class::Flush, lateness_task(Rc::clone(self)));
        }
        self.start(Class::Housekeeping, stall_task(Rc::clone(self)));
        self.start(Class::Housekeeping, scrub_task(Rc::clone(self)));
        self.start(Class::Housekeeping, zero_task(Rc::clone(self)));
        self.start(Class::Housekeeping, idle_task(Rc::clone(self)));
        self.start(Class::Housekeeping, checkpoint_task(Rc::clone(self)));
        self.start(Class::Housekeeping, retention_task(Rc::clone(self)));
        self.start(Class::Housekeeping, space_task(Rc::clone(self)));
        if self.keys.is_on() {
            self.start(Class::Housekeeping, follow_task(Rc::clone(self)));
            self.start(Class::Housekeeping, keep_task(Rc::clone(self)));
            self.start(Class::Housekeeping, tend_task(Rc::clone(self)));
        }
    }

    fn start(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        let pass = self.tasks.enter();
        self.rt.spawn(class, async move {
            task.await;
            drop(pass);
        });
    }
}
