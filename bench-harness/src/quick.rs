//! `quick`: a report for somebody who has just built the program, within a minute.
//!
//! Invariant: it runs the scenarios that everybody else runs, only shorter.

use crate::arguments::Common;
use crate::scenario::{self, Scenario};
use crate::suite;
use anyhow::Result;

/// Name and settings.
const RUNS: &[(&str, &[(&str, &str)])] = &[
    ("P1", &[]),
    ("P2", &[]),
    ("P4", &[("in-flight", "256")]),
    ("L1", &[]),
];

/// Runs them and says where the page is.
pub(crate) fn quick(common: &Common) -> Result<()> {
    let given = common.changes()?;
    let scenarios: Result<Vec<Scenario>> = RUNS
        .iter()
        .map(|(name, changes)| {
            let own = changes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let changes: Vec<_> = own.chain(given.iter().cloned()).collect();
            scenario::find(name, true, &changes)
        })
        .collect();
    suite::run_all(&scenarios?, common, true)
}
