//! What a person sees while a run goes on: one line on standard error that is written over.
//!
//! Without a terminal nothing is written over: then only stages are told. Invariant: standard output
//! carries results alone.

use crate::cost::noise::Look;
use crate::drive::plan::Shared;
use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::Ordering;

/// The line, and what it needs to know of the second before.
#[derive(Debug)]
pub(crate) struct Progress {
    title: String,
    is_terminal: bool,
    acknowledged: u64,
    received: u64,
    /// When the number of acknowledgements last moved, and what it was.
    moved: (u64, u64),
    /// The machine when the window began.
    pub(crate) look: Option<Look>,
}

impl Progress {
    pub(crate) fn new(title: String) -> Self {
        let is_terminal = stderr().is_terminal();
        if !is_terminal {
            eprintln!("{title}");
        }
        Self {
            title,
            is_terminal,
            acknowledged: 0,
            received: 0,
            moved: (0, 0),
            look: None,
        }
    }

    /// A stage without figures.
    pub(crate) fn note(&mut self, what: &str) {
        self.line(what);
    }

    /// One more second.
    pub(crate) fn second(&mut self, shared: &Shared, what: &str, second: u64, of: u64) {
        let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
        let received =
            shared.received.load(Ordering::Relaxed) + shared.received_late.load(Ordering::Relaxed);
        let errors = shared.errors.load(Ordering::Relaxed);
        let text = format!(
            "{what} {second:>3}/{of} s  {:>9} sent/s  {:>9} received/s  {errors} errors",
            acknowledged - self.acknowledged,
            received - self.received
        );
        (self.acknowledged, self.received) = (acknowledged, received);
        self.line(&text);
    }

    /// For how long the count has not moved.
    pub(crate) fn silent_ns(&mut self, count: u64, now_ns: u64) -> u64 {
        if self.moved.0 == 0 || count != self.moved.1 {
            self.moved = (now_ns, count);
        }
        now_ns - self.moved.0
    }

    fn line(&self, text: &str) {
        if self.is_terminal {
            eprint!("\r\x1b[K{}: {text}", self.title);
            // A line that cannot be shown is none that is missed.
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
