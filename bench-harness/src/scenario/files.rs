//! The scenarios that are part of the program, and files of the user's own.
//!
//! Invariant: what is listed here is what `scenarios/` holds; a test compares them.

use super::Scenario;
use crate::nearest;
use anyhow::{Context, Result, bail};
use std::path::Path;

macro_rules! files {
    ($($name:literal,)*) => {
        const FILES: &[(&str, &str)] = &[$(
            ($name, include_str!(concat!("../../scenarios/", $name, ".scenario"))),
        )*];
    };
}

files! {
    "P1-tput-128-async",
    "P2-tput-1k-async",
    "P3-tput-64k-async",
    "P4-tput-1k-sync",
    "P5-batch-32x128",
    "L1-lat-1k-async-e2e",
    "L2-lat-1k-sync",
    "F1-fanout-1k",
    "C1-catchup-hot",
    "C2-catchup-cold",
    "Q1-10k-queues",
    "Q2-100k-queues",
    "O1-overload",
    "I1-idle",
    "R1-restart",
    "M1-small-box",
    "S1-soak",
    "gate-1k",
    "D1-delay-1k",
    "T1-tx-2k",
    "H1-repl-sync",
}

/// All of them, in the order in which they are told.
pub(crate) fn all(short: bool) -> Result<Vec<Scenario>> {
    FILES
        .iter()
        .map(|(name, text)| Scenario::parse(name, text, short, &[]))
        .collect()
}

/// One by its name, by the part before the first `-`, or by the path of a file.
pub(crate) fn find(name: &str, short: bool, changes: &[(String, String)]) -> Result<Scenario> {
    let path = Path::new(name);
    if path.extension().is_some_and(|end| end == "scenario") {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        return Scenario::parse(&stem, &text, short, changes);
    }
    let is_meant = |full: &str| {
        let first = full.split('-').next().unwrap_or_default();
        full.eq_ignore_ascii_case(name) || first.eq_ignore_ascii_case(name)
    };
    let Some((full, text)) = FILES.iter().find(|(full, _)| is_meant(full)) else {
        let names = FILES.iter().map(|(name, _)| *name);
        bail!(
            "there is no scenario {name}; {}",
            nearest::hint(name, names)
        );
    };
    Scenario::parse(full, text, short, changes)
}
