//! `ringmq-load compare`: two builds of the broker in turn, under the same load.
//!
//! A machine is never as fast as it was a minute ago, so single rates of two builds say little.
//! Each pair of runs is one of each build, with a fresh store, and every other pair begins with the
//! other build. The broker is pinned to one CPU and has one shard. Invariant: every run is printed,
//! beside the medians also the lowest and highest.

use crate::report::Outcome;
use crate::{Load, Target, admin, measure};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Two builds and a load.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The program `ringmq` that is compared with.
    #[arg(long)]
    a: PathBuf,
    /// The program `ringmq` that is compared.
    #[arg(long)]
    b: PathBuf,
    /// What an acknowledgement waits for.
    #[arg(long, value_enum, default_value_t = Flush::Async)]
    flush: Flush,
    /// Pairs of runs.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Pins the broker to this CPU.
    #[arg(long, default_value_t = 0)]
    broker_cpu: usize,
    /// Where the stores are made, one at a time; it is made when it is missing.
    #[arg(long, default_value = "./ringmq-compare")]
    dir: PathBuf,
    #[command(flatten)]
    load: Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Flush {
    /// `ASYNC_FLUSH`.
    Async,
    /// `SYNC_FLUSH`.
    Sync,
}

/// Figures of one run.
#[derive(Debug, Clone, Copy)]
struct Run {
    rate: f64,
    /// CPU time of the broker per message, all of it and what the kernel took for it.
    cpu_us: f64,
    system_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Runs all pairs and prints what they gave.
pub(crate) fn compare(options: &Options) -> Result<()> {
    ensure!(options.pairs > 0, "--pairs must be at least 1");
    let builds = [&options.a, &options.b].map(|path| {
        path.canonicalize()
            .with_context(|| format!("no program at {}", path.display()))
    });
    let [a, b] = builds;
    let builds = [a?, b?];
    let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
    for pair in 0..options.pairs {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let run = run_once(options, &builds[which])?;
            if !options.load.json {
                print_run(pair, which, run);
            }
            runs[which].push(run);
        }
    }
    print_all(options, &runs)
}

fn run_once(options: &Options, program: &Path) -> Result<Run> {
    let broker = Broker::start(options, program)?;
    let target = Target {
        broker: broker.address,
        broker_pid: Some(broker.child.id()),
    };
    let outcome = measure(&target, &options.load)
        .with_context(|| format!("with {}; its log: {}", program.display(), broker.log()))?;
    let errors = outcome.error_count();
    ensure!(errors == 0, "{errors} sends were refused: {}", broker.log());
    Run::of(&outcome, &options.load)
}

impl Run {
    fn of(outcome: &Outcome, load: &Load) -> Result<Self> {
        let (user, system) = outcome.cpu_us().context("the broker's CPU time")?;
        Ok(Self {
            rate: outcome.rate(load),
            cpu_us: user + system,
            system_us: system,
            p50_us: outcome.percentile_us(50.0),
            p99_us: outcome.percentile_us(99.0),
        })
    }
}

/// A broker of its own, ended and removed with its store when dropped.
struct Broker {
    child: Child,
    address: SocketAddr,
    dir: PathBuf,
}

impl Broker {
    fn start(options: &Options, program: &Path) -> Result<Self> {
        let dir = options.dir.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let (address, names) = (free_address()?, free_address()?);
        let flush = match options.flush {
            Flush::Async => "ASYNC_FLUSH",
            Flush::Sync => "SYNC_FLUSH",
        };
        let config = format!(
            "flushDiskType={flush}\nlistenPort={}\nbrokerIP1=127.0.0.1\nstorePathRootDir={}\n",
            address.port(),
            dir.join("store").display()
        );
        fs::write(dir.join("broker.conf"), config)?;
        let log = File::create(dir.join("log"))?;
        let mut command = Command::new(program);
        command
            .args(["standalone", "-c", "broker.conf", "--shards", "1"])
            .args(["--namesrv-port", &names.port().to_string()])
            .current_dir(&dir)
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null());
        let child = spawn_on(options.broker_cpu, command)
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut broker = Self {
            child,
            address,
            dir,
        };
        broker.wait_until_ready()?;
        Ok(broker)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        for _ in 0..READY_TRIES {
            std::thread::sleep(READY_PAUSE);
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended, {status}: {}", self.log());
            }
            if admin::Admin::connect(self.address).is_ok() {
                return Ok(());
            }
        }
        bail!("the broker does not listen: {}", self.log())
    }

    /// The last lines of its log.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its store goes with it, so it need not end in order; either can have happened already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A process has the CPUs of the thread that started it.
fn spawn_on(cpu: usize, mut command: Command) -> Result<Child> {
    let start = move || {
        let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
        ensure!(pinned, "cannot pin to CPU {cpu}");
        Ok(command.spawn()?)
    };
    let started = std::thread::scope(|scope| scope.spawn(start).join());
    started.unwrap_or_else(|_| bail!("starting it panicked"))
}

fn free_address() -> Result<SocketAddr> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(socket.local_addr()?)
}

fn print_run(pair: usize, which: usize, run: Run) {
    let name = NAMES[which];
    let Run {
        rate,
        cpu_us,
        system_us,
        p50_us,
        p99_us,
    } = run;
    println!(
        "pair {:>2} {name}  {rate:>9.0} messages/s  {cpu_us:>7.3} us CPU/message \
         ({system_us:.3} system)  p50 {p50_us:>7.0} us  p99 {p99_us:>7.0} us",
        pair + 1
    );
}

fn print_all(options: &Options, runs: &[Vec<Run>; 2]) -> Result<()> {
    let rates = runs.each_ref().map(|runs| Spread::of(runs, |run| run.rate));
    let costs = runs
        .each_ref()
        .map(|runs| Spread::of(runs, |run| run.cpu_us));
    let (faster, cheaper) = (
        rates[1].median / rates[0].median,
        costs[1].median / costs[0].median,
    );
    if options.load.json {
        let side = |which: usize| {
            json!({
                "messagesPerSecond": rates[which].as_json(),
                "brokerCpuUsPerMessage": costs[which].as_json(),
                "runs": runs[which].iter().map(Run::as_json).collect::<Vec<_>>(),
            })
        };
        let all = json!({
            "schema": 1,
            "sizeBytes": options.load.size,
            "inFlight": options.load.in_flight,
            "codec": format!("{:?}", options.load.codec),
            "flush": format!("{:?}", options.flush),
            "pairs": options.pairs,
            "a": side(0), "b": side(1),
            "rateRatio": faster, "cpuRatio": cheaper,
        });
        println!("{}", serde_json::to_string(&all)?);
        return Ok(());
    }
    println!(
        "\n{:?}, {} B, {} in flight, {:?} headers, {} pairs of {} s; median (lowest to highest)",
        options.flush,
        options.load.size,
        options.load.in_flight,
        options.load.codec,
        options.pairs,
        options.load.seconds
    );
    for (which, name) in NAMES.iter().enumerate() {
        let (rate, cost) = (rates[which], costs[which]);
        println!(
            "{name}  {:>9.0} messages/s ({:.0} to {:.0})  {:.3} us CPU/message ({:.3} to {:.3})",
            rate.median, rate.lowest, rate.highest, cost.median, cost.lowest, cost.highest
        );
    }
    println!("b/a  rate x {faster:.3}, CPU x {cheaper:.3}");
    Ok(())
}

impl Run {
    fn as_json(&self) -> serde_json::Value {
        json!({
            "messagesPerSecond": self.rate,
            "brokerCpuUsPerMessage": self.cpu_us,
            "systemCpuUsPerMessage": self.system_us,
            "p50Us": self.p50_us,
            "p99Us": self.p99_us,
        })
    }
}

/// The middle and the ends of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    fn of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> Self {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let (lower, upper) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Self {
            median: f64::midpoint(lower, upper),
            lowest: figures[0],
            highest: figures[figures.len() - 1],
        }
    }

    fn as_json(self) -> serde_json::Value {
        json!({ "median": self.median, "lowest": self.lowest, "highest": self.highest })
    }
}

const NAMES: [&str; 2] = ["a", "b"];
const READY_TRIES: u32 = 300;
const READY_PAUSE: Duration = Duration::from_millis(100);
const LOG_LINES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let runs = |rates: &[f64]| -> Vec<Run> {
            let run = |rate: &f64| Run {
                rate: *rate,
                cpu_us: 1.0,
                system_us: 0.0,
                p50_us: 1.0,
                p99_us: 1.0,
            };
            rates.iter().map(run).collect()
        };
        for (rates, median) in [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0, 2.0, 3.0], 2.5)] {
            let spread = Spread::of(&runs(rates), |run| run.rate);
            assert!((spread.median - median).abs() < 1e-9, "{rates:?}");
            assert!((spread.lowest - 1.0).abs() < 1e-9, "{rates:?}");
        }
    }
}
