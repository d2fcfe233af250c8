//! Long fuzzing of the decoders with libFuzzer.
//!
//! `cargo xtask test` runs every target over a fixed number of mutations of the recorded frames;
//! this command runs them for as long as one likes.

use crate::process::{cargo, root};
use anyhow::{Context, Result};

/// Runs every target of `fuzz/` for `seconds`.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let targets = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&targets).context("fuzz/fuzz_targets")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    for name in names {
        let limit = format!("-max_total_time={seconds}");
        cargo(["+nightly", "fuzz", "run", &name, "--", &limit])
            .run()
            .context("needs `cargo install cargo-fuzz` and `rustup toolchain install nightly`")?;
    }
    Ok(())
}
