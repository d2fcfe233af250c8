//! Mounting, unmounting, and what must be so before.
//!
//! Owned by the process that serves the mount. Invariants: where root or `/dev/fuse` is missing
//! nothing is mounted and a sentence says so; when [`Faults`] is dropped the mount is gone, also
//! when files in it are still open.

use crate::command::{Command, parse};
use crate::file_system::Mounted;
use crate::io::{Shared, written};
use crate::rules::{Injection, Rule};
use crate::trace::{What, Writer};
use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Threads that serve the kernel. Operations that are held get threads of their own.
const THREADS: usize = 4;
const END_LIMIT: Duration = Duration::from_secs(2);
const SOURCE: &str = "faultfs";

/// What to mount where.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// The directory that holds the content.
    pub backing: PathBuf,
    /// Where it appears; made when missing.
    pub at: PathBuf,
    /// The file that records everything, when wanted. What the backing directory holds already is
    /// recorded first, as written and synced.
    pub trace: Option<PathBuf>,
    /// How many bytes it holds; as many as the backing file system when none.
    pub limit: Option<u64>,
}

/// Why it is not mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Not root.
    #[error("the fault file system mounts by mount(2): run as root")]
    NotRoot,
    /// No FUSE in the kernel or the container.
    #[error("/dev/fuse cannot be opened ({0}): the kernel or the container has no FUSE")]
    NoFuse(io::Error),
    /// A directory or file cannot be used.
    #[error("{path}: {error}")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel refused.
    #[error("cannot mount at {path}: {error}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A mount that this process serves.
#[derive(Debug)]
pub struct Faults {
    shared: Arc<Shared>,
    at: PathBuf,
    session: Mutex<Option<BackgroundSession>>,
}

/// Whether this process can mount at all.
///
/// # Errors
/// In a sentence, what is missing.
pub fn require_fuse() -> Result<(), MountError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(MountError::NotRoot);
    }
    let device = fs::File::options().read(true).write(true).open("/dev/fuse");
    device.map(drop).map_err(MountError::NoFuse)
}

impl Faults {
    /// Mounts and serves on threads of this process.
    ///
    /// # Errors
    /// What is missing, or what the kernel said.
    pub fn mount(options: &MountOptions) -> Result<Self, MountError> {
        require_fuse()?;
        let at_path = |path: &Path| {
            let path = path.to_owned();
            move |error| MountError::Path { path, error }
        };
        fs::create_dir_all(&options.at).map_err(at_path(&options.at))?;
        let backing = fs::canonicalize(&options.backing).map_err(at_path(&options.backing))?;
        let trace = match &options.trace {
            Some(path) => Some(Writer::create(path).map_err(at_path(path))?),
            None => None,
        };
        let shared = Arc::new(Shared::new(backing, options.limit, trace));
        adopt(&shared, Path::new("")).map_err(at_path(&options.backing))?;
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(SOURCE.to_owned()),
            MountOption::DefaultPermissions,
        ];
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let mounted = Mounted(Arc::clone(&shared));
        let session = fuser::spawn_mount(mounted, &options.at, &config);
        let session = session.map_err(|error| MountError::Mount {
            path: options.at.clone(),
            error,
        })?;
        Ok(Self {
            shared,
            at: options.at.clone(),
            session: Mutex::new(Some(session)),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Sets a rule.
    pub fn add(&self, rule: Rule) {
        self.shared.rules.add(rule);
    }

    /// Forgets all rules and lets go what is held.
    pub fn clear(&self) {
        self.shared.rules.clear();
    }

    /// Moves the limit.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.shared.space().set_limit(limit);
    }

    /// What was made to go wrong so far.
    pub fn injections(&self) -> Vec<Injection> {
        self.shared.rules.injections()
    }

    /// Does what a line of the control socket asks. Gives the lines of the answer.
    ///
    /// # Errors
    /// Why the line is not understood.
    pub fn command(&self, line: &str) -> Result<Vec<String>, String> {
        match parse(line)? {
            Command::Add(rule) => self.add(rule),
            Command::Clear => self.clear(),
            Command::Limit(limit) => self.set_limit(limit),
            Command::Status => return Ok(vec![self.status()]),
            Command::Injected => {
                let lines = self.injections().into_iter().map(|injection| {
                    let Injection {
                        at_ns,
                        op,
                        path,
                        offset,
                        ..
                    } = injection;
                    format!("{at_ns} {op:?} {offset} {path}")
                });
                return Ok(lines.collect());
            }
            Command::Mark(text) => {
                let now = crate::monotonic_ns();
                self.shared.record(now, &What::Mark { text });
            }
        }
        Ok(Vec::new())
    }

    fn status(&self) -> String {
        let counts = self.shared.rules.counts();
        let space = self.shared.space();
        format!(
            "reads={} writes={} syncs={} names={} injected={} held={} used={} limit={}",
            counts.reads,
            counts.writes,
            counts.syncs,
            counts.names,
            counts.injected,
            counts.held,
            space.used(),
            space
                .limit()
                .map_or_else(|| "none".to_owned(), |limit| limit.to_string()),
        )
    }

    /// Unmounts and finishes the trace.
    ///
    /// # Errors
    /// The trace could not be written.
    pub fn unmount(&self) -> io::Result<()> {
        self.end();
        self.shared.finish_trace()
    }

    fn end(&self) {
        let session = self.session.lock().expect("no holder panics").take();
        let Some(session) = session else {
            return;
        };
        self.shared.rules.clear();
        // Detached, the mount is gone from the tree at once, whoever still has files open.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        let end = Instant::now() + END_LIMIT;
        while !session.guard.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        if session.guard.is_finished() {
            let _ = session.join();
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.end();
        let _ = self.shared.finish_trace();
    }
}

/// Takes over what the backing directory holds: its space, and its content for the trace.
fn adopt(shared: &Shared, dir: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(shared.backing.join(dir))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        let path = dir.join(name);
        let full = shared.backing.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        let text = path.to_string_lossy().into_owned();
        let now = crate::monotonic_ns();
        if metadata.is_dir() {
            shared.record(now, &What::MakeDir { path: text });
            adopt(shared, &path)?;
            continue;
        }
        let node = shared.nodes().node_at(&path);
        // The limit concerns what comes, not what is there.
        let limit = shared.space().limit();
        shared.space().set_limit(None);
        shared.space().claim(node, 0, metadata.len());
        shared.space().set_limit(limit);
        if shared.is_recording() {
            shared.record(now, &What::Create { node, path: text });
            shared.record(now, &written(node, 0, &fs::read(&full)?));
            shared.record(now, &What::Sync { node });
        }
    }
    let path = dir.to_string_lossy().into_owned();
    shared.record(crate::monotonic_ns(), &What::SyncDir { path });
    Ok(())
}

/// Takes off every mount below `dir`, which an earlier process left behind. Gives the mount points.
///
/// # Errors
/// The list of mounts cannot be read, or the kernel refuses to unmount.
pub fn clean_up(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = match fs::canonicalize(dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut cleaned = Vec::new();
    for line in fs::read_to_string("/proc/self/mounts")?.lines() {
        let Some(at) = line.split(' ').nth(1) else {
            continue;
        };
        let at = PathBuf::from(at.replace("\\040", " "));
        if at.starts_with(&dir) {
            umount2(&at, MntFlags::MNT_DETACH)?;
            cleaned.push(at);
        }
    }
    Ok(cleaned)
}
