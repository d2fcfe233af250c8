//! Text rules: every file opens with a module comment, names avoid the words that say nothing,
//! and docs/architecture.md names every crate.
//!
//! Read as text, line by line, so that a finding points at its line.

use super::Finding;
use crate::process::root;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const MODULE_COMMENT_LINES_MIN: usize = 3;
const MODULE_COMMENT_LINES_MAX: usize = 12;

/// Endings of type names that say nothing about the type.
const EMPTY_WORDS: &[&str] = &["Manager", "Helper", "Util", "Utils", "Impl"];

pub(super) fn check(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let comment_lines = text
        .lines()
        .take_while(|line| line.starts_with("//"))
        .count();
    let ends = |names: &[&str]| names.iter().any(|name| path.ends_with(name));
    let is_test = path.components().any(|part| part.as_os_str() == "tests")
        || ends(&["tests.rs", "testing.rs"]);
    let lines_min = if is_test { 1 } else { MODULE_COMMENT_LINES_MIN };
    // A crate's comment may teach how to work in it.
    let lines_max = if ends(&["lib.rs"]) {
        usize::MAX
    } else {
        MODULE_COMMENT_LINES_MAX
    };
    if !(lines_min..=lines_max).contains(&comment_lines) {
        let message = format!(
            "module comment has {comment_lines} lines: say in {lines_min} to \
             {MODULE_COMMENT_LINES_MAX} what this is, who owns it and what must hold"
        );
        findings.push(Finding {
            path: path.to_owned(),
            line: 1,
            message,
        });
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(message) = objection(line) {
            findings.push(Finding {
                path: path.to_owned(),
                line: index + 1,
                message,
            });
        }
    }
    findings
}

fn objection(line: &str) -> Option<String> {
    let line = line.trim_start();
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    let is_type = words.any(|word| matches!(word, "struct" | "enum" | "trait"));
    if !is_type || line.starts_with("//") {
        return None;
    }
    let name = words.find(|word| !word.is_empty())?;
    let empty = EMPTY_WORDS.iter().find(|word| name.ends_with(**word))?;
    Some(format!(
        "`{name}`: `{empty}` says nothing, name what it does"
    ))
}

/// docs/architecture.md is the map: a crate that is not on it cannot be found.
pub(super) fn check_map(sources: &[PathBuf]) -> Result<Vec<Finding>> {
    let path = PathBuf::from("docs/architecture.md");
    let map = std::fs::read_to_string(root().join(&path)).context("docs/architecture.md")?;
    let mut crates: Vec<_> = sources
        .iter()
        .filter_map(|source| source.strip_prefix("crates").ok()?.components().next())
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    crates.dedup();
    let missing = crates
        .into_iter()
        .filter(|name| !map.contains(&format!("`{name}`")));
    Ok(missing
        .map(|name| Finding {
            path: path.clone(),
            line: 1,
            message: format!("crate `{name}` is not on the map, add its line"),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_name_that_says_nothing_is_found() {
        assert!(objection(&["pub(crate) struct Topic", "Manager {"].concat()).is_some());
        assert!(objection("struct TopicTable {").is_none());
        assert!(objection("// struct TopicTable").is_none());
    }
}
