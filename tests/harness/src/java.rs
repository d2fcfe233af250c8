//! The official Java clients and programs, fetched and built by Maven into a work directory.
//!
//! Versions are pinned in `tests/java`. Each Maven module gives a class path, with which a JVM is
//! started; nothing is installed outside the work directory but Maven's own cache.

use crate::server::{RUN_VARIABLE, run_id};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags with which a JVM starts soon and stays small.
const SMALL_FLAGS: &[&str] = &[
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xms64m",
    "-Drocketmq.client.logUseSlf4j=true",
];

/// What a JDK 17 needs to run the official programs.
pub const MODULE_FLAGS: &[&str] = &[
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
];

/// The Maven project of the tests and where its build goes.
#[derive(Debug)]
pub struct Java {
    pom: PathBuf,
    build: PathBuf,
    home: PathBuf,
}

impl Java {
    /// `root` is the checkout, `work` takes the build and a home directory.
    pub fn new(root: &Path, work: &Path) -> Self {
        Self {
            pom: root.join("tests/java/pom.xml"),
            build: work.join("java"),
            home: work.join("home"),
        }
    }

    /// Fetches and compiles one Maven module, or all of them.
    ///
    /// # Errors
    /// Maven's output when it fails.
    pub fn install(&self, module: Option<&str>) -> Result<()> {
        let mut mvn = Command::new("mvn");
        mvn.args(["--batch-mode", "--quiet"])
            .arg(format!("-Dbuild.root={}", self.build.display()));
        mvn.arg("-f").arg(&self.pom);
        if let Some(module) = module {
            mvn.args(["-pl", module]);
        }
        run(mvn.arg("process-classes"))
    }

    /// A small JVM with the class path of one of the Maven modules.
    ///
    /// # Errors
    /// When the module was not installed.
    pub fn command(&self, module: &str, properties: &[&str], main: &str) -> Result<Command> {
        let flags = [SMALL_FLAGS, MODULE_FLAGS, properties].concat();
        self.command_with(module, &flags, main)
    }

    /// A JVM with these flags and the class path of one of the Maven modules.
    ///
    /// # Errors
    /// When the module was not installed.
    pub fn command_with(&self, module: &str, flags: &[&str], main: &str) -> Result<Command> {
        let build = self.build.join(module);
        let list = build.join("classpath.txt");
        let path =
            fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        fs::create_dir_all(&self.home)?;
        let mut java = Command::new("java");
        java.args(flags)
            .arg(format!("-Duser.home={}", self.home.display()))
            .arg(format!(
                "-Drocketmq.client.localOffsetStoreDir={}",
                self.home.join("offsets").display()
            ))
            .arg("-cp")
            .arg(format!("{}:{path}", build.join("classes").display()))
            .arg(main)
            .env("ROCKETMQ_HOME", &self.home);
        Ok(java)
    }
}

/// Runs a command to its end, as part of this run.
///
/// # Errors
/// Its output when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    command.env(RUN_VARIABLE, run_id());
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
