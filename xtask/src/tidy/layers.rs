//! Layering: a crate depends only on crates of lower rows, and some dependencies have one door.
//!
//! The rows are those of docs/architecture.md. Read from `cargo metadata`, so that nothing can be
//! hidden in a feature.

use super::Finding;
use crate::process::cargo;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Rows from the ground up. A crate may use any crate of a lower row.
const LAYERS: &[&[&str]] = &[
    &["base", "macros", "faultfs"],
    &["remoting", "config", "filter", "rmq-check"],
    &["rt"],
    &["rt-glommio", "sim"],
    &["store"],
    &["shard"],
    &["broker", "namesrv"],
    &["harness"],
    &[
        "ringmq",
        "simtest",
        "e2e",
        "torture",
        "bench-harness",
        "xtask",
    ],
];

/// Outside crates that only some of ours may name.
const DOORS: &[(&str, &[&str])] = &[
    ("glommio", &["rt-glommio"]),
    ("tokio", &["namesrv", "ringmq", "e2e"]),
    ("openssl", &[]),
    ("fuser", &["faultfs"]),
];

/// Crates of ours that only some others may name in a normal dependency.
const INNER_DOORS: &[(&str, &[&str])] = &[
    ("rt-glommio", &["ringmq"]),
    ("sim", &["simtest"]),
    ("simtest", &[]),
    ("faultfs", &["torture"]),
    ("harness", &["e2e", "torture", "bench-harness"]),
];

const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "MPL-2.0",
    "MPL-2.0+",
    "Unicode-3.0",
    "Unlicense",
    "0BSD",
    "BSL-1.0",
    "CC0-1.0",
];

pub(super) fn check() -> Result<Vec<Finding>> {
    let text = cargo(["metadata", "--format-version", "1", "--locked"]).read()?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let rows: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(row, names)| names.iter().map(move |name| (*name, row)))
        .collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("name")?;
        if !package["source"].is_null() {
            findings.extend(check_licence(name, package));
            continue;
        }
        let manifest = PathBuf::from(package["manifest_path"].as_str().context("manifest")?);
        let Some(row) = rows.get(name) else {
            findings.push(at(
                &manifest,
                format!("{name} is in no layer, add it to tidy/layers.rs"),
            ));
            continue;
        };
        findings.extend(super::features::check(name, package));
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let target = dependency["name"].as_str().context("dependency name")?;
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if let Some(message) = objection(name, *row, target, is_dev, &rows) {
                findings.push(at(&manifest, message));
            }
        }
    }
    Ok(findings)
}

fn objection(
    name: &str,
    row: usize,
    target: &str,
    is_dev: bool,
    rows: &BTreeMap<&str, usize>,
) -> Option<String> {
    let doors = DOORS.iter().chain(INNER_DOORS);
    if let Some((_, allowed)) = doors.clone().find(|(door, _)| *door == target)
        && !is_dev
        && !allowed.contains(&name)
    {
        return Some(format!(
            "{name} must not depend on {target}, only {allowed:?} may"
        ));
    }
    match rows.get(target) {
        // Tests may use the simulation, whose row is above some of what it tests.
        Some(_) if is_dev => None,
        Some(lower) if *lower >= row => Some(format!(
            "{name} must not depend on {target}: it is not in a lower layer"
        )),
        _ => None,
    }
}

fn check_licence(name: &str, package: &Value) -> Option<Finding> {
    let licence = package["license"].as_str().unwrap_or("none");
    let allowed = licence
        .split([' ', '/', '(', ')'])
        .filter(|word| !matches!(*word, "" | "OR" | "AND" | "WITH" | "LLVM-exception"))
        .any(|word| LICENCES.contains(&word));
    let manifest = PathBuf::from("Cargo.lock");
    (!allowed).then(|| {
        at(
            &manifest,
            format!("licence of {name} is {licence}, see deny.toml"),
        )
    })
}

fn at(path: &std::path::Path, message: String) -> Finding {
    Finding {
        path: path.to_owned(),
        line: 1,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_may_only_look_down() {
        let rows = BTreeMap::from([("store", 4), ("shard", 5), ("rt", 2)]);
        assert!(objection("store", 4, "shard", false, &rows).is_some());
        assert!(objection("store", 4, "rt", false, &rows).is_none());
        assert!(objection("broker", 6, "glommio", false, &rows).is_some());
        assert!(objection("store", 4, "sim", true, &rows).is_none());
    }
}
