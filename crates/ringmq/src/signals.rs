//! SIGTERM and SIGINT: the first asks the program to stop, the second ends it at once.
//!
//! Owned by the program's main thread, whose tokio runtime hears them.

use crate::failure::{Failure, Outcome};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code after a second signal: 128 and SIGINT, as shells count.
const IMPATIENT_EXIT_CODE: i32 = 130;

/// Hears the signals that end the program.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen. From here on the signals do not end the process by themselves.
    pub(crate) fn listen() -> Outcome<Self> {
        let hear = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at the next signal.
    pub(crate) async fn exit_at_next(mut self) {
        let name = self.next().await;
        tracing::warn!("{name} again: ending at once");
        std::process::exit(IMPATIENT_EXIT_CODE);
    }
}
