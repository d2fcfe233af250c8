//! `cargo xtask tidy`: the rules of docs/style.md that a machine can hold.
//!
//! Each finding reads `path:line: error: what is wrong, what to do`. There are no exemptions and
//! no baseline: a rule holds everywhere or it is not a rule.

mod features;
mod layers;
mod sizes;
mod text;

use crate::process::{program, root};
use anyhow::{Result, bail};
use std::fmt;
use std::path::PathBuf;

/// One place that breaks a rule.
pub(crate) struct Finding {
    path: PathBuf,
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: error: {}",
            self.path.display(),
            self.line,
            self.message
        )
    }
}

/// Runs every check and lists all findings.
pub(crate) fn run() -> Result<()> {
    let sources = sources()?;
    let mut findings = layers::check()?;
    for path in &sources {
        let text = std::fs::read_to_string(root().join(path))?;
        findings.extend(sizes::check(path, &text)?);
        findings.extend(text::check(path, &text));
    }
    findings.extend(text::check_map(&sources)?);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(());
    }
    bail!("tidy: {} findings", findings.len())
}

/// Every Rust file that git tracks or would track.
fn sources() -> Result<Vec<PathBuf>> {
    let listing = program("git")
        .arguments([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
        ])
        .read()?;
    let mut paths: Vec<PathBuf> = listing.lines().map(PathBuf::from).collect();
    paths.retain(|path| root().join(path).exists());
    paths.sort();
    paths.dedup();
    Ok(paths)
}
