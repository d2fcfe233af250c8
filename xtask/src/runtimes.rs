//! The runtimes that the real-client suites need, and how to install each.
//!
//! A suite whose runtime is missing must not look green: the check runs before anything else and
//! fails with the line that installs what is missing.

use anyhow::{Result, bail};
use std::process::Command;

struct Runtime {
    program: &'static str,
    version_argument: &'static str,
    what: &'static str,
    install: &'static str,
}

const RUNTIMES: &[Runtime] = &[
    Runtime {
        program: "javac",
        version_argument: "-version",
        what: "JDK 17 or newer, for the official Java clients",
        install: "apt-get install -y openjdk-17-jdk-headless",
    },
    Runtime {
        program: "mvn",
        version_argument: "--version",
        what: "Maven, which fetches the Java clients",
        install: "apt-get install -y maven",
    },
    Runtime {
        program: "go",
        version_argument: "version",
        what: "Go, for the official Go client",
        install: "apt-get install -y golang-go",
    },
    Runtime {
        program: "python3",
        version_argument: "--version",
        what: "Python 3, for the Python client (C++ core)",
        install: "apt-get install -y python3 python3-venv",
    },
    Runtime {
        program: "node",
        version_argument: "--version",
        what: "Node.js, for the Node client",
        install: "apt-get install -y nodejs npm",
    },
    Runtime {
        program: "npm",
        version_argument: "--version",
        what: "npm, which fetches the Node client",
        install: "apt-get install -y npm",
    },
];

const JDK_VERSION_MIN: u32 = 17;

/// Fails with the install line of every runtime that is missing or too old.
pub(crate) fn require_all() -> Result<()> {
    let mut missing = Vec::new();
    for runtime in RUNTIMES {
        match version(runtime) {
            None => missing.push(format!(
                "{} is missing: {}\n    {}",
                runtime.program, runtime.what, runtime.install
            )),
            Some(text) if runtime.program == "javac" && jdk_version(&text) < JDK_VERSION_MIN => {
                missing.push(format!(
                    "javac is {}, {} is needed\n    {}",
                    text.trim(),
                    runtime.what,
                    runtime.install
                ));
            }
            Some(text) => {
                let line = text
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or_default();
                println!("found {}: {}", runtime.program, line.trim());
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "a suite cannot run, and none is skipped:\n  {}",
        missing.join("\n  ")
    )
}

fn version(runtime: &Runtime) -> Option<String> {
    let output = Command::new(runtime.program)
        .arg(runtime.version_argument)
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The feature release in `javac 17.0.15`.
fn jdk_version(text: &str) -> u32 {
    let number = text
        .split_whitespace()
        .find_map(|word| word.split('.').next()?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_jdk_is_read_from_its_version_line() {
        assert_eq!(jdk_version("javac 17.0.15\n"), 17);
        assert_eq!(jdk_version("javac 21"), 21);
        assert_eq!(jdk_version("javac 1.8.0_292"), 1);
    }
}
