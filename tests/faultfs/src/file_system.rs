//! The kernel's requests: names and attributes here, content in `io`.
//!
//! One value per mount, called by several threads. Nothing is cached by the kernel beyond the
//! content of files that are not opened for direct I/O, so what a campaign changes below is seen.
//! Invariant: a request is answered exactly once, also when it is held meanwhile.

use crate::clock::monotonic_ns;
use crate::io::{Outcome, Shared, refuse};
use crate::nodes::Handle;
use crate::rules::Op;
use crate::space::PAGE_LEN;
use crate::trace::What;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The kernel asks again each time.
const TTL: Duration = Duration::ZERO;

/// The mounted side.
#[derive(Debug)]
pub(crate) struct Mounted(pub(crate) Arc<Shared>);

impl Mounted {
    fn path_of(&self, node: INodeNo) -> Outcome<PathBuf> {
        self.0.nodes().path(node.0).ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Outcome<PathBuf> {
        Ok(self.path_of(parent)?.join(name))
    }

    fn handle(&self, number: FileHandle) -> Outcome<Arc<Handle>> {
        self.0.nodes().handle(number.0).ok_or(Errno::EBADF)
    }

    fn attributes(&self, node: INodeNo) -> Outcome<FileAttr> {
        let (path, handle) = {
            let nodes = self.0.nodes();
            (nodes.path(node.0), nodes.any_handle(node.0))
        };
        let metadata = match (path, handle) {
            (Some(path), _) => fs::symlink_metadata(self.0.backing.join(path))?,
            (None, Some(handle)) => handle.file.metadata()?,
            (None, None) => return Err(Errno::ENOENT),
        };
        attributes(node, &metadata)
    }

    fn entry(&self, path: &Path) -> Outcome<FileAttr> {
        let metadata = fs::symlink_metadata(self.0.backing.join(path))?;
        let node = self.0.nodes().node_at(path);
        attributes(INodeNo(node), &metadata)
    }

    fn open_file(&self, node: INodeNo, flags: OpenFlags) -> Outcome<u64> {
        let path = self.0.backing.join(self.path_of(node)?);
        let is_written = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let file = File::options().read(true).write(is_written).open(path)?;
        Ok(self.0.nodes().open(node.0, file, Vec::new()))
    }

    fn open_dir(&self, node: INodeNo) -> Outcome<u64> {
        let path = self.path_of(node)?;
        let full = self.0.backing.join(&path);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&full)? {
            let entry = entry?;
            let child = self.0.nodes().node_at(&path.join(entry.file_name()));
            entries.push((entry.file_name(), child, entry.file_type()?.is_dir()));
        }
        let file = File::open(full)?;
        Ok(self.0.nodes().open(node.0, file, entries))
    }

    /// A new length for a file that is open or not.
    fn set_len(&self, node: INodeNo, fh: Option<FileHandle>, len: u64) -> Outcome<()> {
        let open = if let Some(fh) = fh {
            self.handle(fh)?
        } else {
            let path = self.0.backing.join(self.path_of(node)?);
            Arc::new(Handle {
                node: node.0,
                file: File::options().write(true).open(path)?,
                entries: Vec::new(),
            })
        };
        let name = self.0.nodes().name(node.0);
        // Held and failed like a write; the kernel holds the inode's lock meanwhile.
        match self.0.rules.decide(Op::Write, &name, len) {
            crate::rules::Verdict::Pass => self.0.set_len(&open, len, None),
            crate::rules::Verdict::Do(action) => self.0.set_len(&open, len, Some(action)),
            crate::rules::Verdict::Hold(rule) => {
                self.0.rules.hold(rule);
                self.0.set_len(&open, len, None)
            }
        }
    }

    /// Runs a change of names under the rules of its first path.
    fn change<T: 'static>(
        &self,
        path: Outcome<PathBuf>,
        work: impl FnOnce(&Mounted, &Path) -> Outcome<T> + Send + 'static,
        reply: impl FnOnce(Outcome<T>) + Send + 'static,
    ) {
        let path = match path {
            Ok(path) => path,
            Err(errno) => return reply(Err(errno)),
        };
        let name = path.to_string_lossy().into_owned();
        let own = Mounted(Arc::clone(&self.0));
        self.0.run(Op::Name, &name, 0, move |_, action| {
            reply(refuse(action).and_then(|()| work(&own, &path)));
        });
    }

    fn create_file(&self, path: &Path, mode: u32) -> Outcome<(FileAttr, u64)> {
        let begin_ns = monotonic_ns();
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(mode);
        let mut nodes = self.0.nodes();
        let file = options.open(self.0.backing.join(path))?;
        let node = nodes.node_at(path);
        let metadata = file.metadata()?;
        let handle = nodes.open(node, file, Vec::new());
        let what = What::Create {
            node,
            path: text(path),
        };
        self.0.record(begin_ns, &what);
        Ok((attributes(INodeNo(node), &metadata)?, handle))
    }

    fn make_dir(&self, path: &Path, mode: u32) -> Outcome<FileAttr> {
        let begin_ns = monotonic_ns();
        let full = self.0.backing.join(path);
        fs::DirBuilder::new().mode(mode).create(full)?;
        self.0.record(begin_ns, &What::MakeDir { path: text(path) });
        self.entry(path)
    }

    fn remove(&self, path: &Path, is_dir: bool) -> Outcome<()> {
        let begin_ns = monotonic_ns();
        let full = self.0.backing.join(path);
        let gone = {
            let mut nodes = self.0.nodes();
            if is_dir {
                fs::remove_dir(full)?;
            } else {
                fs::remove_file(full)?;
            }
            self.0.record(begin_ns, &What::Remove { path: text(path) });
            nodes.unlink(path)
        };
        self.free(gone);
        Ok(())
    }

    fn rename_path(&self, from: &Path, to: &Path, flags: RenameFlags) -> Outcome<()> {
        let begin_ns = monotonic_ns();
        let target = self.0.backing.join(to);
        let gone = {
            let mut nodes = self.0.nodes();
            if flags == RenameFlags::RENAME_NOREPLACE && fs::symlink_metadata(&target).is_ok() {
                return Err(Errno::EEXIST);
            }
            fs::rename(self.0.backing.join(from), target)?;
            let (from_text, to_text) = (text(from), text(to));
            let what = What::Rename {
                from: from_text,
                to: to_text,
            };
            self.0.record(begin_ns, &what);
            nodes.rename(from, to)
        };
        self.free(gone);
        Ok(())
    }

    fn free(&self, node: Option<u64>) {
        if let Some(node) = node {
            self.0.space().remove(node);
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn attributes(node: INodeNo, metadata: &Metadata) -> Outcome<FileAttr> {
    let at = |seconds: i64, nanos: i64| {
        SystemTime::UNIX_EPOCH + Duration::new(seconds.max(0) as u64, nanos.max(0) as u32)
    };
    Ok(FileAttr {
        ino: node,
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: at(metadata.atime(), metadata.atime_nsec()),
        mtime: at(metadata.mtime(), metadata.mtime_nsec()),
        ctime: at(metadata.ctime(), metadata.ctime_nsec()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::from_std(metadata.file_type()).ok_or(Errno::EINVAL)?,
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: PAGE_LEN as u32,
        flags: 0,
    })
}

/// Direct files skip the page cache, and several writes to one file go on at once.
fn open_flags(flags: i32) -> FopenFlags {
    if OFlag::from_bits_retain(flags).contains(OFlag::O_DIRECT) {
        FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
    } else {
        FopenFlags::empty()
    }
}

/// Answers a request that gives nothing.
fn answer(reply: ReplyEmpty, outcome: Outcome<()>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn answer_entry(reply: ReplyEntry, outcome: Outcome<FileAttr>) {
    match outcome {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Mounted {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_ASYNC_DIO | InitFlags::FUSE_PARALLEL_DIROPS;
        config
            .add_capabilities(wanted)
            .map_err(|missing| io::Error::other(format!("the kernel lacks {missing:?}")))?;
        // The nearest that the kernel takes is as good.
        let _ = config.set_max_write(1 << 20);
        let _ = config.set_max_background(256);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.child(parent, name).and_then(|path| self.entry(&path));
        answer_entry(reply, found);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(node) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let own = Mounted(Arc::clone(&self.0));
        let work = move || {
            let changed = own.path_of(node).and_then(|path| {
                let full = own.0.backing.join(path);
                if let Some(mode) = mode {
                    fs::set_permissions(&full, Permissions::from_mode(mode & 0o7777))?;
                }
                if uid.is_some() || gid.is_some() {
                    chown(&full, uid, gid)?;
                }
                Ok(())
            });
            let sized = match size {
                Some(len) => own.set_len(node, fh, len),
                None => changed,
            };
            match sized.and_then(|()| own.attributes(node)) {
                Ok(attr) => reply.attr(&TTL, &attr),
                Err(errno) => reply.error(errno),
            }
        };
        if size.is_some() {
            // It may be held.
            std::thread::spawn(work);
        } else {
            work();
        }
    }

    fn mkdir(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.change(
            self.child(parent, name),
            move |fs, path| fs.make_dir(path, mode & !umask),
            move |outcome| answer_entry(reply, outcome),
        );
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(
            self.child(parent, name),
            |fs, path| fs.remove(path, false),
            move |outcome| answer(reply, outcome),
        );
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(
            self.child(parent, name),
            |fs, path| fs.remove(path, true),
            move |outcome| answer(reply, outcome),
        );
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let target = self.child(new_parent, new_name);
        self.change(
            self.child(parent, name),
            move |fs, path| fs.rename_path(path, &target?, flags),
            move |outcome| answer(reply, outcome),
        );
    }

    fn open(&self, _request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.change(
            self.path_of(node),
            move |fs, _| fs.open_file(node, flags),
            move |outcome| match outcome {
                Ok(handle) => reply.opened(FileHandle(handle), open_flags(flags.0)),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.change(
            self.child(parent, name),
            move |fs, path| fs.create_file(path, mode & !umask),
            move |outcome| match outcome {
                Ok((attr, handle)) => {
                    let handle = FileHandle(handle);
                    reply.created(&TTL, &attr, Generation(0), handle, open_flags(flags));
                }
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn read(
        &self,
        _request: &Request,
        _node: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let handle = match self.handle(fh) {
            Ok(handle) => handle,
            Err(errno) => return reply.error(errno),
        };
        let name = self.0.nodes().name(handle.node);
        self.0.run(
            Op::Read,
            &name,
            offset,
            move |_, action| match Shared::read(&handle, offset, size, action) {
                Ok(data) => reply.data(&data),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn write(
        &self,
        _request: &Request,
        _node: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let handle = match self.handle(fh) {
            Ok(handle) => handle,
            Err(errno) => return reply.error(errno),
        };
        let name = self.0.nodes().name(handle.node);
        let data = data.to_vec();
        self.0
            .run(Op::Write, &name, offset, move |shared, action| match shared
                .write(&handle, offset, &data, action)
            {
                Ok(written) => reply.written(written),
                Err(errno) => reply.error(errno),
            });
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let handle = match self.handle(fh) {
            Ok(handle) => handle,
            Err(errno) => return reply.error(errno),
        };
        let name = self.0.nodes().name(handle.node);
        self.0.run(Op::Sync, &name, 0, move |shared, action| {
            answer(reply, shared.sync(&handle, data_only, action));
        });
    }

    fn fallocate(
        &self,
        _request: &Request,
        _node: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let handle = match self.handle(fh) {
            Ok(handle) => handle,
            Err(errno) => return reply.error(errno),
        };
        let name = self.0.nodes().name(handle.node);
        self.0.run(Op::Write, &name, offset, move |shared, action| {
            answer(
                reply,
                shared.allocate(&handle, offset, length, mode, action),
            );
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _request: &Request,
        _node: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let gone = self.0.nodes().close(fh.0);
        self.free(gone);
        reply.ok();
    }

    fn opendir(&self, _request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open_dir(node) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let handle = match self.handle(fh) {
            Ok(handle) => handle,
            Err(errno) => return reply.error(errno),
        };
        let dots = [".", ".."].map(|name| (OsString::from(name), node.0, true));
        let entries = dots.iter().chain(&handle.entries);
        for (index, (name, child, is_dir)) in entries.enumerate().skip(offset as usize) {
            let kind = if *is_dir {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            if reply.add(INodeNo(*child), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _request: &Request,
        _node: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.0.nodes().close(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        let handle = match self.handle(fh) {
            Ok(handle) => handle,
            Err(errno) => return reply.error(errno),
        };
        let name = self.0.nodes().name(handle.node);
        self.0.run(Op::Sync, &name, 0, move |shared, action| {
            answer(reply, shared.sync_dir(&handle, action));
        });
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let stat = match nix::sys::statvfs::statvfs(&self.0.backing) {
            Ok(stat) => stat,
            Err(errno) => return reply.error(Errno::from_i32(errno as i32)),
        };
        let unit = stat.fragment_size();
        let (mut blocks, mut free) = (stat.blocks() * unit, stat.blocks_available() * unit);
        let space = self.0.space();
        if let Some(limit) = space.limit() {
            blocks = limit;
            free = limit.saturating_sub(space.used());
        }
        let (blocks, free) = (blocks / PAGE_LEN, free / PAGE_LEN);
        let unit = PAGE_LEN as u32;
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, unit, 255, unit);
    }
}
