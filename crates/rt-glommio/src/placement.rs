//! Which CPU each shard runs on.
//!
//! Computed once at start. glommio's placements look at the machine's topology and ignore the
//! affinity mask and cpusets, so the allowed CPUs come from `sched_getaffinity` here and every
//! executor is pinned to one of them. More shards than CPUs is fine: they go round.

use crate::error::StartError;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The CPUs that this process may run on, ascending; at least one.
///
/// # Errors
/// When the kernel does not tell.
pub fn allowed_cpus() -> Result<Vec<usize>, std::io::Error> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let cpus: Vec<usize> = (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect();
    if cpus.is_empty() {
        return Err(std::io::Error::other("the affinity mask allows no CPU"));
    }
    Ok(cpus)
}

/// One CPU per shard: from `wanted` when given, else from `allowed`, round and round.
///
/// # Errors
/// When a wanted CPU is not allowed.
pub fn place(
    shards: u16,
    allowed: &[usize],
    wanted: Option<&[usize]>,
) -> Result<Vec<usize>, StartError> {
    let cpus = match wanted {
        Some(wanted) if !wanted.is_empty() => wanted,
        _ => allowed,
    };
    if let Some(&cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(StartError::CpuNotAllowed {
            cpu,
            allowed: allowed.to_vec(),
        });
    }
    Ok(cpus
        .iter()
        .copied()
        .cycle()
        .take(usize::from(shards))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_go_round_the_cpus_they_may_use() {
        let check = |shards, allowed: &[usize], wanted: Option<&[usize]>, expected: &[usize]| {
            let cpus = place(shards, allowed, wanted).unwrap();
            assert_eq!(cpus, expected);
        };
        check(2, &[0, 1], None, &[0, 1]);
        check(3, &[4, 7], None, &[4, 7, 4]);
        check(4, &[5], None, &[5, 5, 5, 5]);
        check(2, &[0, 1, 2, 3], Some(&[3, 1]), &[3, 1]);
        check(3, &[0, 1], Some(&[]), &[0, 1, 0]);
    }

    #[test]
    fn a_cpu_outside_the_mask_is_refused_by_number() {
        let error = place(1, &[0, 1], Some(&[6])).unwrap_err();
        assert!(matches!(error, StartError::CpuNotAllowed { cpu: 6, .. }));
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!allowed_cpus().unwrap().is_empty());
    }
}
