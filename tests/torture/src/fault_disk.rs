//! The disk of a campaign: a directory behind the fault file system, served by a child process.
//!
//! Made before the broker starts and dropped after it ended. Wants root and `/dev/fuse`. Invariant:
//! a fault that is asked for is in the history from before it can strike until after it is gone.

use crate::journal::Journal;
use anyhow::{Context, Result, ensure};
use faultfs::{Child, Control, MountOptions};
use rmq_check::record::{Fault, Kind, Op};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const POLL_PAUSE: Duration = Duration::from_millis(1);

/// A mounted directory and its control socket.
pub(crate) struct FaultDisk {
    // Before the child, so that it is closed first.
    control: Control,
    child: Child,
    trace: Option<PathBuf>,
}

impl FaultDisk {
    /// Mounts below `dir`; with a trace when `is_recorded`.
    pub(crate) fn mount(dir: &Path, limit: Option<u64>, is_recorded: bool) -> Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("faultfs");
        ensure!(
            binary.is_file(),
            "{} is missing: cargo build --release --package faultfs",
            binary.display()
        );
        let backing = dir.join("backing");
        std::fs::create_dir_all(&backing)?;
        let trace = is_recorded.then(|| dir.join("trace"));
        let options = MountOptions {
            backing,
            at: dir.join("mnt"),
            trace: trace.clone(),
            limit,
        };
        let child = Child::start(&binary, &options, &dir.join("control"))?;
        Ok(Self {
            control: child.control()?,
            child,
            trace,
        })
    }

    /// The store's directory on it.
    pub(crate) fn store(&self) -> PathBuf {
        self.child.path().join("store")
    }

    /// Sends a line to the control socket.
    pub(crate) fn ask(&mut self, line: &str) -> Result<()> {
        self.control.command(line)?;
        Ok(())
    }

    /// A fault begins: noted, then asked for.
    pub(crate) fn begin(&mut self, journal: &Journal, fault: Fault, line: &str) -> Result<()> {
        journal.event(Op::Fault, Kind::Invoke, |record| {
            record.aux = fault as i64;
        })?;
        self.ask(line)
    }

    /// A fault is over: lifted, then noted.
    pub(crate) fn end(&mut self, journal: &Journal, fault: Fault, line: &str) -> Result<()> {
        self.ask(line)?;
        journal.event(Op::Fault, Kind::Ok, |record| {
            record.aux = fault as i64;
        })
    }

    /// How often something was made to go wrong so far.
    pub(crate) fn injected(&mut self) -> Result<u64> {
        Ok(self.control.counter("injected")?)
    }

    /// Waits for the injection after `before` of them: its instant, and what it hit. None when
    /// `limit` passes first.
    pub(crate) fn wait_injected(
        &mut self,
        before: u64,
        limit: Duration,
    ) -> Result<Option<(u64, String)>> {
        let end = Instant::now() + limit;
        while self.injected()? <= before {
            if Instant::now() > end {
                return Ok(None);
            }
            std::thread::sleep(POLL_PAUSE);
        }
        let injected = self.control.injected()?;
        let first = injected.into_iter().nth(before as usize);
        Ok(Some(first.context("more injections than are kept")?))
    }

    /// Bytes in use.
    pub(crate) fn used(&mut self) -> Result<u64> {
        Ok(self.control.counter("used")?)
    }

    /// Unmounts; the trace when there is one.
    pub(crate) fn unmount(self) -> Result<Option<PathBuf>> {
        drop(self.control);
        self.child.end()?;
        Ok(self.trace)
    }
}

/// Takes off the mounts of runs that are gone, so that their directories can be removed.
pub(crate) fn clean_up(work: &Path) -> Result<()> {
    let Ok(runs) = std::fs::read_dir(work.join("data")) else {
        return Ok(());
    };
    for run in runs.flatten() {
        if Path::new("/proc").join(run.file_name()).exists() {
            continue;
        }
        for at in faultfs::clean_up(&run.path())? {
            println!("unmounted {}, which a run that is gone left", at.display());
        }
    }
    Ok(())
}
