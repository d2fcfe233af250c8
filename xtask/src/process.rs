//! Running other programs: the command line is shown, a failure names it.
//!
//! Owned by `xtask` alone: the broker and the name server never start a process.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program about to run.
pub(crate) struct Program(Command);

/// Cargo, as the one that started us.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Program {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    Program(command)
}

/// A program of the project's own, run in its root.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Program {
    let mut command = Command::new(path);
    command.current_dir(root());
    Program(command)
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

impl Program {
    pub(crate) fn arguments<S: AsRef<OsStr>>(
        mut self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs to the end; a non-zero exit is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let line = self.line();
        println!("$ {line}");
        let status = self
            .0
            .status()
            .with_context(|| format!("cannot start `{line}`"))?;
        ensure!(status.success(), "`{line}` failed: {status}");
        Ok(())
    }

    /// As [`Program::run`], and gives every line of standard output, after showing it.
    pub(crate) fn run_and_read(mut self) -> Result<Vec<String>> {
        let line = self.line();
        println!("$ {line}");
        let mut child = self
            .0
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let out = child.stdout.take().context("stdout is piped")?;
        let mut lines = Vec::new();
        for text in BufReader::new(out).lines() {
            let text = text?;
            println!("{text}");
            lines.push(text);
        }
        let status = child.wait()?;
        ensure!(status.success(), "`{line}` failed: {status}");
        Ok(lines)
    }

    /// Standard output of a short command that is not shown.
    pub(crate) fn read(mut self) -> Result<String> {
        let line = self.line();
        let output = self
            .0
            .output()
            .with_context(|| format!("cannot start `{line}`"))?;
        ensure!(
            output.status.success(),
            "`{line}` failed: {}",
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}
