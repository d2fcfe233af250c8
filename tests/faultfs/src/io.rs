//! What an operation does to the backing directory, with the faults that were decided for it.
//!
//! Shared by all threads of the mount. Order within an operation: faults are decided, space is
//! claimed, the backing file is changed, the change is recorded; only then is it answered.
//! Invariant: an operation that answers with an error has changed nothing.

use crate::clock::monotonic_ns;
use crate::nodes::{Handle, Nodes};
use crate::rules::{Action, Op, Rules, Verdict};
use crate::space::Space;
use crate::trace::{What, Writer};
use fuser::Errno;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Everything that the mount knows.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backing: PathBuf,
    pub(crate) rules: Rules,
    nodes: Mutex<Nodes>,
    space: Mutex<Space>,
    trace: Option<Mutex<Writer>>,
}

/// The end of an operation that may be held: it runs later, on a thread of its own, when it is.
pub(crate) type Outcome<T> = Result<T, Errno>;

impl Shared {
    pub(crate) fn new(backing: PathBuf, limit: Option<u64>, trace: Option<Writer>) -> Self {
        let mut space = Space::default();
        space.set_limit(limit);
        Self {
            backing,
            rules: Rules::default(),
            nodes: Mutex::new(Nodes::new()),
            space: Mutex::new(space),
            trace: trace.map(Mutex::new),
        }
    }

    pub(crate) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().expect("no holder panics")
    }

    pub(crate) fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().expect("no holder panics")
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.trace.is_some()
    }

    pub(crate) fn record(&self, begin_ns: u64, what: &What) {
        if let Some(trace) = &self.trace {
            trace.lock().expect("no holder panics").add(begin_ns, what);
        }
    }

    /// Brings the trace to its file.
    pub(crate) fn finish_trace(&self) -> io::Result<()> {
        match &self.trace {
            Some(trace) => trace.lock().expect("no holder panics").finish(),
            None => Ok(()),
        }
    }

    /// Decides for an operation and runs it: at once, or on a thread of its own when it is held.
    pub(crate) fn run(
        self: &Arc<Self>,
        op: Op,
        name: &str,
        offset: u64,
        work: impl FnOnce(&Self, Option<Action>) + Send + 'static,
    ) {
        match self.rules.decide(op, name, offset) {
            Verdict::Pass => work(self, None),
            Verdict::Do(action) => work(self, Some(action)),
            Verdict::Hold(rule) => {
                let shared = Arc::clone(self);
                std::thread::spawn(move || {
                    shared.rules.hold(rule);
                    work(&shared, None);
                });
            }
        }
    }

    pub(crate) fn write(
        &self,
        handle: &Handle,
        offset: u64,
        data: &[u8],
        action: Option<Action>,
    ) -> Outcome<u32> {
        let begin_ns = monotonic_ns();
        let len = data.len() as u64;
        refuse(action)?;
        if !self.space().claim(handle.node, offset, len) {
            return Err(Errno::ENOSPC);
        }
        let file = &handle.file;
        match action {
            None => file.write_all_at(data, offset)?,
            Some(Action::Tear { sectors }) => {
                let kept = (sectors * SECTOR_LEN).min(len) as usize;
                file.write_all_at(&data[..kept], offset)?;
            }
            Some(Action::Flip { bit }) if !data.is_empty() => {
                let mut flipped = data.to_vec();
                let bit = bit % (len * 8);
                flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
                file.write_all_at(&flipped, offset)?;
            }
            Some(Action::Misdirect { by }) => file.write_all_at(data, offset + by)?,
            Some(_) => {}
        }
        if self.is_recording() {
            self.record(begin_ns, &written(handle.node, offset, data));
        }
        Ok(data.len() as u32)
    }

    pub(crate) fn read(
        handle: &Handle,
        offset: u64,
        len: u32,
        action: Option<Action>,
    ) -> Outcome<Vec<u8>> {
        refuse(action)?;
        let mut data = vec![0; len as usize];
        let mut filled = 0;
        while filled < data.len() {
            let read = handle
                .file
                .read_at(&mut data[filled..], offset + filled as u64)?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        data.truncate(filled);
        Ok(data)
    }

    pub(crate) fn sync(
        &self,
        handle: &Handle,
        data_only: bool,
        action: Option<Action>,
    ) -> Outcome<()> {
        let begin_ns = monotonic_ns();
        refuse(action)?;
        if data_only {
            handle.file.sync_data()?;
        } else {
            handle.file.sync_all()?;
        }
        self.record(begin_ns, &What::Sync { node: handle.node });
        Ok(())
    }

    pub(crate) fn sync_dir(&self, handle: &Handle, action: Option<Action>) -> Outcome<()> {
        let begin_ns = monotonic_ns();
        refuse(action)?;
        handle.file.sync_all()?;
        let path = self.nodes().name(handle.node);
        self.record(begin_ns, &What::SyncDir { path });
        Ok(())
    }

    pub(crate) fn set_len(&self, handle: &Handle, len: u64, action: Option<Action>) -> Outcome<()> {
        let begin_ns = monotonic_ns();
        refuse(action)?;
        handle.file.set_len(len)?;
        self.space().cut(handle.node, len);
        let node = handle.node;
        self.record(begin_ns, &What::SetLen { node, len });
        Ok(())
    }

    /// Allocates as `fallocate` does with `mode`.
    pub(crate) fn allocate(
        &self,
        handle: &Handle,
        offset: u64,
        len: u64,
        mode: i32,
        action: Option<Action>,
    ) -> Outcome<()> {
        let begin_ns = monotonic_ns();
        refuse(action)?;
        let flags = nix::fcntl::FallocateFlags::from_bits_retain(mode);
        let keeps_len = nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if !(flags - keeps_len).is_empty() {
            return Err(Errno::EOPNOTSUPP);
        }
        if !self.space().claim(handle.node, offset, len) {
            return Err(Errno::ENOSPC);
        }
        nix::fcntl::fallocate(&handle.file, flags, offset as i64, len as i64)
            .map_err(|errno| Errno::from_i32(errno as i32))?;
        let len = handle.file.metadata()?.len();
        let node = handle.node;
        self.record(begin_ns, &What::SetLen { node, len });
        Ok(())
    }
}

/// The trace's record of a write.
pub(crate) fn written(node: u64, offset: u64, data: &[u8]) -> What {
    if data.iter().all(|byte| *byte == 0) {
        let len = data.len() as u64;
        return What::Zeros { node, offset, len };
    }
    What::Write {
        node,
        offset,
        bytes: data.to_vec(),
    }
}

pub(crate) fn refuse(action: Option<Action>) -> Outcome<()> {
    match action {
        Some(Action::Fail(errno)) => Err(Errno::from_i32(errno as i32)),
        _ => Ok(()),
    }
}

const SECTOR_LEN: u64 = 512;
