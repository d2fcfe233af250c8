//! Disk faults, by script: which operation on which file goes wrong, and how.
//!
//! Owned by one host's file system. Rules are looked at in order; the first that matches counts
//! the operation, and strikes when its turn has come. A fault drawn from a seed is a rule whose
//! numbers were drawn by the test.

use crate::coverage::{Struck, note_here};
use std::path::Path;

/// A disk operation that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOp {
    /// `read_at`, `read_small`.
    Read,
    /// `write_at`, the write in `write_atomic`.
    Write,
    /// `datasync`, the sync in `write_atomic`.
    Sync,
    /// `open`, `rename`, `remove`, `create_dir_all`, `sync_dir`, `allocate`, `truncate`.
    Meta,
}

/// How it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. A failed write leaves any of its sectors; a failed sync leaves any of what
    /// was unsynced, and no later sync brings back the rest.
    Eio,
    /// No room left.
    Enospc,
    /// No file descriptor left: nothing was opened, nothing was done.
    Emfile,
    /// A write stores only its first sectors and says so (`WriteZero`).
    Short,
    /// A write is reported as done and never reaches the disk.
    Lost,
    /// A write is reported as done and lands this many alignment units away.
    Misdirected(i64),
    /// The operation takes this many more milliseconds.
    StallMs(u64),
}

/// One scripted fault.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The operation it is about.
    pub op: DiskOp,
    /// Only files whose path contains this; empty for all.
    pub path_contains: String,
    /// How many matching operations pass unharmed first.
    pub after: u64,
    /// How many are struck then.
    pub times: u64,
    /// What happens to them.
    pub fault: Fault,
}

impl Rule {
    /// Strikes the `nth` (from 0) matching operation once.
    pub fn nth(op: DiskOp, path_contains: &str, nth: u64, fault: Fault) -> Self {
        Self {
            op,
            path_contains: path_contains.to_owned(),
            after: nth,
            times: 1,
            fault,
        }
    }

    /// Strikes every matching operation from now on.
    pub fn always(op: DiskOp, path_contains: &str, fault: Fault) -> Self {
        Self {
            times: u64::MAX,
            ..Self::nth(op, path_contains, 0, fault)
        }
    }
}

fn struck(op: DiskOp, fault: Fault) -> Struck {
    match (fault, op) {
        (Fault::Enospc, _) => Struck::NoRoom,
        (Fault::Short, _) => Struck::WriteShort,
        (Fault::Lost, _) => Struck::WriteLost,
        (Fault::Misdirected(_), _) => Struck::WriteMisdirected,
        (Fault::StallMs(_), _) => Struck::Stalled,
        (Fault::Eio, DiskOp::Read) => Struck::ReadFailed,
        (Fault::Eio, DiskOp::Write) => Struck::WriteFailed,
        (Fault::Eio, DiskOp::Sync) => Struck::SyncFailed,
        (Fault::Eio, DiskOp::Meta) | (Fault::Emfile, _) => Struck::NameFailed,
    }
}

/// The script of one file system.
#[derive(Debug, Default)]
pub(crate) struct Script {
    rules: Vec<Rule>,
    struck: u64,
}

impl Script {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many operations were struck so far.
    pub(crate) fn struck(&self) -> u64 {
        self.struck
    }

    pub(crate) fn strike(&mut self, op: DiskOp, path: &Path) -> Option<Fault> {
        if self.rules.is_empty() {
            return None;
        }
        let path = path.to_string_lossy();
        for rule in &mut self.rules {
            if rule.op != op || !path.contains(&rule.path_contains) {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
            } else if rule.times > 0 {
                rule.times -= 1;
                self.struck += 1;
                note_here(struck(op, rule.fault));
                return Some(rule.fault);
            }
        }
        None
    }
}
