//! Client packages, fetched by their own package managers into the work directory.
//!
//! Versions are pinned beside each suite: Maven poms, go.sum, package-lock.json, requirements.txt.

use crate::report::Report;
use crate::suites::NAMES;
use anyhow::Result;
use harness::java::{Java, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Where the suites' sources are and where their packages go.
#[derive(Debug)]
pub(crate) struct Packages {
    tests: PathBuf,
    work: PathBuf,
    java: Java,
}

impl Packages {
    pub(crate) fn new(root: &Path, work: &Path) -> Self {
        Self {
            tests: root.join("tests"),
            work: work.to_owned(),
            java: Java::new(root, work),
        }
    }

    /// Fetches and builds everything; an error ends the run, for no suite may be skipped.
    pub(crate) fn install(&self, report: &Report) -> Result<()> {
        fs::create_dir_all(&self.work)?;
        let start = Instant::now();
        let wanted = |kind: &str| {
            NAMES
                .iter()
                .any(|suite| suite.contains(kind) && report.wants(suite))
        };
        if wanted("java") || wanted("mqadmin") || wanted("quickstart") {
            self.java.install(None)?;
        }
        if wanted("go-") {
            self.install_go()?;
        }
        if wanted("python-") {
            self.install_python()?;
        }
        if wanted("node-") {
            self.install_node()?;
        }
        println!("client packages installed in {:?}", start.elapsed());
        Ok(())
    }

    fn install_go(&self) -> Result<()> {
        let mut go = Command::new("go");
        go.current_dir(self.tests.join("go"));
        run(go
            .args(["build", "-mod=readonly", "-o"])
            .arg(self.work.join("go-suite"))
            .arg("."))
    }

    fn install_python(&self) -> Result<()> {
        let venv = self.work.join("python");
        if !venv.join("bin/pip").exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        }
        let mut pip = Command::new(venv.join("bin/pip"));
        run(pip
            .args(["install", "--quiet", "--requirement"])
            .arg(self.tests.join("python/requirements.txt")))
    }

    fn install_node(&self) -> Result<()> {
        let dir = self.work.join("node");
        fs::create_dir_all(&dir)?;
        for file in ["package.json", "package-lock.json", "suite.js"] {
            fs::copy(self.tests.join("node").join(file), dir.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(&dir);
        run(npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))
    }

    /// A JVM with the class path of one of the Maven modules.
    pub(crate) fn java(&self, module: &str, properties: &[&str], main: &str) -> Result<Command> {
        self.java.command(module, properties, main)
    }

    pub(crate) fn go(&self) -> Command {
        Command::new(self.work.join("go-suite"))
    }

    pub(crate) fn python(&self) -> Command {
        let mut python = Command::new(self.work.join("python/bin/python"));
        python
            .arg(self.tests.join("python/suite.py"))
            .env("HOME", self.work.join("home"));
        python
    }

    pub(crate) fn node(&self) -> Command {
        let mut node = Command::new("node");
        node.current_dir(self.work.join("node")).arg("suite.js");
        node
    }
}
