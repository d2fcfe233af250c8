//! A memory control group around one process, to be squeezed until the kernel kills it.
//!
//! Wants root and the memory controller, of cgroup v1 or v2. Invariant: the group is removed when it
//! is dropped; a process that lives on goes back to the root group.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";
/// How much less it gets at each squeeze, in bytes.
const STEP: u64 = 1 << 20;

/// The group.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    dir: PathBuf,
    names: Names,
}

/// What files are called.
#[derive(Debug, Clone, Copy)]
struct Names {
    root: &'static str,
    limit: &'static str,
    usage: &'static str,
    events: &'static str,
}

impl MemoryGroup {
    /// Puts a process into a group of its own.
    ///
    /// # Errors
    /// When there is no memory controller, or no leave to use it.
    pub(crate) fn make(process: u32) -> Result<Self> {
        let names = names()?;
        let dir = Path::new(names.root).join(format!("ringmq-torture-{process}"));
        fs::create_dir(&dir)
            .with_context(|| format!("cannot make {}: pressure wants root", dir.display()))?;
        let group = Self { dir, names };
        group.write("cgroup.procs", &process.to_string())?;
        Ok(group)
    }

    /// Leaves it a little less than it has.
    pub(crate) fn squeeze(&self) -> Result<()> {
        let usage: u64 = self.read(self.names.usage)?.trim().parse()?;
        let limit = usage.saturating_sub(STEP).max(STEP);
        match fs::write(self.dir.join(self.names.limit), limit.to_string()) {
            // Version 1 refuses what it cannot free; what is asked for later meets the old limit.
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => Ok(()),
            other => other.context("the limit cannot be set"),
        }
    }

    /// Whether the kernel has killed in this group.
    pub(crate) fn has_killed(&self) -> Result<bool> {
        let events = self.read(self.names.events)?;
        let count = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        let count = count.with_context(|| format!("no oom_kill in {events:?}"))?;
        Ok(count.trim() != "0")
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        for process in self.read("cgroup.procs").unwrap_or_default().lines() {
            let _ = fs::write(Path::new(self.names.root).join("cgroup.procs"), process);
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

fn names() -> Result<Names> {
    if Path::new(V1).join("memory.limit_in_bytes").exists()
        || Path::new(V1).join("memory.usage_in_bytes").exists()
    {
        return Ok(Names {
            root: V1,
            limit: "memory.limit_in_bytes",
            usage: "memory.usage_in_bytes",
            events: "memory.oom_control",
        });
    }
    let controllers = fs::read_to_string(Path::new(V2).join("cgroup.subtree_control"));
    if !controllers.unwrap_or_default().contains("memory") {
        // A root group that does not hand the controller down yet may be told to.
        let told = fs::write(Path::new(V2).join("cgroup.subtree_control"), "+memory");
        if told.is_err() {
            bail!("pressure wants root and the memory controller of cgroup v1 or v2");
        }
    }
    Ok(Names {
        root: V2,
        limit: "memory.max",
        usage: "memory.current",
        events: "memory.events",
    })
}
