//! One line per check, and a closing total that a run without checks cannot fake.

use anyhow::{Result, ensure};
use std::time::Instant;

/// Counts what ran.
#[derive(Debug, Default)]
pub(crate) struct Report {
    only: String,
    passed: u32,
    failed: Vec<String>,
}

impl Report {
    pub(crate) fn new(only: &str) -> Self {
        Self {
            only: only.to_owned(),
            ..Self::default()
        }
    }

    /// Whether any check of a suite may run: its name is part of what was asked for, or the reverse.
    pub(crate) fn wants(&self, suite: &str) -> bool {
        let suite_asked = self.only.split_once(':').map_or(&*self.only, |(s, _)| s);
        suite.contains(suite_asked)
    }

    /// The part of `--only suite:check` after the colon.
    pub(crate) fn wanted_check(&self) -> &str {
        self.only.split_once(':').map_or("", |(_, check)| check)
    }

    /// Runs one check, unless it was not asked for.
    pub(crate) fn check(&mut self, suite: &str, name: &str, body: impl FnOnce() -> Result<()>) {
        if !self.wants(suite) || !name.contains(self.wanted_check()) {
            return;
        }
        let start = Instant::now();
        let result = body();
        self.line(
            suite,
            name,
            result.map(|()| start.elapsed().as_millis() as u64),
        );
    }

    /// Notes a check that ran elsewhere: how long it took, or why it failed.
    pub(crate) fn line(&mut self, suite: &str, name: &str, result: Result<u64>) {
        match result {
            Ok(ms) => {
                self.passed += 1;
                println!("{suite}: {name} ... ok ({}.{:03} s)", ms / 1000, ms % 1000);
            }
            Err(e) => {
                println!("{suite}: {name} ... FAILED\n    {e:#}");
                self.failed.push(format!("{suite}: {name}"));
            }
        }
    }

    /// The closing lines; an error when anything failed or nothing ran.
    pub(crate) fn close(self) -> Result<()> {
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        ensure!(
            self.failed.is_empty(),
            "{} checks failed",
            self.failed.len()
        );
        ensure!(self.passed > 0, "no check ran");
        Ok(())
    }
}
