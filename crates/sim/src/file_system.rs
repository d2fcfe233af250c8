//! One host's file system: names, files, room, faults, and what a crash leaves of them.
//!
//! Owned by the host; it outlives the host's shards. Names behave as in a journalling file system
//! (ext4, XFS): created, renamed and removed names reach the journal in order, syncing a
//! directory makes everything up to its last change durable, and a power cut keeps any prefix of
//! the rest. Stricter than ext4 in one point: syncing a file does not make its name durable.

use crate::coverage::{Struck, note_here};
use crate::faults::{DiskOp, Fault, Rule, Script};
use crate::inode::Inode;
use crate::seed::Rng;
use rt::{DirEntry, OpenMode, Space};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::ops::Bound::{Included, Unbounded};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Shape of a file system: alignment, room, and how long operations take.
#[derive(Debug, Clone)]
pub struct DiskShape {
    /// Alignment of positions and lengths, in bytes.
    pub alignment: usize,
    /// Size of the file system, in bytes.
    pub capacity: u64,
    /// Shortest and longest time of a read or write, in microseconds.
    pub transfer_us: (u64, u64),
    /// Shortest and longest time of a sync, in microseconds.
    pub sync_us: (u64, u64),
    /// One operation in so many takes a hundred times as long; 0 for none.
    pub slow_one_in: u64,
}

impl DiskShape {
    /// A shape drawn from a generator.
    pub fn draw(rng: &mut Rng) -> Self {
        let transfer_low = rng.skewed(1, 200);
        let sync_low = rng.skewed(1, 1_000);
        Self {
            alignment: 512,
            capacity: 1 << 40,
            transfer_us: (transfer_low, transfer_low + rng.skewed(1, 2_000)),
            sync_us: (sync_low, sync_low + rng.skewed(1, 5_000)),
            slow_one_in: *rng.pick(&[0, 50, 1_000]),
        }
    }
}

/// A file by number; stays the same when the file is renamed.
pub(crate) type InodeId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(InodeId),
}

/// A whole path. Plain text compares much faster than a `Path`, which is taken apart each time.
type Name = Rc<str>;

#[derive(Debug, Clone)]
enum NameChange {
    Link { path: Name, node: Node },
    Unlink { path: Name },
    Rename { from: Name, to: Name },
}

type Names = BTreeMap<Name, Node>;

struct State {
    shape: DiskShape,
    rng: Rng,
    script: Script,
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    live: Names,
    durable: Names,
    journal: Vec<(u64, NameChange)>,
    next_change: u64,
    /// How many more stores into maps the process lives to make; no end when none.
    stores_left: Option<u64>,
}

pub(crate) struct FileSystem(RefCell<State>);

/// What a sync covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SyncMark {
    pub(crate) watermark: u64,
    failed: u64,
}

/// How a write ends.
pub(crate) struct WriteTicket {
    pub(crate) inode: InodeId,
    number: u64,
    fault: Option<Fault>,
}

impl FileSystem {
    pub(crate) fn new(shape: DiskShape, rng: Rng) -> Self {
        Self(RefCell::new(State {
            shape,
            rng,
            script: Script::default(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            live: Names::new(),
            durable: Names::new(),
            journal: Vec::new(),
            next_change: 1,
            stores_left: None,
        }))
    }

    pub(crate) fn alignment(&self) -> usize {
        self.0.borrow().shape.alignment
    }

    pub(crate) fn with_shape(&self, change: impl FnOnce(&mut DiskShape)) {
        change(&mut self.0.borrow_mut().shape);
    }

    pub(crate) fn add_rule(&self, rule: Rule) {
        self.0.borrow_mut().script.add(rule);
    }

    pub(crate) fn clear_rules(&self) {
        self.0.borrow_mut().script.clear();
    }

    pub(crate) fn struck(&self) -> u64 {
        self.0.borrow().script.struck()
    }

    /// Draws how long an operation takes and whether a rule strikes it.
    pub(crate) fn begin(&self, op: DiskOp, path: &Path) -> (u64, Option<Fault>) {
        let state = &mut *self.0.borrow_mut();
        let (low, high) = match op {
            DiskOp::Sync => state.shape.sync_us,
            _ => state.shape.transfer_us,
        };
        let mut us = state.rng.between(low, high);
        if state.rng.one_in(state.shape.slow_one_in) {
            us *= 100;
        }
        let mut ns = us * 1_000 + state.rng.below(1_000);
        let fault = state.script.strike(op, path);
        if let Some(Fault::StallMs(ms)) = fault {
            ns += ms * 1_000_000;
            return (ns, None);
        }
        (ns, fault)
    }

    pub(crate) fn open(&self, path: &Path, mode: OpenMode) -> Result<InodeId> {
        let state = &mut *self.0.borrow_mut();
        let path = name_of(path);
        let present = state.live.get(path).copied();
        let id = match (present, mode) {
            (Some(Node::Dir), _) => return Err(Error::from(ErrorKind::IsADirectory)),
            (Some(Node::File(_)), OpenMode::CreateNew) => {
                return Err(Error::from(ErrorKind::AlreadyExists));
            }
            (Some(Node::File(id)), _) => id,
            (None, OpenMode::CreateNew) => state.create(path)?,
            (None, _) => return Err(Error::from(ErrorKind::NotFound)),
        };
        state.inode(id)?.handles += 1;
        Ok(id)
    }

    pub(crate) fn close(&self, id: InodeId) {
        let state = &mut *self.0.borrow_mut();
        if let Some(inode) = state.inodes.get_mut(&id) {
            inode.handles = inode.handles.saturating_sub(1);
            if inode.handles == 0 && !state.is_reachable(id) {
                state.inodes.remove(&id);
            }
        }
    }

    pub(crate) fn create_dir_all(&self, path: &Path) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let mut missing: Vec<&str> = Vec::new();
        let mut ancestor = name_of(path);
        while !is_root(ancestor) {
            match state.live.get(ancestor) {
                Some(Node::Dir) => break,
                Some(Node::File(_)) => return Err(Error::from(ErrorKind::NotADirectory)),
                None => missing.push(ancestor),
            }
            ancestor = parent(ancestor);
        }
        for dir in missing.into_iter().rev() {
            state.rename_or_link(NameChange::Link {
                path: dir.into(),
                node: Node::Dir,
            });
        }
        Ok(())
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let state = self.0.borrow();
        let dir = name_of(path);
        state.check_dir(dir)?;
        let below = format!("{}/", dir.trim_end_matches('/'));
        let names = state
            .live
            .range::<str, _>((Included(below.as_str()), Unbounded));
        let inside = names
            .map_while(|(name, node)| Some((name.strip_prefix(&below)?, node)))
            .filter(|(name, _)| !name.contains('/'));
        Ok(inside
            .map(|(name, node)| DirEntry {
                name: name.to_owned(),
                is_dir: *node == Node::Dir,
                len: match node {
                    Node::Dir => 0,
                    Node::File(id) => state.inodes.get(id).map_or(0, |i| i.live.len() as u64),
                },
            })
            .collect())
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let path = name_of(path);
        match state.live.get(path) {
            None => return Err(Error::from(ErrorKind::NotFound)),
            Some(Node::Dir) => return Err(Error::from(ErrorKind::IsADirectory)),
            Some(Node::File(_)) => {}
        }
        state.rename_or_link(NameChange::Unlink { path: path.into() });
        state.free_unreachable();
        Ok(())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let (from, to) = (name_of(from), name_of(to));
        match state.live.get(from) {
            None => return Err(Error::from(ErrorKind::NotFound)),
            Some(Node::Dir) => return Err(Error::from(ErrorKind::Unsupported)),
            Some(Node::File(_)) => {}
        }
        state.check_dir(parent(to))?;
        if state.live.get(to) == Some(&Node::Dir) {
            return Err(Error::from(ErrorKind::IsADirectory));
        }
        state.rename_or_link(NameChange::Rename {
            from: from.into(),
            to: to.into(),
        });
        state.free_unreachable();
        Ok(())
    }

    /// Every name change so far: what a directory sync that starts now covers.
    pub(crate) fn names_watermark(&self) -> u64 {
        self.0.borrow().next_change
    }

    pub(crate) fn finish_sync_dir(&self, path: &Path, watermark: u64) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let path = name_of(path);
        state.check_dir(path)?;
        let last = state
            .journal
            .iter()
            .rposition(|(number, change)| *number < watermark && change.touches(path));
        if let Some(last) = last {
            for (_, change) in state.journal.drain(..=last) {
                change.apply(&mut state.durable);
            }
        }
        state.free_unreachable();
        Ok(())
    }

    pub(crate) fn space(&self) -> Space {
        let state = self.0.borrow();
        let left = state.shape.capacity.saturating_sub(state.used());
        Space {
            total: state.shape.capacity,
            free: left,
            available: left,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    pub(crate) fn size(&self, id: InodeId) -> Result<u64> {
        Ok(self.0.borrow_mut().inode(id)?.live.len() as u64)
    }

    pub(crate) fn read(&self, id: InodeId, position: u64, len: usize) -> Result<Vec<u8>> {
        let state = &mut *self.0.borrow_mut();
        let live = &state.inode(id)?.live;
        let start = (position as usize).min(live.len());
        let end = start.saturating_add(len).min(live.len());
        Ok(live[start..end].to_vec())
    }

    /// Hands a write to the device.
    pub(crate) fn begin_write(
        &self,
        id: InodeId,
        position: u64,
        bytes: &[u8],
        fault: Option<Fault>,
    ) -> Result<WriteTicket> {
        let state = &mut *self.0.borrow_mut();
        if fault == Some(Fault::Enospc) {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        let alignment = state.shape.alignment as u64;
        let end = position + bytes.len() as u64;
        let room = state.shape.capacity.saturating_sub(state.used());
        let inode = state.inode(id)?;
        if end.saturating_sub(inode.room()) > room {
            note_here(Struck::NoRoom);
            return Err(Error::from(ErrorKind::StorageFull));
        }
        let (position, stored) = match fault {
            Some(Fault::Misdirected(units)) => {
                let away = position.saturating_add_signed(units * alignment as i64);
                let fits = away + bytes.len() as u64 <= inode.live.len() as u64;
                (if fits { away } else { position }, bytes)
            }
            Some(Fault::Short) => {
                let kept = bytes.len() / 2 / alignment as usize * alignment as usize;
                (position, &bytes[..kept])
            }
            _ => (position, bytes),
        };
        Ok(WriteTicket {
            inode: id,
            number: inode.begin_write(position, stored.to_vec()),
            fault,
        })
    }

    pub(crate) fn finish_write(&self, ticket: &WriteTicket) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let mut rng = state.rng.clone();
        let inode = state.inode(ticket.inode)?;
        let result = match ticket.fault {
            Some(Fault::Eio) => {
                inode.fail_write(ticket.number, &mut rng);
                Err(eio())
            }
            Some(Fault::Short) => {
                inode.finish_write(ticket.number);
                Err(Error::from(ErrorKind::WriteZero))
            }
            Some(Fault::Lost) => {
                inode.lose_write(ticket.number);
                Ok(())
            }
            _ => {
                inode.finish_write(ticket.number);
                Ok(())
            }
        };
        state.rng = rng;
        result
    }

    /// What a sync that starts now covers, and how many had failed by then.
    pub(crate) fn sync_mark(&self, id: InodeId) -> Result<SyncMark> {
        let state = &mut *self.0.borrow_mut();
        let inode = state.inode(id)?;
        Ok(SyncMark {
            watermark: inode.watermark(),
            failed: inode.failed_syncs,
        })
    }

    /// A sync during which another of the same file failed fails as well, as the kernel reports
    /// an error of the file to everybody who waits for it.
    pub(crate) fn finish_sync(
        &self,
        id: InodeId,
        mark: SyncMark,
        fault: Option<Fault>,
    ) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let mut rng = state.rng.clone();
        let inode = state.inode(id)?;
        let is_lost = inode.failed_syncs > mark.failed;
        let mark = mark.watermark;
        let result = if fault.is_some() || is_lost {
            inode.fail_sync(mark, &mut rng);
            Err(eio())
        } else {
            inode.finish_sync(mark);
            Ok(())
        };
        state.rng = rng;
        result
    }

    pub(crate) fn truncate(&self, id: InodeId, len: u64) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let room = state.shape.capacity.saturating_sub(state.used());
        let inode = state.inode(id)?;
        if len.saturating_sub(inode.room()) > room {
            note_here(Struck::NoRoom);
            return Err(Error::from(ErrorKind::StorageFull));
        }
        inode.truncate(len);
        Ok(())
    }

    pub(crate) fn allocate(&self, id: InodeId, len: u64) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let room = state.shape.capacity.saturating_sub(state.used());
        let inode = state.inode(id)?;
        if len.saturating_sub(inode.room()) > room {
            note_here(Struck::NoRoom);
            return Err(Error::from(ErrorKind::StorageFull));
        }
        inode.reserved = inode.reserved.max(len);
        Ok(())
    }

    /// Makes a file of exactly `len` bytes for a map, and opens it.
    pub(crate) fn open_map(&self, path: &Path, len: u64) -> Result<InodeId> {
        let present = self.0.borrow().live.contains_key(name_of(path));
        let mode = if present {
            OpenMode::ReadWrite
        } else {
            OpenMode::CreateNew
        };
        let id = self.open(path, mode)?;
        let sized = self.size(id)? == len || self.truncate(id, len).is_ok();
        if !sized {
            self.close(id);
            return Err(Error::from(ErrorKind::StorageFull));
        }
        Ok(id)
    }

    /// A store through a map.
    pub(crate) fn store(&self, id: InodeId, at: usize, bytes: &[u8]) {
        let state = &mut *self.0.borrow_mut();
        if let Some(left) = &mut state.stores_left {
            if *left == 0 {
                return;
            }
            *left -= 1;
        }
        let mut rng = state.rng.clone();
        if let Ok(inode) = state.inode(id) {
            inode.store(at, bytes, &mut rng);
        }
        state.rng = rng;
    }

    /// From now on the process dies between two stores: only so many more are made.
    pub(crate) fn limit_stores(&self, left: u64) {
        self.0.borrow_mut().stores_left = Some(left);
    }

    pub(crate) fn mapped(&self, id: InodeId) -> Result<(Vec<usize>, u64)> {
        let state = &mut *self.0.borrow_mut();
        let inode = state.inode(id)?;
        Ok((inode.mapped(), inode.watermark()))
    }

    pub(crate) fn finish_map_sync(&self, id: InodeId, pages: &[usize], mark: u64) -> Result<()> {
        self.0
            .borrow_mut()
            .inode(id)
            .map(|inode| inode.finish_map_sync(pages, mark))
    }

    /// The power goes: names and bytes fall back to what is durable and a drawn part of the rest.
    pub(crate) fn cut_power(&self) {
        let state = &mut *self.0.borrow_mut();
        state.stores_left = None;
        let kept = state.rng.index(state.journal.len() + 1);
        for (_, change) in state.journal.drain(..).take(kept) {
            change.apply(&mut state.durable);
        }
        state.live.clone_from(&state.durable);
        let mut rng = state.rng.clone();
        for inode in state.inodes.values_mut() {
            inode.cut_power(&mut rng);
        }
        state.rng = rng;
        state.free_unreachable();
    }

    /// The process is killed: the kernel keeps every completed change.
    pub(crate) fn kill(&self) {
        let state = &mut *self.0.borrow_mut();
        state.stores_left = None;
        let mut rng = state.rng.clone();
        for inode in state.inodes.values_mut() {
            inode.kill(&mut rng);
        }
        state.rng = rng;
        state.free_unreachable();
    }

    /// Files, sorted by path, with their length and the length that certainly survives.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64, u64)> {
        let state = self.0.borrow();
        let files = state.live.iter().filter_map(|(path, node)| match node {
            Node::Dir => None,
            Node::File(id) => {
                let inode = state.inodes.get(id)?;
                let path = PathBuf::from(&**path);
                Some((path, inode.live.len() as u64, inode.durable_len()))
            }
        });
        files.collect()
    }

    /// A file's bytes as a read would give them.
    pub(crate) fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        match state.live.get(name_of(path))? {
            Node::Dir => None,
            Node::File(id) => state.inodes.get(id).map(|inode| inode.live.clone()),
        }
    }

    /// Flips bits of one durable byte.
    pub(crate) fn rot(&self, path: &Path, position: u64, mask: u8) -> bool {
        let state = &mut *self.0.borrow_mut();
        match state.live.get(name_of(path)) {
            Some(Node::File(id)) => state
                .inodes
                .get_mut(id)
                .is_some_and(|inode| inode.rot(position, mask)),
            _ => false,
        }
    }
}

impl State {
    fn inode(&mut self, id: InodeId) -> Result<&mut Inode> {
        self.inodes
            .get_mut(&id)
            .ok_or_else(|| Error::from(ErrorKind::NotFound))
    }

    fn create(&mut self, path: &str) -> Result<InodeId> {
        self.check_dir(parent(path))?;
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Inode::default());
        self.rename_or_link(NameChange::Link {
            path: path.into(),
            node: Node::File(id),
        });
        Ok(id)
    }

    fn check_dir(&self, path: &str) -> Result<()> {
        match self.live.get(path) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(Error::from(ErrorKind::NotADirectory)),
            None if is_root(path) => Ok(()),
            None => Err(Error::from(ErrorKind::NotFound)),
        }
    }

    fn rename_or_link(&mut self, change: NameChange) {
        change.clone().apply(&mut self.live);
        self.journal.push((self.next_change, change));
        self.next_change += 1;
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(Inode::room).sum()
    }

    /// Frees files that no name, no journal entry and no handle can reach.
    fn free_unreachable(&mut self) {
        let named: BTreeSet<InodeId> = self.named().collect();
        self.inodes
            .retain(|id, inode| inode.handles > 0 || named.contains(id));
    }

    /// Whether a name or a journal entry leads to a file.
    fn is_reachable(&self, id: InodeId) -> bool {
        self.named().any(|named| named == id)
    }

    /// Files that names and journal entries lead to.
    fn named(&self) -> impl Iterator<Item = InodeId> + '_ {
        let journal = self.journal.iter().filter_map(|(_, change)| match change {
            NameChange::Link { node, .. } => Some(node),
            _ => None,
        });
        let names = self.live.values().chain(self.durable.values());
        names.chain(journal).filter_map(|node| match node {
            Node::Dir => None,
            Node::File(id) => Some(*id),
        })
    }
}

impl NameChange {
    fn apply(self, names: &mut Names) {
        match self {
            Self::Link { path, node } => {
                names.insert(path, node);
            }
            Self::Unlink { path } => {
                names.remove(&*path);
            }
            Self::Rename { from, to } => {
                if let Some(node) = names.remove(&*from) {
                    names.insert(to, node);
                }
            }
        }
    }

    fn touches(&self, dir: &str) -> bool {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => parent(path) == dir,
            Self::Rename { from, to } => parent(from) == dir || parent(to) == dir,
        }
    }
}

fn is_root(path: &str) -> bool {
    path.is_empty() || path == "/"
}

/// A path as it is kept.
///
/// # Panics
/// When it is not text, or written so that it equals another one that reads differently.
fn name_of(path: &Path) -> &str {
    let name = path.to_str().expect("paths of a simulation are text");
    let is_plain = is_root(name) || !(name.ends_with('/') || name.contains("//"));
    assert!(is_plain, "{name}: a path of a simulation is plain");
    name
}

/// The directory that a name lies in.
fn parent(name: &str) -> &str {
    match name.rfind('/') {
        Some(0) => "/",
        Some(at) => &name[..at],
        None => "",
    }
}

/// `EIO`, as the kernel reports it.
pub(crate) fn eio() -> Error {
    Error::from_raw_os_error(5)
}
