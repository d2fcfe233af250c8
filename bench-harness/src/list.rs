//! `list`: what there is to run, and everything that a scenario is told.
//!
//! Invariant: a scenario that cannot be run yet is listed with what it needs.

use crate::scenario::{self, KEYS};
use anyhow::Result;

/// All scenarios, or one with its keys.
pub(crate) fn list(name: Option<&str>) -> Result<()> {
    if let Some(name) = name {
        return one(name);
    }
    for scenario in scenario::all(false)? {
        let core = if scenario.core { "core" } else { "" };
        println!("{:<22} {core:<5} {}", scenario.name, scenario.title);
        if let Some(needs) = &scenario.needs {
            println!("{:<22} {:<5} cannot be run yet: needs {needs}", "", "");
        }
    }
    println!(
        "\nringmq-bench list NAME shows what one is told; KEY=VALUE behind `run NAME` changes it"
    );
    Ok(())
}

fn one(name: &str) -> Result<()> {
    let scenario = scenario::find(name, false, &[])?;
    let short = scenario::find(name, true, &[])?;
    println!("{}: {}", scenario.name, scenario.title);
    for (key, meaning) in KEYS {
        let value = scenario.given.get(*key);
        let text = value.map_or_else(String::new, |value| format!("{key} = {value}"));
        let brief = short.given.get(*key).filter(|brief| Some(*brief) != value);
        let brief = brief.map_or_else(String::new, |value| format!("--short: {value}"));
        println!("  {text:<32} {brief:<16} {key}: {meaning}");
    }
    println!("\ncells:");
    for cell in scenario.params.cells() {
        println!("  {}", cell.label());
    }
    Ok(())
}
