//! The official Java client as a second process of the run, with a history of its own.
//!
//! It obeys single words on its standard input; see `tests/java/torture`. Invariant: its clock is
//! ours, which is checked before anything is recorded.

use crate::journal::now_ns;
use crate::send::Targets;
use anyhow::{Context, Result, bail, ensure};
use harness::java::Java;
use harness::server::{RUN_VARIABLE, run_id};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The group of its consumers.
pub(crate) const JAVA_GROUP: &str = "CID_java";
/// maxReconsumeTimes of that group.
pub(crate) const JAVA_RECONSUME_TIMES_MAX: i64 = 2;
/// Its producers are numbered from here.
const FIRST_NUMBER: u16 = 1000;
const SENDERS: u16 = 3;
const ANSWER_LIMIT: Duration = Duration::from_mins(3);
const MODULE: &str = "torture";

/// A running JVM.
pub(crate) struct JavaClients {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    history: PathBuf,
}

impl JavaClients {
    /// Builds and starts it; its clients go on until [`JavaClients::stop`].
    pub(crate) fn start(
        java: &Java,
        dir: &Path,
        (namesrv, broker): (&str, &str),
        run: u64,
        targets: &Targets,
    ) -> Result<Self> {
        java.install(Some(MODULE))?;
        let history = dir.join("java.hist");
        let mut command = java.command(MODULE, &[], "ringmq.torture.Torture")?;
        command
            .arg(&history)
            .args([run.to_string(), broker.to_owned()])
            .args([FIRST_NUMBER, SENDERS, targets.queues].map(|number| number.to_string()))
            .args(&targets.topics)
            .env("NAMESRV_ADDR", namesrv)
            .env(RUN_VARIABLE, run_id())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join("java.log"))?);
        let mut child = command.spawn().context("cannot start java")?;
        let input = child.stdin.take().context("stdin is piped")?;
        let output = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut clients = Self {
            child,
            input,
            lines,
            history,
        };
        let said = clients.line()?;
        ensure!(said == "started", "the Java clients say `{said}`");
        clients.require_our_clock()?;
        Ok(clients)
    }

    /// Ends the producers; how many messages were acknowledged.
    pub(crate) fn stop(&mut self) -> Result<u64> {
        Ok(self.ask("stop")?.parse()?)
    }

    /// How many messages its consumers have got.
    pub(crate) fn delivered(&mut self) -> Result<u64> {
        Ok(self.ask("count")?.parse()?)
    }

    /// Ends the process; its history.
    pub(crate) fn close(mut self) -> Result<PathBuf> {
        let said = self.ask("close")?;
        ensure!(said == "closed", "the Java clients say `{said}`");
        self.child.wait()?;
        Ok(self.history.clone())
    }

    /// Java's reading lies between two of ours.
    fn require_our_clock(&mut self) -> Result<()> {
        let before = now_ns()?;
        let theirs: u64 = self.ask("clock")?.parse()?;
        let after = now_ns()?;
        ensure!(
            (before..=after).contains(&theirs),
            "System.nanoTime is {theirs}, the monotonic clock went from {before} to {after}"
        );
        Ok(())
    }

    fn ask(&mut self, word: &str) -> Result<String> {
        writeln!(self.input, "{word}")?;
        self.input.flush()?;
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let Ok(line) = self.lines.recv_timeout(ANSWER_LIMIT) else {
            bail!(
                "the Java clients are silent ({:?}); see java.log",
                self.child.try_wait()?
            );
        };
        Ok(line)
    }
}

impl Drop for JavaClients {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
