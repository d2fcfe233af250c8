//! A file system for tests that passes through to a directory and fails on demand.
//!
//! The broker runs on the mount as on any disk, direct I/O and `io_uring` included. A campaign sets
//! [`Rule`]s while it runs: failed, lost, torn, flipped, misdirected and stalled operations, and a
//! limit of bytes. Every injection is kept with its instant. With a trace, every write, sync and
//! change of a name is recorded, so that [`trace`] can be replayed to any instant of a power cut.
//!
//! It mounts by mount(2): root and `/dev/fuse` are needed, no `libfuse` and no `fusermount`.
//! All instants are `CLOCK_MONOTONIC` in nanoseconds, which all processes of a machine share.
//!
//! ```text
//! faultfs --backing DIR --mount DIR --control SOCKET [--trace FILE] [--limit BYTES]
//! ```
//!
//! One request per line on the socket; the answer ends with `ok` or `error: …`:
//!
//! ```text
//! fail OP PATTERN [nth=N] [times=M|all] [errno=EIO|ENOSPC|NUMBER]
//! lose|tear|flip|misdirect write PATTERN [nth=N] [times=M|all] [sectors=S] [bit=B] [by=BYTES]
//! stall OP PATTERN        holds what matches until `clear`
//! clear                   forgets all rules and lets go what is held
//! limit BYTES|none        how much the file system holds
//! status                  counters
//! injected                one line per injection: instant, operation, path, offset
//! mark TEXT               a line of one's own in the trace
//! ```
//!
//! `OP` is `read`, `write`, `sync`, `name` or `any`; `PATTERN` is part of the path below the mount,
//! or `*`. Looking up and listing names is never held or failed.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own: real threads, the real clock"
)]

mod clock;
mod command;
mod control;
mod file_system;
mod io;
mod mount;
mod nodes;
mod process;
pub mod replay;
mod rules;
mod space;
pub mod trace;

pub use clock::monotonic_ns;
pub use control::{Control, ControlError, Served};
pub use mount::{Faults, MountError, MountOptions, clean_up, require_fuse};
pub use process::Child;
pub use rules::{Action, Injection, Op, Rule};
