//! Starting and ending the programs under test: our own, or the official ones for comparison.
//!
//! Each has a directory, a log file and ports of its own. What must always hold: whatever is
//! started here is gone when its [`Server`] is dropped.

use crate::wire::{Connection, GET_ROUTEINFO_BY_TOPIC, SUCCESS};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Marks every process that this run starts, in its environment.
pub const RUN_VARIABLE: &str = "RINGMQ_E2E_RUN";

/// A running program.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts a program whose output goes to `dir/name.log`, added to what is there.
    pub fn start(mut command: Command, name: &str, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let log = dir.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let child = command
            .env(RUN_VARIABLE, run_id())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the program wrote so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// An error with the end of the log when the program is gone.
    pub fn require_running(&mut self) -> Result<()> {
        if let Some(status) = self.exited()? {
            bail!("{} ended ({status}):\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = self.output();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; the exit status must be 0 within the limit.
    pub fn terminate(mut self, limit: Duration) -> Result<()> {
        self.require_running()?;
        kill(Pid::from_raw(self.id() as i32), Signal::SIGTERM)?;
        let status = self.wait(limit)?;
        ensure!(
            status.success(),
            "{} ended with {status} after SIGTERM:\n{}",
            self.name,
            self.log_tail()
        );
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it is still running after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            pause(20);
        }
        bail!(
            "{} did not end within {limit:?}:\n{}",
            self.name,
            self.log_tail()
        )
    }

    /// Waits until `namesrv` gives a route for `topic`.
    pub fn wait_route(&mut self, namesrv: &str, topic: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            self.require_running()?;
            if route(namesrv, topic).is_ok_and(|brokers| !brokers.is_empty()) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "no route for {topic} within {limit:?}; {} wrote:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            pause(20);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The broker addresses in a topic's route; none for an unknown topic.
pub fn route(namesrv: &str, topic: &str) -> Result<Vec<String>> {
    let mut connection = Connection::open(namesrv)?;
    let fields = [("topic", topic), ("acceptStandardJsonOnly", "true")];
    let answer = connection.call(GET_ROUTEINFO_BY_TOPIC, &fields, &[])?;
    if answer.code != SUCCESS {
        return Ok(Vec::new());
    }
    let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let brokers = body["brokerDatas"].as_array().context("no brokerDatas")?;
    let addresses = brokers
        .iter()
        .filter_map(|broker| broker["brokerAddrs"]["0"].as_str());
    Ok(addresses.map(str::to_owned).collect())
}

/// Processes of this run that still live.
pub fn survivors() -> Vec<String> {
    let mark = format!("{RUN_VARIABLE}={}", run_id());
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec!["/proc cannot be read".to_owned()];
    };
    let of_this_run = |path: &Path| {
        fs::read(path.join("environ"))
            .is_ok_and(|text| text.split(|b| *b == 0).any(|word| word == mark.as_bytes()))
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| of_this_run(path))
        .map(|path| {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            format!(
                "{}: {}",
                path.display(),
                line.chars().take(120).collect::<String>()
            )
        })
        .collect()
}

/// What marks this run: the id of its process.
pub fn run_id() -> String {
    std::process::id().to_string()
}

/// Sleeps.
pub fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A port with its neighbours free: a broker takes also the one two below.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 25_100 + (std::process::id() % 40) as u16 * 15;
    for _ in 0..200 {
        let port = first + NEXT.fetch_add(5, Ordering::Relaxed) % 800;
        let is_free = |port| TcpListener::bind(("0.0.0.0", port)).is_ok();
        if (port - 2..=port + 2).all(is_free) {
            return Ok(port);
        }
    }
    bail!("no free ports from {first}")
}
