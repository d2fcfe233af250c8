//! Is the checker to be trusted? Mutated histories must be caught, clean ones must not.
//!
//! Invariant: a mutator that found nothing to change is tried on other histories, and never counts
//! as caught.

use crate::check::{Report, check};
use crate::error::HistoryError;
use crate::generate::{Shape, generate, strings};
use crate::mutate::{MUTATORS, Mutator};
use crate::source::Memory;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Trust {
    /// Histories per mutator.
    pub seeds: u64,
    /// Clean histories.
    pub clean: u64,
    /// Messages per history.
    pub messages: u64,
}

/// What a self test says of one mutator, or of the clean histories.
#[derive(Debug, Clone)]
pub struct Line {
    /// The mutator, or that nothing was changed.
    pub name: String,
    /// How often it was tried.
    pub tried: u64,
    /// How often the checker was right.
    pub right: u64,
    /// The first seed for which it was not, and what it said.
    pub first_wrong: Option<(u64, String)>,
}

/// Histories that a mutator may try before it is a failure.
const TRIES_MAX: u64 = 40;

/// Runs everything; one line per mutator and one for the clean histories.
///
/// # Errors
/// A generated history that cannot be read, which is an error of the generator.
pub fn selftest(trust: Trust, mut tell: impl FnMut(&Line)) -> Result<bool, HistoryError> {
    let mut is_right = true;
    let mut note = |line: Line| {
        is_right &= line.right == line.tried && line.tried > 0;
        tell(&line);
    };
    let mut line = Line::new("nothing is changed");
    for seed in 0..trust.clean {
        let report = check(&history(seed, trust.messages)?)?;
        line.add(seed, report.is_clean(), &report);
    }
    note(line);
    for mutator in MUTATORS {
        let mut line = Line::new(&format!("{:?}: {}", mutator.property, mutator.name));
        for seed in 0..trust.seeds {
            match mutated(mutator, seed, trust.messages)? {
                Some(report) => line.add(seed, report.broke(mutator.property), &report),
                None => line.wrong(seed, "no history has anything to change".to_owned()),
            }
        }
        note(line);
    }
    Ok(is_right)
}

/// The verdict on a mutated history.
fn mutated(mutator: &Mutator, seed: u64, messages: u64) -> Result<Option<Report>, HistoryError> {
    for other in 0..TRIES_MAX {
        let mut memory = history(seed + other * 1_000_003, messages)?;
        if mutator.apply(&mut memory.records, seed) {
            return Ok(Some(check(&memory)?));
        }
    }
    Ok(None)
}

/// A clean history in memory.
///
/// # Errors
/// Never; memory takes everything.
pub fn history(seed: u64, messages: u64) -> Result<Memory, HistoryError> {
    let mut memory = Memory {
        records: Vec::new(),
        strings: strings()?,
    };
    let records = &mut memory.records;
    generate(Shape { seed, messages }, &mut |record| {
        records.push(*record);
        Ok(())
    })?;
    Ok(memory)
}

impl Line {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tried: 0,
            right: 0,
            first_wrong: None,
        }
    }

    fn add(&mut self, seed: u64, is_right: bool, report: &Report) {
        if is_right {
            self.tried += 1;
            self.right += 1;
        } else {
            self.wrong(seed, report.to_string());
        }
    }

    fn wrong(&mut self, seed: u64, what: String) {
        self.tried += 1;
        self.first_wrong.get_or_insert((seed, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_are_caught_and_clean_histories_are_not() {
        let trust = Trust {
            seeds: 2,
            clean: 20,
            messages: 1_500,
        };
        let mut wrong = Vec::new();
        let is_right = selftest(trust, |line| {
            if let Some((seed, what)) = &line.first_wrong {
                wrong.push(format!("{} (seed {seed}): {what}", line.name));
            }
        });
        assert_eq!(is_right, Ok(true), "{}", wrong.join("\n\n"));
    }

    #[test]
    fn generated_histories_have_what_they_are_to_test() {
        let mut sum = crate::check::Totals::default();
        for seed in 0..10 {
            let totals = check(&history(seed, 3_000).unwrap()).unwrap().totals;
            sum.crashes += totals.crashes;
            sum.unknown += totals.unknown;
            sum.repeated += totals.repeated;
        }
        assert!(
            sum.crashes > 3 && sum.unknown > 10 && sum.repeated > 3,
            "{sum:?}"
        );
    }
}
