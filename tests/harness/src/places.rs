//! What the mains of the drivers share: where things are, and how a run ends.
//!
//! Invariant: what the command line says goes before the environment, and both before the defaults.

use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where a driver finds and puts things.
#[derive(Debug)]
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// Packages, data and logs.
    pub work: PathBuf,
    /// The program under test.
    pub binary: PathBuf,
}

impl Places {
    /// What was given; else `RINGMQ_BINARY` or the release build, and `target/NAME`.
    ///
    /// # Errors
    /// When the repository is not there.
    pub fn new(name: &str, binary: Option<PathBuf>, work: Option<PathBuf>) -> Result<Self> {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let root = root.canonicalize()?;
        let given = binary.or_else(|| std::env::var_os("RINGMQ_BINARY").map(PathBuf::from));
        Ok(Self {
            work: work.unwrap_or_else(|| root.join("target").join(name)),
            binary: given.unwrap_or_else(|| root.join("target/release/ringmq")),
            root,
        })
    }
}

/// Tells why a run failed, with all causes.
pub fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
