//! Ctrl-C in the middle: the brokers that were started are ended, their stores removed, and it is said
//! where the results are.
//!
//! SIGINT and SIGTERM are blocked in every thread and taken by one that waits for them. Invariant: what
//! is started or made here is known here before anything can end the program.

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

#[derive(Debug)]
struct Known {
    processes: Vec<u32>,
    dirs: Vec<PathBuf>,
    results: Option<PathBuf>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    processes: Vec::new(),
    dirs: Vec::new(),
    results: None,
});

/// What a shell takes for the end by SIGINT.
const EXIT_CODE: i32 = 130;

/// Begins to watch; to be called before any thread is started.
pub(crate) fn watch() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.wait().is_ok() {
                end();
            }
        })?;
    Ok(())
}

fn end() -> ! {
    if let Ok(known) = KNOWN.lock() {
        for pid in &known.processes {
            // It may have ended already.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        for dir in &known.dirs {
            let _ = std::fs::remove_dir_all(dir);
        }
        let results = known.results.as_ref();
        let kept = results.map_or_else(String::new, |dir| {
            format!("; results so far are in {}", dir.display())
        });
        eprintln!("\nringmq-bench: interrupted{kept}");
    }
    std::process::exit(EXIT_CODE);
}

/// A process that ends with this program.
pub(crate) fn know_process(pid: u32) {
    change(|known| known.processes.push(pid));
}

/// The process has ended: its number may be another's by now.
pub(crate) fn forget_process(pid: u32) {
    change(|known| known.processes.retain(|other| *other != pid));
}

/// A directory that is removed with this program.
pub(crate) fn know_dir(dir: &Path) {
    change(|known| known.dirs.push(dir.to_owned()));
}

pub(crate) fn forget_dir(dir: &Path) {
    change(|known| known.dirs.retain(|other| other != dir));
}

/// Where results are.
pub(crate) fn results_in(dir: &Path) {
    change(|known| known.results = Some(dir.to_owned()));
}

fn change(change: impl FnOnce(&mut Known)) {
    if let Ok(mut known) = KNOWN.lock() {
        change(&mut known);
    }
}
