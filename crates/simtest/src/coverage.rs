//! What a sweep came to: faults by what they struck, and assertions and rare cases that were reached.
//!
//! Collected per seed from counters of its thread, added up over a sweep. Invariant: every assertion and
//! rare case that the program names must be reached by the standard sweep, so that none is there
//! for show; [`Coverage::missing`] names those that were not.

use base::activity::Activity;
use base::points::{Point, take_counts};
use sim::{STATES, Strikes, Struck, take_strikes};
use std::fmt::{self, Write};

/// Cases that 500 seeds come to a few times only: another draw may miss them. Tests of their own have them.
const TOO_RARE: [Point; 3] = [Point::RingDamaged, Point::BitRepaired, Point::PageRebuilt];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    strikes: Strikes,
    points: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            strikes: [[0; STATES]; Struck::ALL.len()],
            points: vec![0; Point::ALL.len()],
        }
    }
}

impl Coverage {
    /// What this thread has counted since the last call.
    pub(crate) fn take() -> Self {
        Self {
            strikes: take_strikes(),
            points: take_counts(),
        }
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = self.strikes.iter_mut().flatten();
        for (sum, more) in pairs.zip(other.strikes.iter().flatten()) {
            *sum += more;
        }
        for (sum, more) in self.points.iter_mut().zip(&other.points) {
            *sum += more;
        }
    }

    /// Assertions and cases that nothing came to, and that every sweep of the standard length comes to.
    pub fn missing(&self) -> Vec<Point> {
        let mut missing = self.unreached();
        missing.retain(|point| !TOO_RARE.contains(point));
        missing
    }

    /// Assertions and rare cases that nothing came to.
    pub fn unreached(&self) -> Vec<Point> {
        let all = Point::ALL.iter().zip(&self.points);
        let none = all.filter(|(_, count)| **count == 0);
        none.map(|(point, _)| *point).collect()
    }

    /// How many faults of each kind struck, and in how many states.
    pub fn summary(&self) -> String {
        let cells = self.strikes.iter().flatten();
        let struck: u64 = cells.clone().sum();
        let reached = cells.filter(|count| **count > 0).count();
        let points = Point::ALL.len() - self.unreached().len();
        format!(
            "{struck} faults in {reached} of {} pairs of fault and state; {points} of {} assertions \
             and rare cases reached",
            STATES * Struck::ALL.len(),
            Point::ALL.len()
        )
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}", "fault")?;
        for activity in Activity::ALL {
            write!(f, "{:>11}", format!("{activity:?}"))?;
        }
        writeln!(f, "{:>11}", "Down")?;
        for (struck, row) in Struck::ALL.iter().zip(&self.strikes) {
            let mut line = format!("{:<18}", format!("{struck:?}"));
            for count in row {
                write!(line, "{count:>11}")?;
            }
            writeln!(f, "{line}")?;
        }
        writeln!(f)?;
        for (point, count) in Point::ALL.iter().zip(&self.points) {
            let name = format!("{point:?}");
            writeln!(f, "{count:>12}  {name:<24}{}", point.sentence())?;
        }
        write!(f, "{}", self.summary())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_came_to_is_named() {
        Coverage::take();
        base::reached!(RingReplayed);
        let mut all = Coverage::take();
        assert!(!all.unreached().contains(&Point::RingReplayed));
        assert_eq!(all.unreached().len(), Point::ALL.len() - 1);
        base::reached!(TailErased);
        all.add(&Coverage::take());
        assert_eq!(all.unreached().len(), Point::ALL.len() - 2);
        assert!(
            all.to_string()
                .contains("messages came back from the tail ring")
        );
    }
}
