//! Who else used the machine while something was measured.
//!
//! Time that the hypervisor took (steal), and CPU time of programs that are not part of the run; threads
//! of the kernel do not count, they work for the broker. Waiting for disks is no signal: `io_uring` makes
//! the kernel book idle time as such. Invariant: a noisy window is told as noisy, never left out.

use super::process::cpu_seconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;

/// Steal above this makes a window noisy, in percent of the machine.
const STEAL_MAX: f64 = 1.0;
/// Other programs above this do, in percent of the machine.
const FOREIGN_MAX: f64 = 2.0;

/// A look at the whole machine.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    steal: f64,
    all: f64,
    /// CPU seconds by process.
    programs: BTreeMap<u32, f64>,
}

impl Look {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (steal, all) = machine(&stat).unwrap_or((0.0, 0.0));
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let programs = pids.filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (user, system) = cpu_seconds(&stat).ok()?;
            is_program(&stat).then_some((pid, user + system))
        });
        Self {
            steal,
            all,
            programs: programs.collect(),
        }
    }
}

/// What others took between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Noise {
    /// In percent of the machine.
    pub(crate) steal_percent: f64,
    pub(crate) foreign_percent: f64,
}

impl Noise {
    /// `ours` are the processes of the run.
    pub(crate) fn between(first: &Look, last: &Look, ours: &[u32]) -> Self {
        let all = (last.all - first.all).max(f64::MIN_POSITIVE);
        let foreign: f64 = last
            .programs
            .iter()
            .filter(|(pid, _)| !ours.contains(pid))
            .map(|(pid, seconds)| seconds - first.programs.get(pid).unwrap_or(&0.0))
            .sum();
        Self {
            steal_percent: (last.steal - first.steal) / all * 100.0,
            foreign_percent: foreign.max(0.0) / all * 100.0,
        }
    }

    /// A sentence when the window is not to be trusted.
    pub(crate) fn objection(&self) -> Option<String> {
        let Self {
            steal_percent,
            foreign_percent,
        } = *self;
        if steal_percent > STEAL_MAX {
            return Some(format!(
                "noise: the hypervisor took {steal_percent:.1} % of the machine"
            ));
        }
        (foreign_percent > FOREIGN_MAX)
            .then(|| format!("noise: other programs took {foreign_percent:.1} % of the machine"))
    }
}

/// Steal and all seconds of `/proc/stat`.
fn machine(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let all = ticks.iter().take(8).sum::<f64>();
    Some((ticks.get(7)? / 100.0, all / 100.0))
}

/// A thread of the kernel has no memory of its own.
fn is_program(stat: &str) -> bool {
    let fields = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields)
        .unwrap_or_default();
    fields
        .split_whitespace()
        .nth(20)
        .is_some_and(|bytes| bytes != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(steal: f64, all: f64, programs: &[(u32, f64)]) -> Look {
        Look {
            steal,
            all,
            programs: programs.iter().copied().collect(),
        }
    }

    #[test]
    fn noise_is_what_the_hypervisor_and_other_programs_took() {
        let first = look(1.0, 100.0, &[(1, 5.0), (2, 7.0), (3, 1.0)]);
        let last = look(1.1, 120.0, &[(1, 15.0), (2, 7.5), (4, 0.3)]);
        let noise = Noise::between(&first, &last, &[1]);
        assert!((noise.steal_percent - 0.5).abs() < 1e-9);
        assert!((noise.foreign_percent - 4.0).abs() < 1e-9);
        assert!(
            noise
                .objection()
                .unwrap()
                .contains("other programs took 4.0 %")
        );
        let quiet = Noise::between(&first, &last, &[1, 2, 4]);
        assert_eq!(quiet.objection(), None);
        let stolen = Noise {
            steal_percent: 1.5,
            foreign_percent: 0.0,
        };
        assert!(stolen.objection().unwrap().contains("hypervisor"));
    }

    #[test]
    fn the_machine_is_the_sum_of_its_states() {
        let stat = "cpu  100 0 50 800 10 0 20 20 5 0\ncpu0 1 2 3\n";
        assert_eq!(machine(stat), Some((0.2, 10.0)));
        assert_eq!(machine(""), None);
    }

    #[test]
    fn this_program_is_one() {
        assert!(Look::now().programs.contains_key(&std::process::id()));
    }
}
