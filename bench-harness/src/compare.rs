//! Two sets of results against each other: ratio, intervals, verdict.
//!
//! A set is a file or a directory, and may hold one broker or several; cells of the same scenario and
//! label are compared. Invariant: where the intervals overlap it says that there is no difference.

use crate::report::summary::{FIGURES, groups, short};
use crate::result::{RunResult, load_all};
use anyhow::{Result, ensure};
use std::path::Path;

/// Prints a line for each figure that both have.
pub(crate) fn compare(a: &Path, b: &Path) -> Result<()> {
    let (a, b) = (load_all(a)?, load_all(b)?);
    for line in lines(&a, &b)? {
        println!("{line}");
    }
    Ok(())
}

fn lines(a: &[RunResult], b: &[RunResult]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let others = groups(b);
    for group in groups(a) {
        let Some(other) = others
            .iter()
            .find(|o| o.scenario == group.scenario && o.cell == group.cell)
        else {
            continue;
        };
        for row in &group.rows {
            // The same broker if it is there, else the only one.
            let same = other.rows.iter().find(|o| o.broker == row.broker);
            let Some(with) = same.or_else(|| other.rows.first().filter(|_| other.rows.len() == 1))
            else {
                continue;
            };
            lines.push(format!(
                "{}, {}: {} and {}",
                group.scenario, group.cell, row.broker, with.broker
            ));
            for figure in FIGURES {
                let (Some(left), Some(right)) = (row.figure(figure), with.figure(figure)) else {
                    continue;
                };
                let verdict = left.verdict(&right);
                let better = if !verdict.differs || verdict.single {
                    ""
                } else if (verdict.ratio > 1.0) == figure.more_is_better {
                    ", better"
                } else {
                    ", worse"
                };
                let name = format!("{} {}", figure.name, figure.unit);
                lines.push(format!(
                    "  {name:<20} {} ({} to {})  {} ({} to {})  {}{better}",
                    short(left.median),
                    short(left.low),
                    short(left.high),
                    short(right.median),
                    short(right.low),
                    short(right.high),
                    verdict.text()
                ));
            }
        }
    }
    ensure!(
        !lines.is_empty(),
        "the two have no scenario and cell in common"
    );
    Ok(lines)
}
