//! Counted events: system calls, syncs and `io_uring` requests of a process, and instructions.
//!
//! `perf stat` counts for a few seconds of load after the measurement, so that it disturbs no figure.
//! A sync is fdatasync, fsync, msync or an `io_uring` FSYNC. Invariant: without `perf`, its permission
//! or an event, the figure is absent and the result says why.

use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Events in the order in which they are asked for.
const EVENTS: &[&str] = &[
    "raw_syscalls:sys_enter",
    "syscalls:sys_enter_fdatasync",
    "syscalls:sys_enter_fsync",
    "syscalls:sys_enter_msync",
    "io_uring:io_uring_submit_req",
    "instructions:u",
];
/// `IORING_OP_FSYNC`.
const FSYNC_FILTER: &str = "opcode==3";

/// What was counted, for each message.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counters {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) syscalls_per_message: Option<f64>,
    pub(crate) syncs_per_second: Option<f64>,
    pub(crate) messages_per_sync: Option<f64>,
    pub(crate) io_uring_per_message: Option<f64>,
    pub(crate) instructions_per_message: Option<f64>,
    /// Why something is absent.
    pub(crate) note: Option<String>,
}

/// A running `perf`.
#[derive(Debug)]
pub(crate) struct Counting {
    child: Result<Child, String>,
}

impl Counting {
    /// Counts the events of a process for so many seconds.
    pub(crate) fn start(pid: u32, seconds: u64) -> Self {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ";"]);
        for event in EVENTS {
            perf.args(["-e", event]);
        }
        perf.args([
            "-e",
            "io_uring:io_uring_submit_req",
            "--filter",
            FSYNC_FILTER,
        ]);
        perf.args(["-p", &pid.to_string(), "--", "sleep", &seconds.to_string()]);
        Self::spawn(perf)
    }

    fn spawn(mut perf: Command) -> Self {
        let quiet = perf.stdin(Stdio::null()).stdout(Stdio::null());
        let child = quiet.stderr(Stdio::piped()).spawn();
        Self {
            child: child.map_err(|error| {
                format!("perf cannot be started ({error}): apt-get install linux-perf")
            }),
        }
    }

    /// Samples the stacks of a process into a file instead, for so many seconds.
    pub(crate) fn profile(pid: u32, seconds: u64, file: &Path) -> Self {
        let mut perf = Command::new("perf");
        perf.args(["record", "-F", "999", "--call-graph", "dwarf,16384", "-o"]);
        perf.arg(file);
        perf.args(["-p", &pid.to_string(), "--", "sleep", &seconds.to_string()]);
        Self::spawn(perf)
    }

    /// Waits for the end; `messages` were handled meanwhile, in `seconds`.
    pub(crate) fn finish(self, messages: u64, seconds: f64) -> Counters {
        let note = |note: String| Counters {
            seconds,
            messages,
            note: Some(note),
            ..Counters::default()
        };
        let mut child = match self.child {
            Ok(child) => child,
            Err(why) => return note(why),
        };
        let mut text = String::new();
        let read = child
            .stderr
            .take()
            .map(|mut err| err.read_to_string(&mut text));
        let ended = child.wait();
        match (read, ended) {
            (Some(Ok(_)), Ok(status)) if status.success() => counters(&text, messages, seconds),
            _ => note(format!(
                "perf failed: {}",
                text.lines().next().unwrap_or("it said nothing")
            )),
        }
    }
}

/// Reads the lines of `perf stat -x ;`, one for each event.
fn counters(text: &str, messages: u64, seconds: f64) -> Counters {
    let counts: Vec<Option<u64>> = text
        .lines()
        .filter(|line| line.contains(';'))
        .map(|line| line.split(';').next()?.parse().ok())
        .collect();
    let count = |index: usize| counts.get(index).copied().flatten();
    let each = |count: u64| count as f64 / messages.max(1) as f64;
    let calls = [count(1), count(2), count(3)];
    let syncs = count(6).map(|ring| ring + calls.iter().flatten().sum::<u64>());
    let missing: Vec<_> = EVENTS
        .iter()
        .enumerate()
        .filter(|(i, _)| count(*i).is_none())
        .map(|(_, name)| *name)
        .collect();
    Counters {
        seconds,
        messages,
        syscalls_per_message: count(0).map(each),
        syncs_per_second: syncs.map(|syncs| syncs as f64 / seconds),
        messages_per_sync: syncs
            .filter(|syncs| *syncs > 0)
            .map(|syncs| messages as f64 / syncs as f64),
        io_uring_per_message: count(4).map(each),
        instructions_per_message: count(5).map(each),
        note: (!missing.is_empty())
            .then(|| format!("this machine does not count {}", missing.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_perf_become_figures_for_each_message() {
        let text = "1000;;raw_syscalls:sys_enter;100;1\n2;;fdatasync;1;1\n3;;fsync;1;1\n0;;msync;1;1\n\
                    500;;io_uring:io_uring_submit_req;1;1\n<not supported>;;instructions:u;0;100.00\n15;;io_uring;1;1\n";
        let counters = counters(text, 2000, 4.0);
        assert_eq!(counters.syscalls_per_message, Some(0.5));
        assert_eq!(counters.syncs_per_second, Some(5.0));
        assert_eq!(counters.messages_per_sync, Some(100.0));
        assert_eq!(counters.io_uring_per_message, Some(0.25));
        assert_eq!(counters.instructions_per_message, None);
        assert_eq!(
            counters.note.as_deref(),
            Some("this machine does not count instructions:u")
        );
    }
}
