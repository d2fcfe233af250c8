//! The machine that a run was made on, and which CPUs are whose.
//!
//! Everything that moved a figure once: kernel, CPU, clock, disk, network settings. Invariant: nothing
//! here names a person, a host or a directory.

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_mib: u64,
    pub(crate) memory_free_mib: u64,
    pub(crate) kernel: String,
    /// Of the kernel's command line, what moves figures.
    pub(crate) kernel_options: String,
    pub(crate) load_average: String,
    /// File system, options and use of the stores' directory.
    pub(crate) file_system: String,
    pub(crate) file_system_used_percent: f64,
    /// Files of /proc and /sys by their path.
    pub(crate) settings: BTreeMap<String, String>,
}

const SETTINGS: &[&str] = &[
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "/sys/module/haltpoll/parameters/guest_halt_poll_ns",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/proc/sys/net/ipv4/tcp_rmem",
    "/proc/sys/net/ipv4/tcp_wmem",
    "/proc/sys/net/ipv4/tcp_congestion_control",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/vm/dirty_ratio",
    "/proc/sys/vm/dirty_background_ratio",
    "/proc/sys/vm/swappiness",
    "/proc/sys/vm/max_map_count",
];
const QUEUE_SETTINGS: &[&str] = &[
    "scheduler",
    "write_cache",
    "fua",
    "io_poll",
    "nr_requests",
    "physical_block_size",
    "rotational",
];

impl Machine {
    /// As it is now; `stores` is where brokers keep their data.
    pub(crate) fn look(stores: &Path) -> Self {
        let text = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let cpuinfo = text("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let meminfo = text("/proc/meminfo");
        let memory = |name: &str| {
            let line = meminfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib: Option<u64> =
                line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kib.unwrap_or(0) / 1024
        };
        let mut settings = BTreeMap::new();
        let mut keep = |path: &str| {
            if let Ok(value) = fs::read_to_string(path) {
                settings.insert(path.to_owned(), value.trim().to_owned());
            }
        };
        for path in SETTINGS {
            keep(path);
        }
        let (file_system, device) = mount_of(stores);
        if let Some(disk) = device
            .as_deref()
            .and_then(|name| disk_of(name.trim_start_matches("/dev/")))
        {
            for name in QUEUE_SETTINGS {
                keep(&format!("/sys/block/{disk}/queue/{name}"));
            }
        }
        Self {
            cpu: model
                .map(|m| m.trim_start_matches([' ', '\t', ':']).to_owned())
                .unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory("MemTotal"),
            memory_free_mib: memory("MemAvailable"),
            kernel: version_of(&text("/proc/sys/kernel/osrelease")),
            kernel_options: options_of(&text("/proc/cmdline")),
            load_average: text("/proc/loadavg"),
            file_system,
            file_system_used_percent: used_percent(stores).unwrap_or(0.0),
            settings,
        }
    }
}

/// `6.18.44` of `6.18.44-vendor`: the rest names who built it.
fn version_of(release: &str) -> String {
    release.split('-').next().unwrap_or_default().to_owned()
}

/// Beginnings of the kernel's options that move figures.
const OPTIONS: &[&str] = &[
    "mitigations",
    "isolcpus",
    "nohz",
    "rcu_nocbs",
    "idle",
    "processor",
    "intel_",
    "amd_",
    "cpuidle",
    "haltpoll",
    "transparent_hugepage",
    "hugepage",
    "preempt",
    "threadirqs",
    "clocksource",
    "tsc",
    "psi",
    "nosmt",
    "numa",
    "maxcpus",
];

fn options_of(line: &str) -> String {
    let ours = line.split(" -- ").next().unwrap_or_default();
    let words = ours
        .split_whitespace()
        .filter(|word| OPTIONS.iter().any(|start| word.starts_with(start)));
    words.collect::<Vec<_>>().join(" ")
}

/// `ext4 rw,relatime` and the device.
fn mount_of(path: &Path) -> (String, Option<String>) {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let best = mounts
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            path.starts_with(words.get(1)?).then_some(words)
        })
        .max_by_key(|words| words[1].len());
    best.filter(|words| words.len() > 3)
        .map_or_else(Default::default, |words| {
            (
                format!("{} {}", words[2], words[3]),
                Some(words[0].to_owned()),
            )
        })
}

/// The disk of a partition, such as `nvme0n1` of `nvme0n1p2`.
fn disk_of(device: &str) -> Option<String> {
    let disks = fs::read_dir("/sys/block").ok()?;
    let names = disks
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| device.starts_with(name.as_str()))
        .max_by_key(String::len)
}

fn used_percent(path: &Path) -> Result<f64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let (all, free) = (stat.blocks() as f64, stat.blocks_available() as f64);
    Ok((1.0 - free / all) * 100.0)
}

/// Bytes that a program may still write there.
pub(crate) fn free_bytes(path: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Who runs where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cpus {
    pub(crate) broker: Vec<usize>,
    pub(crate) generator: Vec<usize>,
}

impl Cpus {
    /// What was asked for; else the first half of the CPUs is the broker's and the last one the
    /// generator's. With one CPU they share it.
    pub(crate) fn choose(
        broker: Option<&str>,
        generator: Option<&str>,
        numa_node: Option<usize>,
    ) -> Result<Self> {
        let all = match numa_node {
            Some(node) => node_cpus(node)?,
            None => allowed_cpus()?,
        };
        Self::split(
            &all,
            broker.map(cpu_list).transpose()?,
            generator.map(cpu_list).transpose()?,
        )
    }

    fn split(
        all: &[usize],
        broker: Option<Vec<usize>>,
        generator: Option<Vec<usize>>,
    ) -> Result<Self> {
        for cpu in broker.iter().chain(&generator).flatten() {
            ensure!(
                all.contains(cpu),
                "CPU {cpu} cannot be used: there are {all:?}"
            );
        }
        let half = all.len().div_ceil(2);
        let broker = broker.unwrap_or_else(|| match &generator {
            Some(taken) => all
                .iter()
                .copied()
                .filter(|cpu| !taken.contains(cpu))
                .collect(),
            None => all[..half].to_vec(),
        });
        let generator = generator.unwrap_or_else(|| {
            let free = all.iter().rev().find(|cpu| !broker.contains(cpu));
            free.or(all.last()).copied().into_iter().collect()
        });
        let broker = if broker.is_empty() {
            all.to_vec()
        } else {
            broker
        };
        Ok(Self { broker, generator })
    }

    /// Whether the generator has its CPUs for itself.
    pub(crate) fn are_apart(&self) -> bool {
        self.generator.iter().all(|cpu| !self.broker.contains(cpu))
    }
}

/// `0-3,8`
pub(crate) fn cpu_list(text: &str) -> Result<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.trim()
                .parse::<usize>()
                .with_context(|| format!("`{text}` in a list of CPUs such as 0-3,8"))
        };
        cpus.extend(number(first)?..=number(last)?);
    }
    Ok(cpus)
}

fn node_cpus(node: usize) -> Result<Vec<usize>> {
    let path = format!("/sys/devices/system/node/node{node}/cpulist");
    match fs::read_to_string(path) {
        Ok(text) => cpu_list(&text),
        Err(_) => bail!("there is no NUMA node {node}"),
    }
}

fn allowed_cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_and_generator_share_the_cpus_out() {
        let split = |all: &[usize], broker: Option<&str>, generator: Option<&str>| {
            let list = |text: &str| cpu_list(text).unwrap();
            Cpus::split(all, broker.map(list), generator.map(list))
        };
        for (all, broker, generator, expected) in [
            (&[0, 1][..], None, None, (vec![0], vec![1])),
            (
                &[0, 1, 2, 3, 4, 5, 6, 7],
                None,
                None,
                (vec![0, 1, 2, 3], vec![7]),
            ),
            (&[5], None, None, (vec![5], vec![5])),
            (&[0, 1, 2, 3], None, Some("0-1"), (vec![2, 3], vec![0, 1])),
            (&[0, 1, 2, 3], Some("1,3"), None, (vec![1, 3], vec![2])),
        ] {
            let cpus = split(all, broker, generator).unwrap();
            assert_eq!((cpus.broker.clone(), cpus.generator.clone()), expected);
            assert_eq!(cpus.are_apart(), all.len() > 1);
        }
        let error = split(&[0, 1], Some("4"), None).unwrap_err().to_string();
        assert_eq!(error, "CPU 4 cannot be used: there are [0, 1]");
        assert!(
            cpu_list("0-x")
                .unwrap_err()
                .to_string()
                .contains("list of CPUs")
        );
    }

    #[test]
    fn of_the_kernel_only_what_moves_figures_is_told() {
        let line = "quiet mitigations=auto console=ttyS0 haltpoll.guest_halt_poll_ns=0 init=/x -- --secret nohz";
        assert_eq!(
            options_of(line),
            "mitigations=auto haltpoll.guest_halt_poll_ns=0"
        );
        assert_eq!(version_of("6.18.44-someone-v5"), "6.18.44");
    }

    #[test]
    fn this_machine_has_a_fingerprint() {
        let machine = Machine::look(Path::new("."));
        assert!(machine.cpus > 0 && machine.memory_mib > 0);
        assert!(!machine.kernel.is_empty() && !machine.file_system.is_empty());
    }
}
