//! The command line.
//!
//! Every parameter of a scenario is `KEY=VALUE` behind its name; options say where and on what it runs.
//! Invariant: `--help` and docs/performance.md are the same commands.

use crate::machine::Cpus;
use crate::target::{Kind, Places};
use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Measures brokers of the RocketMQ protocol: the same bytes for each, and every message checked.
#[derive(Parser, Debug)]
#[command(name = "ringmq-bench", version)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Lists the scenarios, or with a name everything that one is told.
    List {
        /// A scenario.
        scenario: Option<String>,
    },
    /// Runs one scenario on one or more brokers, in turn.
    Run {
        /// Its name (`P1`), or the path of a file that ends in `.scenario`.
        scenario: String,
        #[command(flatten)]
        common: Common,
    },
    /// Runs several scenarios on one or more brokers, in turn, and writes one report.
    Suite {
        /// `core`, `all`, or names with commas between them.
        scenarios: String,
        #[command(flatten)]
        common: Common,
    },
    /// Compares two sets of results: ratio, interval, verdict.
    Compare {
        /// A result or a directory of results.
        a: PathBuf,
        /// The one that is compared with it.
        b: PathBuf,
    },
    /// Writes the report of a directory of results again.
    Report {
        /// A directory of results.
        dir: PathBuf,
        /// Where the page goes; without it `report.html` in the directory.
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Measures the generator itself against a server that does nothing.
    Selftest {
        #[command(flatten)]
        common: Common,
    },
    /// A first report within a minute: four short scenarios on one broker.
    Quick {
        #[command(flatten)]
        common: Common,
    },
}

/// Options of everything that runs.
#[derive(Args, Debug, Clone)]
pub(crate) struct Common {
    /// `ringmq`, `ringmq:PATH`, `apache:5.5.0`, `apache:5.5.0+tuned`, `apache:4.9.7`; more than one are
    /// run in turn and compared. Without it and without --address: `ringmq`.
    #[arg(long)]
    broker: Vec<String>,
    /// A broker or name server that runs already, HOST:PORT.
    #[arg(long)]
    address: Vec<String>,
    /// The process of the broker at --address, whose cost is measured.
    #[arg(long)]
    broker_pid: Option<u32>,
    /// The short form of each scenario: once, a few seconds.
    #[arg(long)]
    pub(crate) short: bool,
    /// Where results go; without it `bench-results`.
    #[arg(long, default_value = "bench-results")]
    pub(crate) out: PathBuf,
    /// Where brokers keep their stores while they run, and Maven its build.
    #[arg(long, default_value = "target/bench")]
    work: PathBuf,
    /// CPUs of the generator, one thread each, such as 1 or 4-7.
    #[arg(long)]
    cpus: Option<String>,
    /// CPUs of the broker, such as 0-3.
    #[arg(long)]
    broker_cpus: Option<String>,
    /// Uses the CPUs of this NUMA node only.
    #[arg(long)]
    pub(crate) numa_node: Option<usize>,
    /// A line of RingMQ's broker.conf, KEY=VALUE; may be given again.
    #[arg(long)]
    config: Vec<String>,
    /// Heap of a Java broker.
    #[arg(long, default_value = "4g")]
    java_heap: String,
    /// Parameters of the scenario; `list NAME` tells them.
    #[arg(value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

impl Common {
    /// The brokers, in the order in which they are compared.
    pub(crate) fn brokers(&self) -> Result<Vec<Kind>> {
        let mut kinds = self
            .broker
            .iter()
            .map(|text| Kind::parse(text))
            .collect::<Result<Vec<_>>>()?;
        kinds.extend(
            self.address
                .iter()
                .map(|address| Kind::Running(address.clone(), self.broker_pid)),
        );
        if kinds.is_empty() {
            kinds.push(Kind::Ringmq(None));
        }
        for (index, kind) in kinds.iter().enumerate() {
            ensure!(
                !kinds[..index]
                    .iter()
                    .any(|other| other.label() == kind.label()),
                "{} is given twice: results are told apart by this name",
                kind.label()
            );
        }
        Ok(kinds)
    }

    /// `KEY=VALUE` words.
    pub(crate) fn changes(&self) -> Result<Vec<(String, String)>> {
        let pairs = self.changes.iter().map(|word| {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("`{word}` is not KEY=VALUE, such as size=256"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        pairs.collect()
    }

    /// CPUs and directories.
    pub(crate) fn places(&self) -> Result<Places> {
        std::fs::create_dir_all(&self.work)
            .with_context(|| format!("cannot make the work directory {}", self.work.display()))?;
        remove_stale(&self.work);
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        Ok(Places {
            root: root.canonicalize().unwrap_or(root),
            work: self.work.canonicalize()?,
            cpus: Cpus::choose(
                self.broker_cpus.as_deref(),
                self.cpus.as_deref(),
                self.numa_node,
            )?,
            config: self.config.clone(),
            java_heap: self.java_heap.clone(),
        })
    }
}

/// Stores of runs whose program was killed: `ringmq-PID-N` and `apache-PID-N`.
fn remove_stale(work: &std::path::Path) {
    let entries = std::fs::read_dir(work).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        let is_store = matches!(parts.next(), Some("ringmq" | "apache"));
        let pid = parts.next().and_then(|pid| pid.parse::<u32>().ok());
        if is_store
            && pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
        {
            // What cannot be removed is left for the user.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(words: &[&str]) -> Common {
        let line = [&["x", "run", "P1"], words].concat();
        match CommandLine::parse_from(line).command {
            Command::Run { common, .. } => common,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn brokers_are_told_apart_and_words_are_pairs() {
        let labels = |words: &[&str]| {
            common(words)
                .brokers()
                .map(|kinds| kinds.iter().map(Kind::label).collect::<Vec<_>>())
        };
        assert_eq!(labels(&[]).unwrap(), ["ringmq"]);
        let two = ["--broker", "ringmq", "--broker", "apache:5.5.0"];
        assert_eq!(labels(&two).unwrap(), ["ringmq", "apache:5.5.0"]);
        assert_eq!(labels(&["--address", "h:1"]).unwrap(), ["h:1"]);
        let twice = labels(&["--broker", "ringmq", "--broker", "ringmq"]).unwrap_err();
        assert!(twice.to_string().contains("given twice"), "{twice}");
        let pairs = common(&["size=5", "mode=closed"]).changes().unwrap();
        assert_eq!(pairs[0], ("size".to_owned(), "5".to_owned()));
        let error = common(&["fast"]).changes().unwrap_err().to_string();
        assert!(error.contains("is not KEY=VALUE"), "{error}");
    }
}
