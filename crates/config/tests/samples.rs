//! The files in `conf/` are what their comments say: understood, or refused with the reason.

#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

use std::fs;
use std::path::{Path, PathBuf};

fn samples() -> Vec<PathBuf> {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf");
    let mut files = Vec::new();
    let mut dirs = vec![conf];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_sample_is_understood_or_says_why_it_is_refused() {
    let files = samples();
    let mut refused = 0;
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let shown = path.display();
        let warnings = if path.ends_with("namesrv.conf") {
            config::load_namesrv(&text, &[]).unwrap().warnings
        } else {
            match config::load(&text, &[]) {
                Ok(loaded) => loaded.warnings,
                Err(error) => {
                    assert!(
                        text.contains("# Replication is not served yet"),
                        "{shown}: {error}"
                    );
                    assert!(
                        error.to_string().contains("replication"),
                        "{shown}: {error}"
                    );
                    assert_eq!(error.problems.len(), 1, "{shown}: {error}");
                    refused += 1;
                    continue;
                }
            }
        };
        assert!(
            !warnings.iter().any(config::Notice::is_warning),
            "{shown}: {warnings:?}"
        );
    }
    // Two slaves of asynchronous masters, two synchronous masters, and their two slaves.
    assert_eq!((files.len(), refused), (14, 6), "{files:?}");
}
