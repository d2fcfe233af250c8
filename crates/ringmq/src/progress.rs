//! A progress bar on a terminal: how much of how many bytes, how fast, how long still.
//!
//! Written to standard error, a few times a second, and wiped at the end. Invariant: nothing is
//! written where standard error is no terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// See the module.
pub(crate) struct Progress {
    total: u64,
    done: u64,
    begin: Instant,
    shown: Instant,
    is_visible: bool,
}

impl Progress {
    pub(crate) fn new(total: u64, is_hidden: bool) -> Self {
        let begin = now();
        Self {
            total,
            done: 0,
            begin,
            shown: begin,
            is_visible: !is_hidden && io::stderr().is_terminal(),
        }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.is_visible && self.shown.elapsed() >= INTERVAL {
            self.shown = now();
            let line = line(self.done, self.total, self.begin.elapsed().as_secs_f64());
            // A terminal that is gone is no reason to stop.
            let _ = write!(io::stderr(), "\r{line}\u{1b}[K");
        }
    }

    /// Wipes the bar. Gives how long it all took, in seconds.
    pub(crate) fn end(&self) -> f64 {
        if self.is_visible {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
        self.begin.elapsed().as_secs_f64()
    }
}

fn line(done: u64, total: u64, seconds: f64) -> String {
    let part = (done as f64 / total.max(1) as f64).min(1.0);
    let filled = (part * WIDTH as f64) as usize;
    let (full, empty) = ("#".repeat(filled), "-".repeat(WIDTH - filled));
    let mebibyte = f64::from(1 << 20);
    let rate = done as f64 / seconds.max(0.001);
    let left = total.saturating_sub(done) as f64 / rate.max(1.0);
    format!(
        "[{full}{empty}] {:3.0} % {:.0} of {:.0} MiB, {:.0} MiB/s, {left:.0} s left",
        part * 100.0,
        done as f64 / mebibyte,
        total as f64 / mebibyte,
        rate / mebibyte
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bar for people, outside of the engine"
)]
fn now() -> Instant {
    Instant::now()
}

const WIDTH: usize = 30;
const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_much_how_fast_and_how_long() {
        let mebibyte = 1 << 20;
        assert_eq!(
            line(50 * mebibyte, 200 * mebibyte, 0.5),
            "[#######-----------------------]  25 % 50 of 200 MiB, 100 MiB/s, 2 s left"
        );
        assert!(line(0, 0, 0.0).starts_with("[---"));
    }
}
