//! What is switched off of a seed: the minimiser's language, written on the command line.
//!
//! `scene=broker,producers=1,storm=40,plan=2+5` caps numbers and keeps entries of a plan.
//! Invariant: cuts only make a run smaller; what is not named stays as the seed draws it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cuts {
    scene: Option<String>,
    caps: BTreeMap<String, u64>,
    plan: Option<Vec<usize>>,
}

/// A number that a minimiser may make smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) least: u64,
}

impl Part {
    pub(crate) fn new(name: &'static str, value: u64, least: u64) -> Self {
        Self { name, value, least }
    }
}

impl Cuts {
    /// Cuts everything but one scene.
    #[must_use]
    pub fn only(mut self, scene: &str) -> Self {
        self.scene = Some(scene.to_owned());
        self
    }

    /// Caps a number.
    #[must_use]
    pub fn with(mut self, name: &str, cap: u64) -> Self {
        self.caps.insert(name.to_owned(), cap);
        self
    }

    /// Keeps only these entries of the plan, by their number in what the seed draws.
    #[must_use]
    pub fn with_plan(mut self, kept: Vec<usize>) -> Self {
        self.plan = Some(kept);
        self
    }

    /// Whether a scene is played.
    pub fn plays(&self, scene: &str) -> bool {
        self.scene.as_deref().is_none_or(|only| only == scene)
    }

    pub(crate) fn cap(&self, name: &str, value: u64) -> u64 {
        self.caps.get(name).map_or(value, |cap| value.min(*cap))
    }

    /// Whether an entry of the plan is played.
    pub(crate) fn keeps(&self, number: usize) -> bool {
        self.plan.as_ref().is_none_or(|kept| kept.contains(&number))
    }
}

impl fmt::Display for Cuts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = Vec::new();
        words.extend(self.scene.iter().map(|scene| format!("scene={scene}")));
        words.extend(self.caps.iter().map(|(name, cap)| format!("{name}={cap}")));
        if let Some(plan) = &self.plan {
            let numbers: Vec<String> = plan.iter().map(usize::to_string).collect();
            words.push(format!("plan={}", numbers.join("+")));
        }
        out.write_str(&words.join(","))
    }
}

impl FromStr for Cuts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cuts = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or(format!("{word}: name=value"))?;
            let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{word}: a number"));
            match name {
                "scene" => cuts = cuts.only(value),
                "plan" => {
                    let numbers = value.split('+').filter(|text| !text.is_empty());
                    let kept = numbers.map(|text| number(text).map(|n| n as usize));
                    cuts = cuts.with_plan(kept.collect::<Result<_, _>>()?);
                }
                _ => cuts = cuts.with(name, number(value)?),
            }
        }
        Ok(cuts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_read_back_as_they_are_written() {
        let cuts = Cuts::default().only("broker").with("producers", 1);
        let cuts = cuts.with_plan(vec![2, 5]);
        let text = cuts.to_string();
        assert_eq!(text, "scene=broker,producers=1,plan=2+5");
        assert_eq!(text.parse(), Ok(cuts));
        assert_eq!("".parse(), Ok(Cuts::default()));
        assert!("producers=x".parse::<Cuts>().is_err());
    }

    #[test]
    fn a_cut_caps_numbers_and_keeps_the_numbered_entries() {
        let cuts: Cuts = "producers=1,plan=0+2".parse().unwrap();
        assert_eq!((cuts.cap("producers", 4), cuts.cap("queues", 4)), (1, 4));
        assert_eq!([0, 1, 2].map(|n| cuts.keeps(n)), [true, false, true]);
    }
}
